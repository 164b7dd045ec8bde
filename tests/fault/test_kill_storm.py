"""kill -9 of a random process each 200 ms while everybody works: nothing accepted is lost, and it heals by itself."""

import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import Levels, check_log, check_nothing_lost, drain, stray_files

INTERVAL = 0.2
SHORT, LONG = 6.0, 60.0
# Messages that may be between a delivery and its mark in one process that is killed.
IN_FLIGHT = 25


def _processes(instance: Instance) -> list[tuple[str, int]]:
    return [(row["program"], pid) for row in instance.status()["services"] for pid in row["pids"]]


def _storm(instance: Instance, seconds: float, seed: int) -> Counter[str]:
    """How many of each program were killed."""
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(INTERVAL)
        alive = _processes(instance)
        if not alive:
            continue
        # By program first: there may be ten of one and one of another.
        program = chance.choice(sorted({name for name, _ in alive}))
        pid = chance.choice([pid for name, pid in alive if name == program])
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed[program] += 1
    return killed


@pytest.mark.timeout(400)
def test_a_storm_of_kills(long: bool) -> None:
    with traffic.instance(main={"auth_failure_delay": "0s"}) as instance:
        # What they keep open for each other and for the mailboxes is their level.
        instance.send(sorted(instance.credentials))
        instance.log.wait(r"indexer\[\d+\]: .*: indexed 1 message of INBOX", len(instance.credentials))
        load = traffic.Traffic(instance, "smtp bounce sendmail lmtp imap pop password")
        level = Levels(instance)
        for _ in range(10):
            load.wait(20)
            level.again()
        seed = random.SystemRandom().randrange(1000) if long else 1
        killed = _storm(instance, LONG if long else SHORT, seed)
        load.wait(30)
        accepted = set(load.stop()) - load.removed
        assert sum(killed.values()) > (LONG if long else SHORT) / INTERVAL / 2, killed
        assert len(killed) > 5, f"only {killed} were there to be killed"
        drain(instance, accepted)
        delivered = check_nothing_lost(instance, accepted)
        doubled = {mark: n for mark, n in delivered.items() if n > 1 and mark[0] in ("smtp", "lmtp", "sendmail")}
        deaths = killed["virtual"] + killed["qmgr"] + killed["cleanup"] + killed["lmtpd"] + killed["pickup"]
        assert len(doubled) <= IN_FLIGHT * deaths, f"seed {seed}: {len(doubled)} delivered twice: {killed}"
        for program in killed:
            assert instance.log.count(rf"process {program}\[\d+\] was killed by signal 9"), "the log says who died"
        check_log(instance)
        strays = stray_files(instance)
        assert not strays, f"nothing will look at {strays[:10]}"
        # To each worker that a busy moment brought forth there is a line, of three descriptors.
        level.check(descriptors=24)


@pytest.mark.timeout(200)
def test_the_master_killed_alone_and_started_again(long: bool) -> None:
    """Its children see it go, and end; the next master finds no trouble in what is left."""
    instance = traffic.instance()
    accepted: set[tuple[str, int]] = set()
    removed: set[tuple[str, int]] = set()
    try:
        for _ in range(8 if long else 2):
            instance.start()
            load = traffic.Traffic(instance, "smtp bounce lmtp imap pop")
            load._numbers = load._numbers if not accepted else iter(range(max(n for _, n in accepted) + 1000, 10**9))  # type: ignore[assignment]
            load.wait(40)
            children = [pid for _, pid in _processes(instance)]
            assert instance.process is not None
            instance.process.kill()
            instance.process.wait(10)
            load._stop.set()
            deadline = time.monotonic() + 22  # what skeleton/life.py gives an orphan, at most
            while left := [pid for pid in children if os.path.exists(f"/proc/{pid}")]:
                assert time.monotonic() < deadline, f"{left} live on without a master"
                time.sleep(0.05)
            accepted |= set(load.stop())
            removed |= load.removed
            instance._ended()
        instance.start()
        drain(instance, accepted)
        check_nothing_lost(instance, accepted - removed)
        assert not stray_files(instance)
    finally:
        if instance.process is not None:
            instance.stop()
        instance.remove()
