"""kill -9 of a random process each 200 ms while everybody works: nothing accepted is lost, and it heals by itself."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import Kill, Levels, Mark, check_all, check_log, check_password, check_uids, drain

INTERVAL = 0.2
SHORT, LONG = 6.0, 60.0
# Whom mail meets on its roads: each is hit in a minute.
ROADS = {
    *("smtpd", "pickup", "cleanup", "rewrite", "qmgr", "virtual", "local", "smtp", "bounce"),
    *("lmtpd", "imapd", "pop3d", "auth", "template"),
}


def _processes(instance: Instance) -> dict[str, list[int]]:
    """By program; the template among them."""
    status = instance.status()
    found: dict[str, list[int]] = {}
    for program, pid in (
        ("template", status["template"]),
        *((row["program"], pid) for row in status["services"] for pid in row["pids"]),
    ):
        if _lives(pid, status["pid"], status["template"]):
            found.setdefault(program, []).append(pid)
    return found


def _lives(pid: int, *parents: int) -> bool:
    """Nobody else's who has the number by now, nor one who has ended already and was not yet buried."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except OSError:
        return False
    state, parent = fields.split()[:2]
    return state not in "ZX" and int(parent) in parents


def _kill_one(instance: Instance, chance: random.Random, until: float, first: str = "") -> list[Kill]:
    """One, or none where nobody is alive until then. ``first``: of this program, if it is there."""
    while time.monotonic() < until:
        if not (alive := _processes(instance)):
            time.sleep(0.01)
            continue
        # By program first: there may be ten of one and one of another.
        program = first if first in alive else chance.choice(sorted(alive))
        pid = chance.choice(sorted(alive[program]))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return [Kill(time.time(), program, pid)]
    return []


def _storm(instance: Instance, seconds: float, seed: int) -> list[Kill]:
    """One each 200 ms by the clock, however long it takes to find whom to kill."""
    chance = random.Random(seed)
    kills: list[Kill] = []
    began = due = time.monotonic()
    while (due := due + INTERVAL) <= began + seconds + INTERVAL / 2:
        time.sleep(max(due - time.monotonic(), 0))
        # Who comes late, for it took long to ask who lives, makes up for it with the next; not for more than a second.
        # Thirty kills need not meet the template by chance: every tenth is meant for it.
        kills += _kill_one(instance, chance, due + 1.0, "template" if len(kills) % 10 == 5 else "")
    return kills


@pytest.mark.timeout(400)
def test_a_storm_of_kills(long: bool) -> None:
    with traffic.instance(main={"auth_failure_delay": "0s"}) as instance, ExitStack() as stack:
        stack.enter_context(traffic.Receiver(instance, traffic.UP))
        # What they keep open for each other and for the mailboxes is their level.
        instance.send(sorted(instance.credentials))
        instance.log.wait(r"indexer\[\d+\]: .*: indexed 1 message of INBOX", len(instance.credentials))
        load = traffic.Traffic(instance, "smtp up down bounce sendmail lmtp imap pop password")
        level = Levels(instance)
        for _ in range(5):
            load.wait(20)
            level.again()
        seconds = LONG if long else SHORT
        seed = random.SystemRandom().randrange(1000) if long else 1
        kills = _storm(instance, seconds, seed)
        killed = Counter(kill.program for kill in kills)
        load.wait(30)
        accepted = set(load.stop()) - load.removed
        print(f"seed {seed}: {len(kills)} kills, {len(accepted)} messages: {dict(killed)}")
        assert len(kills) >= 0.9 * seconds / INTERVAL, f"{len(kills)} kills in {seconds} s"
        if long:
            assert killed.keys() >= ROADS, f"never met: {ROADS - killed.keys()}; {killed}"
        assert killed["template"] and len(killed) > 5, f"only {killed} were there to be killed"
        # And what waited for a destination goes out when there is one: the queue is empty.
        stack.enter_context(traffic.Receiver(instance, traffic.DOWN))
        drain(instance, accepted)
        check_uids(instance, load.uids)
        check_password(instance, load.passwords_begun[load.passwords_begun.index(load.passwords[-1]) :])
        check_all(
            instance,
            accepted,
            level,
            kills=kills,
            # To each worker that a busy moment brought forth there is a line, of three descriptors.
            descriptors=24,
        )


@pytest.mark.timeout(200)
def test_the_master_killed_alone_and_started_again(long: bool) -> None:
    """Its children see it go, and end; the next master finds no trouble in what is left, and says so."""
    instance = traffic.instance()
    accepted: set[Mark] = set()
    removed: set[Mark] = set()
    kills: list[Kill] = []
    level: Levels | None = None
    try:
        for number in range(8 if long else 2):
            instance.start()
            load = traffic.Traffic(instance, "smtp bounce lmtp imap pop", first=10_000 * number + 1)
            load.wait(40)
            if level is None:
                level = Levels(instance)
            level.again()
            kills += _orphan(instance)
            accepted |= set(load.stop())
            removed |= load.removed
            check_log(instance)
            instance._ended()
        instance.start()
        assert level is not None
        drain(instance, accepted)
        wanted = [r"warning: the master before this one did not end in order"]
        check_all(instance, accepted - removed, level, kills=kills, wanted_log=wanted, descriptors=24)
    finally:
        if instance.process is not None:
            instance.stop()
        instance.remove()


def _orphan(instance: Instance) -> list[Kill]:
    """Kill the master, and wait for the end of its children: each of them is a death in the midst of work."""
    children = {pid: name for name, pids in _processes(instance).items() for pid in pids}
    assert instance.process is not None
    instance.process.kill()
    kills = [Kill(time.time(), "master")]
    instance.process.wait(10)
    deadline = time.monotonic() + 22  # what skeleton/life.py gives an orphan, at most
    while children:
        for pid in [pid for pid in children if not os.path.exists(f"/proc/{pid}")]:
            kills.append(Kill(time.time(), children.pop(pid)))
        assert time.monotonic() < deadline, f"{children} live on without a master"
        time.sleep(0.05)
    return kills
