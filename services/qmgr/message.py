"""A message in the active queue, and all of them together, as qmgr holds them. Pure."""

from dataclasses import dataclass, field

from tubepost.common.wire.bounce import Entry as LogEntry
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.wire.verify import PROBE

Result = tuple[QueuedRecipient, RecipientStatus, bool]
"""What became of a recipient in this round. True: it was a duplicate, of which nobody is told."""


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
    first_round: bool = True
    """False when it was tried before and deferred."""
    warned: bool = False
    forced_expire: bool = False
    flushed: bool = False
    """A person wants it tried now: defer_transports do not hold it up."""
    outstanding: int = 0
    unread: int = 0
    settling: bool = False
    finishing: bool = False
    redirected: bool = False
    deferred: int = 0
    """Recipients to be tried again."""
    bounced: bool = False
    """There is a bounce log."""
    given_up: bool = False
    """A recipient failed because the message's time is over."""
    defer_logged: bool = False
    """There is a defer log of an earlier round."""
    results: list[Result] = field(default_factory=list)
    """Outcomes that are not written down yet."""
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Recipients of this round: duplicates are delivered once (duplicate_filter_limit)."""
    defer_entries: list[LogEntry] = field(default_factory=list)
    """Waiting to be written to the defer log together."""
    unmarked: tuple[int, ...] = ()
    """Offsets of recipients that are done and, since the disk refused it, not marked so."""

    @property
    def sender(self) -> str:
        return self.envelope.sender

    @property
    def verifying(self) -> bool:
        """A probe of address verification: it is reported to verify, never bounced."""
        return self.envelope.origin.log_ident == PROBE

    @property
    def trial(self) -> bool:
        """sendmail -bv: its sender is told what would become of it."""
        return self.envelope.trace == "probe"

    @property
    def probe(self) -> bool:
        """Not to be delivered."""
        return self.envelope.trace == "probe" or self.envelope.origin.log_ident == PROBE

    @property
    def tracing(self) -> bool:
        """All outcomes of this round are reported to the sender (sendmail -bv, or -v and its first round)."""
        trace = self.envelope.trace
        return trace == "probe" or (trace == "deliver" and self.first_round)


@dataclass(slots=True)
class ActiveQueue:
    """All active messages, and how many more there may be."""

    message_limit: int
    """qmgr_message_active_limit."""
    recipient_limit: int
    """qmgr_message_recipient_limit."""
    recipient_minimum: int
    """qmgr_message_recipient_minimum: what each message may have in memory in any case."""
    portion_limit: int
    """default_recipient_limit."""
    messages: dict[str, ActiveMessage] = field(default_factory=dict)
    recipients: int = 0
    """In memory, of all messages."""

    @property
    def room(self) -> bool:
        """For one more message. Recipients do not count here (Postfix): a big list must not keep single mail out."""
        return len(self.messages) < self.message_limit

    @property
    def portion(self) -> int:
        """How many recipients of a message may be read now."""
        return max(self.recipient_minimum, min(self.portion_limit, self.recipient_limit - self.recipients))


def wants(recipient: Recipient, event: str) -> bool:
    """RFC 3461 4.1: is the sender to be told of this (SUCCESS, FAILURE, DELAY)? Without NOTIFY: not of SUCCESS."""
    if not recipient.notify:
        return event != "SUCCESS"
    return event in recipient.notify
