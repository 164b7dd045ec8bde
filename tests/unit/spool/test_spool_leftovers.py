"""What a crash left is removed when it is old enough, and nothing else."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system.ids import new_queue_id
from tubepost.common.spool import Spool, encode
from tubepost.common.spool.directories import LOGS
from tubepost.common.spool.leftovers import remove

DAY = 86_400.0
EVERYWHERE = ("incoming", "hold", *LOGS)


def put(spool: Spool, queue: str, data: bytes, age: float, queue_id: str = "") -> str:
    queue_id = queue_id or new_queue_id()
    path = spool.path(queue, queue_id)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return queue_id


WHOLE = b"".join(encode(Envelope(sender="a@b", arrival_time=0), [Recipient(address="c@d")], [b"x\n"])[0])


@pytest.mark.parametrize("half", [b"", bytes(700), WHOLE[:50], WHOLE[:-5]], ids=["empty", "nul", "head", "most"])
@pytest.mark.parametrize("queue", ["incoming", "hold"])
def test_unfinished_files_of_cleanup(tmp_path: Path, half: bytes, queue: str) -> None:
    spool = Spool(str(tmp_path))
    old, young = put(spool, queue, half, DAY + 60), put(spool, queue, half, DAY - 60)
    whole, strange = put(spool, queue, WHOLE, 9 * DAY), put(spool, queue, b"y" * 500, 9 * DAY)
    asyncio.run(remove(spool, EVERYWHERE, time.time()))
    left = set(os.listdir(tmp_path / queue))
    if half == WHOLE[:50]:
        # Too short for a preamble is unfinished, whatever is in it.
        assert old not in left
    assert old not in left and {young, whole, strange} <= left


def test_logs_whose_message_is_gone(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    expected = set()
    for log in ("bounce", "defer", "trace"):
        put(spool, log, b"{}", 2 * DAY)
        expected.add(put(spool, log, b"{}", 60))
        for queue in ("maildrop", "incoming", "active", "deferred", "hold", "corrupt"):
            expected.add(put(spool, log, b"{}", 2 * DAY, put(spool, queue, WHOLE, 2 * DAY)))
    assert asyncio.run(remove(spool, EVERYWHERE, time.time())) == 3
    left = {path.name for log in ("bounce", "defer", "trace") for path in (tmp_path / log).rglob("*") if path.is_file()}
    assert left == expected


def test_temporary_files_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    for name, age in ((".x.abc.tmp", 2 * DAY), (".y.abc.tmp", 60), ("README", 9 * DAY)):
        path = tmp_path / "bounce" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
        os.utime(path, (time.time() - age,) * 2)
    assert asyncio.run(remove(spool, EVERYWHERE, time.time())) == 1
    assert sorted(os.listdir(tmp_path / "bounce")) == [".y.abc.tmp", "README"]


def test_many_files_leave_the_loop_to_others(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    for _ in range(1000):
        put(spool, "trace", b"", 2 * DAY)

    async def both() -> int:
        work = asyncio.create_task(remove(spool, EVERYWHERE, time.time()))
        turns = 0
        while not work.done():
            turns += 1
            await asyncio.sleep(0)
        assert await work == 1000
        return turns

    assert asyncio.run(both()) >= 5
