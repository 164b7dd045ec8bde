"""The content of DATA in both directions (RFC 5321 4.1.1.4, 4.5.2). Pure.

``Reader`` is the server's: bytes from the peer in, content with LF line ends out, end of data found.
``Writer`` is the client's: content with LF line ends in, bytes for the peer out.

What ends the data decides whether a peer can smuggle a second message through us. The policy is the parameter
``smtpd_forbid_bare_newline`` with the meaning of Postfix 3.9 and later:

=========== ===================================================================================================
normalize   only CR LF "." CR LF ends the data; a bare LF still ends a *line* and is passed on as a line end;
            a line "." beside a bare LF is dropped
yes         the same as normalize
note        the same, and ``bare_newline`` tells the caller so that it is logged
reject      the same, and ``bare_newline`` tells the caller so that the message is refused
no          a bare LF is as good as CR LF, and any number of CR before LF is taken off (Postfix 3.8 and before)
=========== ===================================================================================================

A CR that is not followed by LF is never a line end. With ``replace_stray_cr`` it becomes a space, so that no later
reader can take it for one (Postfix: cleanup_replace_stray_cr_lf).

All work is done by a fixed number of passes of C primitives over each chunk: linear time, no memory beyond the chunk.
"""

import re
from functools import lru_cache

POLICIES = frozenset({"normalize", "yes", "note", "reject", "no"})

_END = b"\r\n.\r\n"
_LAX_END = re.compile(rb"\n\.\r*\n")
_STRAY_CR = re.compile(rb"\r(?!\n)")
_DOT_LINE = re.compile(rb"(?<=\n)\.\r?\n")
# The lookbehind keeps this linear on a run of CR: only the run's first CR can start a match.
_LAX_LINE_END = re.compile(rb"(?<!\r)\r+\n")
# Without a limit a peer that sends only CR would fill memory under policy "no".
_HELD_LIMIT = 4096


class Reader:
    """Server side. Feed what the peer sends after 354; ``bare_newline`` says whether one was seen so far."""

    __slots__ = ("_at_start", "_bare_before", "_held", "_lax", "_replace_cr", "bare_newline", "finished", "lines")

    def __init__(self, policy: str = "normalize", *, replace_stray_cr: bool = False) -> None:
        if policy not in POLICIES:
            raise ValueError(f"smtpd_forbid_bare_newline: no such value: {policy!r}")
        self._lax = policy == "no"
        self._replace_cr = replace_stray_cr and not self._lax
        self._at_start = True
        self._bare_before = False
        # At most b".\r" at the start of a line or b"\r" within one: what cannot be judged without the next byte.
        self._held = b""
        self.bare_newline = False
        self.finished = False
        self.lines = 0
        """Line ends in what ``feed`` returned last."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(content, rest): ``rest`` is what follows the end of data once ``finished`` is true, else empty.

        Content comes with LF line ends and without stuffing. Raises RuntimeError after the end of data.
        """
        if self.finished:
            raise RuntimeError("content fed after its end")
        if self._lax:
            return self._feed_lax(data)
        # The line end before this chunk is put in front where something may depend on it.
        virtual = b""
        if self._at_start and (self._held or data[:1] in (b".", b"")):
            virtual = b"\n" if self._bare_before else b"\r\n"
        buffer = virtual + self._held + data if virtual or self._held else data
        dotted, end = _find_dots(buffer, _END)
        if end == _UNKNOWN:
            end = buffer.find(_END) + 1
        if end > 0:
            self.finished = True
            rest = buffer[end + 4 :]
            segment = buffer[: end + 1]
            self._held = b""
        else:
            rest = b""
            segment = self._hold_back(buffer)
        # To take out one byte is ten times as fast as to put one for two, and so is the way back: what leads back has
        # nothing but CR LF, and nearly all mail is so.
        content = segment.replace(b"\r", b"")
        lines = len(segment) - len(content)
        stray = False
        if content.replace(b"\n", b"\r\n") != segment:
            stray = _STRAY_CR.search(segment) is not None
            content = segment.replace(b"\r\n", b"\n") if stray else content
            lines = segment.count(b"\n")
            # Each CR LF that became LF made the text one byte shorter: the bare ones are what is left of all.
            bare = lines - len(segment) + len(content)
            if bare:
                self.bare_newline = self.bare_newline or bare > (virtual == b"\n")
                # No "." line in the segment is an end of data: each one stands beside a bare LF.
                content = _DOT_LINE.sub(b"", segment).replace(b"\r\n", b"\n")
                lines = content.count(b"\n")
        if dotted and b"\n." in content:
            content = content.replace(b"\n.", b"\n")
        if virtual:
            content = content[1:]
            lines -= 1
        if stray and self._replace_cr:
            content = content.replace(b"\r", b" ")
        self.lines = lines
        return content, rest

    def _hold_back(self, buffer: bytes) -> bytes:
        newline = buffer.rfind(b"\n")
        after = buffer[newline + 1 : newline + 4]
        if newline >= 0 and after in (b"", b".", b".\r"):
            self._at_start = True
            self._bare_before = buffer[newline - 1 : newline] != b"\r" if newline else True
            self._held = after
            return buffer[: newline + 1]
        self._at_start = False
        if buffer.endswith(b"\r"):
            self._held = b"\r"
            return buffer[:-1]
        self._held = b""
        return buffer

    def _feed_lax(self, data: bytes) -> tuple[bytes, bytes]:
        virtual = b"\n" if self._at_start and (self._held or data[:1] in (b".", b"")) else b""
        buffer = virtual + self._held + data if virtual or self._held else data
        dotted, start = _find_dots(buffer, b"\n.\r\n")
        end = start + 4
        if start == _UNKNOWN:
            start, end = _find_lax_end(buffer)
        rest = b""
        if start >= 0:
            self.finished = True
            rest = buffer[end:]
            segment = buffer[: start + 1]
            self._held = b""
        else:
            stripped = buffer.rstrip(b"\r")
            newline = stripped.rfind(b"\n")
            after = stripped[newline + 1 : newline + 3]
            held_from = len(stripped)
            self._at_start = newline >= 0 and after in (b"", b".")
            if self._at_start:
                held_from = newline + 1
            if len(buffer) - held_from > _HELD_LIMIT:
                self._at_start = False
                held_from = len(buffer)
            self._held = buffer[held_from:]
            segment = buffer[:held_from]
        # As in ``feed``: what leads back has nothing but CR LF.
        content = segment.replace(b"\r", b"")
        lines = len(segment) - len(content)
        if content.replace(b"\n", b"\r\n") != segment:
            if _STRAY_CR.search(segment) is not None:
                content = segment.replace(b"\r\n", b"\n")
                if b"\r\n" in content:
                    content = _LAX_LINE_END.sub(b"\n", segment)
            lines = content.count(b"\n")
        if dotted and b"\n." in content:
            content = content.replace(b"\n.", b"\n")
        if virtual:
            content = content[1:]
            lines -= 1
        self.lines = lines
        return content, rest


