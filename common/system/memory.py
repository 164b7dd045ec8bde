"""Memory: what is free is given back to the kernel, and a process that nears its limit (RLIMIT_DATA) is told in time.

glibc's own settings suit programs that grow and end. Ours stay for months: what an hour of much work has left behind
belongs to others afterwards. With another C library all this does nothing.
"""

import ctypes
import gc
import os
import resource
import time
from typing import Any, NoReturn

from tubepost.common.system import log

# mallopt(3), malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# A connection with TLS has a buffer of 256 KiB of which it touches little. Mapped by itself it takes what is touched;
# cut out of the heap, it would take all that its place was used for before.
_MAPPED = 192 << 10
# Free at the end of the heap: as much is kept, for the next message.
_KEPT = 1 << 20
# Threads mostly wait for the disk or for SQLite: they need no heaps of their own, each with its own leftovers.
_ARENAS = 1
# Part of a process's work that tidying may be, and seconds of work that are too little for it.
_SHARE = 0.01
_LEAST = 0.05
# Of the limit: above it a process goes while it still can say so.
_NEAR = 0.75
# Freed when there is none any more, for the last words.
_RESERVE = 1 << 20
_PAGE = resource.getpagesize()


def _function(name: str, *arguments: Any) -> Any:
    try:
        found = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = arguments, ctypes.c_int
    return found


_mallopt = _function("mallopt", ctypes.c_int, ctypes.c_int)
_trim = _function("malloc_trim", ctypes.c_size_t)


def be_frugal() -> None:
    """For this process and those that it forks. Call it early: arenas that are there stay."""
    if _mallopt is not None:
        for option, value in ((_MMAP_THRESHOLD, _MAPPED), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, _ARENAS)):
            _mallopt(option, value)


def give_back() -> None:
    """What is free, to the kernel. Takes a millisecond or two."""
    if _trim is not None:
        _trim(0)


class Tidying:
    """Collects what is left in circles, and gives back what is free, after work: ``tick`` now and then.

    ``interval``: seconds from one time to the next, at least. How much was done since is told by the time that the
    processor was used: a process at rest is left alone, and where tidying takes long it is done after more work.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._worked = 0.0

    def tick(self) -> bool:
        """True: it was time."""
        now, used = time.monotonic(), time.process_time()
        if now < self._next or used < self._worked:
            return False
        gc.collect()
        give_back()
        ended = time.process_time()
        self._next = now + self._interval
        self._worked = ended + max(_LEAST, (ended - used) / _SHARE)
        return True


class Limit:
    """How near this process is to its limit of writable memory (proc(5), statm: data and stack)."""

    def __init__(self) -> None:
        """To be made after the fork and before the process is confined: then it may open nothing of /proc."""
        self.limit = 0
        """Bytes; 0: none, or not known yet."""
        try:
            self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # no /proc here: the kernel holds us to it all the same

    def begin(self) -> None:
        """The limit is set."""
        limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
        if limit != resource.RLIM_INFINITY:
            self.limit = limit
            _reserve[:] = [bytes(_RESERVE)]

    def used(self) -> int:
        """Bytes; 0 where that cannot be known."""
        if self._fd < 0:
            return 0
        try:
            return int(os.pread(self._fd, 200, 0).split()[5]) * _PAGE
        except OSError:
            return 0

    @property
    def is_near(self) -> bool:
        return 0 < self.limit * _NEAR < self.used()


_reserve: list[bytes] = []


def end() -> NoReturn:
    """There is none left, and nothing can be done any more: at once, as when the C library finds none (SIGABRT)."""
    _reserve.clear()
    log.fatal("no memory is left, of process_memory_limit or of this machine: it ends, and another process goes on")
    log.flush()
    os.abort()
