"""A callee that breaks every rule: its caller fails in what it asked there, and goes on with everything else."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from tubepost.common.wire import rewrite, showq
from tubepost.common.bus import Bus, Forbidden, Unavailable, frames, lane

from tests.fakes.bus import run_in, until

ASK = rewrite.Rewrite(context="local", address="a@b")
ANSWER = frames.encode(rewrite.Rewritten(address="x@y"))


class Hostile:
    """Invites whoever knocks, to where it likes, and says what it likes."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.invitation = b"svc.0\n"
        self.context: zmq.Context[Any] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.linger = 0
        self.router.sndhwm = 0
        self.router.bind("ipc://svc.0")
        self._knocks = socket.socket(socket.AF_UNIX)
        self._knocks.bind("svc")
        self._knocks.listen(16)
        self._knocks.setblocking(False)
        self.lines: list[socket.socket] = []
        self.bus.loop.add_reader(self._knocks.fileno(), self._invite)
        self.routing = b""

    def _invite(self) -> None:
        line, _ = self._knocks.accept()
        line.send(self.invitation)
        self.lines.append(line)

    async def hear(self) -> bytes:
        """The next question's first frame."""
        while True:
            try:
                self.routing, first, *_ = self.router.recv_multipart(zmq.NOBLOCK)
                return bytes(first)
            except zmq.Again:
                await asyncio.sleep(0.001)

    def say(self, kind: bytes, number: int, text: bytes = b"") -> None:
        self.router.send_multipart([self.routing, frames.head(kind, number) + text])

    def close(self) -> None:
        self.bus.close()
        self.bus.loop.remove_reader(self._knocks.fileno())
        for one in (self._knocks, *self.lines):
            one.close()
        self.context.destroy(linger=0)


def run(work: Callable[[Hostile], Awaitable[None]], tmp_path: Path) -> None:
    async def main() -> None:
        hostile = Hostile()
        try:
            await asyncio.wait_for(work(hostile), 10)
        finally:
            hostile.close()

    run_in(tmp_path, main())


def _call(hostile: Hostile, deadline: float = 8.0) -> "asyncio.Future[rewrite.Rewritten]":
    return asyncio.ensure_future(hostile.bus.client("svc").call(ASK, rewrite.Rewritten, deadline=deadline))


def _open(hostile: Hostile) -> list[object]:
    """Questions that are not answered yet."""
    client = hostile.bus.client("svc")
    return [pending for lane in (*client.lanes, *client._leaving) for pending in lane.pending]


async def _list(hostile: Hostile) -> list[showq.Entry]:
    return [item async for item in hostile.bus.client("svc").listing(showq.List(), showq.Entry, deadline=8.0)]


def test_a_flood_of_answers_leaves_the_loop_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "_TURN", 50)
    taken: list[int] = []

    async def work(hostile: Hostile) -> None:
        call = _call(hostile)
        await hostile.hear()
        connection = hostile.bus.client("svc").lanes[0]
        take = connection._take

        def count(frame: bytes) -> None:
            taken.append(1)
            take(frame)

        monkeypatch.setattr(connection, "_take", count)
        for _ in range(2000):
            hostile.say(frames.REPLY, 0xFFFF, ANSWER)
        hostile.say(frames.REPLY, 1, ANSWER)
        most = 0
        while not call.done():
            before = len(taken)
            await asyncio.sleep(0)
            most = max(most, len(taken) - before)
        assert (await call).address == "x@y"
        assert len(taken) == 2001 and most <= 150

    run(work, tmp_path)


def test_items_that_nobody_asked_for_end_the_connection(tmp_path: Path) -> None:
    async def work(hostile: Hostile) -> None:
        listing = asyncio.ensure_future(_list(hostile))
        await hostile.hear()
        connection = hostile.bus.client("svc").lanes[0]
        pending = connection.pending[1]
        # In one turn of the loop, so that nobody takes any.
        for _ in range(1000):
            connection._take(frames.head(frames.ITEM, 1) + b"{}")
        assert connection.closed and pending.items is not None and pending.items.qsize() <= frames.WINDOW + 2
        with pytest.raises((Unavailable, Forbidden)):
            await listing
        assert not _open(hostile)

    run(work, tmp_path)


