"""A message in the active queue, as qmgr holds it. Pure."""

from dataclasses import dataclass, field

from tubepost.common.wire.bounce import Entry as LogEntry
from tubepost.common.wire.envelope import Envelope, Recipient


@dataclass(eq=False, slots=True)
class ActiveMessage:
    """``outstanding``: recipients in memory without an outcome in this round. ``unread``: offset in the queue file of
    the next recipient to read, 0 when all are read.
    """

    queue_id: str
    envelope: Envelope
    content_offset: int
    content_length: int
    recipient_count: int
    active_time: float
    from_deferred: bool = False
    warned: bool = False
    forced_expire: bool = False
    outstanding: int = 0
    unread: int = 0
    finishing: bool = False
    deferred: int = 0
    """Recipients to be tried again."""
    bounced: bool = False
    """There is a bounce log."""
    traced: bool = False
    """There is a trace log: a success report is due."""
    defer_logged: bool = False
    fd: int = -1
    """Open for marking, while the message has several recipients or one that failed."""
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Recipients of this round: duplicates are delivered once (duplicate_filter_limit)."""
    defer_entries: list[LogEntry] = field(default_factory=list)
    """Waiting to be written to the defer log together."""

    @property
    def sender(self) -> str:
        return self.envelope.sender

    @property
    def probe(self) -> bool:
        """An address verification probe: it is reported to verify, never bounced."""
        return self.envelope.origin.log_ident == PROBE


PROBE = "verify-probe"


def wants(recipient: Recipient, event: str) -> bool:
    """RFC 3461 4.1: is the sender to be told of this (SUCCESS, FAILURE, DELAY)? Without NOTIFY: not of SUCCESS."""
    if not recipient.notify:
        return event != "SUCCESS"
    return event in recipient.notify
