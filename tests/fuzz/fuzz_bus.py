"""Fuzzes what programs say to each other: frames of requests as a callee takes them, replies as a caller does.

The invariant: a request that is not what its model says is refused with a reason and reaches no handler; whatever a
caller sends, the server goes on, holds no more than a stream's window, and ends with nothing under way; a message that
was taken comes back the same when it is encoded and decoded again.

    python -m tests.fuzz bus -max_total_time=20
"""

import asyncio
import importlib
import pkgutil
from typing import Any
from unittest import mock

from tubepost.common import wire

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.system import log
from tubepost.common.bus import frames
from tubepost.common.bus.identity import Caller
from tubepost.common.bus.server import Request, Server, _Peer

from tests.fuzz.driver import Harness

MODELS: list[type[Message]] = sorted(
    {
        value
        for module in pkgutil.iter_modules(wire.__path__)
        for value in vars(importlib.import_module(f"tubepost.common.wire.{module.name}")).values()
        if isinstance(value, type) and issubclass(value, Message) and value is not Message
    },
    key=lambda model: (model.__module__, model.__name__),
)
NAMES = [frames.name_of(frames.protocol_of(model), model) for model in MODELS]
SEPARATOR = b"\n--\n"
WORDS = [
    SEPARATOR, *(b"%c0000000a" % kind for kind in b"QTUCEXLGKRFIB"),
    b"cleanup/1 Deposit\n", b"rewrite/1 Batch\n", b"delivery/1 Job\n", b"auth/1 Begin\n",
    b"anvil/1 Count\n", b"{", b"}",
    b'"', b":", b",", b"[", b"]",
    b"null", b"1e308", b"-1", b'{"address":"a@b"}', b'"envelope":', b'"\\ud800"', b"\0",
    b'{"sender":"","arrival_time":1}', b"\xff", b'"x":1', b"9" * 30, b"[" * 200, b"true", b"Q0000000b",
]  # fmt: skip


class _Socket:
    """Takes what is said to nobody."""

    closed = True


class Callee:
    """The server without ZeroMQ below it; what it says is collected."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handled: list[Message] = []
        self.said: list[bytes] = []
        server = self.server = Server.__new__(Server)
        server.loop = loop
        server._handlers = {
            name: (model, self._stream if number % 2 else self._now, bool(number % 2))
            for number, (name, model) in enumerate(zip(NAMES, MODELS, strict=True))
        }
        server._allowed = {name: frozenset(("smtpd",)) for name in NAMES}
        server._open_to_all = False
        server._peers = {}
        server._complained = {}
        server._said = []
        server.running = server.served = server.refused = 0
        server.on_change = lambda: None
        server._socket = _Socket()
        self.peer = _Peer(b"\0abcd", Caller("smtpd", "smtpd", 1, 2))
        server._peers[self.peer.routing] = self.peer
        server.send = self._send  # type: ignore[method-assign]

    def _send(self, peer: _Peer, kind: bytes, tag: bytes, part: bytes) -> None:
        self.said.append(kind + tag + part)

    def _now(self, request: Request[Any]) -> Message:
        self.handled.append(request.message)
        return Done()

    async def _stream(self, request: Request[Any]) -> Message:
        self.handled.append(request.message)
        size = 0
        async for chunk in request.chunks():
            size += len(chunk)
        return Refused(reason=f"{size}")


def serve(pieces: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    panics: list[str] = []
    try:
        with mock.patch.multiple(log, warning=lambda text: None, panic=panics.append):
            _serve(loop, pieces)
    finally:
        loop.close()
    assert not panics, panics


def _serve(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> None:
    callee = Callee(loop)
    server, peer = callee.server, callee.peer
    for number, piece in enumerate(pieces):
        if len(piece) < frames.HEAD:
            continue
        head, _, payload = piece.partition(b"\xf0")
        server._take(peer, head[:1], head[1 : frames.HEAD], head, [payload] if payload else [])
        if number % 3 == 0:
            loop.run_until_complete(asyncio.sleep(0))
    for request in tuple(peer.requests.values()):
        assert request._chunks is None or request._chunks.qsize() <= 2 * frames.WINDOW + 2, "chunks pile up"
        server._abandon(request)
    for task in (tasks := asyncio.all_tasks(loop)):
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
    assert server.running == 0
    for said in callee.said:
        assert said[:1] in (frames.REPLY, frames.FAILED, frames.CREDIT, frames.ITEM)
    for message in callee.handled:
        frame = frames.encode(message)
        assert frames.decode(frame, [type(message)]) == message


def check(settings: int, data: bytes) -> None:
    if settings & 64:
        serve(data.split(SEPARATOR)[:50])
        return
    model = MODELS[settings % len(MODELS)]
    try:
        message = frames.decode(data if settings & 32 else model.__name__.encode() + b"\n" + data, [model, Done])
    except ValueError:
        return
    assert frames.decode(frames.encode(message), [type(message)]) == message


_DEPOSIT = b'cleanup/1 Deposit\n{"envelope":{"sender":"a@b","arrival_time":1.5},"recipients":[{"address":"c@d"}]}'
HARNESS = Harness(
    check,
    WORDS,
    [
        b"\x40Q00000001" + _DEPOSIT + SEPARATOR + b"U00000002" + _DEPOSIT + SEPARATOR + b"C00000002\xf0abc" + SEPARATOR
        + b"E00000002" + SEPARATOR + b"X00000001" + SEPARATOR + b"G00000000",
        *(bytes((number,)) + b"{}" for number in range(32)),
    ],
)  # fmt: skip