@pytest.mark.parametrize("text", [b"", b"x", b"-9", b"9" * 5000, b"\xff"])
def test_credit_that_is_none_is_passed_over(text: bytes, tmp_path: Path) -> None:
    async def work(hostile: Hostile) -> None:
        call = _call(hostile)
        await hostile.hear()
        hostile.say(frames.CREDIT, 1, text)
        hostile.say(frames.REPLY, 1, ANSWER)
        assert (await call).address == "x@y"

    run(work, tmp_path)


def test_credit_never_allows_more_than_a_window(tmp_path: Path) -> None:
    async def work(hostile: Hostile) -> None:
        upload = hostile.bus.client("svc").upload(ASK, rewrite.Rewritten, deadline=8.0)
        await hostile.hear()
        for _ in range(10):
            hostile.say(frames.CREDIT, 1, b"999")
        hostile.say(frames.ITEM, 1, b"{}")
        await asyncio.sleep(0.05)
        assert upload._pending.credit == frames.WINDOW
        upload.cancel()

    run(work, tmp_path)


def test_an_item_that_is_none_is_the_callee_s_fault(tmp_path: Path) -> None:
    async def work(hostile: Hostile) -> None:
        listing = asyncio.ensure_future(_list(hostile))
        await hostile.hear()
        hostile.say(frames.ITEM, 1, b"nonsense")
        with pytest.raises(Forbidden, match="unreadable"):
            await listing

    run(work, tmp_path)


@pytest.mark.parametrize("place", [b"private/auth.7", b"/run/other", b"svc", b"@svc.0", b"svc.0" + b"0" * 200, b"\xff"])
def test_nobody_is_sent_elsewhere(place: bytes, tmp_path: Path) -> None:
    async def work(hostile: Hostile) -> None:
        hostile.invitation = place + b"\n"
        with pytest.raises(Unavailable, match=r"invitation|cannot connect"):
            await _call(hostile)

    run(work, tmp_path)


def test_a_frame_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "_LARGEST_FRAME", 10_000)

    async def work(hostile: Hostile) -> None:
        call = _call(hostile, deadline=0.5)
        await hostile.hear()
        hostile.say(frames.REPLY, 1, b"x" * 20_000)
        with pytest.raises(Unavailable):
            await call

    run(work, tmp_path)


def test_a_worker_that_leaves_and_never_answers_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    async def work(hostile: Hostile) -> None:
        call = _call(hostile, deadline=0.2)
        await hostile.hear()
        hostile.say(frames.LEAVING, 0)
        client = hostile.bus.client("svc")
        await until(lambda: not client.lanes)
        with pytest.raises(Unavailable, match="in time"):
            await call
        assert not _open(hostile)

    run(work, tmp_path)


def test_without_a_descriptor_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(hostile: Hostile) -> None:
        real = socket.socket

        def full(*_: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", full)
            call = _call(hostile)
            await asyncio.sleep(0.01)
        assert socket.socket is real
        first = await hostile.hear()
        assert first[:9] == frames.head(frames.CALL, 1)
        hostile.say(frames.REPLY, 1, ANSWER)
        assert (await call).address == "x@y"

    run(work, tmp_path)


def test_where_zeromq_has_no_socket_left_the_call_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(hostile: Hostile) -> None:
        def full(kind: int) -> None:
            raise zmq.ZMQError(errno.EMFILE)

        monkeypatch.setattr(hostile.bus.context, "socket", full, raising=False)
        with pytest.raises(Unavailable, match="cannot connect"):
            await _call(hostile)

    run(work, tmp_path)


def test_a_listing_that_could_not_be_asked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "_HIGH_WATER", 0)

    async def work(hostile: Hostile) -> None:
        with pytest.raises(Unavailable):
            await _list(hostile)
        assert not _open(hostile)

    run(work, tmp_path)


def test_what_was_answered_before_the_end_is_heard_however_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_TURN", 5)

    async def work(hostile: Hostile) -> None:
        calls = [_call(hostile) for _ in range(20)]
        for _ in calls:
            await hostile.hear()
        connection = hostile.bus.client("svc").lanes[0]
        # The loop hears of the end first.
        hostile.bus.loop.remove_reader(connection._fd)
        for number in range(1, 21):
            hostile.say(frames.REPLY, number, ANSWER)
        await asyncio.sleep(0.05)
        hostile.lines[0].close()
        assert [answer.address for answer in await asyncio.gather(*calls)] == ["x@y"] * 20

    run(work, tmp_path)
