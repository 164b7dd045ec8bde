"""Perl-compatible regular expressions in the words of Python's ``re``. Pure.

Translated: POSIX classes in sets, ``\\h \\v \\R \\N \\z \\Z \\Q…\\E``, characters by their codes ``\\x{…} \\o{…}
\\cA``, ``(?<name>…)``, ``(?(1)…)``, options in mid-pattern ``(?i)``, and that ``\\d \\w \\s`` are ASCII. Refused with
a clear message, for Python has nothing like them: ``\\K \\G \\C \\X \\p{…}``, recursion ``(?R) (?1)``, branch reset
``(?|…)``, ``(*VERBS)``, look-behind of variable length.
"""

import re

from tubepost.common.tables.posix import bracket
from tubepost.common.tables.words import SyntaxFault

_ESCAPES = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[a-zA-Z0-9_]",
    "W": "[^a-zA-Z0-9_]",
    "s": r"[ \t\n\r\f\v]",
    "S": r"[^ \t\n\r\f\v]",
    "h": r"[ \t]",
    "H": r"[^ \t]",
    "N": r"[^\n]",
    "R": r"(?>\r\n|[\n\v\f\r])",
    "v": r"[\n\v\f\r]",
    "V": r"[^\n\v\f\r]",
    "e": r"\x1b",
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
}
_REFUSED = "KGCXpPgk"
_CODE = re.compile(
    r"\\(?:x\{(?P<x>[0-9A-Fa-f]{1,6})\}|x(?!\{)(?P<h>[0-9A-Fa-f]{0,2})|o\{(?P<o>[0-7]{1,7})\}|c(?P<c>[ -~]))"
)
_CONDITION = re.compile(r"\(\?\((?:<(\w+)>|'(\w+)'|(\w+))\)", re.ASCII)
_OPTIONS = re.compile(r"\(\?([imsxU]*)(?:-([imsxU]+))?([:)])")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})")


def translate(pattern: str, *, dollar_end_only: bool, ungreedy: bool, extended: bool) -> str:
    """The same pattern for ``re.compile``.

    ``dollar_end_only``: flag E. ``ungreedy``: flag U, which swaps ``*`` and ``*?``. ``extended``: flag x is on, so that
    white space and comments are not part of the pattern. Raises SyntaxFault.
    """
    output: list[str] = []
    # For each open group: what is to be repeated after a "|" in it, and how many brackets its end closes.
    groups: list[tuple[str, int]] = [("", 0)]
    position = 0
    size = len(pattern)
    while position < size:
        char = pattern[position]
        if char == "\\":
            text, position = _escape(pattern, position)
            output.append(text)
        elif char == "[":
            text, position = bracket(pattern, position, posix=False, coded=_coded)
            output.append(text)
        elif char == "#" and extended:
            end = pattern.find("\n", position)
            position = size if end < 0 else end
        elif char == "(":
            position = _open_group(pattern, position, output, groups, ungreedy)
        elif char == ")":
            if len(groups) == 1:
                raise SyntaxFault("unmatched )")
            output.append(")" * (groups.pop()[1] + 1))
            position += 1
        elif char == "|":
            again, closings = groups[-1]
            output.append(")" * closings + "|" + again)
            position += 1
        elif char == "$" and dollar_end_only:
            output.append(r"\Z")
            position += 1
        else:
            quantifier = _QUANTIFIER.match(pattern, position)
            if quantifier and ungreedy:
                position = quantifier.end()
                following = pattern[position : position + 1]
                if following == "?":
                    output.append(quantifier.group())
                    position += 1
                elif following == "+":
                    output.append(quantifier.group() + "+")
                    position += 1
                else:
                    output.append(quantifier.group() + "?")
            elif quantifier:
                output.append(quantifier.group())
                position = quantifier.end()
            else:
                # "{" that begins no quantifier is a plain character in PCRE, "{,3}" too.
                output.append("\\{" if char == "{" else char)
                position += 1
    if len(groups) > 1:
        raise SyntaxFault("missing )")
    output.append(")" * groups[0][1])
    return "".join(output)


def _escape(pattern: str, position: int) -> tuple[str, int]:
    letter = pattern[position + 1 : position + 2]
    if not letter:
        raise SyntaxFault("\\ at end of pattern")
    if letter == "Q":
        end = pattern.find("\\E", position + 2)
        quoted = pattern[position + 2 : end if end >= 0 else None]
        return re.escape(quoted), len(pattern) if end < 0 else end + 2
    if letter == "E":
        return "", position + 2
    if letter in _REFUSED:
        raise SyntaxFault(f"\\{letter} is not supported")
    coded = _coded(pattern, position)
    if coded is not None:
        return coded
    return _ESCAPES.get(letter, "\\" + letter), position + 2


def _coded(pattern: str, position: int) -> tuple[str, int] | None:
    """See posix.Coded."""
    match = _CODE.match(pattern, position)
    if match is None:
        return None
    if match["c"]:
        code = ord(match["c"].upper()) ^ 64
    else:
        code = int(match["o"], 8) if match["o"] else int(match["x"] or match["h"] or "0", 16)
    if code > 0x10FFFF:
        raise SyntaxFault("character code point value in \\x{} or \\o{} is too large")
    return re.escape(chr(code)), match.end()


def _open_group(pattern: str, position: int, output: list[str], groups: list[tuple[str, int]], ungreedy: bool) -> int:
    if pattern.startswith("(*", position):
        raise SyntaxFault("(*VERBS) are not supported")
    if not pattern.startswith("(?", position):
        output.append("(")
        groups.append(("", 0))
        return position + 1
    if pattern.startswith("(?#", position):
        end = pattern.find(")", position)
        if end < 0:
            raise SyntaxFault("missing ) after (?# comment")
        return end + 1
    condition = _CONDITION.match(pattern, position)
    if condition and condition[condition.lastindex or 0] not in ("R", "DEFINE", "VERSION"):
        output.append(f"(?({condition[condition.lastindex or 0]})")
        groups.append(("", 0))
        return condition.end()
    options = _OPTIONS.match(pattern, position)
    if options and (options[1] or options[2] or options[3] == ":"):
        if "U" in options[1] + (options[2] or ""):
            raise SyntaxFault("(?U) is not supported, use the flag U behind the pattern")
        switch = f"(?{options[1]}{'-' + options[2] if options[2] else ''}:"
        output.append(switch)
        if options[3] == ":":
            groups.append(("", 0))
        else:
            # (?i) holds up to the end of its group: Python knows only (?i:…), so that is opened here and closed there.
            again, closings = groups[-1]
            groups[-1] = (again + switch, closings + 1)
        return options.end()
    for opening, written in (
        ("(?<=", "(?<="),
        ("(?<!", "(?<!"),
        ("(?=", "(?="),
        ("(?!", "(?!"),
        ("(?>", "(?>"),
        ("(?P<", "(?P<"),
        ("(?<", "(?P<"),
        ("(?'", "(?P<"),
    ):
        if pattern.startswith(opening, position):
            position += len(opening)
            output.append(written)
            if written == "(?P<":
                closing = "'" if opening == "(?'" else ">"
                end = pattern.find(closing, position)
                if end < 0:
                    raise SyntaxFault("syntax error in subpattern name (missing terminator?)")
                output.append(pattern[position:end] + ">")
                position = end + 1
            groups.append(("", 0))
            return position
    raise SyntaxFault(f'"{pattern[position : position + 4]}" is not supported')
