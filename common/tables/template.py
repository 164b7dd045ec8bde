"""Queries and results with ``%s %u %d %1 …`` in them, and the files that they stand in. Pure but for ``read_settings``.

Source: Postfix sqlite_table(5), memcache_table(5), and the others that share this language.
"""

import re
from collections.abc import Callable

from tubepost.common.mail.address import split
from tubepost.common.tables.table import TableError
from tubepost.common.tables.words import logical_lines

_EXPANSION = re.compile(r"%(.?)", re.DOTALL)


def read_settings(spec: str, path: str) -> dict[str, str]:
    """``name = value`` lines of a table's configuration file. Raises TableError."""
    settings: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for number, line in logical_lines(file):
                name, equals, value = line.partition("=")
                if number < 0 or not equals or not name.strip():
                    raise TableError(f"{spec}: {path}, line {abs(number)}: expected name = value")
                settings[name.strip()] = value.strip()
    except OSError as error:
        raise TableError(f"{spec}: cannot open {path}: {error.strerror}") from error
    return settings


def expand(template: str, value: str, key: str | None, quote: Callable[[str], str] = str) -> str | None:
    """The template with its parts filled in, each through ``quote``; None when a part is missing: ask nothing then.

    ``value``: what ``%s %u %d`` are of. ``key``: the search key, for ``%S %U %D %1 …``; None where ``value`` is it.
    """
    source = value if key is None else key
    missing = False

    def fill(match: re.Match[str]) -> str:
        nonlocal missing
        letter = match[1]
        if letter == "%":
            return "%"
        part = _part(letter, value if letter in "sud" else source)
        if part is None:
            missing = True
            return ""
        return quote(part)

    text = _EXPANSION.sub(fill, template)
    return None if missing else text


def _part(letter: str, text: str) -> str | None:
    local, domain = split(text)
    if letter in "sS":
        return text
    if letter in "uU":
        return (local or None) if domain is not None else text
    if letter in "dD":
        return (domain or None) if domain is not None else None
    # %1 is the top-level domain, %2 the one below it …
    labels = domain.split(".")[::-1] if domain else []
    number = int(letter)
    return labels[number - 1] if number <= len(labels) else None


def check(spec: str, name: str, template: str) -> None:
    """Raise TableError for an expansion that does not exist."""
    for match in _EXPANSION.finditer(template):
        if not match[1] or match[1] not in "%sSuUdD123456789":
            raise TableError(f'{spec}: {name}: "%{match[1]}" is no expansion: write %% for a percent sign')


def is_partial(template: str) -> bool:
    """Does it use a part of the key? Then only whole addresses are asked, as with tables of patterns."""
    return any(match[1] in "uUdD123456789" for match in _EXPANSION.finditer(template))


def in_domains(key: str) -> str | None:
    """The domain of a key that has one and a local part; None for what the ``domain`` parameter excludes."""
    local, domain = split(key)
    return domain if local and domain else None
