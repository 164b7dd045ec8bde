"""The caller's side: one Client a callee's socket, shared by all that a process does at once."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, TypeVar

import zmq

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.bus import frames
from tubepost.common.bus.errors import Forbidden, Refusal, Unavailable

# Above this many answers outstanding on every lane another connection is made, which may reach another worker.
_LANE_LOAD = 24
_LANES = 4
# Messages that may wait in one lane for a callee that does not read.
_HIGH_WATER = 4096
_SWEEP = 1.0
# Until what a full lane did not take is tried again, seconds.
_FULL_PAUSE = 0.02
_FLUSH_PAUSE = 0.005
# Between two tries to reach a service whose socket is not there, seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
# With nobody there who starts workers one that lives invites within this time, seconds.
_ABANDONED = 1.0

AnyMessage = TypeVar("AnyMessage", bound=Message)


class _Pending:
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


class _Lane:
    """One connection to one worker: a *line* to be invited by and to hear of its end, a DEALER for what is said."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self.loop = client.loop
        self.pending: dict[int, _Pending] = {}
        self.leaving = False
        self.closed = False
        self._scheduled = False
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
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            line.connect(self._client.path)
        except OSError as error:
            line.close()
            if error.errno not in (errno.EAGAIN, errno.ENOENT, errno.ECONNREFUSED):
                self.loop.call_soon(self.fail, f"cannot connect: {error.strerror}")
                return
            self._dial_later()
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
        # The socket may hold answers that came before the end.
        self.drain()
        self.fail("the process that was asked ended")

    def _connect(self, path: str) -> None:
        dealer = self.socket = self._client.context.socket(zmq.DEALER)
        dealer.linger = 1000
        dealer.sndhwm = dealer.rcvhwm = _HIGH_WATER
        dealer.setsockopt(zmq.RECONNECT_IVL, -1)
        dealer.connect(f"ipc://{path}")
        self._fd = dealer.getsockopt(zmq.FD)
        self.loop.add_reader(self._fd, self.drain)
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

    def drain(self) -> None:
        """Take every answer that is there."""
        dealer = self.socket
        while not self.closed and dealer is not None:
            try:
                frame = dealer.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError:
                self.fail("the connection broke")
                return
            self._take(frame)

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
            pending.credit += int(text)
            pending.wake()
            return
        if kind == frames.ITEM:
            if pending.items is not None:
                pending.items.put_nowait(text)
            return
        del self.pending[number]
        future = pending.future
        if not future.done():
            self._settle(future, kind, text, pending.models)
        pending.wake()
        if pending.items is not None:
            pending.items.put_nowait(None)
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
        self._client.lanes.remove(self)
        try:
            self.send([frames.head(frames.GOODBYE, 0)])
        except Unavailable:
            pass
        if not self.pending:
            self.close()

    def fail(self, why: str) -> None:
        """All that is outstanding here has failed."""
        pending, self.pending = self.pending, {}
        self.close()
        for call in pending.values():
            if not call.future.done():
                call.future.set_exception(Unavailable(f"{self._client.path}: {why}"))
            call.wake()
            if call.items is not None:
                call.items.put_nowait(None)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self in self._client.lanes:
            self._client.lanes.remove(self)
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


