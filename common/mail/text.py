"""What of a message can be read as text: for searching, for the index, for the preview (RFC 8970).

Everything is decoded: encoded words of header fields, transfer encodings and character sets of parts; HTML is taken
down to what would be seen. Limits are given by the caller; what lies beyond is left out.
"""

import html
import re
from collections.abc import Iterator

from tubepost.common.imap.collation import casemap

from tubepost.common.mail import charset
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.encode import decode_words
from tubepost.common.mail.header import unfold
from tubepost.common.mail.structure import Part
from tubepost.common.mail.transfer import decode_start

PREVIEW_LENGTH = 200
"""RFC 8970 3.2: a preview has at most 200 characters."""
BODY_LIMIT = 4 << 20
"""Octets of text of one message that are read for the full-text index or a search, unless the caller says else."""
# Decoded octets of a part that a preview is made of: HTML mail carries kilobytes of styles before its first word.
_PREVIEW_PLAIN = 1024
_PREVIEW_MARKUP = 65536
# Text parts that are tried for a preview.
_PREVIEW_PARTS = 4

# Each alternative ends at the end of the input or at the next "<", so nothing is scanned twice.
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<hidden>script|style|title)\b.*?(?:</(?P=hidden)\s*+>|\Z)"
    r"|</?(?P<name>[a-z!?][^\s<>/]*+)(?:(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+>|[^<>]*+>)",
    re.IGNORECASE | re.DOTALL,
)
# Tags that do not divide words.
_INLINE = frozenset((
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "mark", "o:p", "q",
    "s", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "wbr",
))  # fmt: skip
# Not shown, or no more than space: controls, and the marks that mail puts in to fill its own preview.
_BLANK = re.compile(r"[\s\0-\x1f\x7f\u034f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ufffc\xad]+")


def decode_value(value: bytes) -> str:
    """A header field's value as text on one line: unfolded, stripped, encoded words decoded.

    RFC 6532: bytes that are not ASCII are UTF-8; where they are not, windows-1252.
    """
    if b"\n" in value:
        value = unfold(value)
    text = charset.decode(value).strip()
    return decode_words(text) if "=?" in text else text


def header_texts(part: Part) -> Iterator[str]:
    """The fields of a message's header, each as ``name: text`` with the name in lower case (SEARCH TEXT)."""
    for name, value in part.fields:
        yield f"{name.decode('ascii')}: {decode_value(value)}"


def body_texts(data: Data, part: Part, limit: int = BODY_LIMIT) -> Iterator[str]:
    """The texts of a message's body in order: text parts, and headers and bodies of messages within (SEARCH BODY).

    ``limit``: decoded octets in all.
    """
    stack = [part]
    while stack and limit > 0:
        one = stack.pop()
        if one.message is not None:
            yield "\n".join(header_texts(one.message))
            stack.append(one.message)
        elif one.is_multipart:
            stack.extend(reversed(one.children))
        elif one.type == b"text":
            raw = decode_start(data, one.body_start, one.body_end, one.encoding, limit)[:limit]
            limit -= len(raw)
            yield part_text(one, raw)


def part_text(part: Part, raw: bytes) -> str:
    """A text part's decoded octets as text; markup of HTML is taken out."""
    name = part.parameter(b"charset")
    text = charset.decode(raw, name.decode("ascii", "replace").lower() if name else "")
    return strip_markup(text) if part.subtype in (b"html", b"xhtml+xml") else text


def strip_markup(text: str) -> str:
    """HTML to the text that would be seen. Tags that divide blocks become line ends; entities are resolved."""
    if "<" in text:
        text = _MARKUP.sub(_between, text)
    return html.unescape(text) if "&" in text else text


def _between(match: re.Match[str]) -> str:
    name = match["name"]
    return "" if name is None or name.lower() in _INLINE else "\n"


def normalize(text: str) -> str:
    """Text in the form in which it is compared: i;unicode-casemap (RFC 5051), which RFC 9051 wants for SEARCH."""
    return casemap(text)


def preview(data: Data, part: Part) -> str:
    """RFC 8970 3: the beginning of the text as one line of at most 200 characters; empty when there is none to show.

    The first plain text that is no attachment, else the first of another kind. What is encrypted is not shown.
    """
    if part.message is None and not part.children:
        return _preview_of(data, part) if part.type == b"text" else ""
    found: list[Part] = []
    stack = [part]
    while stack and len(found) < _PREVIEW_PARTS:
        one = stack.pop()
        if one.is_multipart:
            if one.subtype != b"encrypted":
                stack.extend(reversed(one.children))
        elif one.type == b"text" and one.disposition != b"attachment":
            found.append(one)
    for one in sorted(found, key=lambda candidate: candidate.subtype != b"plain"):
        text = _preview_of(data, one)
        if text:
            return text
    return ""


def _preview_of(data: Data, part: Part) -> str:
    limit = _PREVIEW_PLAIN if part.subtype == b"plain" else _PREVIEW_MARKUP
    text = part_text(part, decode_start(data, part.body_start, part.body_end, part.encoding, limit)[:limit])
    if part.subtype == b"plain" and part.body_end - part.body_start > limit and text.endswith("\ufffd"):
        # A character that the limit cut in two.
        text = text[:-1]
    text = " ".join(text.split())
    if not text.isprintable():
        text = " ".join(_BLANK.sub(" ", text).split())
    return text[:PREVIEW_LENGTH].rstrip()
