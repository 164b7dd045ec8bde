"""A message being written into ``tmp``: chunk by chunk, with LF line ends, measured on the way."""

import os
import time
from collections.abc import Iterable

from tubepost.common.system.atomic import write_all
from tubepost.common.mailbox.maildir.delivery import unique_name


class Draft:
    """``octets``: the size as IMAP tells it, with CRLF line ends. Give it to ``Folder.append``, or ``discard`` it."""

    __slots__ = ("_carry", "fd", "flags", "internal", "name", "octets", "path", "raw")

    def __init__(self, directory: str) -> None:
        now = time.time()
        self.name = unique_name(now)
        self.path = f"{directory}/{self.name}"
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.octets = 0
        self.flags: tuple[str, ...] = ()
        self.internal = int(now)
        self._carry = b""
        self.raw = False
        """Octets are kept as they come (a literal8 that may be binary)."""

    def write(self, data: bytes) -> None:
        """A piece of the message, lines ended by CRLF or LF. Raises OSError."""
        if self.raw:
            self.octets += len(data)
            write_all(self.fd, data)
            return
        if self._carry:
            data, self._carry = self._carry + data, b""
        if b"\r" in data:
            if data[-1] == 13:
                data, self._carry = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n")
        # What is left of CR is counted as it is: it stays in the file.
        self.octets += len(data) + data.count(b"\n")
        write_all(self.fd, data)

    def finish(self) -> None:
        """All was written. Raises OSError."""
        if self._carry:
            self.octets += 1
            write_all(self.fd, self._carry)
            self._carry = b""

    def set(self, flags: Iterable[str] = (), internal: int | None = None) -> None:
        """``internal``: INTERNALDATE, seconds."""
        self.flags = tuple(flags)
        if internal is not None:
            self.internal = internal

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard(self) -> None:
        """Leave nothing of it."""
        self.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
