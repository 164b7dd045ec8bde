"""The TCP side of a session: bytes to and from the machine, with time limits and back-pressure both ways.

Input that comes while the session works stays in the machine's buffer; beyond ``_READ_AHEAD`` bytes the socket is not
read. One write a batch of commands. One timer a session.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from tubepost.common.config import Config
from tubepost.common.net.tls import HandshakeError
from tubepost.common.skeleton.process import Process

from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.steps import Steps

_READ_AHEAD = 128 * 1024
# Content that trickles in is worked on in portions, unless it may be the end or stops coming for so many seconds.
_PORTION = 64 * 1024
_PORTION_WAIT = 0.005
# What follows "\n." at the end of data, alone or before commands; "\n" is a line end to those who trust bare ones.
_ENDS = frozenset({b"\r\n", b"\n"} | {b"\n" + bytes([octet]) for octet in range(256)})
# How long the last reply may take to leave when the client does not read.
_LINGER = 5.0


class Gone(Exception):
    """The client is no more, or is silent. ``reason`` as in the log: lost connection, timeout."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Connection(asyncio.Protocol):
    """Base of ``session.Session``, which has ``live``."""

    machine: Machine
    transport: asyncio.Transport | None = None
    timer: asyncio.TimerHandle | None = None
    lost = False
    handshake_error: HandshakeError | None = None
    """TLS was to begin with the connection, and did not."""
    secure = False
    """TLS is there."""
    request_since = 0.0
    """When the wait for the present request began; the session sets it to 0 with each event."""
    leaving = False
    """Told to make way."""
    served = False
    """A message was taken from the client."""
    _shaking_since = 0.0
    """STARTTLS was answered, and TLS is not there yet."""
    _steps: Steps[None]
    _task: asyncio.Task[None] | None = None
    _wants_input = False
    """The session has worked on all there is."""
    _wants_room = False
    """The session has written more than the client reads."""
    _full = False
    """The transport takes no more for now."""
    _eof = False
    _late = False
    _reading = True
    _writable: asyncio.Future[None] | None = None
    _waiting_since = 0.0
    _request_bytes = 0
    _pieces_size = 0
    _pieces_timer: asyncio.TimerHandle | None = None

    def __init__(self, process: Process, address: str = "") -> None:
        self.process = process
        self.address = address
        self.config: Config = process.config
        self.loop = process.loop
        self._born = self.loop.time()
        self._pieces: list[bytes] = []

    def live(self) -> Steps[None]:
        """The whole session. What it yields is awaited for it; None: go on when there is input."""
        raise NotImplementedError

    def _advance(self) -> None:
        """Let the session work until it must wait. No task is made for what can be done at once."""
        try:
            awaited = self._steps.send(None)
        except StopIteration:
            return
        if awaited is not None:
            self._task = self.loop.create_task(self._wait_for(awaited))

    async def _wait_for(self, awaited: "Awaitable[Any] | None") -> None:
        steps = self._steps
        try:
            while awaited is not None:
                try:
                    outcome = await awaited
                except BaseException as error:
                    awaited = steps.throw(error)
                else:
                    awaited = steps.send(outcome)
        except StopIteration:
            pass
        finally:
            self._task = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._steps = self.live()
        self._advance()

    def handshake_failed(self, error: HandshakeError) -> None:
        """See stream.Wrapped."""
        self.handshake_error = error
        self._eof = self.lost = True
        self._steps = self.live()
        self._advance()

    def data_received(self, data: bytes) -> None:
        size = len(data)
        self._request_bytes += size
        machine = self.machine
        if self._pieces or (self._wants_input and machine.in_content):
            ends = self._may_decide(data)
            if self._pieces or not ends:
                self._pieces.append(data)
                self._pieces_size += size
                if not self._wants_input or self._pieces_size >= _PORTION or ends:
                    self._hand_over()
                elif self._pieces_timer is None:
                    self._pieces_timer = self.loop.call_later(_PORTION_WAIT, self._hand_over)
                return
        machine.receive(data)
        if self._wants_input:
            self._wants_input = False
            self._advance()
        elif self._reading and machine.waiting_input > _READ_AHEAD:
            self._reading = False
            assert self.transport is not None
            self.transport.pause_reading()

    def _may_decide(self, data: bytes) -> bool:
        """Could this piece end the content, as far as can be seen cheaply?"""
        due = self.machine.content_due
        if due:
            return self._pieces_size + len(data) >= due
        # The end of data cut in two is left to the timer, unless the second part is very small; so is one that has more
        # content behind it. It is looked for from behind, where it nearly always is, in a fifth of the time.
        last = data.rfind(b"\n.")
        return len(data) < 5 or (last >= 0 and data[last + 2 : last + 4] in _ENDS)

    def _hand_over(self) -> None:
        if self._pieces_timer is not None:
            self._pieces_timer.cancel()
            self._pieces_timer = None
        if self._pieces:
            self.machine.receive(b"".join(self._pieces))
            self._pieces.clear()
            self._pieces_size = 0
            self.wake()

    def eof_received(self) -> bool:
        self._hand_over()
        self._eof = True
        self.wake()
        # TLS closes both ways at once.
        return not self.secure

    def connection_lost(self, exc: Exception | None) -> None:
        self._hand_over()
        self._eof = self.lost = True
        self.wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._wants_room:
            self._wants_room = False
            self._advance()

    def hurry(self) -> None:
        """The server is being stopped: leave at the next moment that loses nothing."""
        self.wake()

    @property
    def idle(self) -> tuple[int, float] | None:
        """See ``crowd.Guest``. Who has logged in or named a recipient is at work; how slowly, the time limits judge."""
        machine = self.machine
        since = self._silent_since
        if since is None or machine.user or machine.recipients or machine.in_content:
            return None
        return int(self.served), since

    @property
    def _silent_since(self) -> float | None:
        """Since when the server waits for the client to finish a command, or to begin; None: it does not."""
        if self.leaving or self.lost:
            return None
        if self.transport is None:
            return self._born
        if self._wants_input or self._wants_room:
            return self.request_since or None
        return self._shaking_since or None

    def make_way(self) -> None:
        """All slots are taken: end, and say so where the client can hear it."""
        self.leaving = True
        if self._wants_input and not self._full:
            self.wake()
        else:
            self.abort()

    def wake(self) -> None:
        if self._wants_input:
            self._wants_input = False
            self._advance()

    async def linger(self) -> None:
        """The last words leave before the end, if the client reads them."""
        self._writable = self.loop.create_future()
        try:
            async with asyncio.timeout(_LINGER):
                await self._writable
        except TimeoutError:
            self.abort()

    @property
    def must_linger(self) -> bool:
        return self._full and not self.lost

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def stop_reading(self) -> None:
        """What comes from here on is left to TLS, or to nobody."""
        if self.transport is not None:
            self.transport.pause_reading()
        # Nor is it paused again while the handshake reads.
        self._reading = False
        self._shaking_since = self.loop.time()
        self._pieces.clear()
        self._pieces_size = 0

    def take_transport(self, transport: asyncio.Transport) -> None:
        """Go on over TLS."""
        self.transport = transport
        self._shaking_since = 0.0
        self.secure = True
        self._reading = True
        self._full = False

    def write(self) -> None:
        output = self.machine.take_output()
        if output and self.transport is not None and not self.lost:
            self.transport.write(output)

    def more_input(self) -> Steps[None]:
        """Until there is more to read. Raises Gone."""
        machine = self.machine
        if self.process.hurried.is_set() and not machine.in_content:
            machine.shut_down()
            return
        if self.leaving:
            machine.turn_away(f"421 4.3.2 {self.config.myhostname} Error: too many clients, come again later")
            return
        if self._full and not self.lost:
            # A client that does not read its replies gets no more of them. What it sent meanwhile comes next.
            self._begin_wait()
            self._wants_room = True
            yield None
            self._wants_room = False
            self._end_wait()
            return
        if self._eof:
            raise Gone("lost connection")
        if not self._reading:
            self._reading = True
            if self.transport is not None:
                self.transport.resume_reading()
        # As _begin_wait and _end_wait, in line: every command comes through here.
        self._waiting_since = now = self.loop.time()
        if not self.request_since:
            self.request_since = now
            self._request_bytes = 0
        if self.timer is None:
            self.timer = self.loop.call_later(self.config.smtpd_timeout, self._tick)
        self._wants_input = True
        yield None
        self._wants_input = False
        self._waiting_since = 0.0
        if self._late:
            self._end_wait()
        if self._eof and not machine.waiting_input:
            raise Gone("lost connection")

    def _begin_wait(self) -> None:
        self._waiting_since = now = self.loop.time()
        if not self.request_since:
            self.request_since = now
            self._request_bytes = 0
        if self.timer is None:
            self.timer = self.loop.call_later(self.config.smtpd_timeout, self._tick)

    def _end_wait(self) -> None:
        self._waiting_since = 0.0
        if self._late:
            self.machine.time_out()
            self.write()
            raise Gone("timeout")

    def _deadline(self) -> float:
        limit: float = self.config.smtpd_timeout
        if not self.config.smtpd_per_request_deadline:
            return self._waiting_since + limit
        # The whole request has the time of one read; content earns more as it comes.
        earned = self._request_bytes / self.config.smtpd_min_data_rate if self.machine.in_content else 0.0
        return self.request_since + limit + earned

    def _tick(self) -> None:
        """One timer a session, moved on lazily: no timer is made or cancelled while data flows."""
        now = self.loop.time()
        self.timer = None
        if not self._waiting_since:
            self.timer = self.loop.call_later(1.0, self._tick)
            return
        left = self._deadline() - now
        if left > 0:
            self.timer = self.loop.call_later(max(left, 0.05), self._tick)
            return
        self._late = True
        if self._wants_input or self._wants_room:
            self._wants_input = self._wants_room = False
            self._advance()
