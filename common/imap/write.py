"""What IMAP says, as bytes: strings, names, flags, dates, response codes (RFC 9051 7 and 9). Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import date as Date
from functools import lru_cache

from tubepost.common.imap import names
from tubepost.common.imap.sets import compact, compact_ordered, compact_ranges

__all__ = [
    "astring", "binary", "code", "compact", "compact_ordered", "compact_ranges", "date_time", "esearch", "flags",
    "literal", "mailbox", "nstring", "quoted", "string",
]  # fmt: skip

_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]++")
_NEEDS_LITERAL = re.compile(rb"[\x00\r\n]")
_SPECIAL = re.compile(rb'(["\\])')
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = Date(1970, 1, 1).toordinal()
QUOTED_LIMIT = 1000
"""Octets past which a string goes as a literal: the lines that a client must be able to read stay short."""


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def quoted(value: bytes | str) -> bytes:
    """In double quotes. For text that is known to have no CR, LF or NUL."""
    value = _bytes(value)
    if b'"' in value or b"\\" in value:
        value = _SPECIAL.sub(rb"\\\1", value)
    return b'"' + value + b'"'


def literal(value: bytes) -> bytes:
    """``{n}`` CRLF and the octets; NUL must not occur (see ``binary``)."""
    return b"{%d}\r\n%b" % (len(value), value)


def binary(value: bytes) -> bytes:
    """A literal, or a literal8 when a NUL occurs (RFC 3516 4.3)."""
    return (b"~" if b"\x00" in value else b"") + literal(value)


def string(value: bytes | str, *, utf8: bool = False) -> bytes:
    """Quoted where that may be, else a literal. ``utf8``: the client takes UTF-8 in quotes (RFC 6855, RFC 9051 4.3)."""
    value = _bytes(value)
    if len(value) > QUOTED_LIMIT or _NEEDS_LITERAL.search(value) is not None:
        # NUL cannot go out in a string at all (RFC 9051 9: CHAR8).
        return literal(value.replace(b"\x00", b"\x80") if b"\x00" in value else value)
    if not value.isascii():
        if not utf8:
            return literal(value)
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return literal(value)
    return quoted(value)


def nstring(value: bytes | str | None, *, utf8: bool = False) -> bytes:
    """A string, or NIL for None."""
    return b"NIL" if value is None else string(value, utf8=utf8)


def astring(value: bytes | str, *, utf8: bool = False) -> bytes:
    """As an atom where that may be: never for NIL, which a careless client would misread."""
    value = _bytes(value)
    if _ASTRING.fullmatch(value) is not None and value.upper() != b"NIL":
        return value
    return string(value, utf8=utf8)


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name: modified UTF-7, or UTF-8 once the client enabled it."""
    return astring(names.encode(name, utf8=utf8), utf8=utf8)


def flags(found: Iterable[bytes]) -> bytes:
    """``(\\Seen $Forwarded)``."""
    return b"(" + b" ".join(found) + b")"


@lru_cache(maxsize=4096)
def _day(number: int) -> bytes:
    day = Date.fromordinal(max(1, min(number + _EPOCH, 3652059)))
    # RFC 9051 9: date-day-fixed has a space in front of one digit.
    return f'"{day.day:2d}-{_MONTHS[day.month - 1]}-{day.year:04d} '.encode("ascii")


@lru_cache(maxsize=256)
def _zone(offset: int) -> bytes:
    hours, minutes = divmod(abs(offset), 60)
    return f' {"-" if offset < 0 else "+"}{hours:02d}{minutes:02d}"'.encode("ascii")


def date_time(time: int, offset: int = 0) -> bytes:
    """``"17-Jul-1996 02:44:25 -0700"``: ``time`` in seconds since the epoch, ``offset`` in minutes east of UTC."""
    day, second = divmod(time + offset * 60, 86400)
    minutes, second = divmod(second, 60)
    return b"%b%02d:%02d:%02d%b" % (_day(day), minutes // 60, minutes % 60, second, _zone(offset))


def code(name: bytes, *values: bytes) -> bytes:
    """A response code in brackets: ``[APPENDUID 38505 3955]``."""
    return b"[" + b" ".join((name, *values)) + b"]"


def esearch(tag: bytes, *, uid: bool, items: Sequence[tuple[bytes, bytes]] = (), mailbox: bytes = b"") -> bytes:
    """An untagged ESEARCH line with CRLF (RFC 9051 7.3.4, RFC 7377 2.1).

    ``items`` are (name, value) such as (b"COUNT", b"17"); ``mailbox`` is ready ``MAILBOX "x" UIDVALIDITY 1`` or empty.
    """
    parts = [b"* ESEARCH (TAG " + quoted(tag) + (b" " + mailbox if mailbox else b"") + b")"]
    if uid:
        parts.append(b"UID")
    parts.extend(b"%b %b" % item for item in items)
    return b" ".join(parts) + b"\r\n"
