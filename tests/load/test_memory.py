"""A memory limit at which an unprotected system is killed: processes go, nothing accepted is lost, and they come back.

Takes root and a memory cgroup (either version) in which groups can be made.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.crowd import Line, TurnedAway, connect, deliver, numbers_of
from tests.fakes.instance import Instance
from tubepost.master.pressure import memory_groups, parse_mounts

# A process for each session, as Postfix does it: memory is what sessions cost.
SESSIONS = 60
LIMIT = 400 << 20


class Group:
    """A cgroup with a memory limit, below the one that we are in; ``tasks`` is where processes are put."""

    def __init__(self) -> None:
        version, paths = memory_groups(
            Path("/proc/self/cgroup").read_text(), parse_mounts(Path("/proc/self/mountinfo").read_text())
        )
        if not version or os.geteuid() != 0:
            pytest.skip("takes root and a memory cgroup")
        self.version = version
        self.path = Path(paths[0]) / f"tubepost-test-{os.getpid()}"
        try:
            self.path.mkdir()
            limit = "memory.max" if version == 2 else "memory.limit_in_bytes"
            (self.path / limit).write_text(str(LIMIT))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            pytest.skip(f"no cgroup can be made here: {error}")

    @property
    def tasks(self) -> Path:
        return self.path / "cgroup.procs"

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed in it for want of memory."""
        text = (self.path / ("memory.events" if self.version == 2 else "memory.oom_control")).read_text()
        found = re.search(r"(?m)^oom_kill (\d+)$", text)
        assert found is not None
        return int(found[1])

    @property
    def used(self) -> int:
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return int((self.path / name).read_text())

    def remove(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group()
    try:
        yield made
    finally:
        made.remove()


def start_in(group: Group, instance: Instance) -> None:
    """The master enters the group before it becomes the master."""
    command = 'echo $$ > "$1"; shift; exec "$@"'
    instance.master = ["/bin/sh", "-c", command, "sh", str(group.tasks), *instance.master]
    instance.start()


@contextlib.contextmanager
def ballast(group: Group) -> Iterator[None]:
    """A program of somebody else's in the group that takes memory until 94 percent of the limit are used."""
    code = (
        "import sys\n"
        "used, goal = sys.argv[1], int(sys.argv[2])\n"
        "held = []\n"
        "while int(open(used).read()) < goal: held.append(bytearray(b'x') * (1 << 20))\n"
        "print('full', flush=True)\n"
        "sys.stdin.read()\n"
    )
    used = group.path / ("memory.current" if group.version == 2 else "memory.usage_in_bytes")
    command = ["/bin/sh", "-c", 'echo $$ > "$1"; shift; exec "$@"', "sh", str(group.tasks)]
    process = subprocess.Popen(
        [*command, sys.executable, "-I", "-c", code, str(used), str(LIMIT * 94 // 100)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"full\n"
        yield
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


async def hold_sessions(instance: Instance) -> tuple[list[Line], int]:
    """So many sessions in the middle of a message as can be had. Returns them, and how many were told to go."""
    held: list[Line] = []
    told = 0

    async def one(number: int) -> None:
        nonlocal told
        try:
            async with asyncio.timeout(15):
                line = await connect(instance.port)
                await line.hear()
                await line.say(b"EHLO load.example.org\r\n", b"250")
                await line.say(b"MAIL FROM:<a@example.org>\r\n", b"250")
                await line.say(b"RCPT TO:<alice@example.test>\r\n", b"250")
                held.append(line)
        except (TurnedAway, OSError, TimeoutError):
            told += 1

    await asyncio.gather(*(one(number) for number in range(SESSIONS)))
    return held, told


async def sessions_again(instance: Instance, wanted: int, seconds: float) -> int:
    """The most sessions at one time that could be had within so many seconds: processes begin one by one."""
    deadline = time.monotonic() + seconds
    most = 0
    while most < wanted and time.monotonic() < deadline:
        held, _ = await hold_sessions(instance)
        most = max(most, len(held))
        for line in held:
            line.close()
        await asyncio.sleep(1)
    return most


def children(instance: Instance) -> int:
    return len(instance.pids("smtpd"))


def configured(watched: bool) -> dict[str, str]:
    return {
        "client_limit": "1",
        "smtpd_client_connection_count_limit": "0",
        "max_idle": "100s",
        "pressure_interval": "2s" if watched else "0",
        "overload_wait_time": "3s",
    }


@pytest.mark.timeout(120)
def test_without_the_watch_the_kernel_kills(group: Group) -> None:
    """That the limit is one at which it matters."""
    instance = Instance(main=configured(watched=False))
    try:
        start_in(group, instance)

        async def play() -> None:
            held, _ = await hold_sessions(instance)
            for line in held:
                line.close()

        asyncio.run(play())
        assert group.kills > 0, f"{group.used >> 20} MiB"
    finally:
        with contextlib.suppress(Exception):
            instance.kill()
        instance.remove()


@pytest.mark.timeout(120)
def test_with_the_watch_processes_go_and_come_back_and_nothing_is_lost(group: Group) -> None:
    instance = Instance(main=configured(watched=True))
    accepted: set[int] = set()
    try:
        start_in(group, instance)

        async def play() -> tuple[int, int, int]:
            held, told = await hold_sessions(instance)
            assert told, "not all of them fit"
            most = children(instance)
            assert group.kills == 0, "nothing is started that there is no memory for"
            # Those who have a session finish their message, or are told between two commands to come again.
            for number, line in enumerate(held):
                with contextlib.suppress(TurnedAway):
                    await line.say(b"DATA\r\n", b"354")
                    await line.say(b"Subject: number %d\r\n\r\nbody\r\n.\r\n" % number, b"250")
                    accepted.add(number)
            assert accepted
            # Somebody else takes what is left: the surplus goes, within some intervals of the watch.
            with ballast(group):
                deadline = time.monotonic() + 30
                while (least := children(instance)) > most // 2:
                    assert time.monotonic() < deadline, f"{most} processes became {least} only"
                    await asyncio.sleep(0.5)
                # It goes on working meanwhile.
                for number in range(1000, 1005):
                    with contextlib.suppress(TurnedAway):
                        await deliver(instance.port, "alice@example.test", number)
                        accepted.add(number)
                instance.log.wait(r"process limits lowered")
            for line in held:
                line.close()
            return len(held), most, least

        sessions, most, least = asyncio.run(play())
        print(f"{most} processes became {least}; {len(accepted)} messages accepted; {group.used >> 20} MiB used")
        assert group.kills == 0, instance.log.lines[-30:]
        # It recovers by itself to what is configured.
        deadline = time.monotonic() + 60
        while instance.status()["pressure_level"]:
            assert time.monotonic() < deadline, "the limits stay lowered"
            time.sleep(0.5)
        rows = instance.status()["services"]
        assert next(row for row in rows if row["program"] == "smtpd")["maxproc"] == 100
        # And there is room for as many as before: what went is not gone for ever, nor only promised.
        again = asyncio.run(sessions_again(instance, sessions, 60))
        assert again >= sessions, f"{sessions} sessions were served before, {again} after"
        number = max(accepted) + 1
        asyncio.run(deliver(instance.port, "alice@example.test", number))
        accepted.add(number)
        deadline = time.monotonic() + 30
        while accepted - numbers_of(instance.messages("alice")).keys() and time.monotonic() < deadline:
            time.sleep(0.2)
        # Once each: nothing was killed that could not say what it had done.
        assert numbers_of(instance.messages("alice")) == Counter(accepted)
        assert group.kills == 0
        assert not instance.log.count(r"panic|fatal|Traceback|was killed by")
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            instance.stop()
        instance.remove()
