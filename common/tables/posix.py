"""POSIX regular expressions in the words of Python's ``re``. Pure.

Extended and basic syntax (regex(7)) with the GNU extensions of the C library that Postfix's regexp tables are written
for: ``\\w \\W \\s \\S \\b \\B \\< \\> \\` \\'``, back references, and in basic syntax ``\\+ \\? \\|``. What differs: of
alternatives the first that matches counts, where POSIX takes the longest match (seen only in ``$number``, never in
whether there is a match).
"""

import re
from collections.abc import Callable

from tubepost.common.tables.words import SyntaxFault

# The C locale's classes, as the content of a Python set.
CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r" \t\n\r\f\v",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "print": r" -~",
    "graph": r"!-~",
    "cntrl": r"\x00-\x1f\x7f",
    "xdigit": "0-9A-Fa-f",
    "word": "a-zA-Z0-9_",
    "ascii": r"\x00-\x7f",
}
_INTERVAL = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_BASIC_INTERVAL = re.compile(r"\\\{(\d*)(?:(,)(\d*))?\\\}")
# The C library's limit (RE_DUP_MAX); larger counts would also make Python's compiler slow.
_DUPLICATES = 32767
_ESCAPES = {"w": "[a-zA-Z0-9_]", "W": "[^a-zA-Z0-9_]", "s": r"[ \t\n\r\f\v]", "S": r"[^ \t\n\r\f\v]"} | {
    "b": r"\b", "B": r"\B", "<": r"\b(?=\w)", ">": r"\b(?<=\w)", "`": r"\A", "'": r"\Z"
}  # fmt: skip

_ANCHORS = frozenset("bB<>`'")


def translate(pattern: str, extended: bool = True, multiline: bool = False) -> str:
    """The same pattern for ``re.compile``. ``multiline``: ``$`` is then Python's, not the end of the key only.

    Raises SyntaxFault.
    """
    output: list[str] = []
    position = 0
    depth = 0
    size = len(pattern)
    # At the start of an expression, a group or an alternative, and behind an anchor there is nothing to repeat: in
    # basic syntax ``*`` is a plain character there, in extended syntax a fault, as for the C library.
    at_start = True
    while position < size:
        char = pattern[position]
        was_start, at_start = at_start, False
        token = char
        if char == "\\":
            if position + 1 >= size:
                raise SyntaxFault("trailing backslash")
            token = pattern[position : position + 2]
            position += 2
            if extended or token[1] not in "(){}|+?":
                output.append(_escape(token[1]))
                at_start = token[1] in _ANCHORS
                continue
            operator = {"\\{": "{"}.get(token, token[1])
            if operator == "{":
                position -= 2
        elif char == "[":
            text, position = bracket(pattern, position, posix=True)
            output.append(text)
            continue
        else:
            position += 1
            operator = char if extended or char in ".*^$" else ""
        if was_start and extended and operator and operator in "*+?{":
            raise SyntaxFault("invalid preceding regular expression")
        if operator == "(":
            depth += 1
            output.append("(")
            at_start = True
        elif operator == ")" and depth:
            depth -= 1
            output.append(")")
        elif operator == ")" and not extended:
            raise SyntaxFault("unmatched \\)")
        elif operator == "|":
            output.append("|")
            at_start = True
        elif operator == "^" and (extended or was_start):
            output.append("^")
            at_start = True
        elif operator == "$" and (extended or position >= size or pattern.startswith(("\\)", "\\|"), position)):
            output.append("$" if multiline else r"\Z")
            at_start = extended
        elif operator == ".":
            output.append(".")
        elif operator == "*" or (operator and operator in "+?"):
            if was_start:
                output.append(re.escape(operator))
            else:
                # Postfix's users write ``.*?`` in regexp tables; in POSIX that is "(.*)?", not a lazy match.
                _repeat(output, operator)
        elif operator == "{":
            start = position if not extended else position - 1
            match = (_INTERVAL if extended else _BASIC_INTERVAL).match(pattern, start)
            if match is None or was_start or not (match[1] or match[2]):
                raise SyntaxFault("bad content of {}" if extended else "bad content of \\{\\}")
            low, high = int(match[1] or 0), int(match[3]) if match[3] else None
            if low > _DUPLICATES or (high or 0) > _DUPLICATES or (high is not None and match[2] and high < low):
                raise SyntaxFault("bad content of {}")
            _repeat(output, f"{{{low}{',' if match[2] else ''}{'' if high is None else high}}}")
            position = match.end()
        else:
            output.append(re.escape(char if len(token) == 1 else token[1]))
    if depth:
        raise SyntaxFault("unmatched (")
    return "".join(output)