_UNKNOWN = -2


def _find_dots(buffer: bytes, end: bytes) -> tuple[bool, int]:
    """(may a line of the content begin with a dot, where the LF of the end of data is).

    The second is -1 for no end in this buffer, or _UNKNOWN. Nearly every chunk has no such line but the end, and then
    at its own end; from behind that is seen in a fifth of the time that a search from the front takes.
    """
    last = buffer.rfind(b"\n.")
    if last < 0:
        return False, -1
    if last + 4 == len(buffer) and buffer.endswith(end) and buffer.rfind(b"\n.", 0, last) < 0:
        return False, last
    return True, _UNKNOWN


def _find_lax_end(buffer: bytes) -> tuple[int, int]:
    """Where the first end of data begins and ends; -1 without one. The expression costs ten times a plain search."""
    if b"\n.\r\r" in buffer:
        found = _LAX_END.search(buffer)
        return found.span() if found is not None else (-1, -1)
    proper = buffer.find(b"\n.\r\n")
    bare = buffer.find(b"\n.\n", 0, proper + 1 if proper >= 0 else len(buffer))
    if bare >= 0:
        return bare, bare + 3
    return (proper, proper + 4) if proper >= 0 else (-1, -1)


@lru_cache(4)
def _long_line(limit: int) -> re.Pattern[bytes]:
    """A line above the limit, the first one left out. Each line is looked at once, up to the limit: linear."""
    return re.compile(rb"\n[^\n]{%d}" % (limit + 1))


class Writer:
    """Client side. ``line_limit`` (bytes, 0 for none) breaks longer lines with CR LF SPACE (smtp_line_length_limit)."""

    __slots__ = ("_column", "_limit")

    def __init__(self, line_limit: int = 0) -> None:
        if line_limit == 1:
            raise ValueError("a line limit of one byte leaves no room beside the space of a continuation")
        self._limit = line_limit
        self._column = 0

    def feed(self, content: bytes) -> bytes:
        """Content with LF line ends, cut anywhere, as it must travel. A stray CR travels as a space (see above)."""
        if not content:
            return b""
        if b"\r" in content:
            content = content.replace(b"\r", b" ")
        if self._limit and self._too_long(content):
            content = self._break_lines(content)
        starts = self._column == 0
        data = content.replace(b"\n", b"\r\n").replace(b"\n.", b"\n..")
        if starts and data.startswith(b"."):
            data = b"." + data
        newline = content.rfind(b"\n")
        if newline >= 0:
            self._column = len(content) - newline - 1
        else:
            self._column += len(content)
        return data

    def finish(self) -> bytes:
        """The end of data, behind a line end that is added where the content has none."""
        data = b"\r\n.\r\n" if self._column else b".\r\n"
        self._column = 0
        return data

    def _too_long(self, content: bytes) -> bool:
        limit = self._limit
        if self._column + len(content) <= limit:
            return False
        first = content.find(b"\n")
        if self._column + (first if first >= 0 else len(content)) > limit:
            return True
        return _long_line(limit).search(content) is not None

    def _break_lines(self, content: bytes) -> bytes:
        limit = self._limit
        pieces: list[bytes] = []
        column = self._column
        for line in content.split(b"\n"):
            parts: list[bytes] = []
            position = 0
            while column + len(line) - position > limit:
                parts.append(line[position : position + limit - column])
                position += limit - column
                column = 1  # the continuation's space
            parts.append(line[position:])
            pieces.append(b"\n ".join(parts))
            column = 0
        return b"\n".join(pieces)
