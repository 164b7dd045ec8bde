"""Free memory goes back to the kernel, after work and not all the time."""

import gc
import subprocess
import sys
import time
import weakref

import pytest

from tubepost.common.system import memory


class Circle:
    def __init__(self) -> None:
        self.itself = self


def work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_tidying_collects_what_is_left_in_circles() -> None:
    gc.disable()
    try:
        left = weakref.ref(Circle())
        assert left() is not None
        assert memory.Tidying(0).tick()
        assert left() is None
    finally:
        gc.enable()


def test_a_process_at_rest_is_left_alone() -> None:
    tidying = memory.Tidying(0)
    assert tidying.tick()
    assert not tidying.tick()
    assert not tidying.tick()


def test_after_work_it_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SHARE", 1.0)
    tidying = memory.Tidying(0)
    assert tidying.tick()
    work(0.2)
    deadline = time.monotonic() + 10
    while not tidying.tick():
        work(0.1)
        assert time.monotonic() < deadline


def test_but_not_before_its_time() -> None:
    tidying = memory.Tidying(1000)
    assert tidying.tick()
    tidying._worked = 0
    assert not tidying.tick()


BURST = """
import re
from tubepost.common.system import memory
def resident():
    with open("/proc/self/smaps_rollup") as file:
        return int(re.search(r"Rss: +([0-9]+)", file.read())[1])
memory.be_frugal()
# The last ones stay: the heap does not end with what is free.
held = [bytes(3000) for _ in range(20_000)]
before = resident()
del held[5000:15000]
kept = resident()
memory.give_back()
print(before, kept, resident())
"""


@pytest.mark.skipif(memory._trim is None, reason="not with this C library")
def test_what_is_free_between_what_is_used_is_given_back() -> None:
    run = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, timeout=60, check=True)
    before, kept, after = map(int, run.stdout.split())
    assert before - after > 20_000, run.stdout
    assert kept - after > 20_000, "it was given back without being asked: this test shows nothing"
