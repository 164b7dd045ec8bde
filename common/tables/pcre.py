"""``pcre:/path``: Perl-compatible regular expressions, tried in order (Postfix pcre_table(5)).

As ``regexp``, with the flags ``i`` (case does not matter, on), ``s`` (``.`` matches newlines, on), ``m``, ``x``, ``A``
(anchored at the start), ``E`` (``$`` only at the very end), ``U`` (not greedy), ``X`` (accepted; unknown escapes are
errors anyway). Python's ``re`` does the work: see ``perl`` for what differs. Only the first ``subject_limit``
characters of a key are looked at (table.TableEnvironment), and a search that takes too long is given up (``patience``).
"""

import re

from tubepost.common.tables import perl
from tubepost.common.tables.rules import Pattern, RuleTable, is_delimited, read_rules, split_delimited
from tubepost.common.tables.table import Table, TableEnvironment
from tubepost.common.tables.words import SyntaxFault

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


def parse(line: str) -> Pattern:
    """The pattern at the start of a line. Raises SyntaxFault."""
    negated, text, letters, rest = split_delimited(line)
    flags = re.IGNORECASE | re.DOTALL
    switches = dict.fromkeys("AEUX", False)
    for letter in letters:
        if letter in _FLAGS:
            flags ^= _FLAGS[letter]
        elif letter in switches:
            switches[letter] = not switches[letter]
        else:
            raise SyntaxFault(f'unknown regexp option "{letter}"')
    translated = perl.translate(
        text, dollar_end_only=switches["E"], ungreedy=switches["U"], extended=bool(flags & re.VERBOSE)
    )
    try:
        compiled = re.compile(translated, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise SyntaxFault(f"error in regex: {error}") from error
    return Pattern(compiled.match if switches["A"] else compiled.search, negated, compiled.groups, rest)


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener. The case of keys is the patterns' affair: ``fold`` does not matter."""
    return RuleTable(kind, name, environment, read_rules(kind, name, environment, is_delimited, parse, True))
