"""The lists: a file a destination, a queue id a line. Several processes may use them at once."""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator

from tubepost.common.system.atomic import write_all
from tubepost.common.system.ids import is_queue_id

_OTHER = re.compile(r"[^a-z0-9]")
# The longest domain has 253 characters, an address literal fewer.
_NAME_LIMIT = 250
# A list that is not emptied grows no further, bytes: some hundred thousand messages.
_SIZE_LIMIT = 8_000_000


def list_name(site: str) -> str:
    """The file's name. Raises ValueError for what is no domain at all."""
    name = _OTHER.sub("_", site.strip("[]").lower())
    if not name.strip("_") or len(name) > _NAME_LIMIT:
        raise ValueError(f"{site[:80]!r} is no destination of mail")
    return name


class Lists:
    """Those in ``directory``. All methods raise OSError."""

    def __init__(self, directory: str = "flush") -> None:
        self._directory = directory

    def path(self, name: str) -> str:
        return f"{self._directory}/{name}"

    def add(self, name: str, queue_ids: Iterable[str], now: float) -> None:
        """Put ids at the end; the list is made at need. A list that has reached its limit stays as it is."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path(name), flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            status = os.fstat(fd)
            if status.st_size < _SIZE_LIMIT:
                write_all(fd, "".join(f"{queue_id}\n" for queue_id in queue_ids).encode())
                # The time of access says since when nobody has asked for the list.
                os.utime(fd, (status.st_atime if status.st_size else now, now))
        finally:
            os.close(fd)

    def take(self, name: str, now: float) -> list[str]:
        """The ids, each once, in order; the list is empty then. Empty too where there is no list."""
        try:
            fd = os.open(self.path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return []
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            data = os.pread(fd, _SIZE_LIMIT + 65_536, 0)
            os.ftruncate(fd, 0)
            os.utime(fd, (now, now))
        finally:
            os.close(fd)
        lines = data.decode("ascii", "replace").split("\n")
        return list(dict.fromkeys(line for line in lines if is_queue_id(line)))

    def due(self, now: float, refresh: float, purge: float) -> Iterator[str]:
        """Names of lists that nobody asked for in ``refresh`` seconds; removes empty ones older than ``purge``."""
        try:
            entries = os.scandir(self._directory)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_size:
                        if status.st_atime + refresh <= now:
                            yield entry.name
                    elif status.st_mtime + purge <= now:
                        os.unlink(entry.path)
                except FileNotFoundError:
                    continue
