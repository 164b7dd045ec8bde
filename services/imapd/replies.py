"""What a command comes to: OK, NO or BAD with a response code (pure)."""

from typing import NamedTuple

from tubepost.common.imap.errors import BadCommand


class Ok(NamedTuple):
    """The tagged answer. ``code`` without brackets; an empty ``text`` becomes "<verb> completed"."""

    text: str = ""
    code: bytes = b""


class No(Exception):
    """The command cannot be done. ``code``: RFC 5530 and others, without brackets."""

    status = b"NO"

    def __init__(self, text: str, code: bytes = b"") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Answered(Exception):
    """The tagged answer was sent by the command itself."""


class UidRequired(BadCommand):
    """A message number where only UIDs may be used (RFC 9586 3)."""

    code = b"UIDREQUIRED"


def nonexistent(name: str) -> No:
    """RFC 5530 3: NONEXISTENT."""
    return No(f"There is no mailbox {shorten(name)}", b"NONEXISTENT")


def shorten(name: str) -> str:
    """A name for a reply's text: one line of ASCII, not long."""
    text = name if len(name) <= 60 else name[:57] + "..."
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text) + '"'
