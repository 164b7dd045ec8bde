"""IMAP URLs of messages and their parts (RFC 5092), with the authorization of RFC 4467. Pure.

imap://joe@example.com/INBOX;UIDVALIDITY=385759045/;UID=20/;SECTION=1.2;EXPIRE=2025-01-01T00:00:00Z
    ;URLAUTH=submit+fred:INTERNAL:91354a473744909de610943775f92038
"""

import re
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

_URL = re.compile(
    rb"(?:imap://(?:(?P<user>[^;@/:]*+)(?:;AUTH=[^@/]*+)?@)?(?P<host>[^/;@]++))?"
    rb"(?P<path>/?(?P<mailbox>[^;]*?)(?:;UIDVALIDITY=(?P<validity>[1-9][0-9]{0,9}))?/?;UID=(?P<uid>[1-9][0-9]{0,9})"
    rb"(?:/;SECTION=(?P<section>[^;/]++))?(?:/;PARTIAL=(?P<start>[0-9]{1,19})(?:\.(?P<count>[1-9][0-9]{0,18}))?)?)"
    rb"(?:;EXPIRE=(?P<expire>[0-9T:.Zz+\-]{20,40}))?"
    rb"(?:;URLAUTH=(?P<access>(?:submit|user)\+[^;:/]++|authuser|anonymous)"
    rb"(?::(?P<mechanism>[A-Za-z0-9.\-]{1,64}):(?P<token>[0-9A-Fa-f]{32,}))?)?",
    re.IGNORECASE,
)
# RFC 3986 2: no blanks, quotes, backslashes and control characters; so a URL can stand in a reply as it is.
_OCTETS = re.compile(rb"[!#-\[\]-~]++")
LIMIT = 8192
"""Octets of a URL: more than any mailbox name and section take."""


class BadUrl(ValueError):
    """Not an IMAP URL of a message."""


class Url(NamedTuple):
    """``user`` is "" where none is named, ``host`` is "" in a relative URL, ``mailbox`` is "" in one that is relative
    to the selected mailbox. ``section`` as in BODY[…]; ``partial``: first octet, and octets or None for the rest.

    ``expire``: seconds since the epoch, None for never. ``access``: who may use it, "" where it tells nothing.
    ``rump``: what the token is made of (RFC 4467 3); ``token`` as hexadecimal digits, "" where there is none.
    """

    user: str
    host: str
    mailbox: str
    uidvalidity: int
    uid: int
    section: bytes
    partial: tuple[int, int | None] | None
    expire: float | None
    access: str
    mechanism: str
    token: str
    rump: bytes


def parse(text: bytes) -> Url:
    """Raises BadUrl."""
    match = _URL.fullmatch(text) if len(text) <= LIMIT and _OCTETS.fullmatch(text) is not None else None
    if match is None:
        raise BadUrl("Not the URL of a message")
    if not match["path"].startswith(b"/") and (match["host"] or match["mailbox"]):
        # RFC 5092 7.2: a relative URL without a slash in front is one of the selected mailbox.
        raise BadUrl("Not the URL of a message")
    try:
        mailbox = unquote_to_bytes(match["mailbox"].rstrip(b"/")).decode("utf-8")
        user = unquote_to_bytes(match["user"] or b"").decode("utf-8")
        expire = _time(match["expire"]) if match["expire"] else None
    except ValueError:
        raise BadUrl("Not the URL of a message") from None
    if match["access"] and not match["host"]:
        # RFC 4467 3: an authorized URL is absolute.
        raise BadUrl("An authorized URL is absolute")
    start, count = match["start"], match["count"]
    return Url(
        user=user,
        host=(match["host"] or b"").decode("latin-1"),
        mailbox="INBOX" if mailbox.upper() == "INBOX" else mailbox,
        uidvalidity=int(match["validity"] or 0),
        uid=int(match["uid"]),
        section=unquote_to_bytes(match["section"] or b""),
        partial=(int(start), int(count) if count else None) if start is not None else None,
        expire=expire,
        access=unquote_to_bytes(match["access"] or b"").decode("latin-1"),
        mechanism=(match["mechanism"] or b"").decode("ascii").upper(),
        token=(match["token"] or b"").decode("ascii").lower(),
        rump=text[: match.end("access")] if match["access"] else text,
    )


def _time(text: bytes) -> float:
    """RFC 3339; a time zone is there. Raises ValueError."""
    found = datetime.fromisoformat(text.decode("ascii").upper().replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError("no time zone")
    return found.timestamp()


def write(mailbox: str, uid: int, *, uidvalidity: int = 0, section: str = "") -> bytes:
    """A URL relative to the server (RFC 5092 7.1)."""
    text = "/" + quote(mailbox)
    if uidvalidity:
        text += f";UIDVALIDITY={uidvalidity}"
    text += f"/;UID={uid}"
    return (text + (f"/;SECTION={quote(section)}" if section else "")).encode("ascii")
