"""A large file that is looked at in pieces, as if it were bytes: nothing of it is held but the last piece.

It is read and not mapped. A file that is mapped and then cut short by its owner, or stands on a bad disk, ends the
whole process with everybody's sessions (SIGBUS); of one that is read the reader gets an error.
"""

import errno
import os

_BLOCK = 65536
_SCAN = 1 << 20
# Places that are near each other are looked at one after the other.
_SMALL = 4096


class LargeFile:
    """Takes over the descriptor. What is asked for raises OSError where it cannot be read, or is not there any more."""

    __slots__ = ("_block", "_fd", "_place", "_size")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._block = b""
        self._place = 0
        self._size = os.fstat(fd).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice) -> bytes:
        start, end, step = key.indices(self._size)
        assert step == 1
        if start >= end:
            return b""
        if end - start > _SMALL:
            return self._read(start, end)
        if not self._place <= start <= end <= self._place + len(self._block):
            self._block = self._read(start, min(start + _BLOCK, self._size))
            self._place = start
        return self._block[start - self._place : end - self._place]

    def find(self, sub: bytes, start: int = 0, end: int | None = None) -> int:
        """As that of bytes, for places that are not negative."""
        end = self._size if end is None else min(end, self._size)
        more = len(sub) - 1
        while start < end:
            at = self._read(start, min(start + _SCAN + more, end)).find(sub)
            if at >= 0:
                return start + at
            start += _SCAN
        return -1

    def _read(self, start: int, end: int) -> bytes:
        if self._fd < 0:
            raise ValueError("the file is closed")
        parts = []
        while start < end:
            part = os.pread(self._fd, end - start, start)
            if not part:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()
