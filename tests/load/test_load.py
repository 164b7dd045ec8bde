"""Load: many sessions, many messages; everything arrives, and no process grows with what passes through it."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

SESSIONS = 200
MESSAGES = 20_000
# A program of this system takes some 25 MiB with all its libraries; the queue manager holds up to 20,000 messages.
GROWTH, QUEUE_MANAGER_GROWTH = 40 << 10, 150 << 10
_SUBJECT = re.compile(rb"(?m)^Subject: number (\d+)$")


def private_memory(pid: int) -> int:
    """KiB that are this process's alone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) for line in text.splitlines() if line.startswith(("Private_Dirty", "Private_Clean"))
    )


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def processes(instance: Instance) -> dict[int, str]:
    """Pid to program."""
    return {pid: row["program"] for row in instance.status()["services"] for pid in row["pids"]}


async def session(port: int, numbers: "asyncio.Queue[int]", accepted: set[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def reply(wanted: bytes) -> None:
        while (line := await reader.readline())[3:4] == b"-":
            pass
        assert line.startswith(wanted), line

    async def say(text: bytes, wanted: bytes) -> None:
        writer.write(text)
        await reply(wanted)

    await reply(b"220")
    await say(b"EHLO load.example.org\r\n", b"250")
    while not numbers.empty():
        number = numbers.get_nowait()
        writer.write(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        for wanted in (b"250", b"250", b"354"):
            await reply(wanted)
        await say(b"Subject: number %d\r\n\r\n%b\r\n.\r\n" % (number, b"x" * 500), b"250")
        accepted.add(number)
    await say(b"QUIT\r\n", b"221")
    writer.close()


async def send(port: int, count: int, sessions: int) -> set[int]:
    numbers: asyncio.Queue[int] = asyncio.Queue()
    for number in range(count):
        numbers.put_nowait(number)
    accepted: set[int] = set()
    await asyncio.gather(*(session(port, numbers, accepted) for _ in range(sessions)))
    return accepted


def arrived(instance: Instance) -> set[int]:
    found = (_SUBJECT.search(path.read_bytes()) for path in instance.messages("alice"))
    return {int(match[1]) for match in found if match}


@pytest.mark.timeout(600)
def test_two_hundred_sessions_and_twenty_thousand_messages() -> None:
    limits = {"smtpd_client_connection_count_limit": "0", "in_flow_delay": "0s", "anvil_rate_time_unit": "1s"}
    with Instance(main=limits) as instance:
        instance.send("alice@example.test")
        instance.log.wait(r": removed")
        before = {program: private_memory(pid) for pid, program in processes(instance).items()}
        accepted = asyncio.run(send(instance.port, MESSAGES, SESSIONS))
        assert len(accepted) == MESSAGES
        instance.log.wait(r": removed", count=MESSAGES + 1, timeout=300)
        after = {pid: (program, private_memory(pid)) for pid, program in processes(instance).items()}
        for program, memory in after.values():
            growth = memory - before.get(program, 0)
            assert growth < (QUEUE_MANAGER_GROWTH if program == "qmgr" else GROWTH), f"{program}: {growth} KiB more"
        assert arrived(instance) == accepted
        assert not instance.log.count(r"panic|fatal|Traceback|does not answer")
