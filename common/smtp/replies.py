"""Replies as a client reads them, from bytes as they come (RFC 5321 4.2). Pure.

A reply is kept whole up to ``REPLY_LIMIT`` bytes of text; what a server says beyond it is read and dropped, so that the
memory that a reply costs never depends on the server.
"""

import re
from dataclasses import dataclass

LINE_LIMIT = 2048
"""Bytes of one line, CR LF not counted (Postfix: line_length_limit). RFC 5321 4.5.3.1.5 promises 512."""
REPLY_LIMIT = 32 * 1024
"""Bytes of text kept of one reply."""
LINES_LIMIT = 1000
"""Lines of one reply; a server that says more is not speaking SMTP."""

_LINE = re.compile(rb"([0-9]{3})(?:([- ])(.*))?", re.DOTALL)
# RFC 3463 2: class "." subject "." detail; class 2, 4 or 5.
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)")


class ReplyError(Exception):
    """The server does not speak SMTP: the connection is of no further use. The text says what was wrong.

    ``replies``: those that were complete before it, in the same piece of input.
    """

    replies: tuple["Reply", ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """``code`` 100 to 599; ``lines`` the text of each line without the code, but with the enhanced code in it."""

    code: int
    lines: tuple[str, ...]
    enhanced: str = ""
    """``5.1.1`` of the last line that has one agreeing with the code, else empty."""

    @property
    def text(self) -> str:
        """The reply on one line, as log lines and bounces quote it: ``550-5.1.1 No such user 550 5.1.1 here``."""
        last = len(self.lines) - 1
        return " ".join(
            f"{self.code}{'-' if i < last else ' '}{line}" if line else str(self.code)
            for i, line in enumerate(self.lines)
        )


class ReplyParser:
    """Feed bytes, get replies. Replies to pipelined commands may come in one piece, or one in many."""

    __slots__ = ("_buffer", "_kept", "_line_count", "_lines", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._lines: list[str] = []
        self._line_count = 0
        self._kept = 0

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are complete now, in order. Raises ReplyError; the parser is then of no further use."""
        buffer = self._buffer
        buffer += data
        replies: list[Reply] = []
        start = 0
        while (newline := buffer.find(b"\n", max(start, self._scanned))) >= 0:
            line = bytes(buffer[start:newline])
            start = self._scanned = newline + 1
            try:
                reply = self._take_line(line)
            except ReplyError as error:
                error.replies = tuple(replies)
                raise
            if reply is not None:
                replies.append(reply)
        del buffer[:start]
        self._scanned = len(buffer)
        if len(buffer) > LINE_LIMIT + buffer.endswith(b"\r"):
            endless = ReplyError(f"a reply line is longer than {LINE_LIMIT} bytes")
            endless.replies = tuple(replies)
            raise endless
        return replies

    @property
    def pending(self) -> bool:
        """True within a reply: the server has begun it and not ended it."""
        return bool(self._buffer or self._line_count)

    def _take_line(self, line: bytes) -> Reply | None:
        if len(line) > LINE_LIMIT + line.endswith(b"\r"):
            raise ReplyError(f"a reply line is longer than {LINE_LIMIT} bytes")
        line = line.rstrip(b"\r")
        found = _LINE.fullmatch(line)
        if found is None:
            raise ReplyError(f"not an SMTP reply: {line[:100].decode('ascii', 'backslashreplace')}")
        self._line_count += 1
        if self._line_count > LINES_LIMIT:
            raise ReplyError(f"a reply has more than {LINES_LIMIT} lines")
        text = (found.group(3) or b"").decode("utf-8", "replace")
        if self._kept + len(text) <= REPLY_LIMIT:
            self._kept += len(text)
            self._lines.append(text)
        if found.group(2) == b"-":
            return None
        # RFC 5321 4.2.1: all lines carry the same code; where a server errs, the last one counts, as in Postfix.
        code = int(found.group(1))
        if not 100 <= code <= 599:
            raise ReplyError(f"no such reply code: {code}")
        lines = tuple(self._lines) or ("",)
        self._lines = []
        self._line_count = self._kept = 0
        return Reply(code, lines, _find_enhanced(code, lines))


def _find_enhanced(code: int, lines: tuple[str, ...]) -> str:
    # RFC 2034 4: the first digit of the code and the class of the enhanced code agree, or the latter is worth nothing.
    for line in reversed(lines):
        found = _ENHANCED.match(line)
        if found is not None and found.group(1)[0] == str(code)[0]:
            return found.group(1)
    return ""
