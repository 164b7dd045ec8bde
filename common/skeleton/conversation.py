"""One client of imapd, pop3d or lmtpd, served by one task; and the program that has many of them.

    class Session(Conversation):
        async def converse(self) -> str:            # the whole session; it raises Gone when the client is
            while True:
                …take what is there…
                await self.more_input()

The task reads what came, works and answers; meanwhile the client's octets are kept up to a limit, and above that it is
not read from. A client that has proven nothing yet makes way for others when all slots are taken (``crowd``).
"""

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from tubepost.common.system import log
from tubepost.common.net.streams import Channel
from tubepost.common.net.tls import HandshakeError
from tubepost.common.skeleton import stream
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tls import ServerTls


class Gone(Exception):
    """The client is."""


class Host(Protocol):
    """The program, as far as each of its sessions knows it."""

    process: Process
    tls: ServerTls

    def forget(self, session: Any) -> None:
        """The session is over."""


class Conversation(Channel):
    """Subclass it: ``converse``, ``received``, ``flush``, and of the others what is to be another way."""

    ahead: ClassVar[int] = 64 * 1024
    """Octets of input that wait while something is done; of a client that sends more nothing is read."""
    server: Host

    def __init__(self, server: Host, peer: stream.Peer) -> None:
        super().__init__()
        self.server = server
        self.peer = peer
        self.leaving = False
        """The program is to end: the session as well, when it can."""
        self.crowded_out = False
        self.timed_out = False
        self._input: asyncio.Future[None] | None = None
        """The task waits for input."""
        self._reading = True
        self._silent_since = self.loop.time()
        self._alive = False

    # For subclasses

    async def converse(self) -> str:
        """From the greeting to the end. Returns why it ended, nothing when as the client wished. Raises Gone."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what was said and not written yet."""
        raise NotImplementedError

    def settle(self, reason: str) -> None:
        """The connection is over: give back what the session has. ``reason``: why it ended, nothing: as wished."""

    def break_down(self) -> None:
        """Tell the client of an error in the program."""

    def say_full(self) -> None:
        """Tell the client, who was silent, that it has to make way."""

    @property
    def has_proven(self) -> bool:
        """Whoever has makes way for nobody."""
        return False

    def hold_input(self) -> None:
        """More than ``ahead`` waits: read no more until the task wants to, unless it waits for just that."""
        if self._reading and self._input is None and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    async def more_input(self) -> None:
        """Wait for what the client sends next, for ``leave``, or for the end of the connection."""
        if not self._reading and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
        if self.closed:
            return
        self._input = self.loop.create_future()
        try:
            await self._input
        finally:
            self._input = None

    def wake_up(self) -> None:
        """The task looks again, if it waits for input."""
        if self._input is not None and not self._input.done():
            self._input.set_result(None)

    async def drained(self) -> None:
        """Wait while the client is slow. Raises Gone."""
        try:
            await self.drain()
        except ConnectionError:
            raise Gone from None

    # The connection

    @property
    def client(self) -> str:
        """For the log."""
        return f"unknown[{self.peer.address}]"

    @property
    def who(self) -> str:
        """For the log: the user, where there is one."""
        return self.client

    @property
    def address(self) -> str:
        return self.peer.address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._alive:
            self._alive = True
            self.server.process.spawn(self.loop.create_task(self._live()))

    def handshake_failed(self, error: HandshakeError) -> None:
        """TLS from the beginning did not come about."""
        self.server.tls.failed(self.client, error)
        self.server.forget(self)

    def connection_lost(self, exc: Exception | None) -> None:
        lingered = self.lingering
        super().connection_lost(exc)
        if lingered:
            # The slot was its until the client had taken the last words: what waits for it is held here.
            self.server.forget(self)

    def lost(self, timed_out: bool) -> None:
        self.timed_out = timed_out
        self.wake_up()

    def leave(self) -> None:
        """The program is to end: the session ends when it waits for input, or comes to do so."""
        self.leaving = True
        self.wake_up()
        if self.lingering:
            self.abort()

    # Making way

    @property
    def idle(self) -> tuple[int, float] | None:
        """See ``crowd.Guest``."""
        waits = self._input is not None or self._handshaking or self._transport is None
        if not waits or self.closed or self.crowded_out or self.has_proven:
            return None
        return 0, self._silent_since

    def make_way(self) -> None:
        """All slots are taken."""
        self.crowded_out = True
        if self._input is not None and not self._paused:
            self.say_full()
        elif self._transport is not None:
            self._transport.abort()

    # Life

    async def _live(self) -> None:
        reason = ""
        try:
            reason = await self.converse()
        except Gone:
            reason = "timeout" if self.timed_out else "lost connection"
        except Exception as error:
            log.panic(f"{self.who}: {type(error).__name__}: {error}")
            self.break_down()
            reason = "internal error"
        finally:
            self.flush()
            if not self.closed:
                self.finish()
            try:
                self.settle(reason)
            except Exception as error:
                log.panic(f"{self.who}: at the end: {type(error).__name__}: {error}")
            if not self.lingering:
                self.server.forget(self)


S = TypeVar("S", bound=Conversation)


class Server(stream.Service, Generic[S]):
    """Subclass it: ``session`` makes one. ``open`` sets ``tls``."""

    tls: ServerTls

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.sessions: set[S] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None

    def session(self, peer: stream.Peer) -> S:
        raise NotImplementedError

    def connected(self, peer: stream.Peer) -> asyncio.Protocol:
        session = self.session(peer)
        self.sessions.add(session)
        return session

    def forget(self, session: S) -> None:
        """The session is over."""
        self.sessions.discard(session)
        self.ended()

    @property
    def guests(self) -> set[S]:
        return self.sessions

    def wrapping(self) -> tuple[ssl.SSLContext | None, float] | None:
        return self.tls.wrapping()

    @property
    def busy(self) -> bool:
        return bool(self._background)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """What is done after a client was answered; the program does not end before it is."""
        task = self.process.loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def end_sessions(self, when: asyncio.Event) -> None:
        """Let the sessions leave once the event comes (``process.stopping``, ``process.hurried``)."""
        self._ending = self.process.loop.create_task(self._end(when))

    async def _end(self, when: asyncio.Event) -> None:
        await when.wait()
        self.ending()
        for session in tuple(self.sessions):
            session.leave()

    def ending(self) -> None:
        """The time has come."""

    async def close(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        if self._background:
            await asyncio.wait(self._background)
