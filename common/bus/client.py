"""The caller's side: one Client a callee's socket, shared by all that a process does at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, TypeVar

import zmq

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.bus import frames
from tubepost.common.bus.errors import Forbidden, Unavailable
from tubepost.common.bus.lane import Lane, Pending

# Above this many answers outstanding on every lane another connection is made, which may reach another worker.
_LANE_LOAD = 24
_LANES = 4
_SWEEP = 1.0
_FLUSH_PAUSE = 0.005

AnyMessage = TypeVar("AnyMessage", bound=Message)


class Client:
    """Asks the workers behind one socket. Not thread-safe; belongs to one loop."""

    def __init__(
        self, context: "zmq.Context[Any]", loop: asyncio.AbstractEventLoop, path: str, deadline: float
    ) -> None:
        self.context = context
        self.loop = loop
        self.path = path
        self.lanes: list[Lane] = []
        self._leaving: list[Lane] = []
        """Whose workers are about to end: for the answers that are due."""
        self._deadline = deadline
        self._number = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self.abandoned = False

    def abandon(self) -> None:
        """Nobody starts workers any more: a call that none takes fails soon, whatever its deadline."""
        self.abandoned = True
        for lane in self.lanes:
            lane.give_up_soon()

    def retire(self, lane: Lane) -> None:
        """For the lane: no new questions by this one; those that are open have their deadlines."""
        self.lanes.remove(lane)
        self._leaving.append(lane)

    def forget(self, lane: Lane) -> None:
        """For the lane: it is closed."""
        for lanes in (self.lanes, self._leaving):
            if lane in lanes:
                lanes.remove(lane)

    def _lane(self) -> Lane:
        best: Lane | None = None
        for lane in self.lanes:
            if best is None or len(lane.pending) < len(best.pending):
                best = lane
        if best is None or (len(best.pending) >= _LANE_LOAD and len(self.lanes) < _LANES):
            best = Lane(self)
            self.lanes.append(best)
        return best

    def _open(
        self,
        lane: Lane,
        kind: bytes,
        message: Message,
        models: tuple[type[Message], ...],
        deadline: float | None,
        payload: Iterable[bytes] = (),
    ) -> tuple[int, Pending]:
        """Ask, and note what the answer may be. Raises Unavailable."""
        self._number = number = self._number % 0xFFFFFFFF + 1
        lane.send([frames.head(kind, number) + frames.encode(message), *payload])
        seconds = self._deadline if deadline is None else deadline
        pending = lane.pending[number] = Pending(self.loop.create_future(), models, time.monotonic() + seconds)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)
        return number, pending

    def _sweep(self) -> None:
        """Deadlines, once a second: cheaper than a timer a call."""
        self._sweeper = None
        now = time.monotonic()
        for lane in (*self.lanes, *self._leaving):
            lane.expire(now)
        if any(lane.pending for lane in (*self.lanes, *self._leaving)):
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
        if isinstance(payload, bytes):
            payload = (payload,) if payload else ()
        number, pending = self._open(lane, frames.CALL, message, (reply, Refused), deadline, payload)
        answer: AnyMessage = await self._result(lane, number, pending)
        return answer

    def ask(
        self, message: Message, reply: type[AnyMessage], *, deadline: float | None = None
    ) -> "asyncio.Future[AnyMessage]":
        """``call`` for who has no task to wait in: the future ends with the answer, or with what ``call`` raises."""
        future: asyncio.Future[Any] = self.loop.create_future()
        try:
            _, pending = self._open(self._lane(), frames.CALL, message, (reply, Refused), deadline)
        except Unavailable as error:
            future.set_exception(error)
        else:
            future = pending.future
        return future

    async def _result(self, lane: Lane, number: int, pending: Pending) -> Any:
        try:
            return await pending.future
        except asyncio.CancelledError:
            _give_up(lane, number, pending)
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
        number, pending = self._open(lane, frames.UPLOAD, message, (reply, Refused), deadline)
        return Upload(self, lane, number, pending)

    def talk(self) -> "Talk":
        """Several questions, one after the other, to the same worker, which remembers those before (auth.Begin)."""
        return Talk(self, self._lane())

    async def listing(
        self, message: Message, item: type[AnyMessage], *, deadline: float | None = None
    ) -> AsyncIterator[AnyMessage]:
        """A call answered by any number of items. Raises as ``call`` does, also between items."""
        lane = self._lane()
        number, pending = self._open(lane, frames.LISTING, message, (Done, Refused), deadline)
        pending.items = asyncio.Queue()
        taken = 0
        try:
            while (frame := await pending.items.get()) is not None:
                taken += 1
                if taken == frames.WINDOW // 2:
                    lane.send([frames.head(frames.CREDIT, number) + b"%d" % taken])
                    taken = 0
                for line in frame.split(b"\n"):
                    yield self._item(item, line)
            await pending.future
        finally:
            _give_up(lane, number, pending)

    def _item(self, model: type[AnyMessage], line: bytes) -> AnyMessage:
        try:
            return model.model_validate_json(line)
        except ValueError as error:
            raise Forbidden(f"{self.path} gave an unreadable answer: {error}") from None

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for lane in (*self.lanes, *self._leaving):
            lane.fail("this process is ending")


def _give_up(lane: Lane, number: int, pending: Pending) -> None:
    """Whatever it would be answered: the callee forgets what it has of this, and nobody looks at the future."""
    if lane.pending.pop(number, None) is not None and not lane.closed:
        try:
            lane.send([frames.head(frames.CANCEL, number)])
        except Unavailable:
            pass
    if pending.future.done() and not pending.future.cancelled():
        pending.future.exception()


class Talk:
    """A worker that is asked more than once. When it ends, what it remembered is lost, and calls raise Unavailable."""

    __slots__ = ("_client", "_lane")

    def __init__(self, client: Client, lane: Lane) -> None:
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
        number, pending = self._client._open(lane, frames.CALL, message, (*replies, Refused), deadline)
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

    def __init__(self, client: Client, lane: Lane, number: int, pending: Pending) -> None:
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
        _give_up(self._lane, self._number, self._pending)
