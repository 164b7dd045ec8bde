"""Landlock: which files a process may read, write and run, from now on and for its children (landlock(7)).

Rules are given by directory or file; what no rule allows is refused by the kernel with EACCES. Kernels without Landlock
(before 5.13) or with an older version of it enforce what they know.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

# asm-generic numbers: the same on every architecture that has the calls.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 9, 1 << 10, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM | _REFER
) | _TRUNCATE
# Rights that make sense on a file that is no directory.
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET_BIND_TCP, _NET_CONNECT_TCP = 1 << 0, 1 << 1
# Signals to processes outside, and connections to their abstract UNIX sockets.
_SCOPES = 1 << 0 | 1 << 1

# What is not there, or is for others, needs no rule.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})

_library = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's Landlock version (ABI); 0: none."""
    found: int = _library.syscall(
        ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG)
    )
    return max(found, 0)


def _handled(abi: int) -> int:
    rights = (1 << 13) - 1
    if abi >= 2:
        rights |= _REFER
    if abi >= 3:
        rights |= _TRUNCATE
    if abi >= 5:
        rights |= _IOCTL_DEV
    return rights


def restrict(
    *,
    read: Iterable[str],
    write: Iterable[str],
    execute: Iterable[str] = (),
    connect: bool = True,
    bind: bool = False,
) -> int:
    """Confine this thread and all that it starts. Returns the kernel's version, 0 when nothing could be done.

    ``write`` implies reading. Paths that do not exist, or are others', are left out. ``connect``, ``bind``: TCP.
    Signals to others, and their abstract UNIX sockets, are out of reach from version 6 on. Needs no_new_privs.
    Raises OSError when the kernel has Landlock but refuses, or a path cannot be looked at.
    """
    abi = version()
    if abi == 0:
        return 0
    handled = _handled(abi)
    net = 0
    if abi >= 4:
        net = (0 if connect else _NET_CONNECT_TCP) | (0 if bind else _NET_BIND_TCP)
    attributes = struct.pack("=QQQ", handled, net, _SCOPES if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _library.syscall(ctypes.c_long(_CREATE_RULESET), attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset failed")
    try:
        for paths, rights in ((read, _READ), (write, _READ | _WRITE | _IOCTL_DEV), (execute, _READ | _EXECUTE)):
            for path in paths:
                _add(ruleset, path, rights & handled)
        if _library.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint(0)) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self failed")
    finally:
        os.close(ruleset)
    return abi


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _ABSENT:
            return
        # Without it the program would serve, and be refused what is its own.
        raise
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, fd)
        if _library.syscall(
            ctypes.c_long(_ADD_RULE), ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0)
        ):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule failed for {path}")
    finally:
        os.close(fd)
