"""Names on disk: a folder and its directory (Maildir++), a message and its flags (the Maildir specification).

A folder ``Work/Plans`` is the directory ``.Work.Plans``: modified UTF-7 as Courier and Dovecot write it, with a dot
within a name encoded as well, so that every name can be had.
"""

import hashlib
import re
from collections.abc import Iterable

from tubepost.common.imap.names import decode_utf7, encode_utf7

from tubepost.common.mailbox.values import SEPARATOR, BadName

# RFC 3501 2.3.2 and the letters of the Maildir specification; P(assed) is $Forwarded (RFC 5788), as in Dovecot.
LETTERS = {"D": "\\Draft", "F": "\\Flagged", "P": "$Forwarded", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
_BY_FLAG = {flag: letter for letter, flag in LETTERS.items()}
KEYWORD_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
# A file name has at most 255 bytes (NAME_MAX).
_LONGEST = 255


def directory_of(folder: str) -> str:
    """The directory below the Maildir: ``""`` for INBOX, ``.Work.Plans`` for ``Work/Plans``. Raises BadName."""
    if folder == "INBOX":
        return ""
    parts = folder.split(SEPARATOR)
    if not all(parts):
        raise BadName("a part of the name is empty")
    if _UNSAFE.search(folder):
        raise BadName("the name has control characters")
    try:
        directory = "".join(f".{encode_utf7(part).decode().replace('.', '&AC4-')}" for part in parts)
    except ValueError as error:
        raise BadName(str(error)) from None
    if len(directory) > _LONGEST:
        raise BadName("the name is too long")
    return directory


def folder_of(directory: str) -> str | None:
    """The folder in a directory of the Maildir; None for a directory that is none."""
    if not directory.startswith(".") or directory in (".", "..") or directory.endswith("."):
        return None
    parts = directory[1:].split(".")
    if not all(parts):
        return None
    try:
        names = [decode_part(part) for part in parts]
    except ValueError:
        return None
    folder = SEPARATOR.join(names)
    # Another spelling of the same name would be two directories for one folder.
    try:
        return folder if directory_of(folder) == directory and folder.upper() != "INBOX" else None
    except BadName:
        return None


def decode_part(part: str) -> str:
    """One level of a name as it is on disk. Raises ValueError."""
    return ".".join(decode_utf7(piece.encode("ascii")) for piece in part.split("&AC4-"))


def split_file(name: str) -> tuple[str, str]:
    """``1700.M1P2.host:2,FS`` → its unique part and what follows it, ``:2,FS``."""
    colon = name.find(":2,")
    return (name, "") if colon < 0 else (name[:colon], name[colon:])


def info_of(flags: Iterable[str], keywords: dict[str, str]) -> str:
    """``:2,FS`` and the letters of keywords, in the order that the specification asks for.

    ``keywords``: keyword to its letter; one without a letter stands in the index only.
    """
    letters = [letter for flag in flags if (letter := _BY_FLAG.get(flag) or keywords.get(flag))]
    letters.sort()
    return ":2," + "".join(letters)


def flags_of(info: str, keywords: dict[str, str]) -> list[str]:
    """The flags that a file name tells. ``keywords``: letter to keyword."""
    return [flag for letter in info[3:] if (flag := LETTERS.get(letter) or keywords.get(letter))]


def email_id(file: str) -> str:
    """RFC 8474 5.1: of a message by its file's name, which no other message has."""
    return "M" + hashlib.blake2b(file.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
