"""bounce/1: qmgr keeps, through bounce, a log a message of what failed (bounce), what waits (defer) and what was asked
to be traced (trace), and has reports (RFC 3464) sent from it. One program serves the three service names.
"""

from typing import Literal

from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient

PROTOCOL = "bounce/1"

Kind = Literal["bounce", "defer", "trace"]


class Entry(Message):
    """One line of the log file: a recipient and what became of it, when."""

    recipient: Recipient
    status: RecipientStatus
    action: Literal["failed", "delayed", "delivered", "relayed", "expanded", "deliverable", "undeliverable"]
    time: float


class Append(Message):
    """Add entries to the log ``kind/queue_id``. Answered by Done, once written."""

    kind: Kind
    queue_id: str
    entries: tuple[Entry, ...]


class Send(Message):
    """Send the report made from a log to the sender, then remove the log (a delay warning keeps it).

    Answered by Done once the report is queued (or was not due: null sender, NOTIFY=NEVER), by Refused when it could
    not be: qmgr then keeps the message.
    """

    kind: Literal["failure", "delay", "success", "verbose"]
    queue_id: str
    queue: Literal["active"] = "active"
    envelope: Envelope
    content_offset: int
    content_length: int


class SendOne(Message):
    """A report with the given entries, no log: for a message that has no queue file of its own kind of failure.

    From pickup (``queue`` maildrop): for posted mail that cleanup refuses.
    """

    kind: Literal["failure"]
    queue_id: str
    queue: Literal["active", "maildrop"] = "active"
    envelope: Envelope
    content_offset: int
    content_length: int
    entries: tuple[Entry, ...]


class Purge(Message):
    """Forget the log: the message is gone, or is tried anew (defer). Answered by Done."""

    kind: Kind
    queue_id: str


__all__ = ["PROTOCOL", "Append", "Done", "Entry", "Kind", "Purge", "Send", "SendOne"]
