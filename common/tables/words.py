"""Splitting of parameter and source text: lists with braces, ``name = value``, logical lines, quoted keys. Pure.

Source of the rules: Postfix postconf(5), postmap(1), "inline" in DATABASE_README.
"""

import re
from collections.abc import Iterable, Iterator

_SEPARATORS = " \t\r\n,"
_PLAIN_LIST = re.compile(r"[^ \t\r\n,]+")
_LITERAL = re.compile(r"[^$]+")


class SyntaxFault(ValueError):
    """Text that does not follow the rules; ``str(fault)`` says how."""


def split_list(text: str) -> list[str]:
    """Items separated by commas or white space; what stands in ``{ … }`` is one item, braces kept."""
    if "{" not in text:
        return _PLAIN_LIST.findall(text)
    items: list[str] = []
    depth = 0
    start = -1
    for position, char in enumerate(text):
        if depth == 0 and char in _SEPARATORS:
            if start >= 0:
                items.append(text[start:position])
                start = -1
            continue
        if start < 0:
            start = position
        if char == "{":
            depth += 1
        elif char == "}" and depth > 0:
            depth -= 1
    if start >= 0:
        items.append(text[start:])
    return items


def inside_braces(text: str) -> str:
    """The content of ``{ … }``, white space around it dropped. Raises SyntaxFault."""
    if not text.startswith("{"):
        raise SyntaxFault(f"'{{' expected at the start of \"{text}\"")
    depth = 0
    for position, char in enumerate(text):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                if text[position + 1 :].strip():
                    raise SyntaxFault(f"text after '}}' in \"{text}\"")
                return text[1:position].strip()
    raise SyntaxFault(f"missing '}}' in \"{text}\"")


def split_pair(text: str) -> tuple[str, str]:
    """``key = value``; the key may hold double quotes and backslashes, which are kept. Raises SyntaxFault."""
    text = text.strip()
    key, rest = split_key(text, "=")
    rest = rest.lstrip()
    if not key:
        raise SyntaxFault(f'missing attribute name in "{text}"')
    if not rest.startswith("="):
        raise SyntaxFault(f"missing '=' after attribute name in \"{text}\"")
    return key, rest[1:].strip()


def split_key(text: str, stops: str = "") -> tuple[str, str]:
    """The key at the start of ``text`` and what follows it.

    A key ends at white space or a character of ``stops``, unless that stands in double quotes or after a backslash.
    Quotes are kept: ``"a b"@c`` is an address whose quotes are part of it (RFC 5321 4.1.2). Raises SyntaxFault.
    """
    quoted = False
    position = 0
    size = len(text)
    while position < size:
        char = text[position]
        if char == "\\":
            position += 2
            continue
        if char == '"':
            quoted = not quoted
        elif not quoted and (char.isspace() or char in stops):
            break
        position += 1
    if quoted:
        raise SyntaxFault(f"unbalanced '\"' in '{text}'")
    return text[:position], text[position:]


def logical_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) for each logical line: comments and blanks dropped, continuations joined.

    A comment or blank line does not end a logical line. Text that continues nothing is skipped; the number is then
    negative, the text its own, so that the caller can warn.
    """
    parts: list[str] = []
    first = 0
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        stripped = line.lstrip()
        if not stripped or stripped[0] == "#":
            continue
        if line[0].isspace():
            if parts:
                parts.append(line)
            else:
                yield -number, stripped
            continue
        if parts:
            yield first, "".join(parts).rstrip()
        parts = [line]
        first = number
    if parts:
        yield first, "".join(parts).rstrip()


def inline_rules(name: str) -> list[str] | None:
    """The rules of a table given in its name, ``{ { rule } { rule } }`` (Postfix 3.7); None for a file name.

    Raises SyntaxFault.
    """
    if not name.startswith("{"):
        return None
    rules = []
    for item in split_list(inside_braces(name)):
        rules.append(inside_braces(item))
    return rules


def parse_template(text: str) -> list[str | tuple[str]]:
    """``$name ${name} $(name) $$``: literal strings, and one-tuples of names. Raises SyntaxFault."""
    pieces: list[str | tuple[str]] = []
    literal: list[str] = []
    position = 0
    size = len(text)
    while position < size:
        if text[position] != "$":
            match = _LITERAL.match(text, position)
            assert match is not None
            literal.append(match.group())
            position = match.end()
            continue
        if text[position + 1 : position + 2] == "$":
            literal.append("$")
            position += 2
            continue
        position += 1
        opener = text[position : position + 1]
        if opener in ("{", "("):
            closer = "}" if opener == "{" else ")"
            level = 1
            end = position + 1
            while end < size and level:
                if text[end] == opener:
                    level += 1
                elif text[end] == closer:
                    level -= 1
                end += 1
            if level:
                raise SyntaxFault(f'truncated macro reference: "{text}"')
            name = text[position + 1 : end - 1]
            position = end
        else:
            end = position
            while end < size and (text[end] == "_" or (text[end].isascii() and text[end].isalnum())):
                end += 1
            name = text[position:end]
            position = end
        if not name:
            raise SyntaxFault(f'empty macro name: "{text}"')
        if literal:
            pieces.append("".join(literal))
            literal = []
        pieces.append((name,))
    if literal:
        pieces.append("".join(literal))
    return pieces
