"""Queue directories: where a queue file stands, and how it goes from one to another by rename."""

import os
from collections.abc import Iterator

from tubepost.common.system.ids import is_queue_id, microsecond, new_queue_id

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
LOGS = ("bounce", "defer", "trace")
HASHED = ("deferred", "defer")
"""Postfix's default of hash_queue_names: those that grow when a big destination is down."""


class Spool:
    """The directories below ``directory`` (queue_directory)."""

    def __init__(self, directory: str = ".", hashed: tuple[str, ...] = HASHED, depth: int = 1) -> None:
        self.directory = directory
        self._hashed = frozenset(hashed)
        self._depth = depth

    def path(self, queue: str, queue_id: str) -> str:
        """Where the file stands, if it is in that queue. Raises ValueError for what is no queue id."""
        if not is_queue_id(queue_id):
            raise ValueError(f"{queue_id!r} is not a queue id")
        if queue not in self._hashed:
            return f"{self.directory}/{queue}/{queue_id}"
        # Low digits change fastest, so directories fill evenly (as Postfix, which reverses the microseconds).
        digits = f"{microsecond(queue_id):05x}"[::-1][: self._depth]
        return f"{self.directory}/{queue}/{'/'.join(digits)}/{queue_id}"

    def create(self, queue: str, mode: int = 0o640) -> tuple[str, int]:
        """A new queue id and its empty file, open for reading and writing. Raises OSError."""
        queue_id = new_queue_id()
        return queue_id, self.create_named(queue, queue_id, mode)

    def create_named(self, queue: str, queue_id: str, mode: int = 0o640) -> int:
        # The umask of all programs but cleanup takes the group's right away (skeleton/privileges.py).
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        path = self.path(queue, queue_id)
        try:
            return os.open(path, flags, mode)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            return os.open(path, flags, mode)

    def move(self, queue_id: str, source: str, target: str) -> None:
        """Rename from one queue to another. Raises FileNotFoundError when it is not in ``source``."""
        old, new = self.path(source, queue_id), self.path(target, queue_id)
        try:
            os.rename(old, new)
        except FileNotFoundError:
            if not os.path.exists(old):
                raise
            os.makedirs(os.path.dirname(new), 0o700, exist_ok=True)
            os.rename(old, new)

    def remove(self, queue: str, queue_id: str) -> bool:
        """False when there is no such file."""
        try:
            os.unlink(self.path(queue, queue_id))
        except FileNotFoundError:
            return False
        return True

    def has(self, queue: str, queue_id: str) -> bool:
        """Raises OSError where the disk does not tell: what seems to be gone may be there."""
        try:
            os.stat(self.path(queue, queue_id))
        except FileNotFoundError:
            return False
        return True

    def find(self, queue_id: str, queues: tuple[str, ...] = QUEUES) -> str | None:
        """In which queue the message is. It may have moved when the caller looks."""
        return next((queue for queue in queues if os.path.exists(self.path(queue, queue_id))), None)

    def scan(self, queue: str) -> Iterator["os.DirEntry[str]"]:
        """The queue files of a directory, one at a time: memory does not grow with the queue. Other names are left out.

        A file that is moved meanwhile may be missed or be gone: the next scan sees what this one missed.
        """
        yield from self._scan(f"{self.directory}/{queue}", self._depth if queue in self._hashed else 0)

    def _scan(self, folder: str, depth: int) -> Iterator["os.DirEntry[str]"]:
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                if is_queue_id(entry.name):
                    yield entry
                elif depth and len(entry.name) == 1 and entry.is_dir(follow_symlinks=False):
                    yield from self._scan(entry.path, depth - 1)
