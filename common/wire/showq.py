"""showq/1: the mail queue, listed. The reply is a stream: one Entry a payload chunk, then Done."""

from typing import Literal

from tubepost.common.wire.base import Done, Message

PROTOCOL = "showq/1"


class List(Message):
    """List these queues, in this order."""

    queues: tuple[str, ...] = ("maildrop", "active", "incoming", "deferred", "hold")


class Waiting(Message):
    address: str
    orig_address: str = ""
    delay_reason: str = ""
    bounce_reason: str = ""


class Entry(Message):
    """One message. arrival_time in seconds since the epoch, message_size in bytes.

    A message with very many recipients comes as several entries, all but the first ``continued``.
    """

    queue_name: Literal["maildrop", "hold", "incoming", "active", "deferred"]
    queue_id: str
    arrival_time: float
    message_size: int
    forced_expire: bool = False
    sender: str
    recipients: tuple[Waiting, ...]
    continued: bool = False


__all__ = ["PROTOCOL", "Done", "Entry", "List", "Waiting"]
