"""Act as a user for file access, in one thread (Linux: setfsuid(2), setfsgid(2), and setgroups a thread by raw call).

A delivery program that runs as root opens files of recipients as the recipient: the kernel then checks what the
recipient may do, and what is made belongs to the recipient. Elsewhere, or without root, nothing changes.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159}.get(platform.machine())
_library = ctypes.CDLL(None, use_errno=True)


class CannotBecome(OSError):
    """The kernel did not let us act as that user."""


def _set_groups(groups: list[int]) -> None:
    # glibc's setgroups changes all threads; the raw call changes this one.
    if _SETGROUPS is None:
        raise CannotBecome(f"setgroups: unknown call number on {platform.machine()}")
    array = (ctypes.c_uint32 * len(groups))(*groups)
    if _library.syscall(ctypes.c_long(_SETGROUPS), ctypes.c_long(len(groups)), array) != 0:
        raise CannotBecome(ctypes.get_errno(), "setgroups failed")


@contextmanager
def acting_as(uid: int, gid: int, groups: list[int] | None = None) -> Iterator[None]:
    """File access in this thread, in this block, is that of the user. Does nothing for -1, or without root.

    Raises CannotBecome. Do not await in the block.
    """
    if uid < 0 or os.geteuid() != 0:
        yield
        return
    before = os.getgroups()
    _set_groups(groups if groups is not None else [gid])
    _library.setfsgid(ctypes.c_uint(gid))
    _library.setfsuid(ctypes.c_uint(uid))
    # setfsuid returns the previous id, also on failure: ask again with an id that cannot be.
    if _library.setfsuid(ctypes.c_uint(0xFFFFFFFF)) != uid:
        _restore(before)
        raise CannotBecome(f"cannot act as uid {uid}")
    try:
        yield
    finally:
        _restore(before)


def _restore(groups: list[int]) -> None:
    _library.setfsuid(ctypes.c_uint(0))
    _library.setfsgid(ctypes.c_uint(os.getegid()))
    _set_groups(groups)
