"""proxymap/1: table look-ups for programs that may not open the table themselves (``proxy:type:name``)."""

from tubepost.common.wire.base import Done, Message, Refused

PROTOCOL = "proxymap/1"


class Lookup(Message):
    """Answered by Found, or Refused when the table is not in proxy_read_maps or cannot be read now."""

    table: str
    """``type:name``."""
    key: str


class Found(Message):
    """``value`` None: no such key."""

    value: str | None


class Update(Message):
    """proxywrite: set a key. Answered by Done."""

    table: str
    key: str
    value: str


class Delete(Message):
    table: str
    key: str


__all__ = ["PROTOCOL", "Delete", "Done", "Found", "Lookup", "Refused", "Update"]
