"""Act as a user for file access, in one thread (Linux: setfsuid(2), setfsgid(2), and setgroups a thread by raw call).

A delivery program that runs as root opens files of recipients as the recipient: the kernel then checks what the
recipient may do, and what is made belongs to the recipient. Elsewhere, or without root, nothing changes.

A thread stays who it is until it is asked to be another, or itself again: a program whose mailboxes all belong to one
account changes once. So every piece of file work in such a thread says whose it is.
"""

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159}.get(platform.machine())
_library = ctypes.CDLL(None, use_errno=True)
_NOBODY_ASKED = (-1, -1, ())
_thread = threading.local()


class CannotBecome(OSError):
    """The kernel did not let us act as that user."""


def _set_groups(groups: tuple[int, ...]) -> None:
    # glibc's setgroups changes all threads; the raw call changes this one.
    if _SETGROUPS is None:
        raise CannotBecome(f"setgroups: unknown call number on {platform.machine()}")
    array = (ctypes.c_uint32 * len(groups))(*groups)
    if _library.syscall(ctypes.c_long(_SETGROUPS), ctypes.c_long(len(groups)), array) != 0:
        raise CannotBecome(ctypes.get_errno(), "setgroups failed")


def act_as(uid: int, gid: int, groups: tuple[int, ...] = ()) -> None:
    """From now on file access of this thread is that of the user; uid -1: of the process itself.

    Does nothing without root. Raises CannotBecome, and the thread is then the process itself. Not for the thread of an
    event loop: there use it only around a piece of work without await, and end with ``act_as(-1, -1)``.
    """
    wanted = (uid, gid, groups)
    # A new thread is at first who the thread was that started it: unknown here, so it is set.
    if getattr(_thread, "identity", None) == wanted or os.geteuid() != 0:
        return
    if uid < 0:
        _library.setfsuid(ctypes.c_uint(0))
        _library.setfsgid(ctypes.c_uint(os.getegid()))
        _set_groups(())
        _thread.identity = _NOBODY_ASKED
        return
    # Only root may change groups and gid: be root again first.
    _library.setfsuid(ctypes.c_uint(0))
    _set_groups(groups or (gid,))
    _library.setfsgid(ctypes.c_uint(gid))
    _library.setfsuid(ctypes.c_uint(uid))
    _thread.identity = wanted
    # setfsuid returns the previous id, also on failure: ask again with an id that cannot be.
    if _library.setfsuid(ctypes.c_uint(0xFFFFFFFF)) != uid:
        act_as(-1, -1)
        raise CannotBecome(f"cannot act as uid {uid}")


@contextmanager
def acting_as(uid: int, gid: int, groups: tuple[int, ...] = ()) -> Iterator[None]:
    """``act_as`` for a block, then the process itself again. Do not await in the block. Raises CannotBecome."""
    act_as(uid, gid, groups)
    try:
        yield
    finally:
        act_as(-1, -1)
