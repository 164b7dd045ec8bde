"""Calls, hints, uploads and listings between two ends in one process, and what happens when one end goes.

These use a UNIX socket in a temporary directory: ZeroMQ cannot be had without one.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire import rewrite, showq
from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.bus import Bus, Forbidden, Refusal, Request, Server, Unavailable
from tubepost.common.bus.frames import protocol_of

from tests.fakes.bus import listen, run_in, until


class Ends:
    def __init__(self) -> None:
        self.server_bus = Bus()
        self.bus = Bus()
        self.knock = listen("svc")
        self.servers: list[Server] = []

    def serve(self, handlers: Mapping[type[Message], Any], *, open_to_all: bool = True) -> Server:
        number = len(self.servers)
        own = listen(f"svc.{number}")
        bus = self.server_bus if not number else Bus()
        server = Server(
            bus.context,
            bus.loop,
            program="rewrite",
            path=f"svc.{number}",
            knock_fd=self.knock.fileno(),
            own_fd=own.fileno(),
            protocol={model: protocol_of(model) for model in handlers},
            handlers=handlers,
            register=None,
            open_to_all=open_to_all,
        )
        own.close()
        self.servers.append(server)
        return server


def run(work: Callable[[Ends], Awaitable[None]], tmp_path: Path) -> None:
    async def main() -> None:
        ends = Ends()
        try:
            await asyncio.wait_for(work(ends), 10)
        finally:
            ends.bus.close()
            for server in ends.servers:
                server.close()
            ends.server_bus.close()

    run_in(tmp_path, main())


def _echo(request: Request[rewrite.Rewrite]) -> rewrite.Rewritten:
    return rewrite.Rewritten(address=request.message.address)


ASK = rewrite.Rewrite(context="local", address="a@b")


def test_a_call_is_answered_also_when_the_worker_comes_later(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        call = asyncio.ensure_future(ends.bus.client("svc").call(ASK, rewrite.Rewritten))
        await asyncio.sleep(0)
        ends.serve({rewrite.Rewrite: _echo})
        assert (await call).address == "a@b"

    run(work, tmp_path)


def test_a_call_waits_no_longer_than_its_deadline(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        with pytest.raises(Unavailable):
            await ends.bus.client("svc").call(ASK, rewrite.Rewritten, deadline=0.05)

    run(work, tmp_path)


def test_a_refused_is_a_refusal_and_a_crash_is_unavailable(tmp_path: Path) -> None:
    def refuse(request: Request[rewrite.Rewrite]) -> Message:
        return Refused(code=550, dsn="5.1.1", reason="no")

    async def crash(request: Request[rewrite.Resolve]) -> Message:
        raise ZeroDivisionError

    async def work(ends: Ends) -> None:
        ends.serve({rewrite.Rewrite: refuse, rewrite.Resolve: crash})
        client = ends.bus.client("svc")
        with pytest.raises(Refusal) as refusal:
            await client.call(ASK, rewrite.Rewritten)
        assert refusal.value.refused.code == 550
        with pytest.raises(Unavailable):
            await client.call(rewrite.Resolve(sender="", address="x"), rewrite.Resolved)

    run(work, tmp_path)


def test_who_is_not_in_the_table_is_forbidden(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        server = ends.serve({rewrite.Rewrite: _echo}, open_to_all=False)
        with pytest.raises(Forbidden):
            await ends.bus.client("svc").call(ASK, rewrite.Rewritten)
        assert server.refused == 1

    run(work, tmp_path)


def test_an_unknown_or_malformed_request_harms_nobody(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        ends.serve({rewrite.Rewrite: _echo})
        client = ends.bus.client("svc")
        with pytest.raises(Forbidden):
            await client.call(rewrite.Batch(), rewrite.Answers)
        lane = client._lane()
        for parts in (
            [b""],
            [b"Qxxxxxxxx"],
            [b"Q00000009", b"rewrite/1 Rewrite\n{"],
            [b"Czzzzzzzz", b"", b""],
            [b"\0" * 99],
        ):
            lane.send(parts)
        assert (await client.call(ASK, rewrite.Rewritten)).address == "a@b"

    run(work, tmp_path)


def test_an_upload_larger_than_the_window_arrives_whole_and_in_order(tmp_path: Path) -> None:
    async def take(request: Request[rewrite.Rewrite]) -> Message:
        data = b"".join([chunk async for chunk in request.chunks()])
        return rewrite.Rewritten(address=f"{len(data)} {data[:2].decode()} {data[-2:].decode()}")

    async def work(ends: Ends) -> None:
        ends.serve({rewrite.Rewrite: take})
        upload = ends.bus.client("svc").upload(ASK, rewrite.Rewritten)
        for number in range(100):
            await upload.send(b"%02d" % number * 1000)
        assert (await upload.finish()).address == "200000 00 99"

    run(work, tmp_path)


def test_an_upload_may_be_answered_early(tmp_path: Path) -> None:
    async def take(request: Request[rewrite.Rewrite]) -> Message:
        async for _ in request.chunks():
            return Refused(reason="too big")
        return Done()

    async def work(ends: Ends) -> None:
        ends.serve({rewrite.Rewrite: take})
        upload = ends.bus.client("svc").upload(ASK, rewrite.Rewritten)
        for _ in range(1000):
            if upload.answered:
                break
            await upload.send(b"x" * 100)
        assert upload.answered
        with pytest.raises(Refusal):
            await upload.finish()

    run(work, tmp_path)


def test_a_listing_is_streamed_with_credit(tmp_path: Path) -> None:
    sent = 0

    async def listing(request: Request[showq.List]) -> Message:
        nonlocal sent
        for number in range(200):
            entry = showq.Entry(
                queue_name="active", queue_id=str(number), arrival_time=0, message_size=0, sender="", recipients=()
            )
            await request.emit(entry)
            sent += 1
        return Done()

    async def work(ends: Ends) -> None:
        ends.serve({showq.List: listing})
        items: AsyncIterator[showq.Entry] = ends.bus.client("svc").listing(showq.List(), showq.Entry)
        first = await anext(items)
        assert first.queue_id == "0"
        for _ in range(50):
            await asyncio.sleep(0)
        assert sent < 40, "the callee ran ahead of its reader"
        assert [item.queue_id async for item in items] == [str(number) for number in range(1, 200)]

    run(work, tmp_path)


def test_a_leaving_worker_answers_what_it_has_and_others_take_over(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slow(request: Request[rewrite.Rewrite]) -> Message:
        await release.wait()
        return rewrite.Rewritten(address="first")

    async def work(ends: Ends) -> None:
        first = ends.serve({rewrite.Rewrite: slow})
        client = ends.bus.client("svc")
        waiting = asyncio.ensure_future(client.call(ASK, rewrite.Rewritten))
        await until(lambda: first.running > 0)
        first.leave()
        await until(lambda: not client.lanes)
        ends.serve({rewrite.Rewrite: _echo})
        assert (await client.call(ASK, rewrite.Rewritten)).address == "a@b"
        assert not first.idle
        release.set()
        assert (await waiting).address == "first"
        await until(lambda: first.idle)

    run(work, tmp_path)


def test_a_full_worker_invites_nobody_until_it_has_room(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        first = ends.serve({rewrite.Rewrite: _echo})
        first.accept(False)
        call = asyncio.ensure_future(ends.bus.client("svc").call(ASK, rewrite.Rewritten))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not call.done()
        first.accept(True)
        assert (await call).address == "a@b"

    run(work, tmp_path)


def test_the_end_of_a_worker_fails_what_was_asked_of_it_at_once(tmp_path: Path) -> None:
    async def forever(request: Request[rewrite.Rewrite]) -> Message:
        await asyncio.Event().wait()
        return Done()

    async def work(ends: Ends) -> None:
        server = ends.serve({rewrite.Rewrite: forever})
        call = asyncio.ensure_future(ends.bus.client("svc").call(ASK, rewrite.Rewritten))
        await until(lambda: server.running > 0)
        server.close()
        ends.servers.clear()
        with pytest.raises(Unavailable, match="ended"):
            await call

    run(work, tmp_path)


def test_the_end_of_a_caller_is_told_and_its_requests_are_dropped(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def forever(request: Request[rewrite.Rewrite]) -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Done()

    async def work(ends: Ends) -> None:
        server = ends.serve({rewrite.Rewrite: forever})
        gone: list[int] = []
        server.on_gone = lambda caller: gone.append(caller.pid)
        call = asyncio.ensure_future(ends.bus.client("svc").call(ASK, rewrite.Rewritten))
        await until(lambda: server.running > 0)
        ends.bus.client("svc").close()
        await cancelled.wait()
        assert gone == [os.getpid()]
        with pytest.raises(Unavailable):
            await call

    run(work, tmp_path)


def test_what_is_told_just_before_the_end_arrives(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        told: list[str] = []
        ends.serve({rewrite.Rewrite: lambda request: told.append(request.message.address)})
        client = ends.bus.client("svc")
        assert client.tell(ASK)
        await until(lambda: told == ["a@b"])
        for number in range(5):
            assert client.tell(rewrite.Rewrite(context="local", address=str(number)))
        ends.bus.close()
        await until(lambda: len(told) == 6)
        assert told == ["a@b", "0", "1", "2", "3", "4"]

    run(work, tmp_path)


def test_a_command_that_tells_and_ends_is_heard(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        told: list[str] = []
        client = ends.bus.client("svc")
        assert client.tell(ASK)
        # Nobody is there yet to say where the worker is.
        assert not await client.flushed(0.05)
        ends.serve({rewrite.Rewrite: lambda request: told.append(request.message.address)})
        assert await client.flushed(5)
        client.close()
        # The callee, another process in life, lets the caller in meanwhile: ending waits for that.
        await asyncio.to_thread(ends.bus.close)
        await until(lambda: told == ["a@b"])

    run(work, tmp_path)


def test_what_was_taken_arrives_in_order_though_the_worker_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubepost.common.bus.lane._HIGH_WATER", 20)
    monkeypatch.setattr("tubepost.common.bus.server._HIGH_WATER", 20)

    async def work(ends: Ends) -> None:
        told: list[int] = []
        server = ends.serve({rewrite.Rewrite: lambda request: told.append(int(request.message.address))})
        client = ends.bus.client("svc")
        assert client.tell(rewrite.Rewrite(context="local", address="0"))
        await until(lambda: told == [0])
        ends.server_bus.loop.remove_reader(server._fd)
        taken = [0]
        refused = 0
        number = 0
        while refused < 100:
            number += 1
            if client.tell(rewrite.Rewrite(context="local", address=str(number))):
                taken.append(number)
            else:
                refused += 1
                await asyncio.sleep(0)
        assert len(taken) > 20
        ends.server_bus.loop.add_reader(server._fd, server.drain)
        server.drain()
        await until(lambda: len(told) == len(taken))
        assert told == taken

    run(work, tmp_path)


def test_a_turn_of_the_loop_may_say_only_so_much(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        told: list[str] = []
        ends.serve({rewrite.Rewrite: lambda request: told.append(request.message.address)})
        client = ends.bus.client("svc")
        client.tell(ASK)
        await until(lambda: bool(told))
        taken = sum(client.tell(ASK) for _ in range(5000))
        assert taken == 4096
        await until(lambda: len(told) == 1 + taken)

    run(work, tmp_path)


def test_who_asks_without_a_task_is_answered_all_the_same(tmp_path: Path) -> None:
    async def answer(request: Request[rewrite.Rewrite]) -> Message:
        if request.message.address == "no":
            return Refused(reason="no")
        if request.message.address == "late":
            await asyncio.sleep(60)
        return rewrite.Rewritten(address=request.message.address)

    async def work(ends: Ends) -> None:
        ends.serve({rewrite.Rewrite: answer})
        client = ends.bus.client("svc")
        heard: list[str] = []
        future = client.ask(ASK, rewrite.Rewritten)
        future.add_done_callback(lambda done: heard.append(done.result().address))
        await until(lambda: heard == ["a@b"])
        with pytest.raises(Refusal):
            await client.ask(rewrite.Rewrite(context="local", address="no"), rewrite.Rewritten)
        late = client.ask(rewrite.Rewrite(context="local", address="late"), rewrite.Rewritten)
        await asyncio.sleep(0.01)
        ends.bus.close()
        with pytest.raises(Unavailable):
            await late

    run(work, tmp_path)


def test_who_asks_more_than_may_wait_is_told_by_the_future(tmp_path: Path) -> None:
    async def work(ends: Ends) -> None:
        client = ends.bus.client("svc")  # nobody serves
        asked = [client.ask(ASK, rewrite.Rewritten) for _ in range(4 * 4096 + 10)]
        await asyncio.sleep(0)
        assert sum(future.done() for future in asked) == 10
        ends.bus.close()
        for future in asked:
            assert isinstance(future.exception(), Unavailable)

    run(work, tmp_path)
