"""master.cf entries as ``postconf -M``, ``-F`` and ``-P`` print them. Pure (Postfix manual: postconf(1))."""

import re

from tubepost.common.config.master_cf import Words

LINE_LIMIT = 80
INDENT = "    "
_WORD = re.compile(r"[^ \t\r\n]+")
_GOALS = (0, 11, 17, 25, 33, 41, 49, 57)
"""Where each of the eight columns starts, if the ones before leave room."""

FIELDS = ("service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command")


def entry_lines(words: Words, *, fold: bool) -> list[str]:
    """One entry in columns; with ``fold`` each -o stands on a line of its own."""
    first = ""
    for column, word in enumerate(words[:8]):
        if first:
            first = (first + " ").ljust(_GOALS[column])
        first += _brace(word) if column == 7 else word
    return _flow(first, words[8:], fold)


def field_lines(words: Words, column: int, *, fold: bool, names: bool, values: bool) -> list[str]:
    """``service/type/field = value``, with or without each side."""
    text = f"{words[0]}/{words[1]}/{FIELDS[column]}" if names else ""
    if not values:
        return [text]
    text += " = " if names else ""
    lines: list[str] = []
    if text and len(text) + len(words[column]) > LINE_LIMIT:
        lines.append(text)
        text = INDENT
    text += _brace(words[column]) if column == 7 else words[column]
    if column == 7:
        return [*lines, *_flow(text, words[8:], fold)]
    return [*lines, text]


def text_lines(text: str, *, fold: bool) -> list[str]:
    """``name = value`` with every run of white space as one space; with ``fold`` broken before 80 columns."""
    lines: list[str] = []
    line = ""
    for word in _WORD.findall(text):
        if line and fold and len(line) + len(word) >= LINE_LIMIT:
            lines.append(line)
            line = INDENT + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def _flow(line: str, words: tuple[str, ...], fold: bool) -> list[str]:
    """Options and arguments behind the columns."""
    lines: list[str] = []
    length = len(line)
    options = True
    index = 0
    while index < len(words):
        word = words[index]
        value: str | None = None
        if options and (not word.startswith("-") or word == "--"):
            options = False
        if options and word[1:2] == "o" and index + 1 < len(words):
            value = words[index + 1]
            index += 1
        shown = _brace(word)
        if value is not None:
            # With fold, an option with a value stands on a line of its own.
            length = LINE_LIMIT
            # A brace that nobody closes can only stand behind its option.
            attached = value[:1] == "{" and len(value.split()) == 1
            shown = f"{shown}{value}" if attached else f"{shown} {_brace(value)}"
        if length > len(INDENT):
            # A line that begins with # would be a comment.
            if not fold or length + 1 + len(word) < LINE_LIMIT or shown[0] == "#":
                line += " "
                length += 1
            else:
                lines.append(line)
                line, length = INDENT, len(INDENT)
        line += shown
        length += len(shown)
        if value is not None:
            length = LINE_LIMIT
        index += 1
    return [*lines, line]


def _needs_brace(word: str) -> bool:
    return not word or word[0] == "{" or any(character in word for character in " \t\r\n\v\f")


def _brace(word: str) -> str:
    return f"{{{word}}}" if _needs_brace(word) else word
