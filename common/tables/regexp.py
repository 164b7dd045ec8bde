"""``regexp:/path``: POSIX regular expressions, tried in order (Postfix regexp_table(5)).

``/pattern/flags result``, ``!/pattern/flags result``, ``if /pattern/flags`` … ``endif``; flags toggle: ``i`` (case does
not matter, on), ``m`` (``^ $`` at line ends too, off), ``x`` (extended syntax, on). See ``posix`` for what differs.
"""

import re

from tubepost.common.tables import posix
from tubepost.common.tables.rules import Pattern, RuleTable, is_delimited, read_rules, split_delimited
from tubepost.common.tables.table import Table, TableEnvironment
from tubepost.common.tables.words import SyntaxFault


def parse(line: str) -> Pattern:
    """The pattern at the start of a line. Raises SyntaxFault."""
    negated, text, letters, rest = split_delimited(line)
    # "." matches a newline in POSIX expressions, unless REG_NEWLINE (flag m) is given.
    flags = re.IGNORECASE | re.DOTALL
    extended = True
    for letter in letters:
        if letter == "i":
            flags ^= re.IGNORECASE
        elif letter == "m":
            flags ^= re.MULTILINE | re.DOTALL
        elif letter == "x":
            extended = not extended
        elif letter == "!":
            raise SyntaxFault("/pattern1/!/pattern2/ is no longer supported, use if !/pattern2/ ... endif")
        else:
            raise SyntaxFault(f'unknown regexp option "{letter}"')
    try:
        compiled = re.compile(posix.translate(text, extended, bool(flags & re.MULTILINE)), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise SyntaxFault(str(error)) from error
    return Pattern(compiled.search, negated, compiled.groups, rest)


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener. The case of keys is the patterns' affair: ``fold`` does not matter."""
    return RuleTable(kind, name, environment, read_rules(kind, name, environment, is_delimited, parse, True))
