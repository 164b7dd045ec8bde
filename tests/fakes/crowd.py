"""Many clients of one server that do nothing, or next to nothing, and a few that behave: for tests of overload.

    async with Crowd(port, silent=2000, dripping=500, addresses=("127.0.0.2", "127.0.0.3")) as crowd:
        assert await deliver(port, "alice@example.test") < 2.0

Where the server closes one of them it comes again after ``pause`` seconds, as long as the crowd lasts.
"""

import asyncio
import contextlib
import re
import resource
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

# What a test waits for at most, seconds.
PATIENCE = 30.0


def raise_descriptor_limit() -> None:
    """As far as it goes: thousands of connections are held by the test itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Crowd:
    """``silent`` connections send nothing, ``dripping`` ones an octet a second.

    ``come``: clients that have been connected at all; once entered, all. ``open``: those that are now. ``told``: first
    lines, how often.
    """

    def __init__(
        self,
        port: int,
        *,
        silent: int,
        dripping: int = 0,
        addresses: Sequence[str] = ("127.0.0.1",),
        pause: float = 1.0,
    ) -> None:
        raise_descriptor_limit()
        self._pause = pause
        self._port = port
        self._kinds = [False] * silent + [True] * dripping
        self._addresses = addresses
        self._tasks: list[asyncio.Task[None]] = []
        self._there = asyncio.Semaphore(0)
        self.told: Counter[bytes] = Counter()
        self.open = 0
        self.come = 0

    async def __aenter__(self) -> Self:
        for number, drips in enumerate(self._kinds):
            address = self._addresses[number % len(self._addresses)]
            self._tasks.append(asyncio.create_task(self._stay(address, drips)))
        async with asyncio.timeout(PATIENCE):
            for _ in self._kinds:
                await self._there.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stay(self, address: str, drips: bool) -> None:
        first = True
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))
            except OSError:
                await asyncio.sleep(self._pause)
                continue
            if first:
                # Not those who come again: a few of them could stand for all.
                first = False
                self.come += 1
                self._there.release()
            self.open += 1
            dripping = asyncio.create_task(_drip(writer)) if drips else None
            try:
                while line := await reader.readline():
                    self.told[line.strip()[:40]] += 1
            except OSError:
                pass
            finally:
                self.open -= 1
                if dripping is not None:
                    dripping.cancel()
                writer.close()
            await asyncio.sleep(self._pause)


async def _drip(writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await asyncio.sleep(1)
            writer.write(b"N")
            await writer.drain()
    except OSError:
        pass


# What IMAP and POP3 say to somebody who may come again (RFC 5530, RFC 3206, RFC 2449).
_LATER = (b"[UNAVAILABLE]", b"[SYS/TEMP]", b"[IN-USE]")


class TurnedAway(Exception):
    """The server has said, politely, that it has no room. The text: what it said."""


class Line:
    """One client of a protocol of lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, distance: float = 0.0) -> None:
        """``distance``: seconds on the way to the server and back."""
        self._reader = reader
        self._writer = writer
        self._distance = distance

    async def hear(self) -> bytes:
        """The next line that is not followed by another of the same reply. Raises TurnedAway, ConnectionError."""
        while True:
            line = await self._reader.readline()
            if not line:
                raise ConnectionResetError("the server closed the connection without a word")
            if line.startswith((b"421", b"* BYE")) or any(code in line for code in _LATER):
                raise TurnedAway(line.decode().strip())
            if line[:3].isdigit() and line[3:4] == b"-":
                continue
            return line

    async def say(self, text: bytes, wanted: bytes) -> bytes:
        """Send, and hear a line that begins as wanted; untagged lines of IMAP before it are passed over."""
        await asyncio.sleep(self._distance)
        self._writer.write(text)
        while (line := await self.hear()).startswith(b"* "):
            pass
        assert line.startswith(wanted), line
        return line

    def close(self) -> None:
        self._writer.close()


async def connect(port: int, address: str = "127.0.0.1", distance: float = 0.0) -> Line:
    return Line(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)), distance)


async def deliver(
    port: int, recipient: str, number: int = 0, *, size: int = 100, address: str = "127.0.0.1", distance: float = 0.0
) -> float:
    """One message over SMTP. Returns the seconds that it took. Raises TurnedAway, OSError, TimeoutError."""
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        line = await connect(port, address, distance)
        try:
            assert (await line.hear()).startswith(b"220")
            await line.say(b"EHLO load.example.org\r\n", b"250")
            await line.say(b"MAIL FROM:<a@example.org>\r\n", b"250")
            await line.say(b"RCPT TO:<%b>\r\n" % recipient.encode(), b"250")
            await line.say(b"DATA\r\n", b"354")
            body = (b"x" * 70 + b"\r\n") * (size // 72 + 1)
            await line.say(b"Subject: number %d\r\n\r\n%b.\r\n" % (number, body), b"250")
            # It is accepted: who is told now to make way was served.
            with contextlib.suppress(TurnedAway):
                await line.say(b"QUIT\r\n", b"221")
        finally:
            line.close()
    return time.monotonic() - begun


async def log_in(kind: str, port: int, name: str, password: str, *, address: str = "127.0.0.1") -> float:
    """To "imap" or "pop3", and out again. As ``deliver``."""
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        line = await connect(port, address)
        try:
            await line.hear()
            if kind == "imap":
                await line.say(f"a LOGIN {name} {password}\r\n".encode(), b"a OK")
                await line.say(b"b SELECT INBOX\r\n", b"b OK")
            else:
                await line.say(f"USER {name}\r\n".encode(), b"+OK")
                await line.say(f"PASS {password}\r\n".encode(), b"+OK")
                await line.say(b"QUIT\r\n", b"+OK")
        finally:
            line.close()
    return time.monotonic() - begun


_SUBJECT = re.compile(rb"(?m)^Subject: number (\d+)\r?$")


def numbers_of(paths: Sequence[Path]) -> Counter[int]:
    """How often each message of ``deliver`` is among these files."""
    found = (_SUBJECT.search(path.read_bytes()) for path in paths)
    return Counter(int(match[1]) for match in found if match)
