"""The register of children: which process id is which program, so that a kernel-verified pid names its caller.

A file of fixed records in the instance's ``pid`` directory, written by the template and by the children that it forks
(under a lock: two that begin at once must not take the same record), and read by all. A child's record is there before
the child runs its first line of program, and is cleared before the child is reaped, so its pid cannot have gone to
another process.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tubepost.common.system.atomic import write_all

_RECORD = struct.Struct("=iI24s32s")  # pid, uid, program, service
_COUNT = 4096
SIZE = _RECORD.size * _COUNT
_UID = struct.Struct("=I")
# Of a process that has its sockets, and still the master's rights: it calls nobody.
_NOT_CONFINED = 0xFFFF_FFFF


class RegisterFull(RuntimeError):
    """More children than records."""


class Register:
    """Open-addressed by pid: a look-up reads a record or two."""

    def __init__(self, path: str, *, write: bool = False) -> None:
        """``write``: made if it is not there; what is in it stays. Raises OSError."""
        fd = os.open(path, (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | os.O_CLOEXEC, 0o644)
        try:
            if write and os.fstat(fd).st_size < SIZE:
                # Blocks of the disk and no hole: for want of one the kernel ends who stores into it (SIGBUS).
                os.ftruncate(fd, 0)
                write_all(fd, bytes(SIZE))
            self._map = mmap.mmap(fd, SIZE, prot=mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd if write else -1
        if not write:
            os.close(fd)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # lockf, not flock: a forked child shares the open file, and so would share a flock.
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _slots(self, pid: int) -> "range":
        return range(pid, pid + _COUNT)

    def add(self, pid: int, program: str, service: str) -> None:
        """What the register said of an earlier process of this number is forgotten. Raises RegisterFull."""
        record = _RECORD.pack(pid, _NOT_CONFINED, program.encode()[:24], service.encode()[-32:])
        with self._locked():
            self._remove(pid)
            for slot in self._slots(pid):
                at = slot % _COUNT * _RECORD.size
                if _RECORD.unpack_from(self._map, at)[0] <= 0:
                    self._map[at : at + _RECORD.size] = record
                    return
        raise RegisterFull(f"more than {_COUNT} processes")

    def confined(self, pid: int, uid: int) -> None:
        """From now on the process goes by this uid, the one that the kernel will tell of it."""
        with self._locked():
            for slot in self._slots(pid):
                found = self._pid_at(slot)
                if found == 0:
                    return
                if found == pid:
                    at = slot % _COUNT * _RECORD.size + _UID.size
                    self._map[at : at + _UID.size] = _UID.pack(uid)
                    return

    def remove(self, pid: int) -> None:
        with self._locked():
            self._remove(pid)

    def _remove(self, pid: int) -> None:
        for slot in self._slots(pid):
            found = self._pid_at(slot)
            if found == 0:
                return
            if found != pid:
                continue
            # -1, not 0: a search goes on over a freed record. But at the end of a run of records the freed ones are
            # made free again, or after some thousand births every search would read the whole register.
            self._set_free(slot, -1)
            while self._pid_at(slot) == -1 and self._pid_at(slot + 1) == 0:
                self._set_free(slot, 0)
                slot -= 1
            return

    def _pid_at(self, slot: int) -> int:
        pid: int = _RECORD.unpack_from(self._map, slot % _COUNT * _RECORD.size)[0]
        return pid

    def _set_free(self, slot: int, mark: int) -> None:
        at = slot % _COUNT * _RECORD.size
        self._map[at : at + _RECORD.size] = _RECORD.pack(mark, _NOT_CONFINED, b"", b"")

    def find(self, pid: int, uid: int) -> tuple[str, str] | None:
        """(program, service) of a child of this instance's master that is confined to that uid, or None.

        A user's process that called us and ended, and left its end of the connection to another, may have had a pid
        that is a child's now: it has no child's uid.
        """
        for slot in self._slots(pid):
            found, its, program, service = _RECORD.unpack_from(self._map, slot % _COUNT * _RECORD.size)
            if found == pid:
                if its != uid & 0xFFFF_FFFF or its == _NOT_CONFINED:
                    return None
                return program.rstrip(b"\0").decode(), service.rstrip(b"\0").decode("utf-8", "replace")
            if found == 0:
                return None
        return None

    def pids(self) -> list[int]:
        """All that are in it."""
        found = (_RECORD.unpack_from(self._map, slot * _RECORD.size)[0] for slot in range(_COUNT))
        return [pid for pid in found if pid > 0]

    def close(self) -> None:
        self._map.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