def _repeat(output: list[str], operator: str) -> None:
    """Append a repetition; what is repeated twice is put in a group, for Python reads ``*?`` and ``*+`` otherwise."""
    if output and output[-1][0] in "*+?{" and not output[-1].startswith("\\"):
        start = _start_of_last(output)
        output.insert(start, "(?:")
        output.append(")")
    output.append(operator)


def _start_of_last(output: list[str]) -> int:
    """Index where the item stands that the last repetitions in ``output`` belong to."""
    index = len(output) - 1
    while index > 0 and output[index][0] in "*+?{":
        index -= 1
    if output[index] != ")":
        return index
    depth = 0
    while index >= 0:
        if output[index] == ")":
            depth += 1
        elif output[index] in ("(", "(?:"):
            depth -= 1
            if depth == 0:
                return index
        index -= 1
    return 0


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char in "123456789":
        return f"(?:\\{char})"
    return re.escape(char)


def _complement(members: str) -> str:
    """What is not of a class, as the content of a set."""
    outside = re.compile(f"[^{members}]")
    codes = "".join(rf"\x{code:02x}" for code in range(128) if outside.match(chr(code)))
    return codes + r"\x80-\U0010ffff"


Coded = Callable[[str, int], tuple[str, int] | None]
"""The character that is given by its code at this place, escaped, and where the text goes on; None: there is none."""


def bracket(pattern: str, position: int, posix: bool, coded: Coded | None = None) -> tuple[str, int]:
    """The set ``[…]`` at ``position`` for Python, and where the text goes on.

    ``posix``: a backslash in it is a plain character; otherwise (Perl) it escapes, and ``coded`` knows some of these.
    Raises SyntaxFault.
    """
    output = ["["]
    position += 1
    size = len(pattern)
    if pattern.startswith("^", position):
        output.append("^")
        position += 1
    first = True
    while True:
        if position >= size:
            raise SyntaxFault("unmatched [")
        char = pattern[position]
        if char == "]" and not first:
            break
        first = False
        pair = pattern[position : position + 2]
        if pair == "[:":
            end = pattern.find(":]", position + 2)
            name = pattern[position + 2 : end] if end >= 0 else ""
            negated = not posix and name.startswith("^")
            members = CLASSES.get(name.removeprefix("^") if negated else name)
            if members is not None:
                output.append(_complement(members) if negated else members)
                position = end + 2
                continue
            if posix:
                raise SyntaxFault("invalid character class name")
        if posix and pair in ("[.", "[="):
            end = pattern.find(pair[1] + "]", position + 2)
            if end != position + 3:
                raise SyntaxFault("invalid collation character")
            output.append(re.escape(pattern[position + 2]))
            position = end + 2
            continue
        if char == "\\" and not posix:
            if position + 1 >= size:
                raise SyntaxFault("unmatched [")
            code = coded(pattern, position) if coded is not None else None
            if code is not None:
                output.append(code[0])
                position = code[1]
                continue
            output.append(
                {"v": r"\n\v\f\r", "h": r" \t", "d": "0-9", "w": "a-zA-Z0-9_", "s": r" \t\n\r\f\v"}.get(pair[1], pair)
            )
            position += 2
            continue
        if char == "-":
            # A minus is a range only between two members; Python warns of others.
            last = pattern.startswith("]", position + 1)
            output.append("\\-" if len(output) <= 1 or output[-1] == "^" or last else "-")
        else:
            output.append("\\" + char if char in "\\[]&|~^" else char)
        position += 1
    output.append("]")
    return "".join(output), position + 1
