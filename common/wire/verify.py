"""verify/1: is this address deliverable? (reject_unverified_recipient, reject_unverified_sender)"""

from typing import Literal

from tubepost.common.wire.base import Done, Message

PROTOCOL = "verify/1"


class Query(Message):
    """Answered by Verdict at once, from the cache; an unknown address starts a probe and gets ``todo``."""

    address: str


class Verdict(Message):
    status: Literal["ok", "defer", "bounce", "todo"]
    reason: str = ""


class Update(Message):
    """From qmgr: the outcome of a probe. Answered by Done."""

    address: str
    status: Literal["ok", "defer", "bounce"]
    reason: str = ""


__all__ = ["PROTOCOL", "Done", "Query", "Update", "Verdict"]
