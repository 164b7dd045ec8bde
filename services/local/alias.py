"""What the right-hand side of an alias, and a line of a forward or :include: file, consists of (aliases(5)). Pure."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from tubepost.common.mail.addresslist import extract_addresses

_INCLUDE = ":include:"
# A word goes on over quoted strings; an unclosed one takes the rest.
_WORD = re.compile(r'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\\.|[^\s,"\\])++', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)|\"", re.DOTALL)
_GAP = re.compile(r"[\s,]*")


class Kind(Enum):
    ADDRESS = "address"
    FILE = "file"
    COMMAND = "command"
    INCLUDE = "include"
    USER = "user"
    """``\\user``: to the mailbox, whatever aliases and forward files say."""


class Target(NamedTuple):
    kind: Kind
    value: str
    """An address in external form; a path (``/x``, ``~/x``); a command line without its bar."""


def targets(text: str) -> list[Target]:
    """The destinations of one line, in order. Never raises: what makes no sense is taken for an address.

    ``|``, ``/``, ``~``, ``\\`` and ``:include:`` count at the start of a word, or of a quoted string that begins it. A
    zero byte, which no path and no command can have, ends the line.
    """
    text = text.partition("\0")[0]
    if "(" in text:
        text = _without_comments(text)
    found: list[Target] = []
    address_start = -1
    position = 0
    while True:
        gap = _GAP.match(text, position)
        assert gap is not None
        comma = "," in gap[0]
        word = _WORD.match(text, gap.end())
        special = _special(word[0]) if word is not None else None
        if address_start >= 0 and (comma or special is not None or word is None):
            found += [Target(Kind.ADDRESS, item) for item in extract_addresses(text[address_start : gap.start()])]
            address_start = -1
        if word is None:
            return found
        if special is not None:
            found.append(special)
        elif address_start < 0:
            address_start = word.start()
        position = word.end()


_OUTSIDE = re.compile(r'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\\.|[^"\\(]|\\)++', re.DOTALL)
# Within a comment a quote is a character like others.
_INSIDE = re.compile(r"(?:\\.|[^\\()]|\\)++", re.DOTALL)


def _without_comments(text: str) -> str:
    """RFC 5322 3.2.2: comments nest, and quoted parentheses are none. An unclosed comment takes the rest."""
    kept: list[str] = []
    depth = position = 0
    while position < len(text):
        match = (_INSIDE if depth else _OUTSIDE).match(text, position)
        if match is not None:
            if not depth:
                kept.append(match[0])
            position = match.end()
            continue
        depth += 1 if text[position] == "(" else -1
        kept.append(" ")
        position += 1
    return "".join(kept)


def _special(word: str) -> Target | None:
    first = word[:1]
    if first == "\\":
        name = _plain(word[1:])
        return Target(Kind.USER, name) if name else None
    if first not in '"|/~:':
        return None
    value = _plain(word)
    if value.startswith("|"):
        return Target(Kind.COMMAND, value[1:].strip())
    if value.startswith(("/", "~")):
        return Target(Kind.FILE, value)
    if value[: len(_INCLUDE)].lower() == _INCLUDE:
        return Target(Kind.INCLUDE, value[len(_INCLUDE) :].strip())
    if first == '"' and value.startswith("\\") and len(value) > 1:
        return Target(Kind.USER, value[1:])
    return None


def _plain(word: str) -> str:
    return _ESCAPED.sub(lambda match: match[1] or "", word)


def lines(data: bytes, limit: int) -> Iterator[str]:
    """The lines of a forward or :include: file that say something; longer ones than ``limit`` come in parts."""
    for line in data.split(b"\n"):
        for start in range(0, len(line), limit):
            part = line[start : start + limit]
            if not part.startswith(b"#"):
                yield part.decode("utf-8", "surrogateescape")


def all_targets(data: bytes, limit: int) -> Iterator[Target]:
    for line in lines(data, limit):
        yield from targets(line)
