"""Messages that came as literal8 (RFC 3516 4.4): parts that are really binary become base64.

Files of a Maildir have lines that end in LF. Text goes there and back unharmed, octets that only look like line ends do
not; RFC 3516 lets a server change the encoding of a part for that.
"""

import binascii
import mmap
import os
import re
from collections.abc import Callable, Iterator

from tubepost.common.mail import structure
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.structure import Part
from tubepost.common.mailbox.interface import Draft

_CHUNK = 1 << 18
_ENCODING = re.compile(rb"^(content-transfer-encoding[ \t]*+:[ \t]*+)binary\b", re.IGNORECASE | re.MULTILINE)
# RFC 2045 6.8: lines of 76 characters.
_LINE = 57


def settle(draft: Draft, make: Callable[[], Draft]) -> Draft:
    """``draft``: as it came, octet by octet (``Draft.raw``); it is discarded. Returns one of lines. Raises OSError."""
    lines = make()
    made = lines
    try:
        if _size(draft):
            with mmap.mmap(draft.fd, 0, access=mmap.ACCESS_READ) as raw:
                for start in range(0, len(raw), _CHUNK):
                    lines.write(raw[start : start + _CHUNK])
                lines.finish()
                with mmap.mmap(lines.fd, 0, access=mmap.ACCESS_READ) as text:
                    parts = [part for part in _binary_parts(text) if _is_harmed(raw, *_raw_range(raw, part))]
                    if parts:
                        made = make()
                        for piece in _encoded(raw, text, parts):
                            made.write(piece)
                        made.finish()
        return made
    except BaseException:
        lines.discard()
        made.discard()
        raise
    finally:
        draft.discard()
        if made is not lines:
            lines.discard()


def _size(draft: Draft) -> int:
    return os.fstat(draft.fd).st_size


def _binary_parts(text: Data) -> list[Part]:
    found = structure.walk(structure.parse(text))
    return [part for part in found if part.encoding == b"binary" and not part.children and part.message is None]


def _raw_range(raw: mmap.mmap, part: Part) -> tuple[int, int]:
    return _raw_place(raw, part.body_start), _raw_place(raw, part.body_end)


def _raw_place(raw: mmap.mmap, place: int) -> int:
    """Where in the original the octet is that stands at ``place`` once each CRLF is an LF."""
    # Between the CR and the LF of a line end is the same place as behind it, which is meant.
    low, high = place, len(raw)
    while low < high:
        middle = (low + high + 1) // 2
        if middle - _count(raw, middle) <= place:
            low = middle
        else:
            high = middle - 1
    return low


def _count(raw: mmap.mmap, end: int) -> int:
    """CRLFs that lie wholly before ``end``."""
    total, place = 0, 0
    while place < end:
        stop = min(place + _CHUNK, end)
        piece = raw[place:stop]
        total += piece.count(b"\r\n")
        # A pair that is cut in two is counted with the next piece.
        place = stop - 1 if piece.endswith(b"\r") and stop < end and stop - place > 1 else stop
    return total


def _is_harmed(raw: mmap.mmap, start: int, end: int) -> bool:
    """Is there a NUL, or a CR or LF that is not of a line end?"""
    pairs = returns = feeds = 0
    for piece in _pieces(raw, start, end):
        if b"\0" in piece:
            return True
        pairs += piece.count(b"\r\n")
        returns += piece.count(b"\r")
        feeds += piece.count(b"\n")
    # A pair cut by the pieces is counted as two loners: then it is encoded without need, and rightly still.
    return not pairs == returns == feeds


def _pieces(raw: mmap.mmap, start: int, end: int, size: int = _CHUNK) -> Iterator[bytes]:
    for place in range(start, end, size):
        yield raw[place : min(place + size, end)]


def _encoded(raw: mmap.mmap, text: mmap.mmap, parts: list[Part]) -> Iterator[bytes]:
    place = 0
    for part in sorted(parts, key=lambda part: part.header_start):
        yield from _pieces(text, place, part.header_start)
        header = text[part.header_start : part.body_start]
        yield _ENCODING.sub(rb"\1base64", header, count=1)
        start, end = _raw_range(raw, part)
        for piece in _pieces(raw, start, end, _LINE * 4096):
            yield b"".join(binascii.b2a_base64(piece[line : line + _LINE]) for line in range(0, len(piece), _LINE))
        place = part.body_end
    yield from _pieces(text, place, len(text))
