"""inotify(7): the kernel tells when a directory changes. By ctypes; Linux only, OSError elsewhere."""

import ctypes
import os
import struct

_IN_ATTRIB, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x4, 0x40, 0x80, 0x100, 0x200
_CHANGES = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_HEADER = struct.Struct("iIII")
_BUFFER = 65536

_library = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One descriptor, many directories. Raises OSError where there is no inotify, or no more of it."""

    def __init__(self) -> None:
        make = getattr(_library, "inotify_init1", None)
        if make is None:
            raise OSError("this system has no inotify")
        self._fd = make(_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def fileno(self) -> int:
        return int(self._fd)

    def watch(self, directory: str) -> int:
        """Names made, removed or changed in this directory. Returns its number. Raises OSError."""
        number = int(_library.inotify_add_watch(self._fd, os.fsencode(directory), ctypes.c_uint32(_CHANGES)))
        if number < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return number

    def forget(self, number: int) -> None:
        _library.inotify_rm_watch(self._fd, ctypes.c_int(number))

    def events(self) -> set[int]:
        """Numbers of the directories that have changed since the last call."""
        found: set[int] = set()
        while True:
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return found
            place = 0
            while place < len(data):
                number, _, _, length = _HEADER.unpack_from(data, place)
                found.add(number)
                place += _HEADER.size + length

    def close(self) -> None:
        os.close(self._fd)
