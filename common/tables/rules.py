"""Tables of rules tried in order, with ``if … endif`` and ``!``: what regexp, pcre and cidr have in common. Pure.

A source is compiled to one flat tuple of rules; an ``if`` knows where its ``endif`` is, so that a block whose test
fails costs nothing.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tubepost.common.tables import patience
from tubepost.common.tables.files import read_value
from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, inline_rules, logical_lines, parse_template

Test = Callable[[str], object]
"""Does this key match? For text rules a ``re.Match`` or None; for networks a bool."""
Template = tuple[str | int, ...]
"""Literal text, and numbers of groups."""

_IF = re.compile(r"if(?![0-9a-z])\s*(.*)", re.IGNORECASE | re.DOTALL)
_ENDIF = re.compile(r"endif(?![0-9a-z])\s*(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled pattern, and what is left of its line."""

    test: Test
    negated: bool
    groups: int
    rest: str


@dataclass(slots=True)
class Rule:
    """``value`` None: an ``if``, go to ``skip_to`` when it does not hold."""

    test: Test
    negated: bool
    value: str | None
    template: Template | None
    skip_to: int
    line: int


class RuleTable(Table):
    """Rules of patterns over the whole key."""

    __slots__ = ("_limit", "_warn", "rules")
    patterned = True

    def __init__(self, kind: str, name: str, environment: TableEnvironment, rules: tuple[Rule, ...]) -> None:
        super().__init__(kind, name, False)
        self.rules = rules
        self._limit = environment.subject_limit
        self._warn = environment.warn
        patience.watch(RuleTable._find.__code__)

    def _find(self, key: str) -> str | None:
        if len(key) > self._limit:
            # The time of a backtracking match can grow with the square of the length: what is seen is bounded.
            key = key[: self._limit]
        rules = self.rules
        position = 0
        try:
            while position < len(rules):
                rule = rules[position]
                match = rule.test(key)
                if bool(match) == rule.negated:
                    position = rule.skip_to
                    continue
                if rule.value is None:
                    position += 1
                elif rule.template is None:
                    return rule.value
                else:
                    assert isinstance(match, re.Match)
                    return "".join(
                        piece if isinstance(piece, str) else match.group(piece) or "" for piece in rule.template
                    )
        except patience.Slow as error:
            # With some patterns it doubles with each character.
            raise TableError(f'{self.spec}, line {rules[position].line}: {error}, with the key "{key:.60}"') from error
        return None

    def forbid_substitution(self) -> None:
        for rule in self.rules:
            if rule.template is not None:
                self._warn(
                    f"{self.kind} map {self.name}, line {rule.line}: "
                    "regular expression substitution is not allowed: skipping this rule"
                )
        self.rules = tuple(
            Rule(_never, False, "", None, rule.skip_to, rule.line) if rule.template is not None else rule
            for rule in self.rules
        )


def _never(_: str) -> bool:
    return False


def read_rules(
    kind: str,
    name: str,
    environment: TableEnvironment,
    is_rule: Callable[[str], bool],
    parse: Callable[[str], Pattern],
    substitutes: bool,
) -> tuple[Rule, ...]:
    """The rules of a file, or of the name itself (``{ { rule } … }``). Raises TableError when it cannot be read.

    ``parse`` takes the pattern at the start of a line, and raises SyntaxFault. A rule with a fault is warned of and
    skipped; an ``if`` with a fault never holds, so that what it guards is not applied to everybody.
    """
    try:
        rules = inline_rules(name)
    except SyntaxFault as fault:
        raise TableError(f"{kind}:{name}: {fault}") from fault
    if rules is not None:
        return compile_rules(kind, name, rules, environment, is_rule, parse, substitutes)
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            return compile_rules(kind, name, file, environment, is_rule, parse, substitutes)
    except OSError as error:
        raise TableError(f"{kind}:{name}: cannot open the file: {error.strerror}") from error


