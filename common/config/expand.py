"""Expands ``$name`` and its relatives in a configuration value (Postfix manual: postconf(5), DESCRIPTION).

Pure. What a name stands for is asked of a function that returns text already expanded: each value is expanded once
however often it is used, so a file of nested references costs time linear in its size, and the asker sees the cycles.

====================================  =====================================================================
``$name ${name} $(name)``             the value; nothing when it is not defined
``${name?text} ${name?{text}}``       the text when the value is not empty
``${name:text} ${name:{text}}``       the text when the value is empty
``${name?{one}:{two}}``               the one or the other
``${{left} == {right} ? {a} : {b}}``  compare with == != < <= >= >: as numbers when both sides are all digits
``$$``                                one dollar sign
====================================  =====================================================================
"""

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]

# The deepest nesting that a person could mean; Postfix stops at 100 as well.
_DEPTH_LIMIT = 100
# Far above any real value; stops a file that doubles a text with every line.
_LENGTH_LIMIT = 1 << 20
_LONGEST_NUMBER = (1 << 63) - 1

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]*", re.ASCII)
_BRACKETS = {"{": re.compile(r"[{}]"), "(": re.compile(r"[()]")}
_SPACE = " \t\r\n\v\f"
_SPACES = re.compile(r"[ \t\r\n\v\f]*")
_OPERATOR = re.compile(r"[<>!=?+\-*/~&|%]*")
_NAME = re.compile(r"[ \t\r\n\v\f]*([A-Za-z0-9_]*)[ \t\r\n\v\f]*", re.ASCII)
_OPERATORS: dict[str, Callable[[int], bool]] = {
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">=": lambda order: order >= 0,
    ">": lambda order: order > 0,
}


class ExpandError(ValueError):
    """The text cannot be expanded; the argument says where and why."""


def expand(text: str, lookup: Lookup) -> str:
    """Replace every reference in ``text``.

    ``lookup(name)`` gives the expanded value, or None for a name that is not defined (which counts as empty).
    Raises ExpandError for bad syntax, nesting deeper than 100, or a result above 1 MiB; and whatever lookup raises.
    """
    if "$" not in text:
        return text
    pieces: list[str] = []
    _Expansion(lookup).run(text, pieces, 0)
    return "".join(pieces)


def references(text: str) -> set[str]:
    """Every name that ``text`` refers to, whichever way its conditions go. Never raises: bad syntax ends the search."""
    names: set[str] = set()
    if "$" in text:
        try:
            _Expansion(lambda name: None, names).run(text, [], 0)
        except ExpandError:
            pass
    return names


