"""Locks of an instance: one master, and one queue manager even when a master before this one was killed."""

import fcntl
import os


class AlreadyRunning(RuntimeError):
    """The lock of the instance is held."""


def lock_instance(path: str) -> int:
    """Take the lock that this master holds while it lives. Returns its descriptor. Raises AlreadyRunning, OSError.

    It is a record lock as well, of which the kernel says whose it is (``common.system.control.master_pid``).
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode("ascii", "replace").strip()
        os.close(fd)
        raise AlreadyRunning(f"another master (process {holder}) runs this instance") from None
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid():10d}\n".encode())
    return fd


class QueueLock:
    """Held by the master and, through the same open file, by the queue managers that are forked for it.

    A queue manager whose master was killed finishes the deliveries that it has begun. Until it is gone, another one
    would take the same messages out of ``active/`` and deliver them twice.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.held = False

    def take(self) -> bool:
        """True when no queue manager of another master lives any more. Raises OSError."""
        if not self.held:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.held = True
        return True
