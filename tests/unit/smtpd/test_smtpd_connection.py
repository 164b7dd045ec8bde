"""Steps, and a connection that drives them: nothing waits but where it must, and no bytes are lost on the way."""

import asyncio
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.smtpd import events
from tubepost.services.smtpd.connection import Connection, Gone
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.steps import Steps, drive_on


async def later(value: int) -> int:
    await asyncio.sleep(0)
    if value < 0:
        raise ValueError(value)
    return value


def add(values: list[int], waits: bool) -> Steps[int]:
    total = 0
    for value in values:
        try:
            total += (yield later(value)) if waits else value
        except ValueError:
            total += 100
    return total


def test_steps_wait_only_where_they_must() -> None:
    with pytest.raises(StopIteration) as done:
        next(add([1, 2], waits=False))
    assert done.value.value == 3

    async def both() -> tuple[int, int]:
        return await drive_on(add([1, -2, 3], waits=True)), await drive_on(add([4], waits=False))

    assert asyncio.run(both()) == (104, 4)


class Loop:
    """A clock that stands still until it is told to go on, and no tasks at all."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        timer = (self.now + delay, call)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def create_task(self, work: Any) -> Any:
        raise AssertionError("a task for what needs no waiting")

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer[0] <= self.now]:
            self.timers.remove(timer)
            timer[1]()


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Acceptor(Connection):
    """Says yes to everything, and keeps content."""

    def __init__(self, loop: Loop) -> None:
        config = SimpleNamespace(smtpd_timeout=300.0, smtpd_per_request_deadline=False, smtpd_min_data_rate=500)
        hurried = SimpleNamespace(is_set=lambda: False)
        super().__init__(cast("Any", SimpleNamespace(config=config, loop=loop, hurried=hurried)))
        self.machine = Machine(
            Settings("mx.example", forbid_unauth_pipelining=False, junk_command_limit=1_000_000), "c[192.0.2.1]"
        )
        self.content = b""
        self.reason = "none"

    def live(self) -> Generator[Any, Any, None]:
        try:
            self.machine.greet()
            while True:
                event = self.machine.next_event()
                if event is None:
                    self.write()
                    yield from self.more_input()
                elif isinstance(event, events.Content):
                    self.content += event.data
                elif isinstance(event, events.Hangup):
                    self.write()
                    return
                elif not isinstance(event, events.Reset):
                    self.machine.accept("1" if isinstance(event, events.EndOfContent) else "")
        except Gone as gone:
            self.reason = gone.reason


def begin() -> tuple[Acceptor, Transport, Loop]:
    loop, transport = Loop(), Transport()
    connection = Acceptor(loop)
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection, transport, loop


MESSAGE = (
    b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx: y\r\n\r\n..z\r\n" + b"line\r\n" * 50
) + b".\r\nRSET\r\nQUIT\r\n"


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_however_cut_the_session_is_the_same(sizes: list[int]) -> None:
    connection, transport, loop = begin()
    position = index = 0
    while position < len(MESSAGE):
        size = sizes[index % len(sizes)]
        connection.data_received(MESSAGE[position : position + size])
        # A part of content that decides nothing is worked on after a moment.
        loop.go_on(0.01)
        position, index = position + size, index + 1
    assert connection.content == b"x: y\n\n.z\n" + b"line\n" * 50
    assert transport.written.endswith(b"250 2.0.0 Ok: queued as 1\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n")
    assert connection.reason == "none"


def test_commands_that_come_together_are_answered_together() -> None:
    connection, transport, _ = begin()
    before = len(transport.written)
    connection.data_received(b"NOOP\r\nRSET\r\nNO")
    assert transport.written[before:] == b"250 2.0.0 Ok\r\n" * 2


def test_a_client_that_does_not_read_is_not_answered() -> None:
    connection, transport, loop = begin()
    connection.pause_writing()
    connection.data_received(b"RSET\r\n")
    written = transport.written
    for _ in range(40):
        connection.data_received(b"RSET\r\n" * 1000)
    assert transport.written == written and not transport.reading
    assert connection.machine.waiting_input < 256 * 1024
    connection.resume_writing()
    assert transport.written.count(b"250 2.0.0 Ok\r\n") == 40_001 and transport.reading
    connection.pause_writing()
    connection.data_received(b"RSET\r\n")
    loop.go_on(301)
    assert connection.reason == "timeout"


@pytest.mark.parametrize("end", ["eof", "lost", "silence"])
def test_the_end(end: str) -> None:
    connection, transport, loop = begin()
    connection.data_received(b"RSET\r\nNOO")
    loop.go_on(299)
    assert connection.reason == "none"
    if end == "eof":
        assert connection.eof_received()
    elif end == "lost":
        connection.connection_lost(None)
    else:
        loop.go_on(2)
        assert transport.written.endswith(b"421 4.4.2 mx.example Error: timeout exceeded\r\n")
    assert connection.reason == ("timeout" if end == "silence" else "lost connection")
    # What comes now finds nobody.
    connection.data_received(b"P\r\n")
    connection.connection_lost(None)
    loop.go_on(1000)
