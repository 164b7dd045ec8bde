"""trigger/1: a hint that there is work: pickup, a file was dropped; qmgr, look now. Losing one costs time only."""

from tubepost.common.wire.base import Done, Message

PROTOCOL = "trigger/1"


class Wake(Message):
    """Answered by Done at once, before the work; or one-way."""


__all__ = ["PROTOCOL", "Done", "Wake"]
