"""main.cf, its syntax (Postfix manual: postconf(5)). Pure: text in, settings out.

A logical line starts at the left margin; a line that starts with white space continues it. Empty lines and lines whose
first visible character is ``#`` are skipped, also between a line and its continuation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tubepost.common.config.faults import Fault

_SPACE = " \t\r\n\v\f"


@dataclass(frozen=True, slots=True)
class Setting:
    """One ``name = value``, the value not yet expanded."""

    name: str
    value: str
    line: int
    """Of the name, counted from 1."""


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(first line number, joined text) of each logical line; comments and empty lines are gone.

    Physical lines are joined as they stand, with the leading white space of a continuation. A continuation of nothing
    is given as a line that starts with white space, for the caller to refuse.
    """
    first = 0
    parts: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(_SPACE)
        if not stripped or stripped[0] == "#":
            continue
        if line[0] not in _SPACE and parts:
            yield first, "".join(parts)
            parts = []
        if not parts:
            first = number
        parts.append(line)
    if parts:
        yield first, "".join(parts)


def split_setting(line: str) -> tuple[str, str]:
    """``name = value`` into its two sides. Raises ValueError with Postfix's words for what is missing."""
    text = line.strip(_SPACE)
    name, equals, value = text.partition("=")
    stripped = name.rstrip(_SPACE)
    if not stripped:
        raise ValueError("missing attribute name")
    if not equals or any(character in _SPACE for character in stripped):
        raise ValueError("missing '=' after attribute name")
    return stripped, value.strip(_SPACE)


def parse(text: str, file: str = "main.cf") -> tuple[tuple[Setting, ...], tuple[Fault, ...]]:
    """All settings in order, and what is wrong with the text. Of a name set twice the last counts (a warning)."""
    settings: list[Setting] = []
    faults: list[Fault] = []
    lines: dict[str, Setting] = {}
    for number, line in logical_lines(text):
        if line[0] in _SPACE:
            faults.append(
                Fault(file, number, "", "a logical line must not start with white space: line ignored", "warning")
            )
            continue
        if "\0" in line:
            faults.append(Fault(file, number, "", "null byte in the line"))
            continue
        try:
            name, value = split_setting(line)
        except ValueError as error:
            faults.append(Fault(file, number, "", f'{error}: "{line.strip()[:60]}"'))
            continue
        setting = Setting(name, value, number)
        earlier = lines.get(name)
        if earlier is not None:
            reason = f"overriding earlier entry: {name}={earlier.value[:60]} (line {earlier.line})"
            faults.append(Fault(file, number, name, reason, "warning"))
        lines[name] = setting
        settings.append(setting)
    return tuple(settings), tuple(faults)