class _Expansion:
    """One walk over a text; with ``seen``, a walk over all branches that only collects names."""

    __slots__ = ("length", "lookup", "seen")

    def __init__(self, lookup: Lookup, seen: set[str] | None = None) -> None:
        self.lookup = lookup
        self.length = 0
        self.seen = seen

    def run(self, text: str, pieces: list[str], depth: int) -> None:
        if depth > _DEPTH_LIMIT:
            raise ExpandError(f"references nested more than {_DEPTH_LIMIT} deep at {_show(text)}")
        position = 0
        while True:
            dollar = text.find("$", position)
            if dollar < 0:
                self._put(text[position:], pieces)
                return
            if dollar > position:
                self._put(text[position:dollar], pieces)
            position = dollar + 1
            following = text[position : position + 1]
            if following == "$":
                self._put("$", pieces)
                position += 1
            elif following in ("{", "("):
                end = _closing(text, position)
                if end < 0:
                    raise ExpandError(f"no closing {'}' if following == '{' else ')'} in {_show(text[dollar:])}")
                if end == position + 1:
                    raise ExpandError(f"a name is missing at {_show(text[dollar:])}")
                self._expression(text[position + 1 : end], pieces, depth + 1)
                position = end + 1
            else:
                match = _PLAIN_NAME.match(text, position)
                assert match is not None
                if not match[0]:
                    raise ExpandError(
                        f"a name is missing after $ at {_show(text[dollar:])} (write $$ for a dollar sign)"
                    )
                self._put(self._value(match[0]) or "", pieces)
                position = match.end()

    def _put(self, text: str, pieces: list[str]) -> None:
        self.length += len(text)
        if self.length > _LENGTH_LIMIT:
            raise ExpandError(f"the value grows beyond {_LENGTH_LIMIT} characters")
        pieces.append(text)

    def _value(self, name: str) -> str | None:
        if self.seen is not None:
            self.seen.add(name)
        return self.lookup(name)

    def _expression(self, body: str, pieces: list[str], depth: int) -> None:
        """What stands between the outer braces."""
        start = _skip(body, 0)
        value: str | None
        if body[start : start + 1] == "{":
            value, position = self._comparison(body, start, depth)
            operator = body[position : position + 1]
            if operator not in ("", "?", ":"):
                raise ExpandError(f"? or : expected at {_show(body[position:])}")
            position += 1
        else:
            match = _NAME.match(body)
            assert match is not None
            position = match.end()
            operator = body[position : position + 1]
            if operator not in ("", "?", ":"):
                raise ExpandError(f"bad name in ${{{_show(body)}}}: letters, digits and _ only, then ? or :")
            if not match[1]:
                raise ExpandError(f"a name is missing in ${{{_show(body)}}}")
            value = self._value(match[1])
            position += 1
        if not operator:
            self._put(value or "", pieces)
            return
        scan = self.seen is not None
        if operator == "?":
            text, position = _operand(body, position)
            if value or scan:
                self.run(text, pieces, depth)
            if position >= len(body):
                return
            if body[position] != ":":
                raise ExpandError(f": expected at {_show(body[position:])}")
            position += 1
        text, position = _operand(body, position)
        if not value or scan:
            self.run(text, pieces, depth)
        if position < len(body):
            raise ExpandError(f"unexpected text at {_show(body[position:])}")

    def _comparison(self, body: str, start: int, depth: int) -> tuple[str, int]:
        """``{left} op {right}`` at start: "true" or "", and where the text goes on."""
        left_text, position = _braced(body, start)
        match = _OPERATOR.match(body, position)
        assert match is not None
        holds = _OPERATORS.get(match[0])
        if holds is None:
            raise ExpandError(f"one of == != < <= >= > expected at {_show(body[position:])}")
        position = _skip(body, match.end())
        if body[position : position + 1] != "{":
            raise ExpandError(f"{{text}} expected after {match[0]} at {_show(body[position:])}")
        right_text, position = _braced(body, position)
        sides: list[str] = []
        for text in (left_text, right_text):
            pieces: list[str] = []
            self.run(text, pieces, depth)
            sides.append("".join(pieces))
        return ("true" if holds(_order(sides[0], sides[1])) else ""), position


def _order(left: str, right: str) -> int:
    if left.isascii() and right.isascii() and left.isdigit() and right.isdigit():
        numbers = [_number(left), _number(right)]
        return (numbers[0] > numbers[1]) - (numbers[0] < numbers[1])
    return (left > right) - (left < right)


def _number(text: str) -> int:
    # Checked by length first: converting a million digits would take minutes.
    digits = text.lstrip("0") or "0"
    if len(digits) > 19 or int(digits) > _LONGEST_NUMBER:
        raise ExpandError(f"number too large to compare: {_show(text)}")
    return int(digits)


def _closing(text: str, opening: int) -> int:
    """Where the bracket at ``opening`` is closed; -1 if it is not. Only brackets of the same kind nest."""
    level = 0
    bracket = text[opening]
    for match in _BRACKETS[bracket].finditer(text, opening):
        level += 1 if match[0] == bracket else -1
        if level == 0:
            return match.start()
    return -1


def _braced(body: str, opening: int) -> tuple[str, int]:
    end = _closing(body, opening)
    if end < 0:
        raise ExpandError(f"no closing }} in {_show(body[opening:])}")
    return body[opening + 1 : end], _skip(body, end + 1)


def _operand(body: str, position: int) -> tuple[str, int]:
    """The text after ? or : — in braces, or all the rest as Postfix 2.2 had it."""
    opening = _skip(body, position)
    if body[opening : opening + 1] == "{":
        return _braced(body, opening)
    return body[position:], len(body)


def _skip(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    assert match is not None
    return match.end()


def _show(text: str) -> str:
    text = text.strip(_SPACE)
    return f'"{text[:40]}..."' if len(text) > 43 else f'"{text}"'
