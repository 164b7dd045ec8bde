"""Toss privileges: uid, groups, capabilities, resource limits, network (credentials(7), capabilities(7))."""

import contextlib
import ctypes
import os
import resource
import struct
import threading
from collections.abc import Iterator

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_KEEPCAPS = 24, 38, 8
_CAPSET_VERSION = 0x20080522
_CLONE_NEWNET = 0x40000000
CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, KILL, SETGID, SETUID, SYS_CHROOT = 0, 1, 2, 3, 5, 6, 7, 18
_LAST = 63

_library = ctypes.CDLL(None, use_errno=True)


def become(uid: int, gid: int, kept: frozenset[int] = frozenset(), groups: tuple[int, ...] = ()) -> None:
    """Another account for good, without supplementary groups but ``groups``. As root only. Raises OSError.

    ``kept``: capabilities that the account is to have all the same.
    """
    _bound(kept)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    if kept:
        _library.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresuid(uid, uid, uid)
    if kept:
        _library.prctl(_PR_SET_KEEPCAPS, 0, 0, 0, 0)
        _set_capabilities(kept)


def no_new_privileges() -> None:
    """Nothing that is executed from now on gains rights."""
    if _library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Root without its power: only these capabilities stay, for us and for what we start, and no supplementary groups.

    Raises OSError.
    """
    _bound(kept)
    if permitted() >> SETGID & 1:
        os.setgroups(())
    _set_capabilities(kept)


def _bound(kept: frozenset[int]) -> None:
    """Others cannot be had again by anything, where we may say so (a container may not)."""
    for number in range(_LAST + 1):
        if number not in kept:
            _library.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # EINVAL: the kernel has no such capability


def _set_capabilities(kept: frozenset[int]) -> None:
    # In a container we may have been given fewer from the start.
    bits = sum(1 << number for number in kept) & permitted()
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", _CAPSET_VERSION, 0)
    data = struct.pack("=IIIIII", low, low, 0, high, high, 0)
    if _library.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset failed")


def permitted() -> int:
    """The capabilities that this process may use, a bit each."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapPrm:"):
                return int(line.split()[1], 16)
    return 0


def limit_resources(memory: int, passes_on: bool) -> None:
    """No core files (they hold mail); ``memory``: bytes of writable memory of its own, 0 for no limit.

    Not of address space: that counts files that are only read, and what is put aside and never used. ``passes_on``: it
    starts programs, whose memory is not our business: they are let off by ``unlimited_memory``.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        memory = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, hard if passes_on else memory))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_lifting = threading.Lock()
_lifted: list[int] = []
"""The limit that is to come back, once for each thread that starts a program now."""


@contextlib.contextmanager
def unlimited_memory() -> Iterator[None]:
    """What is started meanwhile has the limit of memory that the master had, not ours."""
    with _lifting:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        _lifted.append(_lifted[0] if _lifted else soft)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    try:
        yield
    finally:
        with _lifting:
            soft = _lifted.pop()
            if not _lifted:
                resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def leave_network() -> bool:
    """An empty network namespace: no interface, no route. False where we may not (it takes CAP_SYS_ADMIN)."""
    return bool(_library.unshare(_CLONE_NEWNET) == 0)