class Client:
    """Asks the workers behind one socket. Not thread-safe; belongs to one loop."""

    def __init__(
        self, context: "zmq.Context[Any]", loop: asyncio.AbstractEventLoop, path: str, deadline: float
    ) -> None:
        self.context = context
        self.loop = loop
        self.path = path
        self.lanes: list[_Lane] = []
        self._deadline = deadline
        self._number = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self.abandoned = False

    def abandon(self) -> None:
        """Nobody starts workers any more: a call that none takes fails soon, whatever its deadline."""
        self.abandoned = True
        for lane in self.lanes:
            lane.give_up_soon()

    @property
    def outstanding(self) -> int:
        """Answers that are due."""
        return sum(len(lane.pending) for lane in self.lanes)

    def _lane(self) -> _Lane:
        best: _Lane | None = None
        for lane in self.lanes:
            if best is None or len(lane.pending) < len(best.pending):
                best = lane
        if best is None or (len(best.pending) >= _LANE_LOAD and len(self.lanes) < _LANES):
            best = _Lane(self)
            self.lanes.append(best)
        return best

    def _register(self, lane: _Lane, models: tuple[type[Message], ...], deadline: float | None) -> tuple[int, _Pending]:
        self._number = number = self._number % 0xFFFFFFFF + 1
        seconds = self._deadline if deadline is None else deadline
        pending = _Pending(self.loop.create_future(), models, time.monotonic() + seconds)
        lane.pending[number] = pending
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)
        return number, pending

    def _sweep(self) -> None:
        """Deadlines, once a second: cheaper than a timer a call."""
        self._sweeper = None
        now = time.monotonic()
        busy = False
        for lane in tuple(self.lanes):
            late = [number for number, pending in lane.pending.items() if pending.deadline < now]
            for number in late:
                pending = lane.pending.pop(number)
                if not pending.future.done():
                    pending.future.set_exception(Unavailable(f"{self.path}: no answer in time"))
                pending.wake()
                if pending.items is not None:
                    pending.items.put_nowait(None)
                try:
                    lane.send([frames.head(frames.CANCEL, number)])
                except Unavailable:
                    lane.fail("no answer in time")
            busy = busy or bool(lane.pending)
        if busy:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    async def call(
        self,
        message: Message,
        reply: type[AnyMessage],
        *,
        payload: bytes | Iterable[bytes] = b"",
        deadline: float | None = None,
    ) -> AnyMessage:
        """Ask and wait. Raises Unavailable, Refusal (a Refused where another reply was due), Forbidden."""
        lane = self._lane()
        number, pending = self._register(lane, (reply, Refused), deadline)
        parts: list[Any] = [frames.head(frames.CALL, number) + frames.encode(message)]
        if isinstance(payload, bytes):
            if payload:
                parts.append(payload)
        else:
            parts.extend(payload)
        try:
            lane.send(parts)
        except Unavailable:
            lane.pending.pop(number, None)
            raise
        answer: AnyMessage = await self._result(lane, number, pending)
        return answer

    def ask(
        self, message: Message, reply: type[AnyMessage], *, deadline: float | None = None
    ) -> "asyncio.Future[AnyMessage]":
        """``call`` for who has no task to wait in: the future ends with the answer, or with what ``call`` raises."""
        lane = self._lane()
        number, pending = self._register(lane, (reply, Refused), deadline)
        future: asyncio.Future[Any] = pending.future
        try:
            lane.send([frames.head(frames.CALL, number) + frames.encode(message)])
        except Unavailable as error:
            lane.pending.pop(number, None)
            future.set_exception(error)
        return future

    async def _result(self, lane: _Lane, number: int, pending: _Pending) -> Any:
        try:
            return await pending.future
        except asyncio.CancelledError:
            if lane.pending.pop(number, None) is not None and not lane.closed:
                try:
                    lane.send([frames.head(frames.CANCEL, number)])
                except Unavailable:
                    pass
            raise

    def tell(self, message: Message) -> bool:
        """One-way. False when it could not even be queued; a True promises nothing."""
        try:
            self._lane().send([frames.head(frames.TELL, 0) + frames.encode(message)])
        except Unavailable:
            return False
        return True

    async def flushed(self, patience: float) -> bool:
        """Wait until what was told has left this process (a command that ends); False: nobody took it in time."""
        deadline = self.loop.time() + patience
        while any(lane.waiting for lane in self.lanes):
            if self.loop.time() > deadline:
                return False
            await asyncio.sleep(_FLUSH_PAUSE)
        return True

    def upload(
        self, message: Message, reply: type[AnyMessage], *, deadline: float | None = None
    ) -> "Upload[AnyMessage]":
        """A call whose content follows in chunks: ``await upload.send(chunk)`` …, ``await upload.finish()``."""
        lane = self._lane()
        number, pending = self._register(lane, (reply, Refused), deadline)
        try:
            lane.send([frames.head(frames.UPLOAD, number) + frames.encode(message)])
        except Unavailable:
            lane.pending.pop(number, None)
            raise
        return Upload(self, lane, number, pending)

    def talk(self) -> "Talk":
        """Several questions, one after the other, to the same worker, which remembers those before (auth.Begin)."""
        return Talk(self, self._lane())

    async def listing(
        self, message: Message, item: type[AnyMessage], *, deadline: float | None = None
    ) -> AsyncIterator[AnyMessage]:
        """A call answered by any number of items. Raises as ``call`` does, also between items."""
        lane = self._lane()
        number, pending = self._register(lane, (Done, Refused), deadline)
        pending.items = asyncio.Queue()
        lane.send([frames.head(frames.LISTING, number) + frames.encode(message)])
        taken = 0
        try:
            while (frame := await pending.items.get()) is not None:
                taken += 1
                if taken == frames.WINDOW // 2:
                    lane.send([frames.head(frames.CREDIT, number) + b"%d" % taken])
                    taken = 0
                for line in frame.split(b"\n"):
                    yield item.model_validate_json(line)
            await pending.future
        finally:
            if lane.pending.pop(number, None) is not None and not lane.closed:
                lane.send([frames.head(frames.CANCEL, number)])
            if pending.future.done() and not pending.future.cancelled():
                pending.future.exception()

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for lane in tuple(self.lanes):
            lane.fail("this process is ending")


