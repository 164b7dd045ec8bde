"""Encoded words (RFC 2047), quoted-printable and base64 of RFC 2045, as mail needs them."""

import binascii
import re

from tubepost.common.mail import charset as charsets

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\s]{0,2000})\?=")
# RFC 2047 2: white space between two encoded words is not part of the text, so a run of them is decoded as one.
_RUN = re.compile(
    r"=\?[^?\s]{1,60}+\?[bBqQ]\?[^?\s]{0,2000}+\?=(?:[ \t\r\n]*+=\?[^?\s]{1,60}+\?[bBqQ]\?[^?\s]{0,2000}+\?=)*+"
)
# RFC 2047 5 (3): the only characters that may stand as they are in a phrase.
_PHRASE_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_ATOM_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTE = re.compile(r'(["\\])')
# RFC 2047 2: an encoded word has at most 75 characters; "=?utf-8?Q?" and "?=" take 12.
_WORD_ROOM = 63

_QP_CODES = tuple(
    bytes([code]) if (33 <= code <= 126 and code != 61) or code in (9, 32) else b"=%02X" % code for code in range(256)
)
_QP_LITERAL = re.compile(rb"[\t !-<>-~]*+")
QP_LINE = 76
"""RFC 2045 6.7 (5): characters of an encoded line."""


def decode_words(text: str) -> str:
    """A header text with its encoded words decoded; one that cannot be decoded is left as it is."""
    if "=?" not in text:
        return text
    return _RUN.sub(_decoded, text)


def _decoded(match: re.Match[str]) -> str:
    """A run of words. Neighbours in one character set are joined first: many mailers divide a character between two."""
    out: list[str] = []
    raw = b""
    current = ""
    opaque = False
    for word in _WORD.finditer(match[0]):
        # RFC 2231 5: a language may follow the character set.
        name = word[1].split("*", 1)[0].lower()
        piece = _word_bytes(word[2], word[3]) if charsets.find(name) is not None else None
        if raw and (piece is None or name != current):
            out.append(charsets.decode(raw, current))
            raw = b""
        if piece is None:
            opaque = True
            # RFC 2047 6.2: what is not understood is shown as it is, with the space that was there.
            if out:
                out.append(" ")
            out.append(word[0])
        else:
            if opaque:
                out.append(" ")
                opaque = False
            current = name
            raw += piece
    if raw:
        out.append(charsets.decode(raw, current))
    text = "".join(out)
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _word_bytes(encoding: str, text: str) -> bytes | None:
    try:
        if encoding in "bB":
            # What holds no base64 at all is shown as it stands.
            return binascii.a2b_base64(text + "=" * (-len(text) % 4)) or (None if text else b"")
        return binascii.a2b_qp(text.encode("ascii"), header=True)
    except ValueError:
        return None


def encode_words(text: str, separator: str = " ") -> str:
    """Text as encoded words in UTF-8 (Q), fit for a phrase, a comment or unstructured text; ASCII is encoded as well.

    ``separator`` stands between words: a space, or LF and a space where lines are to be folded.
    """
    words: list[str] = []
    word = ""
    for character in text:
        piece = "".join(
            chr(code) if code in _PHRASE_SAFE else "_" if code == 0x20 else f"={code:02X}"
            for code in character.encode("utf-8", "replace")
        )
        # RFC 2047 5: a character is not divided between two words.
        if len(word) + len(piece) > _WORD_ROOM:
            words.append(word)
            word = ""
        word += piece
    words.append(word)
    return separator.join(f"=?utf-8?Q?{word}?=" for word in words)


def phrase(text: str) -> str:
    """A display name for an address (RFC 5322 3.2.5): atoms as they are, else quoted, else as encoded words."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not text.isascii():
        return encode_words(text)
    if not text or _ATOM_PHRASE.fullmatch(text):
        return text
    escaped = _QUOTE.sub(r"\\\1", text)
    return f'"{escaped}"'


def comment(text: str) -> str:
    """What may stand in a comment's parentheses."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([()\\])", r"\\\1", text) if text.isascii() else encode_words(text)


def qp_line(line: bytes) -> bytes:
    """One line (without its line end) as quoted-printable: lines of at most 76, ended by LF, the last one as well."""
    if len(line) < QP_LINE and line[-1:] not in (b" ", b"\t") and _QP_LITERAL.fullmatch(line):
        return line + b"\n"
    if not line:
        return b"\n"
    codes = _QP_CODES
    pieces = [codes[code] for code in line]
    # RFC 2045 6.7 (3): no space or tab at the end of a line.
    if line[-1] in b" \t":
        pieces[-1] = b"=%02X" % line[-1]
    out: list[bytes] = []
    length = 0
    final = len(pieces) - 1
    for index, piece in enumerate(pieces):
        if length + len(piece) > (QP_LINE if index == final else QP_LINE - 1):
            out.append(b"=\n")
            length = 0
        out.append(piece)
        length += len(piece)
    out.append(b"\n")
    return b"".join(out)


def base64_lines(data: bytes) -> bytes:
    """RFC 2045 6.8: lines of 76 characters, each ended by LF. Give multiples of 57 bytes to encode in portions."""
    return b"".join(binascii.b2a_base64(data[place : place + 57]) for place in range(0, len(data), 57))
