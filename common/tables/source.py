"""Sources as entries with line numbers: ``key whitespace value`` (postmap), ``name: value`` (postalias). Pure."""

import re
from collections.abc import Callable, Iterable, Iterator

from tubepost.common.tables.words import SyntaxFault, logical_lines, split_key

Entry = tuple[int, str, str]
"""(line number, key in quoted form, value)."""


def read_entries(lines: Iterable[str], path: str, warn: Callable[[str], None], utf8: bool = True) -> Iterator[Entry]:
    """The entries of a postmap source; what is no entry is warned of and skipped, as postmap(1) does.

    ``lines``: text that was decoded with surrogateescape, so that bytes which are no UTF-8 can be seen.
    """
    for number, line in logical_lines(lines):
        if number < 0:
            warn(f'{path}, line {-number}: logical line must not start with whitespace: "{line:.30}"')
            continue
        if utf8 and not line.isascii() and not _is_unicode(line):
            warn(f'{path}, line {number}: non-UTF-8 input "{line}" -- ignoring this line')
            continue
        try:
            key, value = split_key(line)
        except SyntaxFault as fault:
            warn(f"{path}, line {number}: {fault} -- ignoring this line")
            continue
        value = value.strip()
        if not key or not value:
            warn(f"{path}, line {number}: expected format: key whitespace value")
            continue
        if key.endswith(":"):
            warn(f'{path}, line {number}: record is in "key: value" format; is this an alias file?')
        yield number, key, value


# What may hide a colon, comma or blank: quoted strings, quoted pairs, comments (RFC 5322 3.2). Unclosed ones run on.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|\\.|\([^()]*\)|[^"\\(:,\s]+|.', re.DOTALL)


def read_aliases(lines: Iterable[str], path: str, warn: Callable[[str], None], utf8: bool = True) -> Iterator[Entry]:
    """The entries of an aliases(5) source: the key in external form, the value as ``item, item``.

    What is no entry is warned of and skipped, as postalias(1) does.
    """
    for number, line in logical_lines(lines):
        if number < 0:
            warn(f'{path}, line {-number}: logical line must not start with whitespace: "{line:.30}"')
            continue
        if utf8 and not line.isascii() and not _is_unicode(line):
            warn(f'{path}, line {number}: non-UTF-8 input "{line}" -- ignoring this line')
            continue
        pieces = [match.group() for match in _PIECE.finditer(line)]
        colon = pieces.index(":") if ":" in pieces else -1
        key = "".join(pieces[:colon]).strip() if colon >= 0 else ""
        items = _items(pieces[colon + 1 :])
        if colon < 0 or not key or not items or "," in pieces[:colon]:
            warn(f"{path}, line {number}: need name:value pair")
            continue
        # A quoted "@" or "%" belongs to the name.
        if any(not piece.startswith(('"', "\\", "(")) and ("@" in piece or "%" in piece) for piece in pieces[:colon]):
            warn(f"{path}, line {number}: name must be local and have no domain")
            continue
        yield number, key, ", ".join(items)


def _items(pieces: Iterable[str]) -> list[str]:
    items: list[str] = []
    current: list[str] = []
    for piece in (*pieces, ","):
        if piece == ",":
            item = "".join(current).strip()
            if item:
                items.append(item)
            current = []
        elif piece.isspace():
            if current and current[-1] != " ":
                current.append(" ")
        elif not piece.startswith("("):
            current.append(piece)
    return items


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