def compile_rules(
    kind: str,
    name: str,
    lines: Iterable[str],
    environment: TableEnvironment,
    is_rule: Callable[[str], bool],
    parse: Callable[[str], Pattern],
    substitutes: bool,
) -> tuple[Rule, ...]:
    """See ``read_rules``."""
    warn = environment.warn
    rules: list[Rule] = []
    open_ifs: list[Rule] = []
    for number, line in logical_lines(lines):
        place = f"{kind} map {name}, line {abs(number)}"
        if number < 0:
            warn(f'{place}: logical line must not start with whitespace: "{line:.30}"')
            continue
        end = _ENDIF.fullmatch(line)
        if end:
            if end[1]:
                warn(f"{place}: ignoring extra text after ENDIF")
            if not open_ifs:
                warn(f"{place}: ignoring ENDIF without matching IF")
            else:
                open_ifs.pop().skip_to = len(rules)
            continue
        start = _IF.fullmatch(line)
        if not start and not is_rule(line):
            warn(f"{place}: ignoring unrecognized request")
            continue
        try:
            pattern = parse(start[1] if start else line)
            rest = pattern.rest.strip()
            if start:
                if rest:
                    warn(f'{place}: ignoring extra text after IF statement: "{rest}"')
                    warn(f"{place}: do not prepend whitespace to statements between IF and ENDIF")
                rule = Rule(pattern.test, pattern.negated, None, None, 0, number)
            else:
                content = read_value(rest, environment, place)
                if content is None:
                    continue
                value, template = _value(content, pattern, substitutes)
                if not rest and substitutes:
                    warn(f"{place}: no replacement text: using empty string")
                rule = Rule(pattern.test, pattern.negated, value, template, len(rules) + 1, number)
        except SyntaxFault as fault:
            if not start:
                warn(f"{place}: {fault}: skipping this rule")
                continue
            warn(f"{place}: {fault}: skipping all up to its ENDIF")
            rule = Rule(_never, False, None, None, 0, number)
        rules.append(rule)
        if start:
            open_ifs.append(rule)
    for rule in open_ifs:
        warn(f"{kind} map {name}, line {rule.line}: IF has no matching ENDIF")
        rule.skip_to = len(rules)
    return tuple(rules)


def _value(text: str, pattern: Pattern, substitutes: bool) -> tuple[str, Template | None]:
    if not substitutes:
        if not text:
            raise SyntaxFault("no lookup result")
        return text, None
    if "$" not in text:
        return text, None
    pieces: list[str | int] = []
    highest = 0
    for piece in parse_template(text):
        if isinstance(piece, str):
            pieces.append(piece)
            continue
        if not (piece[0].isascii() and piece[0].isdigit()):
            raise SyntaxFault(f'non-numeric replacement index "{piece[0]}"')
        number = int(piece[0][:9])
        if number < 1:
            raise SyntaxFault(f'out-of-range replacement index "{piece[0]}"')
        highest = max(highest, number)
        pieces.append(number)
    if highest == 0:
        return "".join(str(piece) for piece in pieces), None
    if pattern.negated:
        raise SyntaxFault("$number found in negative match replacement text")
    if highest > pattern.groups:
        raise SyntaxFault(f'out of range replacement index "{highest}"')
    return text, tuple(pieces)


def split_delimited(line: str) -> tuple[bool, str, str, str]:
    """``!/pattern/flags result`` to (negated, pattern, flags, what follows). Raises SyntaxFault.

    The delimiter is the first character after ``!``; in the pattern a backslash protects it.
    """
    position = 0
    negated = False
    while position < len(line) and line[position] == "!":
        negated = not negated
        position += 1
        while position < len(line) and line[position].isspace():
            position += 1
    if position >= len(line):
        raise SyntaxFault("no regexp")
    delimiter = line[position]
    end = position + 1
    while end < len(line) and line[end] != delimiter:
        end += 2 if line[end] == "\\" else 1
    if end >= len(line):
        raise SyntaxFault(f'no closing regexp delimiter "{delimiter}"')
    after = end + 1
    while after < len(line) and not line[after].isspace():
        after += 1
    return negated, line[position + 1 : end], line[end + 1 : after], line[after:]


def is_delimited(line: str) -> bool:
    """A rule of regexp or pcre begins with its delimiter, or ``!``: anything but a letter or digit."""
    return not line[0].isalnum()
