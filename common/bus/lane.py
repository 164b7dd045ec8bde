"""One connection of a caller to one worker of a callee, from the knock at the service's door to the end."""

import asyncio
import errno
import socket
from typing import Any, Protocol

import zmq

from tubepost.common.wire.base import Message, Refused
from tubepost.common.bus import frames
from tubepost.common.bus.errors import Forbidden, Refusal, Unavailable

# Messages that may wait in one lane for a callee that does not read.
_HIGH_WATER = 4096
# Answers taken in one turn of the loop: one callee that never stops must not keep us from all else.
_TURN = 1000
# The largest frame that is read at all; ZeroMQ ends the connection of who sends a larger one.
_LARGEST_FRAME = 32 * 1024 * 1024
# Until what a full lane did not take is tried again, seconds.
_FULL_PAUSE = 0.02
# Between two tries to reach a service whose socket is not there, seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
# Between two tries of ZeroMQ's, milliseconds.
_RECONNECT, _RECONNECT_MOST = 20, 1000
# With nobody there who starts workers one that lives invites within this time, seconds.
_ABANDONED = 1.0
# While there is no worker, no room in its backlog, or no descriptor left here.
_LATER = frozenset({errno.EAGAIN, errno.ENOENT, errno.ECONNREFUSED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})


class Owner(Protocol):
    """The client, as far as its lanes know it."""

    context: "zmq.Context[Any]"
    loop: asyncio.AbstractEventLoop
    path: str
    abandoned: bool

    def retire(self, lane: "Lane") -> None:
        """No new questions by this one; those that are open have their deadlines."""

    def forget(self, lane: "Lane") -> None:
        """It is closed."""


