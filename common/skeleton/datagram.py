"""Takes datagrams: the log program. As many as there are in one turn of the loop, then one ``drained``."""

import socket
from collections.abc import Callable

from tubepost.common.skeleton import process

_LARGEST = 65_536
_BURST = 256


class Service(process.Service):
    """Subclass it: ``received`` one datagram; ``drained`` after the last of a burst."""

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def drained(self) -> None:
        raise NotImplementedError


class DatagramLoop:
    """Reads the inherited socket."""

    stays = True
    sessions = 0
    full = False
    idle = True

    def __init__(self, process: process.Process, service: Service) -> None:
        self.service: Service = service
        self._process = process
        self.served = 0
        self._socket: socket.socket | None = None

    @property
    def used(self) -> int:
        return self.served

    def start(self) -> None:
        self._socket = socket.socket(fileno=self._process.birth.sockets[0])
        self._socket.setblocking(False)
        self._process.loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        assert self._socket is not None
        for _ in range(_BURST):
            try:
                data = self._socket.recv(_LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            self.served += 1
            self.service.received(data)
        self.service.drained()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Availability never changes."""

    def accept(self, wanted: bool) -> None:
        """There is nothing to accept."""

    def leave(self) -> None:
        """The last lines are read in ``close``."""

    def close(self) -> None:
        self._read()
        if self._socket is not None:
            self._process.loop.remove_reader(self._socket.fileno())
            self._socket.detach()


def serve(service: Callable[[process.Process], Service]) -> Callable[[process.Process], DatagramLoop]:
    """For ``life.run``: makes the loop for this service class."""

    def make(owner: process.Process) -> DatagramLoop:
        return DatagramLoop(owner, service(owner))

    return make
