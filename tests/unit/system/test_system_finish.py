"""Work in threads and the cancelling of who waits for it: what the work reads is not taken away under it."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.system.commit import GroupCommit
from tubepost.common.mailbox import Content
from tubepost.common.mailbox.mbox import Locking, MboxStore, Rules


class Gate:
    """Work in a thread stops here until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        self.reached.set()
        assert self.open.wait(10)


async def _cancelled(work: Coroutine[Any, Any, Any], gate: Gate, times: int = 1) -> None:
    """Cancel it while it waits at the gate: it must not end before the gate is opened."""
    task = asyncio.ensure_future(work)
    assert await asyncio.to_thread(gate.reached.wait, 10)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_who_is_cancelled_in_a_commit_waits_for_its_end(tmp_path: Path) -> None:
    gate = Gate()

    def write() -> int:
        gate.pass_through()
        return os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)

    async def run() -> None:
        commit = GroupCommit()
        await _cancelled(commit.run(write), gate, times=3)
        assert (tmp_path / "file").exists()
        # Nobody is left behind, and it goes on.
        async with asyncio.timeout(5):
            await commit.run(write)
        commit.close()

    asyncio.run(run())


def test_who_is_cancelled_before_a_commit_never_was_in_it(tmp_path: Path) -> None:
    gate = Gate()
    written: list[str] = []

    def slow() -> int:
        gate.pass_through()
        return os.open(tmp_path / "slow", os.O_CREAT | os.O_WRONLY)

    def write() -> int:
        written.append("x")
        return os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)

    async def run() -> None:
        commit = GroupCommit()
        first = asyncio.ensure_future(commit.run(slow))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        second = asyncio.ensure_future(commit.run(write))
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(5):
                await second
        gate.open.set()
        await first
        commit.close()

    asyncio.run(run())
    assert written == []


def test_an_error_and_a_cancel_at_once(tmp_path: Path) -> None:
    gate = Gate()

    def write() -> int:
        gate.pass_through()
        raise OSError("no")

    async def run() -> None:
        commit = GroupCommit()
        await _cancelled(commit.run(write), gate)
        commit.close()

    asyncio.run(run())


def test_a_mailbox_gets_its_own_message_though_the_caller_died(tmp_path: Path) -> None:
    gate = Gate()

    class Slow(Content):
        def pread(self, size: int, position: int) -> bytes:
            gate.pass_through()
            return Content.pread(self, size, position)

    (tmp_path / "message").write_bytes(b"Subject: mine\n")
    (tmp_path / "other").write_bytes(b"Subject: secret of another\n")

    async def run() -> None:
        store = MboxStore(str(tmp_path), Locking(styles=("fcntl",)), Rules())
        fd = os.open(tmp_path / "message", os.O_RDONLY)

        async def deliver() -> None:
            try:
                await store.deliver("box", Slow(fd, 0, 14))
            finally:
                os.close(fd)
                os.open(tmp_path / "other", os.O_RDONLY)

        await _cancelled(deliver(), gate)
        store.close()

    asyncio.run(run())
    assert (tmp_path / "box").read_bytes() == b"Subject: mine\n\n"
