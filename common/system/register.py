"""The register of children: which process id is which program, so that a kernel-verified pid names its caller.

A file of fixed records in the instance's ``pid`` directory, written only by the template (which forks the children) and
read by all. A child's record is there before the child runs its first line of program, and is cleared before the
child is reaped, so its pid cannot have gone to another process.
"""

import mmap
import os
import struct

_RECORD = struct.Struct("=i28s32s")  # pid, program, service
_COUNT = 4096
SIZE = _RECORD.size * _COUNT


class RegisterFull(RuntimeError):
    """More children than records."""


class Register:
    """Open-addressed by pid: a look-up reads a record or two."""

    def __init__(self, path: str, *, write: bool = False) -> None:
        """``write``: made if it is not there; what is in it stays. Raises OSError."""
        fd = os.open(path, (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | os.O_CLOEXEC, 0o644)
        try:
            if write:
                os.ftruncate(fd, SIZE)
            self._map = mmap.mmap(fd, SIZE, prot=mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
        finally:
            os.close(fd)

    def _slots(self, pid: int) -> "range":
        return range(pid, pid + _COUNT)

    def add(self, pid: int, program: str, service: str) -> None:
        record = _RECORD.pack(pid, program.encode()[:28], service.encode()[-32:])
        for slot in self._slots(pid):
            at = slot % _COUNT * _RECORD.size
            if _RECORD.unpack_from(self._map, at)[0] <= 0:
                self._map[at : at + _RECORD.size] = record
                return
        raise RegisterFull(f"more than {_COUNT} processes")

    def remove(self, pid: int) -> None:
        for slot in self._slots(pid):
            at = slot % _COUNT * _RECORD.size
            found = _RECORD.unpack_from(self._map, at)[0]
            if found == pid:
                # -1, not 0: a search goes on over a freed record.
                self._map[at : at + _RECORD.size] = _RECORD.pack(-1, b"", b"")
                return
            if found == 0:
                return

    def find(self, pid: int) -> tuple[str, str] | None:
        """(program, service) of a child of this instance's master, or None."""
        for slot in self._slots(pid):
            found, program, service = _RECORD.unpack_from(self._map, slot % _COUNT * _RECORD.size)
            if found == pid:
                return program.rstrip(b"\0").decode(), service.rstrip(b"\0").decode()
            if found == 0:
                return None
        return None

    def pids(self) -> list[int]:
        """All that are in it."""
        found = (_RECORD.unpack_from(self._map, slot * _RECORD.size)[0] for slot in range(_COUNT))
        return [pid for pid in found if pid > 0]

    def close(self) -> None:
        self._map.close()
