"""Reads what is to be returned of a message from its queue file."""

import os
from collections.abc import Iterator

from tubepost.common.mail import header
from tubepost.common.mail.downgrade import Downgrade
from tubepost.common.wire.envelope import Envelope

from tubepost.services.bounce.report import Original

_CHUNK = 65_536
# A header is returned up to here; cleanup lets in no field of more than header_size_limit (102400).
_HEAD_LIMIT = 1_048_576


class Source:
    """One open queue file; ``close`` it. A file that is gone gives an original that is not available: one that cannot
    be read now is another thing, since what is not returned now is never returned.
    """

    def __init__(self, path: str, envelope: Envelope, offset: int, length: int, size_limit: int) -> None:
        """``offset`` and ``length`` of the content; above ``size_limit`` bytes only the header is returned.

        Raises OSError.
        """
        self._binary = envelope.encoding == "binary"
        self._offset = offset
        self._length = length
        self._small = length <= size_limit
        self._ascii: bool | None = None
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            self._head, self._body_start = self._read_head()
        except FileNotFoundError:
            return
        except OSError:
            self.close()
            raise

    _fd = -1
    _head = b""
    _body_start = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def original(self, full: bool) -> Original:
        """``full``: with the body, where the message is small enough."""
        if self._fd < 0:
            return Original(b"", None, available=False)
        if full and self._small:
            if self._binary:
                return Original(b"", self._as_text)
            return Original(self._head, lambda: self._content(self._body_start))
        return Original(self._head.replace(b"\r\n", b"\n") if self._binary else self._head, None)

    @property
    def head(self) -> bytes:
        return self._head

    def is_ascii(self, full: bool) -> bool:
        """Whether what ``original`` returns has no byte above 127."""
        if self._fd < 0:
            return True
        if full and self._small:
            # 7-bit text comes of binary content in any case.
            if self._ascii is None:
                self._ascii = self._binary or all(chunk.isascii() for chunk in self._content(0))
            return self._ascii
        return self._head.isascii()

    def _read_head(self) -> tuple[bytes, int]:
        collector = header.Collector(_HEAD_LIMIT)
        taken = b""
        for chunk in self._content(0):
            taken += chunk
            try:
                if collector.feed(chunk):
                    return collector.block, len(collector.block)
            except ValueError:
                # Out of all proportion: its first lines are enough.
                end = taken.rfind(b"\n", 0, _HEAD_LIMIT) + 1
                return taken[:end], end
        collector.finish()
        return collector.block, len(collector.block)

    def _content(self, start: int) -> Iterator[bytes]:
        position, left = self._offset + start, self._length - start
        while left > 0:
            piece = os.pread(self._fd, min(_CHUNK, left), position)
            if not piece:
                return
            position += len(piece)
            left -= len(piece)
            yield piece

    def _as_text(self) -> Iterator[bytes]:
        """RFC 3030 content cannot stand within lines of text: as 7-bit MIME."""
        downgrade = Downgrade(binary=True)
        for chunk in self._content(0):
            yield downgrade.feed(chunk)
        yield downgrade.finish()
