"""What the store takes and tells, as plain values; the same for every implementation (``interface``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SEPARATOR = "/"
"""Between the parts of a folder's name, in every name that the store takes or gives."""

SYSTEM = ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")
"""Flags that are no keywords (RFC 9051 2.3.2)."""

LOCATION = ("place", "file", "info")
"""Columns of ``Folder.rows`` for ``Folder.read``: where a message is, which nobody but the store understands."""

COMMON_FIELDS = frozenset(
    b"date from sender reply-to to cc bcc subject message-id in-reply-to references newsgroups content-type "
    b"content-transfer-encoding mime-version priority x-priority importance x-mailer user-agent list-id list-post "
    b"list-unsubscribe followup-to delivered-to return-path return-receipt-to disposition-notification-to "
    b"mail-followup-to mail-reply-to x-spam-status x-spam-flag x-label resent-from x-draft-info auto-submitted".split()
)
"""Header fields whose lines the column ``headers`` has: Thunderbird, Apple Mail, Outlook, mutt, webmails want these."""


class BadName(ValueError):
    """No folder can have this name; the text says why."""


class InUse(OSError):
    """Another session has the maildrop."""


class FolderInfo(NamedTuple):
    """``special``: RFC 6154 attributes, ``\\Sent``."""

    name: str
    id: int
    special: tuple[str, ...]


class Usage(NamedTuple):
    """Of an account. ``octets``: with CRLF line ends."""

    octets: int
    messages: int


class Status(NamedTuple):
    """Of a folder at one time. ``size``: octets with CRLF line ends; ``modseq``: HIGHESTMODSEQ.

    ``recent``: the first UID that no session has had as \\Recent; ``floor``: removals before it are forgotten.
    """

    messages: int
    unseen: int
    deleted: int
    size: int
    uidnext: int
    modseq: int
    recent: int
    floor: int


class Changes(NamedTuple):
    """Since a modification sequence. ``changed``: (uid, flagset, modseq), new messages among them, by UID.

    ``gone``: UIDs; None: it is not known any more which, compare with ``uids``.
    """

    changed: list[tuple[int, int, int]]
    gone: list[int] | None


class Stored(NamedTuple):
    """What STORE did. ``changed``: as in Changes; ``modified``: UIDs left alone by UNCHANGEDSINCE (RFC 7162 3.1.3)."""

    changed: list[tuple[int, int, int]]
    modified: list[int]


@dataclass(frozen=True, slots=True)
class Context:
    """What a session knows and the folder does not. ``uids``: ascending, those that it sees, None for all there are;
    message numbers are places in it. ``saved``: what ``$`` stands for. ``recent``: first and last UIDs of runs that are
    \\Recent, ascending. ``now`` in seconds since the epoch. ``among``: look at these UIDs only, ascending."""

    now: float
    uids: Sequence[int] | None = None
    saved: Sequence[int] = ()
    recent: Sequence[tuple[int, int]] = ()
    among: Sequence[int] | None = None


class Progress(NamedTuple):
    """Of a search: ``done`` of ``goal`` messages; ``goal`` 0: not known."""

    done: int
    goal: int


class Indexed(NamedTuple):
    """Of ``Folder.index``: see there."""

    place: int
    done: int


@dataclass(frozen=True, slots=True)
class Limit:
    """Of an account's use of space. 0: no limit."""

    octets: int = 0
    messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.octets or self.messages)


def parse_limit(text: str) -> Limit:
    """``bytes messages`` or ``bytes`` alone, as a table gives them. Raises ValueError."""
    words = text.split()
    if not 1 <= len(words) <= 2 or not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in words):
        raise ValueError(f'"{text}" is no quota: bytes, and after a space messages; 0 for no limit')
    return Limit(*map(int, words))


def id_text(value: bytes) -> str:
    """A message-id as the index has it: there may be a space in one (within quotes), and references are kept side by
    side with spaces between."""
    return value.decode("latin-1").replace(" ", "\x1f")
