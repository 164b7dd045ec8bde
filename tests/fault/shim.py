"""Orders to shim.c: faults of the file system and of the clock in a system that was started with it.

    with Shim() as shim:
        instance = …
        shim.start(instance)
        with shim.fault("write", errno.ENOSPC, "/incoming/") as fault: …
        assert fault.hits
        shim.clock(3600)

Takes a C compiler; ``possible()`` says why not.
"""

import ctypes
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.fakes.instance import Instance

CALLS = {
    "create": 1,
    "write": 2,
    "sync": 4,
    "rename": 8,
    "unlink": 16,
    "mkdir": 32,
    "read": 64,
    "open": 128,
    "accept": 256,
    "truncate": 512,
    "mode": 1024,
    "lock": 2048,
    "list": 4096,
    "times": 8192,
    "bind": 16384,
    "map": 32768,
    "stat": 65536,
    # One of no file: a socket, a pair, a pipe, an eventfd, an epoll, a copy.
    "descriptor": 131072,
}
# struct rule and struct orders of shim.c
_RULE = struct.Struct("=9i96s")
_HEAD = struct.Struct("=qq")
_RULES = 32
_HITS = struct.calcsize("=4i")
_SOURCE = Path(__file__).with_name("shim.c")


def possible() -> str:
    """Empty, or what is missing."""
    if shutil.which("cc") is None:
        return "there is no C compiler"
    if getattr(ctypes.CDLL(None), "gnu_get_libc_version", None) is None:
        return "the C library is not glibc"
    return ""


class Fault:
    """One rule, or the same one for each of some processes, while it is in force and afterwards."""

    def __init__(self, orders: mmap.mmap, offsets: list[int]) -> None:
        self._orders = orders
        self._offsets = offsets
        self._hits = -1

    @property
    def hits(self) -> int:
        """How many calls it met."""
        if self._hits >= 0:
            return self._hits
        return sum(struct.unpack_from("=i", self._orders, offset + _HITS)[0] for offset in self._offsets)

    def end(self) -> None:
        self._hits = self.hits
        for offset in self._offsets:
            self._orders[offset : offset + _RULE.size] = bytes(_RULE.size)


class Shim:
    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="tp-shim-"))
        os.chmod(self._folder, 0o755)
        self._library = self._folder / "shim.so"
        line = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(self._library), str(_SOURCE), "-ldl"]
        subprocess.run(line, check=True, timeout=60)
        path = self._folder / "orders"
        path.write_bytes(bytes(_HEAD.size + _RULES * _RULE.size))
        # Commands of the tests may run as another account.
        os.chmod(path, 0o666)
        with open(path, "r+b") as file:
            self._orders = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(self._library), "TEST_FAULTS": str(path)}
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """What is started in this block has the shim in it, and its children have."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def start(self, instance: Instance) -> None:
        """Users who have a directory in ``homes`` beside its queue are at home there."""
        self.environment["TEST_HOMES"] = str(instance.root / "homes")
        with self.applied():
            instance.start()

    def clock(self, seconds: int) -> None:
        """The wall clock is wrong by so many seconds from now on; the monotonic one goes on."""
        struct.pack_into("=q", self._orders, 0, seconds)

    @contextmanager
    def fault(
        self,
        calls: str,
        error: int = 0,
        path: str = "",
        *,
        count: int = -1,
        delay: float = 0,
        shorten: bool = False,
        pids: Sequence[int] = (0,),
        after: int = 0,
    ) -> Iterator[Fault]:
        """``calls``: names of CALLS; ``path``: text in the file's path, or in the
        words that shim.c has for what is no file; ``count``: so many calls, -1 all; ``delay``:
        seconds before each; ``shorten``: writes take half; ``pids``: only in these processes, 0 in all;
        ``after``: so many calls go well before.
        """
        places = (_HEAD.size + number * _RULE.size for number in range(_RULES))
        free = [offset for offset in places if not any(self._orders[offset : offset + 4])]
        assert len(pids) <= len(free), "too many faults at once"
        mask = sum(CALLS[name] for name in calls.split())
        offsets = free[: len(pids)]
        for offset, pid in zip(offsets, pids, strict=True):
            rule = _RULE.pack(0, mask, error, count, 0, int(delay * 1000), shorten, pid, after, path.encode())
            self._orders[offset : offset + _RULE.size] = rule
            struct.pack_into("=i", self._orders, offset, 1)
        fault = Fault(self._orders, offsets)
        try:
            yield fault
        finally:
            fault.end()
