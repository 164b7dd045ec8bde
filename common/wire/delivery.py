"""delivery/1: qmgr gives a delivery agent one job; the agent answers one status a recipient.

An agent opens the queue file read-only by ``queue/queue_id`` and reads the content at ``content_offset``. It knows
nothing of the queue: retry, bounce and give-up are decided by qmgr.
"""

from typing import Literal

from tubepost.common.wire.base import Message
from tubepost.common.wire.envelope import Envelope
from tubepost.common.wire.qmgr import QueuedRecipient

PROTOCOL = "delivery/1"


class Job(Message):
    """Deliver one message to these recipients by this next hop. Answered by Report."""

    queue_id: str
    queue: Literal["active"] = "active"
    transport: str
    nexthop: str
    envelope: Envelope
    content_offset: int
    content_length: int
    recipients: tuple[QueuedRecipient, ...]
    active_time: float
    """When the message entered the active queue; with arrival_time and now it gives delays=a/b/c/d."""
    probe: bool = False
    """Address verification: go as far as RCPT, do not deliver (Postfix DEL_REQ_FLAG_MTA_VRFY)."""


class RecipientStatus(Message):
    """What became of one recipient.

    ``status`` sent: done. deferred: try again later. bounced: will never work. expanded: replaced by others (aliases).
    """

    offset: int
    status: Literal["sent", "deferred", "bounced", "expanded", "deliverable", "undeliverable"]
    dsn: str
    """Enhanced status code, RFC 3463: 2.0.0, 4.4.1 …"""
    text: str
    """For people: the reason, one line, without the status code."""
    relay: str = ""
    """As logged after relay=: ``host[address]:port``, ``local``, ``virtual``."""
    diagnostic_type: str = ""
    """smtp, x-unix … for Diagnostic-Code (RFC 3464 2.3.6)."""
    diagnostic: str = ""
    """The peer's words."""
    remote_mta: str = ""
    """Host name of the peer that said so (RFC 3464 2.3.5)."""
    relayed: bool = False
    """True when sent to a peer that does not take over the DSN request: qmgr then reports "relayed" itself."""
    dsn_passed: bool = False
    """True when the peer took over the DSN duty (it announced DSN): no success report from here."""


class Report(Message):
    """The outcome of one job: exactly one status for each of its recipients."""

    statuses: tuple[RecipientStatus, ...]
    destination: Literal["ok", "unreachable"] = "ok"
    """unreachable: connection or handshake failed, counts against the destination (concurrency feedback)."""
    why: RecipientStatus | None = None
    """With unreachable: the words for mail to the same destination that is deferred without a try (offset -1)."""
