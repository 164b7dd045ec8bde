"""A maildrop for one POP3 session at a time, across processes (RFC 1939 3: an exclusive-access lock).

The lock is the kernel's (flock) on a file beside the mail, so it is gone with the process that had it, however that
ended. IMAP sessions and deliveries take no notice of it.
"""

import fcntl
import os
import time

from tubepost.common.mailbox.maildir.owner import Owner, as_owner
from tubepost.common.mailbox.values import InUse

FILE = "tubepost.pop3"


class MaildropLock:
    """``root``: the Maildir. Raises InUse, OSError."""

    def __init__(self, root: str, owner: Owner) -> None:
        self.owner = owner
        self._fd = -1
        self._take(f"{root}/{FILE}")

    @as_owner
    def _take(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise InUse(f"{path} is locked by another session") from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def since_last(self) -> float | None:
        """Seconds since ``note`` was called last, by whatever session; None: it never was."""
        found = os.fstat(self._fd)
        return max(0.0, time.time() - found.st_mtime) if found.st_size else None

    def note(self) -> None:
        """A session begins now. Raises OSError."""
        os.pwrite(self._fd, b"\n", 0)

    def release(self) -> None:
        """May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
