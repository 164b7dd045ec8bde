"""A caller that breaks every rule: it is refused, said to be so once, and nobody else notices."""

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from tubepost.common.wire import rewrite
from tubepost.common.wire.base import Message
from tubepost.common.bus import Bus, Request, Server, frames, server
from tubepost.common.bus.frames import protocol_of

from tests.fakes.bus import listen, run_in, until

ASK = rewrite.Rewrite(context="local", address="a@b")
QUESTION = frames.encode(ASK)


class Hostile:
    """A server, and a DEALER that says what it likes."""

    def __init__(self, handler: Any) -> None:
        self.bus = Bus()
        self.honest = Bus()
        knock, own = listen("svc"), listen("svc.0")
        self.server = Server(
            self.bus.context,
            self.bus.loop,
            program="rewrite",
            path="svc.0",
            knock_fd=knock.fileno(),
            own_fd=own.fileno(),
            protocol=protocol_of(rewrite.Rewrite),
            handlers={rewrite.Rewrite: handler},
            register=None,
            open_to_all=True,
        )
        knock.close()
        own.close()
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect("svc")
        self.context: zmq.Context[Any] = zmq.Context()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.linger = 0
        self.dealer.sndhwm = 0
        self.dealer.connect("ipc://svc.0")

    def say(self, kind: bytes, number: int, text: bytes, *payload: bytes) -> None:
        self.dealer.send_multipart([frames.head(kind, number) + text, *payload])

    async def hear(self) -> bytes:
        while True:
            try:
                return bytes(self.dealer.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.Again:
                await asyncio.sleep(0.001)

    async def honest_answer(self) -> str:
        return (await self.honest.client("svc").call(ASK, rewrite.Rewritten, deadline=5)).address

    def close(self) -> None:
        self.context.destroy(linger=0)
        self.line.close()
        self.honest.close()
        self.server.close()
        self.bus.close()


def run(
    work: Callable[[Hostile], Awaitable[None]],
    handler: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Returns what was logged."""
    lines: list[str] = []
    monkeypatch.setattr("tubepost.common.bus.server.log.warning", lines.append)

    async def main() -> None:
        hostile = Hostile(handler)
        try:
            await asyncio.wait_for(work(hostile), 20)
        finally:
            hostile.close()

    run_in(tmp_path, main())
    return lines


def _echo(request: Request[rewrite.Rewrite]) -> Message:
    return rewrite.Rewritten(address=request.message.address)


class Holding:
    """A handler that keeps every request."""

    def __init__(self) -> None:
        self.asked = 0
        self.done = asyncio.Event()

    def handler(self) -> Any:
        async def hold(request: Request[rewrite.Rewrite]) -> Message:
            self.asked += 1
            await self.done.wait()
            return rewrite.Rewritten(address="x@y")

        return hold


def test_a_flood_leaves_the_loop_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    monkeypatch.setattr(server, "_TURN", 50)

    async def work(hostile: Hostile) -> None:
        for number in range(2000):
            hostile.say(frames.TELL, 1 + number, QUESTION)
        while hostile.server.served < 2000:
            served = hostile.server.served
            await asyncio.sleep(0)
            turns.append(hostile.server.served - served)
        assert await hostile.honest_answer() == "a@b"

    assert not run(work, _echo, tmp_path, monkeypatch)
    # The descriptor and the rest of the turn before may each bring a portion.
    assert sum(turns) == 2000 and max(turns) <= 150


def test_so_many_requests_are_taken_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_REQUESTS_A_PEER", 20)
    holding = Holding()

    async def work(hostile: Hostile) -> None:
        for number in range(1, 101):
            hostile.say(frames.CALL if number % 2 else frames.TELL, number, QUESTION)
        for _ in range(40):
            assert (await hostile.hear())[:1] == frames.FAILED
        assert (holding.asked, hostile.server.running) == (20, 20)
        holding.done.set()
        for _ in range(10):
            assert (await hostile.hear())[:1] == frames.REPLY
        assert hostile.server.running == 0
        hostile.say(frames.CALL, 101, QUESTION)
        assert (await hostile.hear())[:1] == frames.REPLY, "there is room again"

    lines = run(work, holding.handler(), tmp_path, monkeypatch)
    assert len(lines) == 1 and "too much is under way" in lines[0] and f"process {os.getpid()}" in lines[0]


def test_content_that_waits_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_BYTES_A_PEER", 1000)
    holding = Holding()

    async def work(hostile: Hostile) -> None:
        hostile.say(frames.CALL, 1, QUESTION, b"x" * 600)
        hostile.say(frames.CALL, 2, QUESTION, b"x" * 300, b"x" * 300)
        assert (await hostile.hear())[:9] == frames.head(frames.FAILED, 2)
        hostile.say(frames.UPLOAD, 3, QUESTION)
        hostile.say(frames.CHUNK, 3, b"", b"x" * 399)
        hostile.say(frames.CHUNK, 3, b"", b"x" * 2)  # one byte too many: the upload is given up
        await until(lambda: not any(b"00000003" in peer.requests for peer in hostile.server._peers.values()))
        holding.done.set()
        assert (await hostile.hear())[:9] == frames.head(frames.REPLY, 1)
        assert [peer.held for peer in hostile.server._peers.values()] == [0]

    lines = run(work, holding.handler(), tmp_path, monkeypatch)
    assert len(lines) == 1 and "too much is under way" in lines[0]


def test_a_number_in_use_cannot_be_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holding = Holding()

    async def work(hostile: Hostile) -> None:
        hostile.say(frames.CALL, 7, QUESTION)
        hostile.say(frames.CALL, 7, QUESTION)
        assert (await hostile.hear())[:9] == frames.head(frames.FAILED, 7)
        assert holding.asked == 1
        holding.done.set()
        assert (await hostile.hear())[:9] == frames.head(frames.REPLY, 7)

    (line,) = run(work, holding.handler(), tmp_path, monkeypatch)
    assert "this number is in use" in line


@pytest.mark.parametrize(
    "said",
    [
        [b""],
        [b"Q"],
        [b"\0" * 9],
        [b"Q0000000" + b"\xff" * 50],
        [b"Q00000001" + b"rewrite/1 Rewrite\n{"],
        [b"Q00000001" + b"rewrite/1 Rewrite\n" + b"[" * 100_000],
        [b"Q00000001" + b"\n" * 1000],
        [b"X00000"],
        [b"R00000001" + QUESTION],
        [b"I00000001" + QUESTION],
        [b"\xff00000001" + QUESTION],
        [b"Q00000001" + b"rewrite/1 Nonsense\n{}", *[b""] * 5000],
        [b"x" * 1_000_000] * 3,
    ],
)
def test_what_is_no_request_harms_nobody_and_is_told_once(
    said: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(hostile: Hostile) -> None:
        for _ in range(30):
            hostile.dealer.send_multipart(said)
        await until(lambda: hostile.server.refused == 30)
        assert await hostile.honest_answer() == "a@b"

    (line,) = run(work, _echo, tmp_path, monkeypatch)
    assert line.startswith("request refused: ") and f"(process {os.getpid()}, uid {os.geteuid()})" in line


@pytest.mark.parametrize(
    "said",
    [
        [b"C00000001", b"x"],
        [b"E00000001"],
        [b"K00000001" + b"9" * 5000],
        [b"X00000001"],
        [b"G00000001"],
    ],
)
def test_what_follows_a_request_that_is_over_is_nothing_wrong(
    said: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caller and callee may end a request at the same moment: nothing comes of it, nor is anything told."""

    async def work(hostile: Hostile) -> None:
        for _ in range(30):
            hostile.dealer.send_multipart(said)
        hostile.say(frames.CALL, 2, QUESTION)
        assert (await hostile.hear())[:9] == frames.head(frames.REPLY, 2)
        assert await hostile.honest_answer() == "a@b"
        assert hostile.server.refused == 0

    assert not run(work, _echo, tmp_path, monkeypatch)


def test_many_frames_behind_a_request_are_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(hostile: Hostile) -> None:
        for number in range(1, 31):
            hostile.say(frames.CALL, number, QUESTION, *[b""] * 5000)
            assert (await hostile.hear())[:9] == frames.head(frames.REPLY, number)

    assert not run(work, _echo, tmp_path, monkeypatch)


def test_a_connection_that_names_itself_is_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name could be that of another's connection."""

    async def work(hostile: Hostile) -> None:
        dealer = hostile.context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.routing_id = b"a name"
        dealer.connect("ipc://svc.0")
        for number in range(1, 11):
            dealer.send(frames.head(frames.CALL, number) + QUESTION)
        await until(lambda: hostile.server.refused == 10)
        assert hostile.server.served == 0
        assert await hostile.honest_answer() == "a@b"

    (line,) = run(work, _echo, tmp_path, monkeypatch)
    assert "named its connection itself" in line


def test_a_frame_that_is_too_large_ends_the_connection_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LARGEST_FRAME", 10_000)

    async def work(hostile: Hostile) -> None:
        assert await hostile.honest_answer() == "a@b"
        hostile.say(frames.CALL, 1, QUESTION, b"x" * 10_001)
        for number in range(2, 100):
            # What is said before the end is noticed is lost with the connection: said again, it goes by a new one.
            hostile.say(frames.CALL, number, QUESTION)
            try:
                said = await asyncio.wait_for(hostile.hear(), 0.2)
            except TimeoutError:
                continue
            assert said[:1] == frames.REPLY
            break
        else:
            pytest.fail("no connection was made anew")
        assert await hostile.honest_answer() == "a@b"

    # ZeroMQ reads no more than its length, and tells nobody.
    assert not run(work, _echo, tmp_path, monkeypatch)


def test_one_process_has_so_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LINES_A_CALLER", 5)

    async def work(hostile: Hostile) -> None:
        loop = asyncio.get_running_loop()
        hostile.line.close()
        await until(lambda: not hostile.server._counts)
        lines = []
        for _ in range(9):
            line = socket.socket(socket.AF_UNIX)
            line.setblocking(False)
            await loop.sock_connect(line, "svc")
            lines.append(line)
        said = [await loop.sock_recv(line, 64) for line in lines]
        assert said == [b"svc.0\n"] * 5 + [b""] * 4
        lines[0].close()
        await until(lambda: len(hostile.server._lines) < 5)
        assert await hostile.honest_answer() == "a@b"
        for line in lines:
            line.close()

    lines = run(work, _echo, tmp_path, monkeypatch)
    assert len(lines) == 1 and "more than 5 connections" in lines[0]


@pytest.mark.parametrize("kind", [frames.CALL, frames.UPLOAD, frames.LISTING])
def test_a_request_that_is_given_up_before_it_began_is_over(
    kind: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Holding()

    async def work(hostile: Hostile) -> None:
        # One turn of the server's loop takes both: its task is cancelled before its first step.
        hostile.say(kind, 1, QUESTION, b"x" * 100)
        hostile.say(frames.CANCEL, 1, b"")
        hostile.say(frames.CALL, 2, b"unknown")
        assert (await hostile.hear())[:9] == frames.head(frames.FAILED, 2)
        await until(lambda: hostile.server.running == 0)
        assert [(peer.running, peer.held, peer.requests) for peer in hostile.server._peers.values()] == [(0, 0, {})]

    (line,) = run(work, holding.handler(), tmp_path, monkeypatch)
    assert "no request 'unknown'" in line


def test_credit_without_end_is_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emitted = 0

    async def flood(request: Request[rewrite.Rewrite]) -> Message:
        nonlocal emitted
        for _ in range(1000):
            await request.emit(rewrite.Rewritten(address="x@y"))
            emitted += 1
        return rewrite.Rewritten(address="x@y")

    async def work(hostile: Hostile) -> None:
        hostile.say(frames.LISTING, 1, QUESTION)
        hostile.say(frames.CREDIT, 1, b"9999")
        hostile.say(frames.CREDIT, 1, b"9999")
        assert (await hostile.hear())[:1] == frames.ITEM
        await until(lambda: emitted >= frames.WINDOW)
        await asyncio.sleep(0.05)
        # What was taken by the time that credit came may have been sent as well.
        assert emitted <= 4 * frames.WINDOW

    assert not run(work, flood, tmp_path, monkeypatch)


def test_who_comes_while_the_worker_leaves_is_told_to_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(hostile: Hostile) -> None:
        await until(lambda: bool(hostile.server._counts))
        hostile.server.leave()
        # It was invited before, and is served; its next question goes to another worker.
        hostile.say(frames.CALL, 1, QUESTION)
        assert {(await hostile.hear())[:1], (await hostile.hear())[:1]} == {frames.LEAVING, frames.REPLY}

    run(work, _echo, tmp_path, monkeypatch)


def test_connections_without_a_line_are_not_all_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LINES_A_CALLER", 5)

    async def work(hostile: Hostile) -> None:
        hostile.line.close()
        await until(lambda: not hostile.server._counts)
        for _ in range(50):
            dealer = hostile.context.socket(zmq.DEALER)
            dealer.connect("ipc://svc.0")
            dealer.send(frames.head(frames.CALL, 1) + QUESTION)
        await until(lambda: hostile.server.served >= 50)
        assert hostile.server.connections == 5
        assert await hostile.honest_answer() == "a@b"

    run(work, _echo, tmp_path, monkeypatch)


def test_one_process_has_so_many_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LINES_A_CALLER", 5)
    holding = Holding()

    async def work(hostile: Hostile) -> None:
        dealers = []
        for number in range(20):
            dealer = hostile.context.socket(zmq.DEALER)
            dealer.connect("ipc://svc.0")
            dealers.append(dealer)
            dealer.send(frames.head(frames.TELL, number) + b"nothing")
        await until(lambda: hostile.server.refused >= 20)
        assert hostile.server.connections == 5
        # Those that were forgotten are known anew.
        for dealer in dealers[:5]:
            dealer.send(frames.head(frames.CALL, 1) + QUESTION)
        await until(lambda: holding.asked == 5)
        # All five wait for their answers: there is no room for one more.
        dealers[9].send(frames.head(frames.CALL, 1) + QUESTION)
        refused = hostile.server.refused
        await until(lambda: hostile.server.refused > refused)
        assert (hostile.server.connections, holding.asked) == (5, 5)
        holding.done.set()
        await until(lambda: hostile.server.running == 0)
        dealers[9].send(frames.head(frames.CALL, 2) + QUESTION)
        await until(lambda: holding.asked == 6)

    (line,) = run(work, holding.handler(), tmp_path, monkeypatch)
    assert "no request 'nothing'" in line


@pytest.mark.parametrize("late", [False, True], ids=["at once", "in a task"])
def test_a_hint_that_is_put_as_a_question_is_refused(
    late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the drill of a hostile imapd: an AssertionError out of the loop, each time."""
    panics: list[str] = []
    monkeypatch.setattr("tubepost.common.bus.server.log.panic", panics.append)

    def hear(_: Request[rewrite.Rewrite]) -> None:
        return None

    async def hear_late(_: Request[rewrite.Rewrite]) -> None:
        return None

    async def work(hostile: Hostile) -> None:
        for number in range(1, 30):
            hostile.say(frames.CALL, number, QUESTION)
            assert await hostile.hear() == frames.head(frames.FAILED, number) + b"Rewrite is not answered"

    (line,) = run(work, hear_late if late else hear, tmp_path, monkeypatch)
    assert "Rewrite is not answered" in line
    assert not panics


def test_a_hint_that_never_ends_is_kept_until_its_caller_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that nobody holds is destroyed by the collector, in the middle of what it does."""
    waiting: list[weakref.ref[asyncio.Task[None]]] = []

    async def hold(_: Request[rewrite.Rewrite]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(asyncio.current_task()))  # type: ignore[arg-type]
        await future

    async def work(hostile: Hostile) -> None:
        hostile.say(frames.TELL, 1, QUESTION)
        await until(lambda: bool(waiting))
        await asyncio.sleep(0)
        gc.collect()
        assert waiting[0]() is not None and hostile.server.running == 1
        # Others of this process go on being served.
        hostile.line.close()
        hostile.dealer.close()
        await until(lambda: hostile.server.running == 0)
        hostile.line = socket.socket(socket.AF_UNIX)

    run(work, hold, tmp_path, monkeypatch)


def test_each_is_told_once_in_an_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    async def work(hostile: Hostile) -> None:
        for number, now in enumerate((1000.0, 1000.0, 1009.9, 1010.0, 1010.1, 1020.0), 1):
            clock[0] = now
            hostile.say(frames.CALL, number, b"unknown %d" % number)
            await hostile.hear()

    lines = run(work, _echo, tmp_path, monkeypatch)
    assert [line.split("'")[1] for line in lines] == ["unknown 1", "unknown 4", "unknown 6"]
