"""Content that is stored with LF line ends, seen as it goes over the wire: every line end is CRLF.

*Virtual* sizes and offsets count octets of that CRLF form. A stored LF without a CR before it counts two, a stored CRLF
counts two as well, a CR without an LF stays what it is. Data is anything that slices to bytes: ``bytes``, or a large
file, which is gone through in pieces and never held whole.
"""

from collections.abc import Iterator
from typing import Protocol


class Large(Protocol):
    """What a large file is seen as. Any of it may raise OSError; see ``common/mailbox/largefile.py``."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...

    def find(self, sub: bytes, start: int = 0, end: int = ..., /) -> int: ...


Data = bytes | Large

PIECE = 65536
"""Bytes that are converted at a time."""
# How far apart the places are that a view remembers: one for each 1 MiB, so that a read at an offset starts near.
_STRIDE = 1048576
_SCAN = 1048576


def count_lines(data: Data, start: int, end: int) -> tuple[int, int]:
    """``(LF, CRLF)`` within a range: how many line ends there are, and how many of them have their CR already."""
    if isinstance(data, bytes):
        return data.count(b"\n", start, end), data.count(b"\r\n", start, end)
    lines = pairs = 0
    while start < end:
        stop = min(start + _SCAN, end)
        piece = data[start:stop]
        lines += piece.count(b"\n")
        pairs += piece.count(b"\r\n")
        # A CRLF may stand across the edge of two pieces.
        if stop < end and piece.endswith(b"\r") and data[stop : stop + 1] == b"\n":
            pairs += 1
        start = stop
    return lines, pairs


def virtual_size(data: Data, start: int = 0, end: int | None = None) -> int:
    """Octets of a range in its CRLF form (RFC 9051 2.3.4: RFC822.SIZE)."""
    if end is None:
        end = len(data)
    lines, pairs = count_lines(data, start, end)
    return max(0, end - start) + lines - pairs


def to_crlf(raw: bytes) -> bytes:
    """A piece in CRLF form. It must not end between a CR and its LF."""
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    return raw.replace(b"\n", b"\r\n")


def crlf_chunks(data: Data, start: int, end: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The CRLF form of a range in pieces; with ``offset`` and ``length`` the octets that a partial FETCH asks for.

    RFC 9051 6.4.5: octets beyond the end are not there, which is no error. To read one large range several times use a
    ``View``, which does not start over.
    """
    return View(data, start, end).chunks(offset, length)


class View:
    """A range in CRLF form, read at offsets. It remembers where each MiB starts, so reading on is linear in all."""

    __slots__ = ("_marks", "data", "end", "start")

    def __init__(self, data: Data, start: int, end: int) -> None:
        self.data = data
        self.start = start
        self.end = end
        # (place in the data, offset in the CRLF form), ascending.
        self._marks = [(start, 0)]

    def size(self) -> int:
        """Octets of the CRLF form."""
        return virtual_size(self.data, self.start, self.end)

    def chunks(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Octets ``offset`` to ``offset + length`` of the CRLF form, in pieces of at most twice ``PIECE``."""
        marks = self._marks
        index = min(offset // _STRIDE, len(marks) - 1)
        # A mark stands at or little behind its multiple of the stride.
        while index and marks[index][1] > offset:
            index -= 1
        place, passed = marks[index]
        left = length
        while place < self.end and (left is None or left > 0):
            stop = min(place + PIECE, self.end)
            raw = self.data[place:stop]
            if stop < self.end and raw.endswith(b"\r") and self.data[stop : stop + 1] == b"\n":
                raw += b"\n"
                stop += 1
            size = stop - place + raw.count(b"\n") - raw.count(b"\r\n")
            if passed + size > offset:
                piece = to_crlf(raw)
                skip = max(0, offset - passed)
                if skip or (left is not None and left < size - skip):
                    piece = piece[skip:] if left is None else piece[skip : skip + left]
                if left is not None:
                    left -= len(piece)
                yield piece
            place = stop
            passed += size
            if passed >= len(marks) * _STRIDE:
                marks.append((place, passed))
