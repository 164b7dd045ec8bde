"""The limit of writable memory: it holds, files that are only read do not count, and what a program starts is free."""

import faulthandler
import mmap
import os
import resource
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tubepost.common.system import memory, privileges

MIB = 1 << 20
INFINITE = resource.getrlimit(resource.RLIMIT_DATA)[1] == resource.RLIM_INFINITY


def forked(work: Callable[[], None]) -> int:
    """The wait status of a child that did it; 256 when it raised, which it tells."""
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()  # an end of its own choosing is no news
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def room() -> int:
    """A limit that this process, which is pytest, is well below."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize() + 256 * MIB


def test_more_is_refused_and_files_that_are_only_read_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(4096 * MIB)

    def work() -> None:
        privileges.limit_resources(room(), False)
        bytearray(64 * MIB)
        with path.open("rb") as large, mmap.mmap(large.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert mapped[MIB] == 0
        with pytest.raises(MemoryError):
            bytearray(512 * MIB)
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.getrlimit(resource.RLIMIT_DATA)[1]

    assert forked(work) == 0


def test_no_limit_is_none() -> None:
    def work() -> None:
        limit = memory.Limit()
        privileges.limit_resources(0, False)
        limit.begin()
        assert not limit.is_near and (limit.limit == 0 or not INFINITE)

    assert forked(work) == 0


def test_it_is_told_before_it_is_reached() -> None:
    def work() -> None:
        limit = memory.Limit()
        assert not limit.is_near
        most = room()
        privileges.limit_resources(most, False)
        limit.begin()
        assert limit.limit == most
        used = limit.used()
        assert 0 < used < most
        size = max(0, most * 7 // 8 - used)
        held = bytearray(size)
        assert limit.is_near and limit.used() >= used + len(held)

    assert forked(work) == 0


def test_with_none_left_it_still_says_so_and_ends() -> None:
    def work() -> None:
        limit = memory.Limit()
        privileges.limit_resources(room(), False)
        limit.begin()
        held: list[bytearray] = []
        size = 64 * MIB
        while size:
            try:
                held.append(bytearray(size))
            except MemoryError:
                size //= 2
        memory.end()

    assert forked(work) & 0x7F == 6


@pytest.mark.skipif(not INFINITE, reason="this system has a limit of its own")
def test_what_is_started_has_no_limit_of_ours() -> None:
    def work() -> None:
        most = room()
        privileges.limit_resources(most, True)
        script = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
        found = []

        def start() -> None:
            with privileges.unlimited_memory():
                child = subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdout=subprocess.PIPE)
            with child:
                assert child.stdout is not None
                found.append(int(child.stdout.read()))

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [resource.RLIM_INFINITY] * 4
        assert resource.getrlimit(resource.RLIMIT_DATA) == (most, resource.RLIM_INFINITY)

    assert forked(work) == 0
