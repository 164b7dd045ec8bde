"""One process's end of the bus: its ZeroMQ context, its loop, its clients."""

import asyncio

import zmq

from tubepost.common.bus.client import Client


class Bus:
    """To be made after the fork and before privileges are dropped to nothing: ZeroMQ starts its threads here."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.context = zmq.Context(io_threads=1)
        self._clients: dict[str, Client] = {}
        self._closed = False
        self._abandoned = False

    def client(self, path: str, *, deadline: float = 3600.0) -> Client:
        """The one shared client for a socket path, relative to the queue directory: ``private/cleanup``.

        ``deadline``: seconds that a call waits unless it says otherwise (ipc_timeout).
        """
        client = self._clients.get(path)
        if client is None:
            client = self._clients[path] = Client(self.context, self.loop, path, deadline)
            client.abandoned = self._abandoned
        return client

    def abandon(self) -> None:
        """The master is gone: see Client.abandon."""
        self._abandoned = True
        for client in self._clients.values():
            client.abandon()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            for client in self._clients.values():
                client.close()
            self.context.destroy(linger=500)
