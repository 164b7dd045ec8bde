"""``--soak``: half an hour of mixed traffic; memory is flat within five percent after the first five minutes.

What the traffic is: ``traffic.py``. Every ten seconds the memory of each process is looked at: what it has to itself
and its part of what it shares (PSS), which add up to the whole; and what it has to itself alone, program by program.
Then a sixth of the time with kills.
"""

import contextlib
import os
import random
import signal
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.instance import Instance
from tests.fault.invariants import Kill, Levels, Mark, check_all, drain, marks_in
from tests.load.traffic import Sink, Traffic, prepared

# Of the whole; half an hour has its five minutes.
WARM = 1 / 6
SAMPLE = 10.0
GROWTH = 1.05
# A program, by the process of it that has the most: steady growth is a leak also where others hide it in the sum.
GROWTH_OF_ONE = 1.10
# Samples; a single one depends on who happened to be at work at that instant.
SMOOTH = 7
# Rounds a minute: a third of what a machine of two cores has done with all of them at work.
RATES = {
    **dict.fromkeys(("lmtp", "bounces", "relay", "later", "user"), 50),
    **dict.fromkeys(("submission", "local"), 40),
    **dict.fromkeys(("imap", "pop3", "lookups", "smtp"), 32),
    "idle": 12,
    "sendmail": 4.5,
}
KILLED = {
    *("smtpd", "cleanup", "virtual", "rewrite", "bounce", "imapd", "smtp", "qmgr"),
    *("local", "lmtpd", "pickup", "pop3d", "auth", "notify", "indexer", "anvil"),
}


