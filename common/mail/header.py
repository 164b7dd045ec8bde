"""Header blocks as bytes: where the block ends, which fields it has. One pass, in compiled expressions.

A block is a run of lines that each start a field (``name:``, with optional space before the colon) or continue one (a
leading space or tab). It ends at the first line that does neither; where that line is empty it belongs to neither
header nor body, otherwise it is the body's first (Postfix: the missing empty line is then put in). Lines end with LF;
the CRLF of binary content (RFC 3030) is understood as well.
"""

import re
from typing import NamedTuple

# RFC 5322 2.2: a name is printable US-ASCII without the colon; 4.5.x allows space before the colon.
_NAME = rb"[!-9;-~]++[ \t]*+:"
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\n]*+(?:\n|\Z)(?:[ \t][^\n]*+(?:\n|\Z))*+")
_BLOCK = re.compile(rb"(?:" + _NAME + rb"[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+(?:" + _NAME + rb"[^\n]*+\Z)?+")
_START = re.compile(_NAME)
_UNFINISHED_NAME = re.compile(rb"(?:[!-9;-~]++[ \t]*+)?\Z")
_LINES = re.compile(rb"(?:(?:" + _NAME + rb"|[ \t])[^\n]*+\n)*+")
_FOLD = re.compile(rb"\r?\n")


class Field(NamedTuple):
    """One header field: ``name`` in lower case, ``raw`` as it stands with folds and the final LF."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What follows the colon, as it stands."""
        return self.raw[self.raw.index(b":") + 1 :]

    @property
    def text(self) -> str:
        """The value on one line, stripped; bytes that are not UTF-8 become U+FFFD."""
        return unfold(self.value).strip().decode("utf-8", "replace")


def split_message(data: bytes) -> tuple[int, int]:
    """``(header_end, body_start)`` of a whole message.

    They differ by the empty line (LF, or CRLF in binary content); they are the same when the body starts without one,
    or when there is no body at all.
    """
    match = _BLOCK.match(data)
    end = match.end() if match else 0
    # A last line that is cut off within a fold has no LF: it is a field's all the same.
    if end and end < len(data) and data[end] in b" \t" and data.find(b"\n", end) < 0:
        end = len(data)
    return end, end + _empty_line(data, end)


def _empty_line(data: bytes | bytearray, place: int) -> int:
    """The length of an empty line at this place, 0 when there is none."""
    if data[place : place + 1] == b"\n":
        return 1
    return 2 if data[place : place + 2] == b"\r\n" else 0


def scan(block: bytes) -> list[Field]:
    """The fields of a block (what ``split_message`` says is header), in order; their ``raw`` joined is the block."""
    return [Field(match[1].lower(), match[0]) for match in _FIELD.finditer(block)]


def is_header(line: bytes) -> int:
    """The length of the field name when ``line`` starts a header field, else 0 (as Postfix is_header())."""
    match = _START.match(line)
    return len(match[0][:-1].rstrip(b" \t")) if match else 0


def unfold(value: bytes) -> bytes:
    """RFC 5322 2.2.3: take the line breaks of folds out, keep the space behind them."""
    return _FOLD.sub(b"", value) if b"\n" in value else value


def truncate(raw: bytes, limit: int) -> bytes:
    """Cut one field to ``limit`` bytes (Postfix header_size_limit) and end it with LF. 0 is no limit."""
    if limit <= 0 or len(raw) <= limit:
        return raw
    cut = raw[:limit].rstrip(b" \t\r\n")
    return cut + b"\n"


def first(fields: list[Field], name: bytes) -> Field | None:
    """The first field of a (lower case) name."""
    return next((field for field in fields if field.name == name), None)


class Collector:
    """Finds the end of a header block in content that arrives in chunks of any size.

    ``feed`` until it says True (or call ``finish`` at the end of the content); then ``block``, ``rest`` and
    ``separated`` are set: the rest is what was fed of the body, without the empty line.
    """

    __slots__ = ("_buffer", "_done", "_lines_end", "_searched", "block", "limit", "rest", "separated")

    def __init__(self, limit: int) -> None:
        """``limit``: bytes of a block; ``feed`` raises ValueError beyond (memory bounded, whatever the peer sends)."""
        self.limit = limit
        self.block = b""
        self.rest = b""
        self.separated = False
        self._buffer = bytearray()
        self._lines_end = 0
        self._searched = 0
        self._done = False

    def feed(self, chunk: bytes) -> bool:
        """Add content. True once the block's end is known. Raises ValueError when it is larger than the limit."""
        if self._done:
            raise RuntimeError("feed after the end of the header block")
        buffer = self._buffer
        buffer += chunk
        while True:
            # Only complete lines are judged, and each one once.
            if buffer.find(b"\n", self._searched) < 0:
                self._searched = len(buffer)
                break
            if self._lines_end == 0 and not _START.match(buffer):
                return self._finish(0)
            match = _LINES.match(buffer, self._lines_end)
            end = match.end() if match else self._lines_end
            stuck = end == self._lines_end
            self._lines_end = end
            self._searched = max(self._searched, end)
            if buffer.find(b"\n", end) >= 0:
                return self._finish(end)
            if stuck:
                break
        rest = len(buffer) - self._lines_end
        if rest and not self._may_be_header():
            return self._finish(self._lines_end)
        if len(buffer) > self.limit:
            raise ValueError(f"the message header is larger than {self.limit} bytes")
        return False

    def finish(self) -> None:
        """The content ended: what is there is judged as it stands."""
        if not self._done:
            end, _ = split_message(bytes(self._buffer))
            self._finish(end)

    def _may_be_header(self) -> bool:
        """Whether an unfinished line could still belong to the header."""
        buffer, start = self._buffer, self._lines_end
        if buffer[start:] == b"\r":
            return True
        if start and buffer[start] in b" \t":
            return True
        return _START.match(buffer, start) is not None or _UNFINISHED_NAME.match(buffer, start) is not None

    def _finish(self, end: int) -> bool:
        self._done = True
        self.block = bytes(self._buffer[:end])
        separator = _empty_line(self._buffer, end)
        self.separated = separator > 0
        self.rest = bytes(self._buffer[end + separator :])
        self._buffer = bytearray()
        return True
