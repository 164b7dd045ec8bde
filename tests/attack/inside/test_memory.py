"""A compromised program sends another what never ends: the other's memory is bounded, and the mail goes on.

ZeroMQ keeps the parts of a message until the last; what bounds them is the kernel's limit (process_memory_limit). The
attacked process may end; then the next one serves, the master does not hold the service back, and what was accepted is
there.
"""

import contextlib
import os
import threading
import time

import pytest

from tests.attack.inside.conftest import MEMORY as LIMIT
from tests.attack.inside.drills import others_are_served
from tests.attack.inside.hostile import MEANS, Hostile
from tests.fakes.instance import PATIENCE

pytestmark = MEANS
MIB = 1 << 20


def resident(pid: int) -> int:
    """Bytes that are its own."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))
    return 0


class Peak:
    """The most that any of the processes has had."""

    def __init__(self, pids: list[int]) -> None:
        self.most = 0
        self._pids = pids
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, *map(resident, self._pids))

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


# Who is attacked, by whom who may call it: one of each kind of account, of the queue, of the passwords, and who stays.
PAIRS = [("smtpd", "cleanup"), ("smtpd", "rewrite"), ("imapd", "auth"), ("cleanup", "qmgr"), ("qmgr", "virtual")]


@pytest.mark.parametrize("size", [64, 1 * MIB], ids=["small parts", "large parts"])
@pytest.mark.parametrize("attacker,callee", PAIRS)
def test_a_message_without_end(attacker: str, callee: str, size: int, hostile: Hostile) -> None:
    """Where ZeroMQ cannot have a large part it ends the connection; for lack of a small one it ends the process."""
    line = hostile.line(attacker)
    hostile.line(callee)
    victims = hostile.lines(callee)
    path = hostile.workers_of(callee)[-1]
    before = len(hostile.instance.log.lines)
    with Peak([victim.pid for victim in victims]) as peak:
        found = line.order("pour", timeout=60, path=str(path), size=size, limit=3 * LIMIT)
    assert found["outcome"] == "done" and found["sent"] and found["ended"], found
    assert found["sent"] > LIMIT // 10 and peak.most < LIMIT
    gone = rf"process {callee}\[\d+\] was killed by signal 6|{callee}\[\d+\]: warning: uses .* of process_memory_limit"
    end = time.monotonic() + PATIENCE
    while not hostile.instance.log.count(gone) and max(resident(victim.pid) for victim in victims) > LIMIT // 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    others_are_served(hostile, f"without end: {attacker}, {callee}, {size}")
    assert not any("no new one for" in text for text in hostile.instance.log.lines[before:])


def test_large_frames_without_end(hostile: Hostile) -> None:
    """Each message is whole, and refused: none is kept."""
    line, victim = hostile.line("smtpd"), hostile.line("rewrite")
    paths = [str(path) for path in hostile.workers_of("rewrite")]
    with Peak([victim.pid]) as peak:
        said = ["rewrite/1 Nonsense\n{}", "rewrite/1 Rewrite\n{}"]
        assert line.order("flood", paths=paths, said=said, payload=16 * MIB, seconds=3.0)["outcome"] == "done"
        time.sleep(3.0)
    assert peak.most < LIMIT
    others_are_served(hostile, "large frames")


@pytest.mark.parametrize("data", ["\n", "x", "x\n"], ids=["empty lines", "one line", "short lines"])
def test_the_log_is_shouted_at(data: str, hostile: Hostile) -> None:
    line, log = hostile.line("smtpd"), hostile.line("log")
    times = 60_000 // len(data)
    with Peak([log.pid]) as peak:
        path = str(hostile.socket_of("log"))
        found = line.order("shout", timeout=60, path=path, data=data, times=times, seconds=1.0)
        assert found["outcome"] == "done", found
    assert log.lives
    assert peak.most < LIMIT // 2
    others_are_served(hostile, f"shouted at the log: {data.encode().hex()}")


@pytest.mark.parametrize("data,times", [("[", 1000), ("x", 1), ('[true,0,0,true,false,"x"]', 1)])
def test_the_master_is_shouted_at(data: str, times: int, hostile: Hostile) -> None:
    """Statuses without a pause, good ones and bad ones: the master has time for others, and few words for these."""
    line = hostile.line("anvil")
    assert hostile.instance.process is not None
    before = len(hostile.instance.log.lines)
    with Peak([hostile.instance.process.pid]) as peak:
        shouting = threading.Thread(
            target=line.order, args=("shout", 60), kwargs={"path": "", "data": data, "times": times, "seconds": 3.0}
        )
        shouting.start()
        begun = time.monotonic()
        status = hostile.instance.status()
        assert time.monotonic() - begun < 2.0 and status
        shouting.join()
    assert peak.most < LIMIT
    assert sum("cannot be read" in text for text in hostile.instance.log.lines[before:]) < 5
    others_are_served(hostile, f"shouted at the master: {times} {len(data)}")
    assert os.path.exists(f"/proc/{line.pid}")