def _memory(pid: int) -> tuple[int, int, int]:
    """PSS; what is its own; what it has besides files, its own or not. KiB; 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0, 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return sizes.get("Pss:", 0), sizes.get("Private_Dirty:", 0), sizes.get("Anonymous:", 0)


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _everybody(instance: Instance) -> dict[int, str]:
    """Pid to program."""
    assert instance.process is not None
    status = instance.status()
    found = {pid: row["program"] for row in status["services"] for pid in row["pids"]}
    return {instance.process.pid: "master", status["template"]: "template", **found}


@dataclass
class Samples:
    """One of each a look."""

    times: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    processes: list[Counter[str]] = field(default_factory=list)
    largest: list[dict[str, int]] = field(default_factory=list)
    """Of each program: what the process has to itself that has the most."""
    heaps: list[dict[str, int]] = field(default_factory=list)
    """So too, with what it was born with: a page that both had, and that one has written to, is no growth."""

    def look(self, instance: Instance, passed: float) -> None:
        there = _everybody(instance)
        sizes = {pid: _memory(pid) for pid in there}
        self.times.append(passed)
        self.memory.append(sum(size[0] for size in sizes.values()))
        self.descriptors.append(sum(_descriptors(pid) for pid in there))
        self.processes.append(Counter(there.values()))
        largest: dict[str, int] = {}
        heaps: dict[str, int] = {}
        for pid, program in there.items():
            largest[program] = max(largest.get(program, 0), sizes[pid][1])
            heaps[program] = max(heaps.get(program, 0), sizes[pid][2])
        self.largest.append(largest)
        self.heaps.append(heaps)


def smooth(values: list[int]) -> list[float]:
    """Each the median of those around it: one look at a moment with more or fewer at work is no growth."""
    half = SMOOTH // 2
    return [statistics.median(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


def grown(values: list[int], times: list[float], warm: float) -> str:
    """Empty, or which sample, smoothed, is more than GROWTH times the one at ``warm``: at the end or on the way."""
    level = smooth(values)
    first = next(place for place, at in enumerate(times) if at >= warm)
    worst = max(range(first, len(level)), key=level.__getitem__)
    print(f"{level[first]:.0f} became {level[-1]:.0f}, at most {level[worst]:.0f} after {times[worst]:.0f} s")
    if level[worst] <= level[first] * GROWTH:
        return ""
    return f"{level[first]:.0f} at {times[first]:.0f} s was {level[worst]:.0f} at {times[worst]:.0f} s"


def check_flat(samples: Samples, warm: float) -> None:
    """Raises AssertionError with all that has grown."""
    troubles = []
    for name, values in (("memory, KiB", samples.memory), ("descriptors", samples.descriptors)):
        print(name, end=": ")
        if trouble := grown(values, samples.times, warm):
            troubles.append(f"{name}: {trouble}")
    first = next(place for place, at in enumerate(samples.times) if at >= warm)
    for program in sorted(samples.largest[-1]):
        own = smooth([sizes.get(program, 0) for sizes in samples.largest])[first]
        heap = smooth([sizes.get(program, 0) for sizes in samples.heaps])
        if not own:
            continue  # not there yet: it shows itself in the sum
        more = heap[-1] - heap[first]
        print(f"{program}: {own:.0f} KiB of its own, {more:+.0f} at the end, {100 * more / own:+.1f} %")
        if more > own * (GROWTH_OF_ONE - 1):
            troubles.append(f"{program}: {own:.0f} KiB, and {more:.0f} more at the end")
    before, after = samples.processes[first], samples.processes[-1]
    assert not troubles, f"{troubles}; more processes: {dict(after - before)}"


def work(instance: Instance, traffic: Traffic, seconds: float) -> Samples:
    samples = Samples()
    traffic.start()
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        time.sleep(min(SAMPLE, seconds / 60))
        samples.look(instance, passed)
    traffic.stop()
    slow = {
        name: (traffic.rounds[name], round(rate * seconds / 60))
        for name, rate in RATES.items()
        if name in {each.__name__ for each in traffic.works} and traffic.rounds[name] < rate * seconds / 60
    }
    print("rounds", dict(traffic.rounds))
    assert not slow, f"rounds that there were, and that were wanted: {slow}"
    return samples


@pytest.mark.timeout(0)
def test_soak(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--soak"):
        pytest.skip("takes half an hour: --soak")
    seconds: int = request.config.getoption("--soak-seconds")
    sink = Sink()
    with prepared(sink, {}) as instance:
        traffic = Traffic(instance, sink)
        samples = work(instance, traffic, seconds)
        assert not traffic.failures, traffic.failures[:20]
        traffic.collect(60)
        check_flat(samples, seconds * WARM)
        twice = {mark: n for mark, n in (traffic.collected + sink.taken).items() if n > 1}
        assert not twice, f"nothing failed, and was delivered more than once: {list(twice.items())[:10]}"
        drain(instance, traffic.accepted)
        check_all(instance, traffic.accepted - traffic.collected.keys() - sink.taken.keys() - consumed(traffic))
        assert not instance.log.count(r"panic|fatal|Traceback|does not answer|was killed")
    sink.close()


def consumed(traffic: Traffic) -> set[Mark]:
    """What a command has read, and nobody keeps."""
    return {mark for mark in traffic.accepted if mark[0] == "consumed"}


@pytest.mark.timeout(0)
def test_soak_with_kills(request: pytest.FixtureRequest) -> None:
    """A sixth of the time: a program is killed each second, and all that must hold after a fault holds."""
    if not request.config.getoption("--soak"):
        pytest.skip("takes minutes: --soak")
    seconds = request.config.getoption("--soak-seconds") / 6
    sink = Sink()
    with prepared(sink, {"service_throttle_time": "1s", "transport_retry_time": "1s"}) as instance:
        traffic = Traffic(instance, sink, keep=True, sizes=(100, 1000, 20_000))
        traffic.start()
        level = Levels(instance)
        for _ in range(10):
            time.sleep(1)
            level.again()
        kills = kill_now_and_then(instance, seconds)
        traffic.stop()
        print("rounds", dict(traffic.rounds), "kills", Counter(kill.program for kill in kills))
        instance.command("postqueue", "-f")
        drain(instance, traffic.accepted, 120)
        elsewhere = sink.taken.keys() | consumed(traffic) | in_spools(instance)
        lost = {mark for mark in traffic.accepted if mark[0] in ("relay", "later", "user")} - elsewhere
        assert not lost, f"{len(lost)} accepted messages are lost: {sorted(lost)[:10]}"
        # To each worker that a busy moment brought forth there is a line, of three descriptors.
        check_all(instance, traffic.accepted - elsewhere, level, kills=kills, descriptors=24)
        assert len(kills) > seconds / 3, kills
        silent = {each.__name__ for each in traffic.works} - traffic.rounds.keys()
        assert not silent, f"never done: {silent}"
    sink.close()


def in_spools(instance: Instance) -> set[Mark]:
    """What users of this system have got."""
    files = (path for path in (instance.root / "spools").rglob("*") if path.is_file())
    return {mark for path in files for mark in marks_in(path.read_bytes())}


def kill_now_and_then(instance: Instance, seconds: float) -> list[Kill]:
    """One process a second."""
    chance = random.Random(1)
    kills: list[Kill] = []
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        time.sleep(1)
        alive = [(row["program"], pid) for row in instance.status()["services"] for pid in row["pids"]]
        program = chance.choice(sorted({name for name, _ in alive} & KILLED))
        pid = chance.choice([pid for name, pid in alive if name == program])
        # One that has ended, and whom the master has not buried yet, is not killed any more.
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX":
                os.kill(pid, signal.SIGKILL)
                kills.append(Kill(time.time(), program, pid))
    return kills
