"""More clients than slots: silent ones make way, the rest is served or told to come again, and no process is added."""

import asyncio
import re
import time
from collections import Counter
from typing import Any

import pytest

from tests.fakes.crowd import Crowd, TurnedAway, connect, deliver, log_in
from tests.fakes.instance import Instance

SILENT, DRIPPING = 2000, 500
# Of 100 slots each (client_limit).
PROCESSES, SLOTS = 4, 400
# Seconds, to somebody far away and back.
DISTANCE = 0.4
PEOPLE = ("carol", "dave", "erin")
# The promise, seconds.
SOON = 2.0
ELSEWHERE = tuple(f"127.0.1.{number}" for number in range(1, 9))


def limit_processes(instance: Instance, port: int, maxproc: int) -> None:
    path = instance.conf / "master.cf"
    pattern = rf"(?m)^(127\.0\.0\.1:{port}\s+inet(?:\s+\S+){{4}}\s+)\S+"
    text, count = re.subn(pattern, rf"\g<1>{maxproc}", path.read_text())
    assert count == 1
    path.write_text(text)


def row(instance: Instance, port: int) -> "dict[str, Any]":
    rows: list[dict[str, Any]] = instance.status()["services"]
    return next(row for row in rows if row["service"] == f"127.0.0.1:{port}")


async def clients(instance: Instance, kind: str, port: int, count: int) -> list[float]:
    """So many one after the other, and as many in fives: what each of them took."""
    people = list(instance.credentials.items())

    async def one(number: int) -> float:
        if kind == "smtp":
            return await deliver(port, "alice@example.test", number)
        # A maildrop is one session's (RFC 1939 3): who comes at the same time is another user.
        name, password = people[number % len(people)]
        return await log_in(kind, port, name, password)

    taken = [await one(number) for number in range(count)]
    for first in range(0, count, 5):
        taken += await asyncio.gather(*(one(count + first + number) for number in range(5)))
    return taken


def calm(instance: Instance) -> None:
    assert not instance.log.count(r"panic|fatal|Traceback|does not answer|was killed"), "a program was in trouble"


def crowded(kind: str, processes: int) -> tuple[Instance, int]:
    """An instance whose service has so few processes, and its port."""
    instance = Instance(services=("imap", "pop3"), main={"smtpd_client_connection_count_limit": "0"})
    port = instance.port if kind == "smtp" else instance.ports[kind]
    limit_processes(instance, port, processes)
    for name in PEOPLE:
        done = instance.command("tubepost", "user", "add", f"{name}@example.test", "--stdin", input="first\n")
        assert done.returncode == 0, done.stderr
        instance.credentials[f"{name}@example.test"] = "first"
    return instance, port


@pytest.mark.timeout(120)
@pytest.mark.parametrize("addresses", [ELSEWHERE, ("127.0.0.1",)], ids=["from-elsewhere", "from-one-address"])
@pytest.mark.parametrize("kind", ["smtp", "imap", "pop3"])
def test_silent_connections_keep_nobody_out(kind: str, addresses: tuple[str, ...]) -> None:
    """400 slots, and more than six times as many connections that say nothing, or an octet a second."""
    instance, port = crowded(kind, PROCESSES)
    far = len(addresses) > 1
    # What one address sends cannot be told apart: there a client that was sent away waits as real ones do, and those
    # who are away are many. All slots are theirs all the same: a slot changes hands only when somebody wants it. Where
    # they come again after a second the waiting rooms (overload_waiting_limit: as many) are half full of them as well.
    pause, least = (1.0, 1.5 * SLOTS) if far else (10.0, SLOTS)
    with instance:

        async def play() -> list[float]:
            async with Crowd(port, silent=SILENT, dripping=DRIPPING, addresses=addresses, pause=pause) as crowd:
                assert crowd.come == SILENT + DRIPPING
                # Until the first of them have been silent for longer than overload_grace_time.
                await asyncio.sleep(2)
                assert crowd.open >= 0.9 * least, crowd.open
                taken = await clients(instance, kind, port, 20)
                assert crowd.open >= 0.9 * least, crowd.open
                assert crowd.told
                return taken

        taken = asyncio.run(play())
        print(f"{kind}: {max(taken):.2f} s at most, {sum(taken) / len(taken):.2f} on average")
        assert max(taken) < SOON, taken
        assert row(instance, port)["processes"] <= PROCESSES
        assert instance.log.count("silent clients made way")
        calm(instance)


