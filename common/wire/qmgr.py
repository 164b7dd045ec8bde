"""qmgr/1: what the queue manager is told: hints on the road of a message, and orders of a person."""

from typing import Literal

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.envelope import Envelope, Recipient

PROTOCOL = "qmgr/1"

INLINE_RECIPIENTS = 50
"""Up to this many recipients travel in Arrived; with more, qmgr reads them from the queue file in portions."""


class QueuedRecipient(Message):
    """A recipient and where it stands in the queue file."""

    offset: int
    """Byte offset of its status byte in the queue file: also its identity within the message."""
    recipient: Recipient


class Arrived(Message):
    """One-way: a new file stands complete and synced in incoming/. Losing this costs time, never mail.

    It repeats what the file says, so that a qmgr with room need not read the file at once.
    """

    queue_id: str
    envelope: Envelope
    content_offset: int
    content_length: int
    recipients: tuple[QueuedRecipient, ...] = ()
    recipient_count: int


class Flush(Message):
    """Try all deferred mail now (postqueue -f, sendmail -q). Answered by Done."""


class FlushMessage(Message):
    """Try one message now (postqueue -i). Answered by Done or Refused."""

    queue_id: str


class Scan(Message):
    """Look at a queue directory again: a file was moved there by a person (postsuper)."""

    queue: Literal["incoming", "deferred"]


__all__ = [
    "INLINE_RECIPIENTS",
    "PROTOCOL",
    "Arrived",
    "Done",
    "Flush",
    "FlushMessage",
    "QueuedRecipient",
    "Refused",
    "Scan",
]
