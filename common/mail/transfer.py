"""Content-Transfer-Encoding undone (RFC 2045 6), in pieces: a part of 100 MiB is never held whole."""

import binascii
import re
from collections.abc import Iterable, Iterator

from tubepost.common.mail.crlf import PIECE, Data, View, to_crlf

IDENTITY = frozenset((b"7bit", b"8bit", b"binary"))
KNOWN = IDENTITY | {b"base64", b"quoted-printable"}

_NOT_BASE64 = bytes(sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")))
# RFC 2045 6.7 (3): white space at a line's end was put there by transport. Only the start of a run is tried.
_TRAILING_SPACE = re.compile(rb"(?<![ \t])[ \t]++(?=\r\n)")


class UnknownEncoding(ValueError):
    """RFC 9051 7.1 UNKNOWN-CTE: the part has an encoding that nobody here knows."""


def decode_chunks(data: Data, start: int, end: int, encoding: bytes) -> Iterator[bytes]:
    """The decoded content of a body in pieces, as RFC 3516 wants it: line ends of text that was not base64 are CRLF.

    ``encoding`` in lower case. Raises UnknownEncoding, before the first piece. What is no base64 is passed over, and
    a quoted-printable sequence that is none stays as it is (RFC 2045 6.7, 6.8).
    """
    if encoding in IDENTITY:
        return View(data, start, end).chunks()
    if encoding == b"base64":
        return _base64(data, start, end, PIECE)
    if encoding == b"quoted-printable":
        return _quoted_printable(data, start, end, PIECE)
    raise UnknownEncoding(f"the content-transfer-encoding {encoding.decode('ascii', 'replace')[:60]!r} is not known")


def decoded_size(data: Data, start: int, end: int, encoding: bytes) -> int:
    """Octets that ``decode_chunks`` gives (RFC 9051 6.4.5 BINARY.SIZE). Raises UnknownEncoding."""
    if encoding in IDENTITY:
        return View(data, start, end).size()
    return sum(map(len, decode_chunks(data, start, end, encoding)))


def decode_start(data: Data, start: int, end: int, encoding: bytes, limit: int) -> bytes:
    """At least the first ``limit`` octets of the decoded content, where there are so many.

    Line ends are what they are in the message (an identity encoding is not converted). An unknown encoding is taken
    as none.
    """
    if encoding not in (b"base64", b"quoted-printable"):
        return data[start : min(end, start + limit)]
    decode = _base64 if encoding == b"base64" else _quoted_printable
    pieces = []
    size = 0
    # Pieces no larger than what is wanted: a preview does not decode a whole attachment.
    for decoded in decode(data, start, end, min(PIECE, 2 * limit + 256)):
        pieces.append(decoded)
        size += len(decoded)
        if size >= limit:
            break
    return b"".join(pieces)


def window(chunks: Iterable[bytes], offset: int, length: int) -> Iterator[bytes]:
    """Octets ``offset`` to ``offset + length`` of what the chunks make together."""
    for chunk in chunks:
        if length <= 0:
            return
        if offset >= len(chunk):
            offset -= len(chunk)
            continue
        piece = chunk[offset : offset + length] if offset or length < len(chunk) else chunk
        offset = 0
        length -= len(piece)
        yield piece


def _base64(data: Data, start: int, end: int, piece: int) -> Iterator[bytes]:
    left = b""
    while start < end:
        stop = min(start + piece, end)
        text = left + data[start:stop].translate(None, _NOT_BASE64)
        start = stop
        padding = text.find(b"=")
        if padding >= 0:
            # RFC 2045 6.8: padding says that the end of the data was reached.
            text = text[:padding]
            start = end
        whole = len(text) // 4 * 4
        left = text[whole:]
        if whole:
            yield binascii.a2b_base64(text[:whole])
    if len(left) > 1:
        yield binascii.a2b_base64(left + b"=" * (4 - len(left)))


def _quoted_printable(data: Data, start: int, end: int, piece: int) -> Iterator[bytes]:
    left = b""
    while start < end:
        stop = min(start + piece, end)
        text = left + data[start:stop]
        start = stop
        left = b""
        if stop < end:
            cut = text.rfind(b"\n") + 1
            if not cut:
                # A line as long as a piece is against RFC 2045 6.7 (5): it is cut where no sequence is divided.
                cut = len(text)
                equals = text.rfind(b"=", max(0, cut - 2))
                if equals >= 0:
                    cut = equals
                elif text.endswith(b"\r"):
                    cut -= 1
            left = text[cut:]
            text = text[:cut]
        else:
            text = text.rstrip(b" \t")
        text = to_crlf(text)
        if b" \r\n" in text or b"\t\r\n" in text:
            text = _TRAILING_SPACE.sub(b"", text)
        yield binascii.a2b_qp(text)
