"""Serves clients of TCP (smtpd) or of a UNIX socket (authclient). Many sessions a process; a full one leaves new
connections to others or in the backlog, and where all are full lets silent ones make way (``crowd``).
"""

import _socket
import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from tubepost.common.mail.network import network_of
from tubepost.common.system import log
from tubepost.common.net.tls import SHUTDOWN_TIMEOUT, HandshakeError, handshake_error
from tubepost.common.skeleton import crowd, process

# Connections taken in one turn of the loop, so that a flood does not starve the sessions that are there.
_ACCEPT_BURST = 16
_AF_INET6 = int(socket.AF_INET6)
_AF_UNIX = int(socket.AF_UNIX)
_ANY = frozenset({"0.0.0.0", "::"})
# While clients wait for a slot it is looked this often who makes way and who waits for too long, seconds.
_CROWD_TICK = 0.1
# How often at most the log says how many were turned away, seconds.
_CROWD_LOG = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, and to which of our addresses."""

    address: str
    port: int
    local_address: str
    local_port: int
    family: int


class Service(process.Service):
    """Subclass it: ``connected`` returns the protocol that serves a client.

    The protocol calls ``ended`` exactly once, when its connection is over and all that it owes to others is done.
    """

    stays: ClassVar[bool] = False
    ended: Callable[[], None]

    def connected(self, peer: Peer) -> asyncio.Protocol:
        raise NotImplementedError

    @property
    def guests(self) -> Collection[crowd.Guest]:
        """All sessions, where silent ones may have to make way."""
        return ()

    @property
    def farewell(self) -> bytes | None:
        """What a client is told for which there is no slot, in the clear; empty: it is left without a word. None: it
        waits in the kernel's backlog.
        """
        return None

    def wrapping(self) -> tuple[ssl.SSLContext | None, float] | None:
        """Where TLS begins with the connection: the context, and the seconds that the handshake may take. The protocol
        of ``connected`` is then a ``Wrapped``.
        """
        return None


class Wrapped(Protocol):
    """What a protocol needs besides where TLS begins with the connection."""

    def handshake_failed(self, error: HandshakeError) -> None:
        """Called instead of connection_made; ``ended`` is still to be called."""


class _Accepted(socket.socket):
    """A connection whose family and type are plain numbers: making enums of them, again and again as the event loop
    asks, took longer than accept itself.
    """

    family = _socket.socket.family  # type: ignore[assignment]
    type = _socket.socket.type  # type: ignore[assignment]


class StreamLoop:
    """Accepts, counts, and stops accepting."""

    stays = False

    def __init__(self, process: process.Process, service: Service) -> None:
        self.service = service
        self._process = process
        self._loop = process.loop
        self._limit = process.config.client_limit
        self._sockets: list[socket.socket] = []
        self._beginning: dict[int, asyncio.Task[None]] = {}
        self._bound: dict[int, tuple[str, int]] = {}
        self._accepting = False
        self._changed: Callable[[], None] = lambda: None
        self.sessions = 0
        self.served = 0
        self._left = False
        self._wanted = False
        self._shaking: dict[object, asyncio.Timeout] = {}
        """Sessions whose TLS has not begun yet."""
        self._room = crowd.Room(process.config.overload_waiting_limit)
        self._asked: set[crowd.Guest] = set()
        """Sessions that were told to make way, and have not ended yet."""
        self._pace = crowd.Pace(self._limit)
        self._crowd_timer: asyncio.TimerHandle | None = None
        self._crowd_logged = 0.0
        self._turned_away = self._made_way = 0
        service.ended = self._ended
        process.on_crowd.append(self._look_at_doors)

    def start(self) -> None:
        birth = self._process.birth
        # A UNIX service has a second socket, for callers on the bus, who do not come here.
        for fd in birth.sockets[:1] if birth.kind == "unix" else birth.sockets:
            listener = socket.socket(fileno=fd)
            listener.setblocking(False)
            self._sockets.append(listener)
            self._bound[listener.fileno()] = listener.getsockname()[:2]
        self.accept(True)

    def on_change(self, callback: Callable[[], None]) -> None:
        self._changed = callback

    def accept(self, wanted: bool) -> None:
        self._wanted = wanted
        self._look_at_doors()

    def _look_at_doors(self) -> None:
        wanted = self._wanted or (self._takes_crowd and not self._left)
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for listener in self._sockets:
            if wanted:
                self._loop.add_reader(listener.fileno(), self._take, listener)
            else:
                self._loop.remove_reader(listener.fileno())

    def _take(self, listener: socket.socket) -> None:
        family = int(listener.family)
        bound = self._bound[listener.fileno()]
        for _ in range(_ACCEPT_BURST):
            if not self._accepting or (self.full and not self._takes_crowd):
                break
            try:
                fd, address = listener._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                log.warning(f"cannot accept a connection: {error}")
                self._pause()
                break
            # The event loop makes it non-blocking.
            connection = _Accepted(family, socket.SOCK_STREAM, 0, fd)
            if self.full:
                self._let_wait(connection, address, bound)
            else:
                self._admit(connection, address, bound)
        if self._room:
            self._tend_crowd()

    def _pause(self) -> None:
        self._accepting = False
        for listener in self._sockets:
            self._loop.remove_reader(listener.fileno())
        self._loop.call_later(1.0, self._look_at_doors)

    def _admit(self, connection: socket.socket, address: tuple[str, int], bound: tuple[str, int]) -> None:
        self.sessions += 1
        self.served += 1
        if self.full:
            self._changed()
        # Held here, as the event loop holds no task; it takes itself out.
        number = self.served
        self._beginning[number] = self._loop.create_task(self._begin(number, connection, address, bound))

    # When nobody has room

    @property
    def _takes_crowd(self) -> bool:
        process = self._process
        return process.crowded and process.config.overload_wait_time > 0 and self.service.farewell is not None

    def _let_wait(self, connection: socket.socket, address: tuple[str, int], bound: tuple[str, int]) -> None:
        client = address[0].removeprefix("::ffff:")
        waiting = crowd.Waiting(connection, client, self._loop.time(), lambda: self._admit(connection, address, bound))
        gone = self._room.enter(waiting)
        if gone is not None:
            self._turn_away(gone)

    def _tend_crowd(self) -> None:
        """Who waits gets a slot, or is told after a while that there is none."""
        if self._crowd_timer is not None:
            self._crowd_timer.cancel()
            self._crowd_timer = None
        service, now, config = self.service, self._loop.time(), self._process.config
        for late in self._room.late(now - config.overload_wait_time):
            self._turn_away(late)
        self._give_slots()
        guests = service.guests
        self._asked.intersection_update(guests)
        grace = crowd.grace_of(config.overload_grace_time, len(self._room), self._room.limit)
        while len(self._asked) < len(self._room):
            others = (guest for guest in guests if guest not in self._asked)
            victim = crowd.pick_victim(others, now, config.overload_grace_time, grace)
            if victim is None or not self._pace.take(now, grace):
                break
            self._asked.add(victim)
            self._made_way += 1
            shaking = self._shaking.get(victim)
            if shaking is None:
                victim.make_way()
            elif not shaking.expired():
                shaking.reschedule(now)
        self._give_slots()
        self._tell_of_crowd(now)
        if self._room:
            self._crowd_timer = self._loop.call_later(_CROWD_TICK, self._tend_crowd)

    def _give_slots(self) -> None:
        while self._room and not self.full and not self._left:
            held = Counter(network_of(guest.address) for guest in self.service.guests)
            waiting = self._room.next(held)
            assert waiting is not None
            waiting.begin()

    def _turn_away(self, waiting: crowd.Waiting) -> None:
        self._turned_away += 1
        crowd.turn_away(waiting.connection, self.service.farewell or b"")

    def _tell_of_crowd(self, now: float) -> None:
        if (self._turned_away or self._made_way) and now - self._crowd_logged >= _CROWD_LOG:
            self._crowd_logged = now
            log.warning(
                f"all {self._limit} slots of this process are taken, and no other has room: {self._made_way} silent "
                f"clients made way, {self._turned_away} new ones were told to come again later"
            )
            self._turned_away = self._made_way = 0

    async def _begin(
        self, number: int, connection: socket.socket, address: tuple[str, int], bound: tuple[str, int]
    ) -> None:
        try:
            if connection.family == _AF_UNIX:
                unix = self.service.connected(Peer("", 0, "", 0, _AF_UNIX))
                await self._loop.connect_accepted_socket(lambda: unix, connection)
                return
            client, port = address[:2]
            # A socket that listens on one address need not be asked which of ours the client came to.
            host, local_port = bound if bound[0] not in _ANY else connection.getsockname()[:2]
            family = connection.family
            if family == _AF_INET6:
                if client.startswith("::ffff:"):
                    # A mapped IPv4 client is an IPv4 client to every table and log.
                    client = client[7:]
                    host = host.removeprefix("::ffff:")
                client = client.partition("%")[0]
            wrapping = self.service.wrapping()
            protocol = self.service.connected(Peer(client, port, host, local_port, family))
            if wrapping is None:
                await self._loop.connect_accepted_socket(lambda: protocol, connection)
            else:
                await self._wrap(connection, protocol, *wrapping)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, OSError):
                log.debug(f"connection ended before it began: {error}")
            else:
                log.panic(f"a session cannot begin: {type(error).__name__}: {error}")
            connection.close()
            self._ended()
        finally:
            del self._beginning[number]

    async def _wrap(
        self, connection: socket.socket, protocol: asyncio.Protocol, context: ssl.SSLContext | None, limit: float
    ) -> None:
        """TLS from the first byte on: there is no moment at which one could be read in the clear."""
        try:
            if context is None:
                connection.close()
                raise HandshakeError("no certificate can be used")
            async with asyncio.timeout(limit) as deadline:
                self._shaking[protocol] = deadline
                await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=context,
                    ssl_handshake_timeout=limit + 5,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
                )
        except (OSError, HandshakeError) as error:
            connection.close()
            why = error if isinstance(error, HandshakeError) else handshake_error(error)
            cast("Wrapped", protocol).handshake_failed(why)
        finally:
            self._shaking.pop(protocol, None)

    def _ended(self) -> None:
        self.sessions -= 1
        if self._room:
            # Before anybody is told that there is room: it is taken.
            self._give_slots()
        self._changed()

    @property
    def used(self) -> int:
        return self.served

    @property
    def full(self) -> bool:
        return self.sessions >= self._limit

    @property
    def idle(self) -> bool:
        return self.sessions == 0 and not self.service.busy

    def leave(self) -> None:
        self._left = True
        self.accept(False)
        for waiting in self._room.all():
            self._turn_away(waiting)
        # Closed, not only left alone: sessions may last, and the port must not stay open behind the master's back.
        for listener in self._sockets:
            listener.close()
        self._sockets.clear()

    def close(self) -> None:
        self.accept(False)
        for listener in self._sockets:
            listener.detach()


def serve(service: Callable[[process.Process], Service]) -> Callable[[process.Process], StreamLoop]:
    """For ``life.run``: makes the loop for this service class."""

    def make(owner: process.Process) -> StreamLoop:
        return StreamLoop(owner, service(owner))

    return make
