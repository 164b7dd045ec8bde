"""The content of one message on its way: in memory while it is small, then in a file that has no name."""

import asyncio
import os

from tubepost.common.system.atomic import write_all
from tubepost.common.system.identity import acting_as
from tubepost.common.mailbox import Content
from tubepost.common.mailbox.opening import nameless_file

_SMALL = 256 * 1024


class Incoming:
    """``mailbox``: a Maildir on the file system that the message goes to; ``owner``: uid and gid to act as, or -1."""

    __slots__ = ("_fd", "_mailbox", "_owner", "_parts", "_waiting", "size")

    def __init__(self, mailbox: str, owner: tuple[int, int]) -> None:
        self._mailbox = mailbox
        self._owner = owner
        self._parts: list[bytes] = []
        self._waiting = 0
        self._fd = -1
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Raises OSError."""
        self._parts.append(data)
        self._waiting += len(data)
        self.size += len(data)
        if self._waiting > _SMALL:
            await asyncio.get_running_loop().run_in_executor(None, self._spill)

    async def content(self) -> Content:
        """All of it; good until ``close``. Raises OSError."""
        if self._fd >= 0 and self._parts:
            await asyncio.get_running_loop().run_in_executor(None, self._spill)
        if self._fd >= 0:
            return Content(self._fd, 0, self.size)
        data = b"".join(self._parts)
        return Content(-1, 0, len(data), data=data)

    def close(self) -> None:
        """May be called again."""
        self._parts.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _spill(self) -> None:
        if self._fd < 0:
            with acting_as(*self._owner):
                self._fd = nameless_file(self._mailbox)
        parts, self._parts = self._parts, []
        self._waiting = 0
        write_all(self._fd, b"".join(parts))
