"""A message as it goes over the wire: CRLF line ends, dots doubled, ended by a dot (RFC 1939 3). Pure."""

from collections.abc import Iterator
from itertools import chain

from tubepost.common.mail import surrogate
from tubepost.common.mail.crlf import PIECE, Data, crlf_chunks, to_crlf

_END = b".\r\n"


def whole(data: bytes, size: int) -> bytes:
    """The reply to RETR for a message that is in memory. ``size``: its octets, as LIST tells them."""
    text = to_crlf(data)
    if b"\n." in text:
        text = text.replace(b"\n.", b"\n..")
    if text[:1] == b".":
        text = b"." + text
    if text[-2:] == b"\r\n" or not text:
        return b"+OK %d octets\r\n%b.\r\n" % (size, text)
    return b"+OK %d octets\r\n%b\r\n.\r\n" % (size, text)


def pieces(data: Data, end: int, *, ascii_header: bool = False) -> Iterator[bytes]:
    """A message up to ``end`` without the reply's first line, in pieces of some 64 KiB; the end of the reply with it.

    ``ascii_header``: its header in ASCII (RFC 6856 2.1).
    """
    start = header_end(data) if ascii_header else 0
    at_start = True
    last = b"\r\n"
    chunks = crlf_chunks(data, start, end)
    if start:
        chunks = chain((to_crlf(surrogate.header(bytes(data[:start]))),), chunks)
    for piece in chunks:
        starts = at_start and piece[:1] == b"."
        last = piece[-2:]
        at_start = last[-1:] == b"\n"
        if b"\n." in piece:
            piece = piece.replace(b"\n.", b"\n..")
        yield b"." + piece if starts else piece
    yield _END if last == b"\r\n" else b"\r\n" + _END


def top_end(data: Data, lines: int) -> int:
    """Where the first ``lines`` lines of the body end, which begins behind the first empty line (RFC 1939 7, TOP)."""
    end = header_end(data)
    while lines and end < len(data):
        stop = min(end + PIECE, len(data))
        found = data[end:stop].count(b"\n")
        if found < lines:
            lines -= found
            end = stop
            continue
        while lines:
            end = data.find(b"\n", end) + 1
            lines -= 1
    return end


def header_end(data: Data) -> int:
    """Where the body begins, the empty line belonging to the header; the whole length where there is no body."""
    if data[:1] == b"\n":
        return 1
    if data[:2] == b"\r\n":
        return 2
    plain = data.find(b"\n\n")
    dressed = data.find(b"\n\r\n", 0, plain if plain >= 0 else len(data))
    if dressed >= 0:
        return dressed + 3
    return plain + 2 if plain >= 0 else len(data)


def is_utf8_header(data: Data) -> bool:
    """Does the header need UTF8 mode (RFC 6856 2.1): is it UTF-8 and not ASCII?

    Old mail with bytes of some other character set in its header is no such message, and goes out as it is.
    """
    if isinstance(data, bytes) and data.isascii():
        return False
    header = bytes(data[: header_end(data)])
    if header.isascii():
        return False
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
