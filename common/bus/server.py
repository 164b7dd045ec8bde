"""The callee's side: one ROUTER on the inherited listening socket, handlers by message."""

import asyncio
import inspect
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import zmq
from pydantic import ValidationError

from tubepost.common.wire.base import Message
from tubepost.common.wire.programs import ALIASES, CALLS
from tubepost.common.system import log, memory
from tubepost.common.system.register import Register
from tubepost.common.bus import frames
from tubepost.common.bus.errors import Unavailable
from tubepost.common.bus.identity import DOMAIN, Caller, Gatekeeper, caller_of, identify

_HIGH_WATER = 4096
_QUESTIONS = frozenset({frames.CALL, frames.TELL, frames.UPLOAD, frames.LISTING})
# Of a request that may be over already: then nothing is wrong with them.
_FOLLOWING = frozenset({frames.CHUNK, frames.END, frames.CREDIT, frames.CANCEL})
_FIRST_OF_TWO = zmq.NOBLOCK | zmq.SNDMORE
# Wrong requests from one caller are logged this often (seconds); all are counted.
_COMPLAINT_INTERVAL = 10.0
# Callers invited in one turn of the loop.
_INVITATIONS = 16
# Requests taken in one turn of the loop: one caller that never stops must not keep us from all else.
_TURN = 1000
# What one connection may have under way here: far more than an honest caller has, whose sessions are bounded.
_REQUESTS_A_PEER = 10_000
_BYTES_A_PEER = 256 * 1024 * 1024
# The largest frame that is read at all; ZeroMQ ends the connection of who sends a larger one.
_LARGEST_FRAME = 32 * 1024 * 1024
# Lines of one process: its clients keep a few.
_LINES_A_CALLER = 256
# After the system had no descriptor for a new caller, seconds.
_BREATH = 1.0
# Messages may still be under way when the line of their sender has ended, seconds.
_LAST_WORDS = 0.2


AnyMessage = TypeVar("AnyMessage", bound=Message)


class _Peer:
    """One connection of a caller."""

    __slots__ = ("caller", "held", "program", "requests", "routing", "running", "told")

    def __init__(self, routing: bytes, caller: Caller) -> None:
        self.routing = routing
        self.caller = caller
        # Postfix's names of programs are the same rows of the table.
        self.program = ALIASES.get(caller.program, caller.program)
        self.requests: dict[bytes, Request[Any]] = {}
        self.told: set[Request[Any]] = set()
        """Hints under way, which have no number."""
        self.running = 0
        self.held = 0
        """Bytes of content that wait here."""


