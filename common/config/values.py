"""Turns expanded configuration text into values (Postfix manual: postconf(5)). Pure.

Each function raises ValueError with the reason, without naming the parameter: the caller knows which one it is.
"""

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# Postfix keeps times and most counts in a C int; larger ones are refused there and here.
INT_MAX = (1 << 31) - 1
LONG_MAX = (1 << 63) - 1

_TIME = re.compile(r"([0-9]{1,12})([smhdw]?)", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_SEPARATORS = ", \t\r\n"
_PLAIN_ITEM = re.compile(r"[^, \t\r\n]+")
_DELIMITERS = re.compile(r"[{}, \t\r\n]")
_RUN = re.compile(r"[, \t\r\n]*")


def time(text: str, unit: str = "s", *, low: float = 0, high: float = 0) -> float:
    """Seconds: an integer and one of s m h d w; without a letter, ``unit`` counts. ``high`` 0: no upper bound."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f'bad time "{_short(text)}": write a whole number and one of s, m, h, d, w')
    seconds = int(match[1]) * _UNITS[match[2] or unit]
    if seconds > INT_MAX:
        raise ValueError(f'the time "{_short(text)}" is too large')
    _check_range(seconds, low, high, "seconds")
    return float(seconds)


def integer(text: str, *, low: int | None = None, high: int | None = None) -> int:
    """A whole decimal number without a unit; Postfix knows no k or m here."""
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f'bad number "{_short(text)}": write a whole decimal number, without a unit')
    number = int(text)
    if abs(number) > LONG_MAX:
        raise ValueError(f'the number "{_short(text)}" is too large')
    _check_range(number, low, high, "")
    return number


def boolean(text: str) -> bool:
    """``yes`` or ``no``, in any case."""
    lowered = text.lower()
    if lowered == "yes":
        return True
    if lowered == "no":
        return False
    raise ValueError(f'bad value "{_short(text)}": write yes or no')


def choice(text: str, choices: tuple[str, ...]) -> str:
    """One of ``choices``, in any case; the spelling of the list is returned."""
    lowered = text.lower()
    for known in choices:
        if known.lower() == lowered:
            return known
    raise ValueError(f'bad value "{_short(text)}": write one of {", ".join(known or "(empty)" for known in choices)}')


def split(text: str) -> tuple[str, ...]:
    """The items of a list, separated by commas and white space. Inside ``{ }`` neither separates; the braces stay.

    An unclosed brace takes the rest as one item: whoever reads the item reports it.
    """
    if "{" not in text:
        return tuple(_PLAIN_ITEM.findall(text))
    items: list[str] = []
    position, end = 0, len(text)
    while True:
        match = _RUN.match(text, position)
        start = match.end() if match else end
        if start >= end:
            return tuple(items)
        level = 0
        position = end
        for delimiter in _DELIMITERS.finditer(text, start):
            character = delimiter[0]
            if character == "{":
                level += 1
            elif character == "}":
                # A stray closing brace is an ordinary character, as in Postfix's tokeniser.
                level -= level > 0
            elif level == 0:
                position = delimiter.start()
                break
        items.append(text[start:position])


def _check_range(number: float, low: float | None, high: float | None, what: str) -> None:
    unit = f" {what}" if what else ""
    if low is not None and number < low:
        raise ValueError(f"{number:.0f}{unit} is too small: at least {low:.0f}")
    if high and number > high:
        raise ValueError(f"{number:.0f}{unit} is too large: at most {high:.0f}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."
