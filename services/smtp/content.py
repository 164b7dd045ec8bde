"""The content of a queue file as it travels: in pieces, changed where it must be, dots stuffed or in a BDAT chunk.

Reads the queue file, through a descriptor that it is given; knows nothing of the connection.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

from tubepost.common.mail.downgrade import Downgrade
from tubepost.common.smtp.dots import Writer

_PIECE = 128 * 1024
# Up to this size the content is made in one piece before the peer says that it wants it.
_SMALL = 64 * 1024

Edit = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Changes content (LF or CRLF lines) while it passes: header checks, generic addresses."""


class ContentError(Exception):
    """The queue file cannot be read as it should."""


class Content:
    """``fd`` stays the caller's. Lines end with LF, or as they came where ``crlf`` (encoding "binary")."""

    def __init__(
        self,
        fd: int,
        offset: int,
        length: int,
        *,
        crlf: bool = False,
        converting: bool = False,
        bdat: bool = False,
        line_limit: int = 0,
        edit: Edit | None = None,
        before_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``line_limit``: smtp_line_length_limit. ``before_end``: awaited before the final dot."""
        self._fd = fd
        self._offset = offset
        self._length = length
        self._crlf = crlf
        self._converting = converting
        self._bdat = bdat
        self._line_limit = line_limit
        self._edit = edit
        self._before_end = before_end

    def whole(self) -> bytes | None:
        """All that is to be sent, with its end; None where it is too large or must be changed. Raises ContentError."""
        if self._length > _SMALL or self._converting or self._edit is not None or self._before_end is not None:
            return None
        data = self._read(self._offset, self._length)
        if self._bdat:
            return b"BDAT %d LAST\r\n" % len(data) + data
        if self._crlf:
            data = data.replace(b"\r\n", b"\n")
        writer = Writer(self._line_limit)
        body = writer.feed(data)
        return body + writer.finish()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The same in pieces. Raises ContentError."""
        source = self._raw()
        if self._edit is not None:
            source = self._edit(source)
        if self._bdat:
            async for piece in self._chunks(source):
                yield piece
            return
        if self._converting:
            source = _converted(source, Downgrade(binary=self._crlf))
        elif self._crlf:
            source = _lines(source)
        writer = Writer(self._line_limit)
        async for piece in source:
            data = writer.feed(piece)
            if data:
                yield data
        if self._before_end is not None:
            await self._before_end()
        yield writer.finish()

    async def _chunks(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        # RFC 3030 2: as many chunks as we like; unchanged content goes in one, for its size is known.
        if self._edit is None:
            yield b"BDAT %d LAST\r\n" % self._length
            async for piece in source:
                yield piece
            return
        held = bytearray()
        async for piece in source:
            held += piece
            if len(held) > _HELD_LIMIT:
                raise ContentError("binary content that is changed on the way is too large")
        yield b"BDAT %d LAST\r\n" % len(held)
        yield bytes(held)

    async def _raw(self) -> AsyncIterator[bytes]:
        position, end = self._offset, self._offset + self._length
        while position < end:
            piece = self._read(position, min(_PIECE, end - position))
            position += len(piece)
            yield piece

    def _read(self, position: int, size: int) -> bytes:
        if not size:
            return b""
        try:
            piece = os.pread(self._fd, size, position)
        except OSError as error:
            raise ContentError(f"cannot read the queue file: {error.strerror}") from error
        if len(piece) != size:
            raise ContentError("the queue file is shorter than it was")
        return piece


_HELD_LIMIT = 1 << 24


async def _converted(source: AsyncIterator[bytes], downgrade: Downgrade) -> AsyncIterator[bytes]:
    async for piece in source:
        yield downgrade.feed(piece)
    yield downgrade.finish()


async def _lines(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """CRLF line ends become LF; a CR at the end of a piece is kept until what follows is known."""
    held = b""
    async for piece in source:
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        yield piece[: len(piece) - len(held)].replace(b"\r\n", b"\n")
    if held:
        yield held
