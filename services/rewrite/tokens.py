"""An address as a list of tokens, for routing operators inside it can only be seen so. Pure.

RFC 5322 3.2: comments and white space are dropped; quoted strings and domain literals are one token; what is left of
unbalanced quotes or brackets runs to the end. Linear in the length of the address.
"""

import re

from tubepost.common.mail.address import unquote_local

Token = tuple[str, str]
"""(kind, text): ``a`` an atom, ``q`` a quoted string (text: what it means), ``d`` a domain literal with brackets; or an
operator character twice."""

ATOM, QUOTED, LITERAL = "a", "q", "d"
_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*(?:"|\\?\Z))
      | (?P<literal>\[(?:[^\]\\]|\\.)*(?:\]|\\?\Z))
      | (?P<operator>[.@%!:,;<>])
      | (?P<space>[\s\x00-\x1f\x7f]+)
      | (?P<comment>\()
      | (?P<atom>(?:\\.|[^"\[.@%!:,;<>\s(\\\x00-\x1f\x7f])+|.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPE = re.compile(r'(["\\])')


def scan(text: str) -> list[Token]:
    """All tokens of ``text``."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None
        position = match.end()
        kind = match.lastgroup
        word = match.group()
        if kind == "atom":
            tokens.append((ATOM, word))
        elif kind == "operator":
            tokens.append((word, word))
        elif kind == "quoted":
            closed = len(word) > 1 and word.endswith('"')
            tokens.append((QUOTED, unquote_local(word if closed else word + '"')))
        elif kind == "literal":
            tokens.append((LITERAL, word if word.endswith("]") else word + "]"))
        elif kind == "comment":
            position = _skip_comment(text, position)
    return tokens


def scan_address(text: str) -> list[Token]:
    """The tokens of one address; of ``name <address>`` those between the angle brackets."""
    tokens = scan(text)
    kinds = [kind for kind, _ in tokens]
    if "<" in kinds:
        start = len(kinds) - kinds[::-1].index("<")
        end = kinds.index(">", start) if ">" in kinds[start:] else len(kinds)
        tokens = tokens[start:end]
    return [token for token in tokens if token[0] not in "<>"] or [(QUOTED, "")]


def _skip_comment(text: str, position: int) -> int:
    depth = 1
    for match in _COMMENT.finditer(text, position):
        if match.group() == "(":
            depth += 1
        elif match.group() == ")":
            depth -= 1
            if depth == 0:
                return match.end()
    return len(text)


def external(tokens: list[Token]) -> str:
    """Back to text, quoted strings in quotes; a space where two words meet."""
    parts: list[str] = []
    after_word = False
    for kind, text in tokens:
        word = kind in (ATOM, QUOTED, LITERAL)
        if word and after_word:
            parts.append(" ")
        parts.append('"' + _ESCAPE.sub(r"\\\1", text) + '"' if kind == QUOTED else text)
        after_word = word
    return "".join(parts)


def internal(tokens: list[Token]) -> str:
    """Back to text, quoted strings without quotes: for domains, and for looking into a local part."""
    parts: list[str] = []
    after_word = False
    for kind, text in tokens:
        word = kind in (ATOM, QUOTED, LITERAL)
        if word and after_word:
            parts.append(" ")
        parts.append(unquote_local(text) if kind == ATOM else text)
        after_word = word
    return "".join(parts)


def last_index(tokens: list[Token], kind: str) -> int:
    """Index of the last token of this kind, or -1."""
    for index in range(len(tokens) - 1, -1, -1):
        if tokens[index][0] == kind:
            return index
    return -1


def first_index(tokens: list[Token], kind: str) -> int:
    """Index of the first token of this kind, or -1."""
    for index, token in enumerate(tokens):
        if token[0] == kind:
            return index
    return -1
