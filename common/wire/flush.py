"""flush/1: which deferred mail waits for which destination (ETRN, postqueue -s)."""

from tubepost.common.wire.base import Done, Message, Refused

PROTOCOL = "flush/1"


class Add(Message):
    """One-way, from qmgr: this message waits for this destination."""

    site: str
    queue_id: str


class SendSite(Message):
    """Have qmgr try the mail for this destination now. Answered by Done, or Refused when the site is not eligible."""

    site: str


class Refresh(Message):
    """Drop entries of mail that is no longer there; forget sites unused for fast_flush_purge_time. Answered by Done."""


__all__ = ["PROTOCOL", "Add", "Done", "Refresh", "Refused", "SendSite"]
