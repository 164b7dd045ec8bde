"""Values with parameters: Content-Type and Content-Disposition (RFC 2045 5.1, RFC 2183, RFC 2231), read leniently."""

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

Parameters = tuple[tuple[bytes, bytes], ...]

PARAMETER_LIMIT = 100
"""Parameters of one field that are read; what comes after is left out."""

_TOKEN = rb"[^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]++"
# The whole of nearly every field, in one match; the parameters are then found by the second expression.
_PLAIN = re.compile(
    rb"[ \t\r\n]*+(?P<head>" + _TOKEN + rb"(?:/" + _TOKEN + rb")?+)[ \t\r\n]*+(?P<rest>(?:;[ \t\r\n]*+"
    rb"(?:" + _TOKEN + rb"=(?:" + _TOKEN + rb'|"[^"\\\r\n]*+")[ \t\r\n]*+)?+)*+)'
)
_PLAIN_PARAMETER = re.compile(rb"(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"([^"]*+)")')
# A quoted string that is not closed reaches to the end, so nothing is tried twice.
_PIECE = re.compile(rb'(?:[^;"\\]++|"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?|\\.|\\)++', re.DOTALL)
_COMMENT_PART = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?|\\.|[()]', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_FOLD = re.compile(rb"\r?\n")
_NAME = re.compile(_TOKEN)
# RFC 2231 3 and 4: name*, name*0, name*0*.
_EXTENDED = re.compile(rb"([^*]++)\*(?:(0|[1-9][0-9]{0,2})(\*)?)?+\Z")
_ATTRIBUTE_UNSAFE = re.compile(rb"[^A-Za-z0-9!#$&+.^_`{|}~-]")


def parse_value(value: bytes) -> tuple[bytes, Parameters]:
    """``(head, parameters)`` of what follows the colon.

    The head and the names are in lower case, values are without their quotes. Continuations (RFC 2231 3) are put
    together under one name, which ends in ``*`` where a character set is given: RFC 2231 6 wants IMAP servers to show
    them so. The head is empty when it is not a token or two with a slash between.
    """
    if len(value) < 128 and b"oundary" not in value:
        return _parse_cached(value)
    return _parse(value)


def decoded(parameters: Parameters, name: bytes) -> str | None:
    """One parameter as text, its RFC 2231 character set decoded; None when it is not there.

    ``name`` in lower case, without an asterisk. The extended form wins over the plain one.
    """
    plain = None
    for key, value in parameters:
        if key == name and plain is None:
            plain = value.decode("utf-8", "replace")
        elif key[:-1] == name and key.endswith(b"*"):
            charset, _, rest = value.partition(b"'")
            _, quote, text = rest.partition(b"'")
            raw = unquote_to_bytes(text if quote else value)
            try:
                return raw.decode(charset.decode("ascii", "replace") if quote and charset else "utf-8", "replace")
            except (LookupError, ValueError):
                return raw.decode("utf-8", "replace")
    return plain


@lru_cache(maxsize=512)
def _parse_cached(value: bytes) -> tuple[bytes, Parameters]:
    return _parse(value)


def _parse(value: bytes) -> tuple[bytes, Parameters]:
    match = _PLAIN.fullmatch(value)
    if match is not None:
        head = match["head"].lower()
        found = [(name.lower(), token or quoted) for name, token, quoted in _PLAIN_PARAMETER.findall(match["rest"])][
            :PARAMETER_LIMIT
        ]
        if any(b"*" in name for name, _ in found):
            found = _join(found)
        return head, tuple(found)
    return _parse_leniently(value)


def _parse_leniently(value: bytes) -> tuple[bytes, Parameters]:
    value = _FOLD.sub(b"", value)
    if b"(" in value:
        value = strip_comments(value)
    pieces = _PIECE.finditer(value)
    place = 0
    head = b""
    first = next(pieces, None)
    if first is not None and first.start() == 0:
        place = first.end()
        words = [_NAME.fullmatch(word.strip()) for word in first[0].split(b"/")]
        if len(words) <= 2 and all(words):
            head = b"/".join(word[0] for word in words if word).lower()
    found: list[tuple[bytes, bytes]] = []
    for match in _PIECE.finditer(value, place):
        name, equals, text = match[0].partition(b"=")
        name = name.strip().lower()
        if not equals or not _NAME.fullmatch(name):
            continue
        text = text.strip()
        if text.startswith(b'"'):
            text = text[1:-1] if len(text) > 1 and text.endswith(b'"') else text[1:]
            text = _QUOTED_PAIR.sub(rb"\1", text)
        found.append((name, text))
        if len(found) >= PARAMETER_LIMIT:
            break
    if any(b"*" in name for name, _ in found):
        found = _join(found)
    return head, tuple(found)


def strip_comments(value: bytes) -> bytes:
    """RFC 5322 3.2.2: comments nest, and do not start within quoted strings. Each becomes a space."""
    out = []
    depth = 0
    place = 0
    for match in _COMMENT_PART.finditer(value):
        text = match[0]
        if text == b"(":
            if depth == 0:
                out.append(value[place : match.start()])
            depth += 1
        elif text == b")" and depth:
            depth -= 1
            if depth == 0:
                place = match.end()
                out.append(b" ")
    if depth == 0:
        out.append(value[place:])
    return b"".join(out)


def _join(found: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """RFC 2231 3, 4.1: segments in the order of their numbers, from 0 to the first that is missing."""
    segments: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    out: list[tuple[bytes, bytes] | bytes] = []
    for name, value in found:
        match = _EXTENDED.match(name)
        if match is None or match[2] is None:
            out.append((name, value))
            continue
        base = match[1]
        if base not in segments:
            segments[base] = {}
            out.append(base)
        segments[base].setdefault(int(match[2]), (value, match[3] is not None))
    joined: list[tuple[bytes, bytes]] = []
    for item in out:
        if not isinstance(item, bytes):
            joined.append(item)
            continue
        numbered = segments[item]
        pieces: list[tuple[bytes, bool]] = []
        while len(pieces) in numbered:
            pieces.append(numbered[len(pieces)])
        if not pieces:
            continue
        if any(extended for _, extended in pieces):
            # The whole is written as an extended value then; segments that were not encoded are encoded for it.
            whole = b"".join(text if extended else _percent(text) for text, extended in pieces)
            if not pieces[0][1]:
                whole = b"''" + whole
            joined.append((item + b"*", whole))
        else:
            joined.append((item, b"".join(text for text, _ in pieces)))
    return joined


def _percent(text: bytes) -> bytes:
    return _ATTRIBUTE_UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], text)
