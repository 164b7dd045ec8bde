"""Answers one question per message: rewrite, anvil, cleanup, bounce; with ``woken`` also pickup, qmgr and flush."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.trigger import Wake
from tubepost.common.bus import Handler, Request, Server
from tubepost.common.bus.frames import protocol_of
from tubepost.common.bus.identity import Caller
from tubepost.common.skeleton import process


class Service(process.Service):
    """Subclass it: ``handlers`` by message class; plain functions answer at once, coroutine functions in a task."""

    # Programs that must not be doubled (qmgr, anvil, verify) live until they are told to stop.
    stays: ClassVar[bool] = False

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        """What this program answers."""
        raise NotImplementedError

    def caller_gone(self, caller: Caller) -> None:
        """A calling process ended: take back what was held for it."""


class RequestLoop:
    """Drives a Service through a bus Server."""

    def __init__(self, process: process.Process, service: Service) -> None:
        self.service = service
        self._process = process
        self._server: Server | None = None
        self._limit = process.config.client_limit
        self.stays = service.stays

    def start(self) -> None:
        process, birth = self._process, self._process.birth
        handlers = dict(self.service.handlers)
        if type(self.service).woken is not process_woken:
            handlers.setdefault(Wake, self._wake)
        self._server = Server(
            process.bus.context,
            process.loop,
            program=birth.program,
            path=birth.own_path,
            knock_fd=birth.sockets[0],
            own_fd=birth.sockets[1],
            protocol={model: protocol_of(model) for model in handlers},
            handlers=handlers,
            register=process.register,
        )
        self._server.on_gone = self.service.caller_gone

    def _wake(self, request: "Request[Wake]") -> Done:
        self._process.wake()
        return Done()

    def on_change(self, callback: Callable[[], None]) -> None:
        assert self._server is not None
        self._server.on_change = callback

    def accept(self, wanted: bool) -> None:
        assert self._server is not None
        self._server.accept(wanted)

    @property
    def sessions(self) -> int:
        return self._server.running if self._server else 0

    @property
    def served(self) -> int:
        return self._server.served if self._server else 0

    @property
    def used(self) -> int:
        """What max_use counts."""
        return self.served // 100

    @property
    def full(self) -> bool:
        return self.sessions >= self._limit

    @property
    def idle(self) -> bool:
        return (self._server is None or self._server.idle) and not self.service.busy

    def leave(self) -> None:
        if self._server is not None and not self._server.leaving:
            self._server.leave()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


process_woken = process.Service.woken


def serve(service: Callable[[process.Process], Service]) -> Callable[[process.Process], RequestLoop]:
    """For ``life.run``: makes the loop for this service class."""

    def make(owner: process.Process) -> RequestLoop:
        return RequestLoop(owner, service(owner))

    return make