class Talk:
    """A worker that is asked more than once. When it ends, what it remembered is lost, and calls raise Unavailable."""

    __slots__ = ("_client", "_lane")

    def __init__(self, client: Client, lane: _Lane) -> None:
        self._client = client
        self._lane = lane

    @property
    def ended(self) -> bool:
        """The worker is gone, or about to go: a new talk reaches another."""
        return self._lane.closed or self._lane.leaving

    async def ask(self, message: Message, *replies: type[Message], deadline: float | None = None) -> Message:
        """Ask and wait for one of these replies. Raises as ``Client.call`` does."""
        lane = self._lane
        if lane.closed:
            raise Unavailable(f"{self._client.path}: the process that was asked before ended")
        number, pending = self._client._register(lane, (*replies, Refused), deadline)
        try:
            lane.send([frames.head(frames.CALL, number) + frames.encode(message)])
        except Unavailable:
            lane.pending.pop(number, None)
            raise
        answer: Message = await self._client._result(lane, number, pending)
        return answer

    def tell(self, message: Message) -> None:
        """One-way; lost where the worker is gone, together with all that it remembered."""
        try:
            self._lane.send([frames.head(frames.TELL, 0) + frames.encode(message)])
        except Unavailable:
            pass


class Upload(Generic[AnyMessage]):
    """An open upload. Abandon it with ``cancel``."""

    def __init__(self, client: Client, lane: _Lane, number: int, pending: _Pending) -> None:
        self._client = client
        self._lane = lane
        self._number = number
        self._pending = pending

    @property
    def answered(self) -> bool:
        """True when the callee has its answer ready before the end (a refusal): send no more, ``finish``."""
        return self._pending.future.done()

    async def send(self, chunk: bytes) -> None:
        """Wait for room, then send. After an early answer chunks are dropped. Raises Unavailable."""
        pending = self._pending
        while pending.credit <= 0 and not pending.future.done():
            pending.waiter = self._client.loop.create_future()
            await pending.waiter
        if pending.future.done():
            return
        pending.credit -= 1
        self._lane.send([frames.head(frames.CHUNK, self._number), chunk])

    async def finish(self) -> AnyMessage:
        """The content is complete: wait for the reply. Raises as ``Client.call`` does."""
        if not self._pending.future.done():
            self._lane.send([frames.head(frames.END, self._number)])
        reply: AnyMessage = await self._client._result(self._lane, self._number, self._pending)
        return reply

    def cancel(self) -> None:
        """Give up: the callee forgets what it has of this."""
        if self._lane.pending.pop(self._number, None) is not None and not self._lane.closed:
            try:
                self._lane.send([frames.head(frames.CANCEL, self._number)])
            except Unavailable:
                pass
        if self._pending.future.done() and not self._pending.future.cancelled():
            self._pending.future.exception()
