"""Sources of tables: ``key whitespace value`` (postmap) as entries with line numbers. Pure: lines are given."""

from collections.abc import Callable, Iterable, Iterator

from tubepost.common.tables.words import SyntaxFault, logical_lines, split_key

Entry = tuple[int, str, str]
"""(line number, key in quoted form, value)."""


def read_entries(lines: Iterable[str], path: str, warn: Callable[[str], None]) -> Iterator[Entry]:
    """The entries of a postmap source; what is no entry is warned of and skipped, as postmap(1) does.

    ``lines``: text that was decoded with surrogateescape, so that bytes which are no UTF-8 can be seen.
    """
    for number, line in logical_lines(lines):
        if number < 0:
            warn(f'{path}, line {-number}: logical line must not start with whitespace: "{line:.30}"')
            continue
        if not line.isascii() and not _is_unicode(line):
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


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