class Request(Generic[AnyMessage]):
    """One question, and what a handler needs to answer it."""

    __slots__ = (
        "_begun",
        "_chunks",
        "_credit",
        "_held",
        "_peer",
        "_server",
        "_task",
        "_waiter",
        "caller",
        "message",
        "payload",
        "tag",
    )

    def __init__(self, server: "Server", peer: _Peer, tag: bytes, message: AnyMessage, payload: list[bytes]) -> None:
        self._server = server
        self._peer = peer
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._chunks: asyncio.Queue[bytes | None] | None = None
        self._credit = frames.WINDOW
        self._held = sum(map(len, payload))
        self._waiter: asyncio.Future[None] | None = None
        self.caller = peer.caller
        self.tag = tag
        self.message = message
        self.payload = payload
        """The content that came with the question, as frames; empty when it follows in chunks."""

    @property
    def streamed(self) -> bool:
        """True when the content comes by ``chunks``."""
        return self._chunks is not None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content, a chunk at a time. The handler is cancelled when the caller dies or gives up."""
        if self._chunks is None:
            for part in self.payload:
                yield part
            return
        taken = 0
        while (chunk := await self._chunks.get()) is not None:
            self._hold(-len(chunk))
            yield chunk
            taken += 1
            if taken == frames.WINDOW // 2:
                self._server.send(self._peer, frames.CREDIT, self.tag, b"%d" % taken)
                taken = 0

    async def emit(self, *items: Message) -> None:
        """Send items of a listing; waits while the caller has not read what it was sent."""
        while self._credit <= 0:
            self._waiter = self._server.loop.create_future()
            await self._waiter
        self._credit -= 1
        lines = b"\n".join(type(item).__pydantic_serializer__.to_json(item) for item in items)
        self._server.send(self._peer, frames.ITEM, self.tag, lines)

    def _hold(self, size: int) -> None:
        self._held += size
        self._peer.held += size

    def _add_credit(self, count: int) -> None:
        # What a caller leaves unread is never more than a window, whatever it says.
        self._credit = min(self._credit + count, frames.WINDOW)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Handler = Callable[[Any], Message | Awaitable[Message | None] | None]


class Server:
    """Serves one program's conversations. ``handlers``: by message class; a plain function answers without a task."""

    def __init__(
        self,
        context: "zmq.Context[Any]",
        loop: asyncio.AbstractEventLoop,
        *,
        program: str,
        path: str,
        knock_fd: int,
        own_fd: int,
        protocol: str | Mapping[type[Message], str],
        handlers: Mapping[type[Message], Handler],
        register: Register | None,
        open_to_all: bool = False,
    ) -> None:
        self.loop = loop
        self._context = context
        self._path = path
        self._knocks = socket.socket(fileno=os.dup(knock_fd))
        self._knocks.setblocking(False)
        self._lines: dict[int, tuple[socket.socket, Caller]] = {}
        self._counts: dict[int, int] = {}
        """Lines by process."""
        self._register = register
        self._handlers: dict[bytes, tuple[type[Message], Handler, bool]] = {}
        for model, handler in handlers.items():
            name = frames.name_of(protocol if isinstance(protocol, str) else protocol[model], model)
            self._handlers[name] = (model, handler, inspect.iscoroutinefunction(handler))
        self._allowed = CALLS.get(ALIASES.get(program, program), {})
        self._open_to_all = open_to_all
        self._peers: dict[bytes, _Peer] = {}
        self._complained: dict[int, float] = {}
        self.running = 0
        """Requests under way."""
        self.served = 0
        self.refused = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called when ``running`` has changed."""
        self.on_gone: Callable[[Caller], None] = lambda caller: None
        """Called when a calling process has ended."""
        self._accepting = False
        self._draining = False
        self._said: list[tuple[bytes, bytes]] = []
        """Routing and frame, to go out at the end of this turn of the loop."""
        self.leaving = False
        self._gatekeeper = Gatekeeper(context, loop)
        router = self._socket = context.socket(zmq.ROUTER)
        router.linger = 1000
        router.sndhwm = router.rcvhwm = _HIGH_WATER
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.maxmsgsize = _LARGEST_FRAME
        router.zap_domain = DOMAIN
        # ZeroMQ closes what it is given to listen on.
        router.setsockopt(zmq.USE_FD, os.dup(own_fd))
        router.bind(f"ipc://{path}")
        self._fd = router.getsockopt(zmq.FD)
        loop.add_reader(self._fd, self.drain)
        self.accept(True)

    # -- connections -------------------------------------------------------------------------------------------------

    def accept(self, wanted: bool) -> None:
        """Invite new callers, or leave them to other workers. Those that are here are served on."""
        if wanted == self._accepting:
            return
        self._accepting = wanted
        if wanted:
            self.loop.add_reader(self._knocks.fileno(), self._invite)
        else:
            self.loop.remove_reader(self._knocks.fileno())

    def _invite(self) -> None:
        """Tell who knocked where this worker is; the connection stays as a line that tells of either side's end."""
        for _ in range(_INVITATIONS):
            if not self._accepting:
                return
            try:
                line, _address = self._knocks.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # The next turn would fail as well, and say so again.
                log.warning(f"cannot take a connection of a caller: {error.strerror}; waiting for {_BREATH:.0f} s")
                self.loop.remove_reader(self._knocks.fileno())
                self.loop.call_later(_BREATH, self._look_again)
                return
            try:
                line.setblocking(False)
                pid, uid, _gid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if self._counts.get(pid, 0) >= _LINES_A_CALLER:
                    self._complain(caller_of(uid, pid, self._register), f"more than {_LINES_A_CALLER} connections")
                    line.close()
                    continue
                line.send(self._path.encode() + b"\n")
            except OSError:
                line.close()  # gone already
                continue
            self._lines[line.fileno()] = line, caller_of(uid, pid, self._register)
            self._counts[pid] = self._counts.get(pid, 0) + 1
            self.loop.add_reader(line.fileno(), self._line_ended, line.fileno())

    def _look_again(self) -> None:
        if self._accepting:
            self.loop.add_reader(self._knocks.fileno(), self._invite)

    def _line_ended(self, fd: int) -> None:
        line, caller = self._lines[fd]
        try:
            if line.recv(64):
                return  # nothing is to be said here
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop_line(fd)
        self.drain()  # what it said last comes first, and may still be on its way
        self.loop.call_later(_LAST_WORDS, self._check_gone, caller)
        self.on_change()

    def _drop_line(self, fd: int) -> None:
        line, _ = self._lines.pop(fd)
        self.loop.remove_reader(fd)
        line.close()

    def _check_gone(self, caller: Caller) -> None:
        """A line has ended; was it the last one of its process, then that has as well, or all that it wanted."""
        if self._socket.closed:
            return
        if left := self._counts.pop(caller.pid) - 1:
            self._counts[caller.pid] = left
            return
        self.drain()
        for routing, peer in tuple(self._peers.items()):
            if peer.caller.pid == caller.pid:
                del self._peers[routing]
                for request in (*peer.requests.values(), *peer.told):
                    self._abandon(request)
        self.on_gone(caller)
        self.on_change()

    def _new_peer(self, routing: bytes, frame: "zmq.Frame") -> _Peer | None:
        # An id of the peer's own choosing could be that of another: only ZeroMQ's own (zero byte first) are taken.
        try:
            caller = identify(str(frame.get("User-Id")), self._register)
        except (ValueError, zmq.ZMQError):
            self.refused += 1
            return None
        if routing[:1] != b"\0":
            self._complain(caller, "it named its connection itself")
            return None
        # Of who did not knock nobody tells the end: all of those together are as many as one that did.
        knocked = caller.pid in self._counts
        others = [
            peer
            for peer in self._peers.values()
            if (peer.caller.pid == caller.pid if knocked else peer.caller.pid not in self._counts)
        ]
        if len(others) >= _LINES_A_CALLER:
            idle = next((peer for peer in others if not peer.running), None)
            if idle is None:
                self._complain(caller, f"more than {_LINES_A_CALLER} connections")
                return None
            # Should it still be there, it is known anew when it asks again.
            del self._peers[idle.routing]
        peer = self._peers[routing] = _Peer(routing, caller)
        if self.leaving:
            # It was invited before that.
            self.send(peer, frames.LEAVING, b"00000000", b"")
        return peer

    def _forget(self, peer: _Peer) -> None:
        """The caller said its last word on this connection; answers that are due still go out."""
        if self._peers.pop(peer.routing, None) is not None:
            self.on_change()

    @property
    def connections(self) -> int:
        return len(self._peers)

    # -- requests ----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take every request that is there, or so many that the rest can wait for the next turn."""
        router = self._socket
        receive = router.recv
        peers = self._peers
        for _ in range(_TURN):
            if router.closed:
                return
            try:
                routing = receive(zmq.NOBLOCK)
            except zmq.Again:
                return
            peer = peers.get(routing)
            if peer is None:
                # Who this is stands with the message; the frames behind the first have it too.
                frame = receive(zmq.NOBLOCK, copy=False)
                peer = self._new_peer(routing, frame)
                first = bytes(frame.bytes)
            else:
                first = receive(zmq.NOBLOCK)
            payload = router.recv_multipart(zmq.NOBLOCK) if router.getsockopt(zmq.RCVMORE) else []
            if peer is None:
                continue
            if len(first) >= frames.HEAD:
                self._take(peer, first[:1], first[1 : frames.HEAD], first, payload)
            else:
                self._complain(peer.caller, "what it said is no request")
        if not self._draining:
            self._draining = True
            self.loop.call_soon(self._drain_on)

    def _drain_on(self) -> None:
        self._draining = False
        if not self._socket.closed:
            self.drain()

    def _take(self, peer: _Peer, kind: bytes, tag: bytes, first: bytes, payload: list[bytes]) -> None:
        if kind in _QUESTIONS:
            self._begin(peer, kind, tag, first, payload)
            return
        if kind == frames.GOODBYE:
            self._forget(peer)
            return
        if kind not in _FOLLOWING:
            self._complain(peer.caller, "what it said is no request")
            return
        request = peer.requests.get(tag)
        if request is None:
            return
        if kind == frames.CHUNK and request._chunks is not None and len(payload) == 1:
            # A caller that ignores its credit is not let fill our memory.
            size = len(payload[0])
            if (
                request._chunks.qsize() > 2 * frames.WINDOW
                or size > 2 * frames.CHUNK_SIZE
                or peer.held + size > _BYTES_A_PEER
            ):
                self._complain(peer.caller, "sent more than it was allowed to")
                self._abandon(request)
            else:
                request._hold(size)
                request._chunks.put_nowait(payload[0])
        elif kind == frames.END and request._chunks is not None:
            request._chunks.put_nowait(None)
        elif kind == frames.CREDIT and first[frames.HEAD :].isdigit():
            request._add_credit(int(first[frames.HEAD : frames.HEAD + 4]))
        elif kind == frames.CANCEL:
            self._abandon(request)

    def _begin(self, peer: _Peer, kind: bytes, tag: bytes, first: bytes, payload: list[bytes]) -> None:
        name, text = frames.split(first[frames.HEAD :])
        known = self._handlers.get(name)
        if known is None:
            self._reject(peer, kind, tag, f"no request {name[:80].decode('ascii', 'replace')!r} is answered here")
            return
        if not self._open_to_all and peer.program not in self._allowed.get(name, ()):
            self._reject(peer, kind, tag, f"{peer.caller.program} may not ask {name.decode()}")
            return
        model, handler, is_async = known
        try:
            message = model.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, fault["loc"]))
            self._reject(peer, kind, tag, f"malformed {name.decode()}: {where}: {fault['msg']}")
            return
        if peer.running >= _REQUESTS_A_PEER or peer.held + sum(map(len, payload)) > _BYTES_A_PEER:
            self._reject(peer, kind, tag, "too much is under way for this connection")
            return
        if tag in peer.requests:
            self._reject(peer, kind, tag, "this number is in use")
            return
        self.served += 1
        request: Request[Any] = Request(self, peer, tag, message, payload)
        if kind == frames.UPLOAD:
            request._chunks = asyncio.Queue()
        if not is_async:
            self._answer_now(peer, kind, tag, request, handler)
            return
        if kind == frames.TELL:
            peer.told.add(request)
        else:
            peer.requests[tag] = request
        self.running += 1
        peer.running += 1
        peer.held += request._held
        request._task = self.loop.create_task(self._answer(peer, kind, tag, request, handler))
        self.on_change()

    def _answer_now(self, peer: _Peer, kind: bytes, tag: bytes, request: "Request[Any]", handler: Handler) -> None:
        try:
            reply = handler(request)
        except Exception as error:
            self._crashed(peer, kind, tag, request, error)
            return
        assert not isinstance(reply, Awaitable)
        self._reply(peer, kind, tag, request, reply)

    def _reply(self, peer: _Peer, kind: bytes, tag: bytes, request: "Request[Any]", reply: Message | None) -> None:
        if kind == frames.TELL:
            return
        if reply is None:
            # A hint, that was put as a question.
            self._reject(peer, kind, tag, f"{type(request.message).__name__} is not answered")
            return
        self.send(peer, frames.REPLY, tag, frames.encode(reply))

    async def _answer(self, peer: _Peer, kind: bytes, tag: bytes, request: "Request[Any]", handler: Handler) -> None:
        request._begun = True
        try:
            self._reply(peer, kind, tag, request, await handler(request))  # type: ignore[misc]
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._crashed(peer, kind, tag, request, error)
        finally:
            self._over(request)

    def _over(self, request: "Request[Any]") -> None:
        peer = request._peer
        peer.told.discard(request)
        if peer.requests.get(request.tag) is request:
            del peer.requests[request.tag]
        peer.running -= 1
        request._hold(-request._held)
        self.running -= 1
        self.on_change()

    def _crashed(self, peer: _Peer, kind: bytes, tag: bytes, request: "Request[Any]", error: Exception) -> None:
        what = type(request.message).__name__
        if isinstance(error, MemoryError):
            memory.end()
        if isinstance(error, (Unavailable, OSError)):
            log.warning(f"{what} from {peer.caller.program}: {error}")
            why = f"unavailable: {error}"
        else:
            log.panic(f"{what} from {peer.caller.program}: {log.describe(error)}")
            why = "unavailable: internal error, see the log"
        if kind != frames.TELL:
            self.send(peer, frames.FAILED, tag, why.encode("utf-8", "replace"))

    def _reject(self, peer: _Peer, kind: bytes, tag: bytes, why: str) -> None:
        self._complain(peer.caller, why)
        if kind != frames.TELL:
            self.send(peer, frames.FAILED, tag, why.encode())

    def _complain(self, caller: Caller, why: str) -> None:
        self.refused += 1
        now = time.monotonic()
        pid = caller.pid
        if now - self._complained.get(pid, -_COMPLAINT_INTERVAL) >= _COMPLAINT_INTERVAL:
            if len(self._complained) > 1000:
                self._complained.clear()
            self._complained[pid] = now
            log.warning(f"request refused: {why} (process {pid}, uid {caller.uid})")

    def _abandon(self, request: "Request[Any]") -> None:
        if request._task is not None:
            request._task.cancel()
            if not request._begun:
                # Nothing of it will ever run.
                self._over(request)

    def send(self, peer: _Peer, kind: bytes, tag: bytes, part: bytes) -> None:
        """At the end of this turn of the loop: the answers of one turn wake ZeroMQ's thread, and the caller, once.

        Never waits: an answer that its caller does not read (or is gone) is dropped.
        """
        if not self._said:
            self.loop.call_soon(self._turn)
        self._said.append((peer.routing, kind + tag + part))

    def _turn(self) -> None:
        if not self._socket.closed:
            self._hand_over()
            # Sending can swallow the descriptor's edge for a request that is already here.
            self.drain()

    def _hand_over(self) -> None:
        said, self._said = self._said, []
        send = self._socket.send
        for routing, frame in said:
            try:
                send(routing, _FIRST_OF_TWO)
                send(frame, zmq.NOBLOCK)
            except zmq.ZMQError:
                continue

    # -- leaving -----------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Invite nobody and ask every caller to go elsewhere; ``idle`` tells when all have."""
        self.leaving = True
        self.accept(False)
        for peer in self._peers.values():
            self.send(peer, frames.LEAVING, b"00000000", b"")

    @property
    def idle(self) -> bool:
        """Nothing under way, and (once leaving) no caller that could still ask."""
        return self.running == 0 and not (self.leaving and self._lines)

    def close(self) -> None:
        self.accept(False)
        self._hand_over()  # before the lines end: an end says that no answer comes any more
        self._knocks.close()
        for fd in tuple(self._lines):
            self._drop_line(fd)
        self.loop.remove_reader(self._fd)
        self._gatekeeper.close()
        self._socket.close()
