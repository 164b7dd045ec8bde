"""The conversation that imapd, pop3d and lmtpd share: input held back, leaving, making way, and its end."""

import asyncio
import contextlib
import socket
import weakref
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tubepost.common.net.streams import Channel
from tubepost.common.skeleton.conversation import Conversation, Gone
from tubepost.common.skeleton.stream import Peer

from tests.fakes.imap import Transport


class Echo(Conversation):
    """Answers each piece with itself; ``stop`` ends it, ``fail`` is an error of the program."""

    ahead = 10

    def __init__(self, server: Any) -> None:
        super().__init__(server, Peer("192.0.2.1", 4000, "127.0.0.1", 25, 2))
        self.waiting: list[bytes] = []
        self.may_go_on = asyncio.Event()
        self.reasons: list[str] = []
        self.proven = False

    @property
    def has_proven(self) -> bool:
        return self.proven

    def received(self, data: bytes) -> None:
        self.waiting.append(data)
        if sum(map(len, self.waiting)) > self.ahead:
            self.hold_input()
        self.wake_up()

    def flush(self) -> None:
        pass

    def say_full(self) -> None:
        self.write(b"full")
        self.leave()

    def break_down(self) -> None:
        self.write(b"broken")

    def settle(self, reason: str) -> None:
        self.reasons.append(reason)

    async def converse(self) -> str:
        while True:
            while not self.waiting:
                if self.closed or self.leaving:
                    raise Gone
                await self.more_input()
            data = self.waiting.pop(0)
            if data == b"stop":
                return ""
            if data == b"fail":
                raise RuntimeError("as asked")
            if data == b"work":
                await self.may_go_on.wait()
            self.write(data)


def _begin() -> tuple[Echo, Transport, list[Any]]:
    forgotten: list[Any] = []
    server = SimpleNamespace(process=SimpleNamespace(spawn=lambda _: None), tls=None, forget=forgotten.append)
    session = Echo(cast(Any, server))
    transport = Transport()
    session.connection_made(transport)
    return session, transport, forgotten


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_client_that_sends_ahead_is_not_read_from_until_the_task_wants_more() -> None:
    async def go() -> None:
        session, transport, _ = _begin()
        await _settle()
        session.data_received(b"work")
        await _settle()
        session.data_received(b"0123456789")
        assert not transport.paused
        session.data_received(b"more")
        assert transport.paused
        session.may_go_on.set()
        await _settle()
        assert not transport.paused and bytes(transport.sent) == b"work0123456789more"

    asyncio.run(go())


def test_a_large_piece_that_is_waited_for_holds_nothing_back() -> None:
    async def go() -> None:
        session, transport, _ = _begin()
        await _settle()
        session.data_received(b"x" * 100)
        assert not transport.paused

    asyncio.run(go())


def test_how_it_ends() -> None:
    async def go() -> None:
        for data, reason, said in ((b"stop", "", b""), (b"fail", "internal error", b"broken")):
            session, transport, forgotten = _begin()
            await _settle()
            session.data_received(data)
            await _settle()
            assert session.reasons == [reason] and bytes(transport.sent) == said
            assert transport.closing and forgotten == [session]
        session, _, forgotten = _begin()
        await _settle()
        session.connection_lost(None)
        await _settle()
        assert session.reasons == ["lost connection"] and forgotten == [session]

    asyncio.run(go())


def test_the_time_is_up() -> None:
    async def go() -> None:
        session, _, _ = _begin()
        await _settle()
        session._lose(True)
        await _settle()
        assert session.reasons == ["timeout"]

    asyncio.run(go())


def test_who_has_proven_nothing_makes_way_and_who_works_is_not_asked() -> None:
    async def go() -> None:
        session, transport, forgotten = _begin()
        await _settle()
        assert session.idle is not None
        session.proven = True
        assert session.idle is None
        session.proven = False
        session.make_way()
        await _settle()
        assert bytes(transport.sent) == b"full" and forgotten == [session]
        session, transport, _ = _begin()
        await _settle()
        session.data_received(b"work")
        await _settle()
        assert session.idle is None

    asyncio.run(go())


def test_a_connection_that_is_lost_is_not_held() -> None:
    """That of TLS has a quarter of a MiB of buffers."""

    async def go() -> None:
        session, transport, _ = _begin()
        await _settle()
        left = weakref.ref(transport)
        session.connection_lost(None)
        del transport
        await _settle()
        assert session.closed and session.transport is None and left() is None
        # Whatever comes to be said is for nobody.
        session.write(b"too late")
        session.finish()
        session.abort()

    asyncio.run(go())


def test_who_does_not_take_the_last_words_keeps_the_slot_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a client has as many connections, each with what waits for it, as it likes: none would be counted."""

    def finish(session: Echo) -> None:
        Channel.finish(session, 0.2)

    monkeypatch.setattr(Echo, "finish", finish)

    async def go() -> None:
        loop = asyncio.get_running_loop()
        for reads in (False, True):
            forgotten: list[Any] = []
            over = asyncio.Event()
            server = SimpleNamespace(process=SimpleNamespace(spawn=lambda _: None), tls=None)
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            transport, session = await loop.connect_accepted_socket(partial(Echo, server), ours)

            def forget(session: Echo, forgotten: list[Any] = forgotten, over: asyncio.Event = over) -> None:
                forgotten.append(session)
                over.set()

            server.forget = forget
            # More than the kernel takes, and not so much that the session waits.
            while not transport.get_write_buffer_size():
                transport.write(b"x" * 65536)
            assert not session._paused
            session.data_received(b"stop")
            await _settle()
            assert session.reasons == [""], "what it had is given back at once"
            assert forgotten == []
            if reads:
                with contextlib.suppress(BlockingIOError):
                    while theirs.recv(1 << 20):
                        pass
            began = loop.time()
            await over.wait()
            took = loop.time() - began
            assert forgotten == [session]
            assert took < 0.15 if reads else 0.15 < took < 5
            assert session._timer is None
            theirs.close()

    asyncio.run(go())


def test_a_session_that_cannot_give_back_what_it_has_gives_back_its_slot() -> None:
    async def go() -> None:
        session, transport, forgotten = _begin()
        await _settle()

        def settle(reason: str) -> None:
            raise RuntimeError("as asked")

        session.settle = settle  # type: ignore[method-assign]
        session.data_received(b"stop")
        await _settle()
        assert transport.closing
        assert forgotten == [session]

    asyncio.run(go())