@pytest.mark.timeout(120)
def test_silent_connections_keep_nobody_out_who_is_far_away() -> None:
    """Whose every answer is nearly half a second on its way is not taken for a silent one."""
    instance, port = crowded("smtp", PROCESSES)
    with instance:

        async def play() -> list[float]:
            async with Crowd(port, silent=SILENT, dripping=DRIPPING, addresses=ELSEWHERE) as crowd:
                await asyncio.sleep(2)
                assert crowd.open >= 0.9 * 1.5 * SLOTS, crowd.open
                far = (deliver(port, "alice@example.test", number, distance=DISTANCE) for number in range(5))
                return await asyncio.gather(*far)

        taken = asyncio.run(play())
        # What it says is six commands and the content.
        assert max(taken) < SOON + 7 * DISTANCE, taken
        calm(instance)


@pytest.mark.timeout(120)
def test_silent_connections_with_the_limits_as_shipped() -> None:
    """There are slots for all of them; and one address has no more than smtpd_client_connection_count_limit."""
    with Instance(main={"mynetworks": "127.0.0.1/32"}) as instance:

        async def play() -> tuple[list[float], Counter[bytes]]:
            async with Crowd(instance.port, silent=SILENT, dripping=DRIPPING, addresses=ELSEWHERE) as crowd:
                assert crowd.come == SILENT + DRIPPING
                await asyncio.sleep(2)
                return await clients(instance, "smtp", instance.port, 20), crowd.told

        taken, told = asyncio.run(play())
        assert max(taken) < SOON, taken
        assert sum(count for line, count in told.items() if line.startswith(b"421 4.7.0")) > 1000
        calm(instance)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["smtp", "imap", "pop3"])
def test_ten_times_more_sessions_than_slots(kind: str) -> None:
    """All at once, again and again until served: each is served or told to come again, none hangs, no process more."""
    slots, processes = 20, 2
    instance = Instance(services=("imap", "pop3"), main={"client_limit": str(slots // processes)})
    port = instance.port if kind == "smtp" else instance.ports[kind]
    limit_processes(instance, port, processes)
    with instance:
        name, password = next(iter(instance.credentials.items()))

        async def one(number: int) -> str:
            try:
                if kind == "smtp":
                    await deliver(port, "alice@example.test", number)
                else:
                    await log_in(kind, port, name, password)
            except TurnedAway:
                return "told"
            return "served"

        async def play() -> Counter[str]:
            outcome: Counter[str] = Counter()
            waiting = list(range(slots * 10))
            deadline = time.monotonic() + 60
            while waiting and time.monotonic() < deadline:
                found = await asyncio.gather(*(one(number) for number in waiting))
                outcome.update(found)
                await asyncio.sleep(0.2)
                waiting = [number for number, what in zip(waiting, found, strict=True) if what == "told"]
            return outcome

        outcome = asyncio.run(play())
        print(f"{kind}: {dict(outcome)}")
        assert outcome["served"] == slots * 10
        assert row(instance, port)["processes"] <= processes
        calm(instance)


@pytest.mark.timeout(60)
def test_where_all_slots_are_at_work_newcomers_are_told_so_in_time() -> None:
    """Sessions that are in the middle of a message are not ended for others."""
    instance = Instance(main={"client_limit": "5", "overload_wait_time": "2s"})
    limit_processes(instance, instance.port, 1)
    with instance:

        async def play() -> None:
            working = []
            for _ in range(5):
                line = await connect(instance.port)
                await line.hear()
                await line.say(b"EHLO load.example.org\r\n", b"250")
                await line.say(b"MAIL FROM:<a@example.org>\r\n", b"250")
                await line.say(b"RCPT TO:<alice@example.test>\r\n", b"250")
                working.append(line)
            for _ in range(3):
                begun = time.monotonic()
                with pytest.raises(TurnedAway, match="too many clients"):
                    await deliver(instance.port, "alice@example.test")
                assert 1.5 < time.monotonic() - begun < 2.0 + SOON
            for line in working:
                await line.say(b"DATA\r\n", b"354")
                await line.say(b"Subject: number 1\r\n\r\nbody\r\n.\r\n", b"250")
            # They have proven something, and their work is done: who comes now is served in place of one of them.
            await deliver(instance.port, "alice@example.test")
            for line in working:
                line.close()

        asyncio.run(play())
        instance.log.wait(r": removed", count=6)
        calm(instance)