class Pending:
    """A question that is not answered yet."""

    __slots__ = ("credit", "deadline", "future", "items", "models", "waiter")

    def __init__(self, future: "asyncio.Future[Message]", models: tuple[type[Message], ...], deadline: float) -> None:
        self.future = future
        self.models = models
        self.deadline = deadline
        self.credit = frames.WINDOW
        self.waiter: asyncio.Future[None] | None = None
        self.items: asyncio.Queue[bytes | None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def end(self) -> None:
        """It is settled: whoever waits for room, or for items, looks."""
        self.wake()
        if self.items is not None:
            self.items.put_nowait(None)

    def fail(self, error: Unavailable) -> None:
        if not self.future.done():
            self.future.set_exception(error)
        self.end()


class Lane:
    """One connection to one worker: a *line* to be invited by and to hear of its end, a DEALER for what is said."""

    def __init__(self, client: Owner) -> None:
        self._client = client
        self.loop = client.loop
        self.pending: dict[int, Pending] = {}
        self.leaving = False
        self.closed = False
        self._scheduled = False
        self._draining = False
        self._queued: list[list[Any]] = []
        """Until the end of this turn of the loop, or until a worker has said where it is."""
        self.socket: zmq.Socket[bytes] | None = None
        self._fd = -1
        self._line: socket.socket | None = None
        self._redial: asyncio.TimerHandle | None = None
        self._pause = _FIRST_PAUSE
        self._dial()
        if client.abandoned:
            self.give_up_soon()

    def give_up_soon(self) -> None:
        """Unless a worker that is still there invites us."""
        self.loop.call_later(_ABANDONED, self._give_up)

    def _give_up(self) -> None:
        if self.socket is None and not self.closed:
            self.fail("no worker is left, and nobody starts one")

    def _dial(self) -> None:
        """Knock at the service's socket. With no worker there the master starts one, and we wait in the backlog."""
        self._redial = None
        line = None
        try:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            line.connect(self._client.path)
        except OSError as error:
            if line is not None:
                line.close()
            if error.errno in _LATER:
                self._dial_later()
            else:
                self.loop.call_soon(self.fail, f"cannot connect: {error.strerror}")
            return
        self._line = line
        self.loop.add_reader(line.fileno(), self._hear)

    def _dial_later(self) -> None:
        """The system is starting, stopping or down: the calls' deadlines say how long that is put up with."""
        self._redial = self.loop.call_later(self._pause, self._dial)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _hear(self) -> None:
        """The invitation, or the end of the worker."""
        assert self._line is not None
        try:
            data = self._line.recv(256)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self.socket is None:
            self._connect(data.decode("ascii", "replace").strip())
            return
        if data:
            return
        if self.socket is None:
            # It ended before it said anything, so nothing was asked of it.
            self._hang_up()
            self._dial_later()
            return
        # The socket may hold answers that came before the end: as many as it takes.
        self.drain(2 * _HIGH_WATER)
        self.fail("the process that was asked ended")

    def _connect(self, path: str) -> None:
        if path.rpartition(".")[0] != self._client.path:
            # A worker that was broken into sends nobody to other sockets.
            self.fail("its invitation is to another service")
            return
        try:
            dealer = self._client.context.socket(zmq.DEALER)
        except zmq.ZMQError as error:
            self.fail(f"cannot connect: {error}")
            return
        self.socket = dealer
        dealer.linger = 1000
        dealer.sndhwm = dealer.rcvhwm = _HIGH_WATER
        dealer.maxmsgsize = _LARGEST_FRAME
        # ZeroMQ connects later, and with no descriptor left then it must try again, or the lane is dead while its line
        # lives. Each worker has a socket of its own: nobody else is ever met there, and the end is told by the line.
        dealer.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MOST)
        self._fd = dealer.getsockopt(zmq.FD)
        self.loop.add_reader(self._fd, self.drain)
        try:
            dealer.connect(f"ipc://{path}")
        except zmq.ZMQError as error:
            self.fail(f"cannot connect: {error}")
            return
        self._turn()

    def _hang_up(self) -> None:
        if self._line is not None:
            self.loop.remove_reader(self._line.fileno())
            self._line.close()
            self._line = None

    def send(self, parts: list[Any]) -> None:
        """At the end of this turn of the loop: what is said in one turn wakes ZeroMQ's thread, and the callee, once.

        Raises Unavailable when too much waits already.
        """
        if self.closed or len(self._queued) >= _HIGH_WATER:
            raise Unavailable(
                f"{self._client.path} does not {'answer' if self.socket is None else 'read its requests'}"
            )
        self._queued.append(parts)
        if not self._scheduled and self.socket is not None:
            self._scheduled = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self.closed:
            return
        try:
            self._hand_over()
        except zmq.ZMQError as error:
            self.fail(str(error))
            return
        if self._queued and not self._scheduled:
            self._scheduled = True
            self.loop.call_later(_FULL_PAUSE, self._turn)
        # Sending can swallow the descriptor's edge for an answer that is already here.
        self.drain()

    def _hand_over(self) -> None:
        """Give ZeroMQ what is queued, as far as it takes it. Raises ZMQError."""
        dealer = self.socket
        assert dealer is not None
        queued, self._queued = self._queued, []
        for place, parts in enumerate(queued):
            try:
                if len(parts) == 1:
                    dealer.send(parts[0], zmq.NOBLOCK)
                else:
                    dealer.send_multipart(parts, zmq.NOBLOCK)
            except zmq.Again:
                self._queued = queued[place:]
                return

    @property
    def waiting(self) -> bool:
        """Is there anything that ZeroMQ does not have yet?"""
        return bool(self._queued)

    def drain(self, most: int = 0) -> None:
        """Take every answer that is there, or so many that the rest can wait for the next turn."""
        dealer = self.socket
        if dealer is None:
            return
        for _ in range(most or _TURN):
            if self.closed:
                return
            try:
                frame = dealer.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError:
                self.fail("the connection broke")
                return
            self._take(frame)
        if not self._draining:
            self._draining = True
            self.loop.call_soon(self._drain_on)

    def _drain_on(self) -> None:
        self._draining = False
        self.drain()

    def _take(self, frame: bytes) -> None:
        kind = frame[:1]
        if kind == frames.LEAVING:
            self._leave()
            return
        try:
            number = int(frame[1 : frames.HEAD], 16)
        except ValueError:
            return
        pending = self.pending.get(number)
        if pending is None:
            return
        text = frame[frames.HEAD :]
        if kind == frames.CREDIT:
            if len(text) <= 4 and text.isdigit():
                pending.credit = min(pending.credit + int(text), frames.WINDOW)
                pending.wake()
            return
        if kind == frames.ITEM:
            if pending.items is None:
                return
            if pending.items.qsize() > frames.WINDOW:
                # A callee that ignores its credit is not let fill our memory.
                self.fail("it sent more than it was allowed to")
            else:
                pending.items.put_nowait(text)
            return
        del self.pending[number]
        future = pending.future
        if not future.done():
            self._settle(future, kind, text, pending.models)
        pending.end()
        if self.leaving and not self.pending:
            self.close()

    def _settle(
        self, future: "asyncio.Future[Message]", kind: bytes, text: bytes, models: tuple[type[Message], ...]
    ) -> None:
        if kind == frames.REPLY:
            try:
                reply = frames.decode(text, models)
            except ValueError as error:
                future.set_exception(Forbidden(f"{self._client.path} gave an unreadable answer: {error}"))
                return
            if isinstance(reply, Refused) and models[0] is not Refused:
                future.set_exception(Refusal(reply))
            else:
                future.set_result(reply)
        else:
            why = text.decode("utf-8", "replace")
            broke = why.startswith("unavailable: ")
            error_class: type[Exception] = Unavailable if broke else Forbidden
            future.set_exception(error_class(f"{self._client.path}: {why.removeprefix('unavailable: ')}"))

    def _leave(self) -> None:
        """The worker is about to leave: say the last word, wait for the answers that are due, go elsewhere."""
        if self.leaving:
            return
        self.leaving = True
        self._client.retire(self)
        try:
            self.send([frames.head(frames.GOODBYE, 0)])
        except Unavailable:
            pass
        if not self.pending:
            self.close()

    def expire(self, now: float) -> None:
        """Give up what should have been answered by now (monotonic)."""
        for number in [number for number, pending in self.pending.items() if pending.deadline < now]:
            self.pending.pop(number).fail(Unavailable(f"{self._client.path}: no answer in time"))
            try:
                self.send([frames.head(frames.CANCEL, number)])
            except Unavailable:
                self.fail("no answer in time")
                return
        if self.leaving and not self.pending:
            self.close()

    def fail(self, why: str) -> None:
        """All that is outstanding here has failed."""
        pending, self.pending = self.pending, {}
        self.close()
        for call in pending.values():
            call.fail(Unavailable(f"{self._client.path}: {why}"))

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._client.forget(self)
        if self._redial is not None:
            self._redial.cancel()
        if self.socket is not None:
            self.loop.remove_reader(self._fd)
            try:
                self._hand_over()  # the last words of a process that ends
            except zmq.ZMQError:
                pass
            self.socket.close()
        self._hang_up()
