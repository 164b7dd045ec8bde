"""The content of one message as it arrives, by DATA or by BDAT: decoded, counted, and held to the size limit. Pure."""

from tubepost.common.smtp.dots import Reader

# A first line's beginning is held back until it can be judged; a run of ">" before "From " is not without end.
_FIRST_LINE = 128
# How much more than the limit is read and thrown away to stay in step with the client (Postfix: 1.5 times).
_PATIENCE = 1.5


class Content:
    """Shared by both ways. ``size`` counts a line end as two bytes, as the SIZE extension does (RFC 1870 5)."""

    __slots__ = ("_first", "_limit", "bare_newline", "size", "too_big")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._first: bytes | None = b""
        self.size = 0
        self.too_big = False
        self.bare_newline = False

    def _take(self, data: bytes, lines: int, *, last: bool = False) -> bytes:
        """Count and judge decoded content with so many line ends; what is to be passed on."""
        self.size += len(data) + lines
        if self._limit and self.size > self._limit:
            self.too_big = True
        if self.too_big:
            self._first = None
            return b""
        return data if self._first is None else self._take_first(data, last)

    def _take_first(self, data: bytes, last: bool) -> bytes:
        held = (self._first or b"") + data
        if not last and b"\n" not in held and len(held) < _FIRST_LINE:
            self._first = held
            return b""
        self._first = None
        if held.lstrip(b">").startswith(b"From "):
            # A mailbox separator is no header field: kept, under a name that can do no harm.
            return b"X-Mailbox-Line: " + held
        if held[:1] in (b" ", b"\t"):
            # It would read as a continuation of our own Received field.
            return b"\n" + held
        return held


class DataContent(Content):
    """By DATA: dots and line ends."""

    __slots__ = ("_reader",)

    def __init__(self, limit: int, policy: str, *, replace_stray_cr: bool) -> None:
        super().__init__(limit)
        self._reader = Reader(policy, replace_stray_cr=replace_stray_cr)

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(content to pass on, what follows the end of data)."""
        content, rest = self._reader.feed(data)
        self.bare_newline = self._reader.bare_newline
        return self._take(content, self._reader.lines, last=self._reader.finished), rest


class ChunkContent(Content):
    """By BDAT (RFC 3030 2): counted bytes. ``binary``: passed on exactly, else line ends become LF."""

    __slots__ = ("_binary", "_carry", "_detect", "_ends_line", "_last", "_replace_cr", "left", "received")

    def __init__(self, limit: int, policy: str, *, binary: bool, replace_stray_cr: bool) -> None:
        super().__init__(limit)
        self._binary = binary
        self._detect = policy != "no"
        self._replace_cr = replace_stray_cr and self._detect
        self._carry = b""
        self._ends_line = True
        self._last = False
        self.left = 0
        self.received = 0
        if binary:
            self._first = None

    def fits(self, size: int) -> bool:
        """Whether a chunk of so many bytes may come at all."""
        return not self._limit or self.received + size <= self._limit

    def begin(self, size: int, *, last: bool) -> None:
        self.left = size
        self._last = last

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(content to pass on, what follows the chunk)."""
        piece = data[: self.left]
        rest = data[self.left :]
        self.left -= len(piece)
        self.received += len(piece)
        final = self._last and not self.left
        if self._binary:
            self.size += len(piece)
            return piece, rest
        text = self._carry + piece
        self._carry = b""
        if not final and text.endswith(b"\r"):
            text, self._carry = text[:-1], b"\r"
        lines = text.count(b"\n")
        size = len(text)
        text = text.replace(b"\r\n", b"\n")
        if size - len(text) != lines:
            self.bare_newline = True
        if self._replace_cr and b"\r" in text:
            text = text.replace(b"\r", b" ")
        if text:
            self._ends_line = text.endswith(b"\n")
        if final and not self._ends_line:
            # The queue file keeps whole lines.
            text += b"\n"
            lines += 1
            self._ends_line = True
        return self._take(text, lines, last=final), rest


class Skipped:
    """Content of a refused BDAT: read and dropped, to stay in step with a client that pipelines (RFC 3030 2)."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def feed(self, data: bytes) -> bytes:
        """What follows."""
        rest = data[self.left :]
        self.left -= len(data) - len(rest)
        return rest


def worth_skipping(received: int, size: int, limit: int) -> bool:
    """False when a client announces so much beyond the limit that hanging up is cheaper for both."""
    return not limit or received + size <= limit * _PATIENCE
