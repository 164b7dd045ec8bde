"""Passes hints on: each to every subscriber, the same hint of one moment once."""

import asyncio
from collections.abc import Mapping

from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.notify import Changed, Subscribe
from tubepost.common.bus import Client, Handler, Request
from tubepost.common.config import master_cf
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process

# Hints that wait for a subscriber who does not take them; beyond that it gets none until it has.
_WAITING = 1000


class Subscriber:
    """``pending``: in order, each once."""

    def __init__(self) -> None:
        self.pending: dict[Changed, None] = {}
        self.news = asyncio.Event()

    def tell(self, hint: Changed) -> None:
        if len(self.pending) < _WAITING:
            self.pending[hint] = None
            self.news.set()


class Notify(request.Service):
    stays = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._subscribers: set[Subscriber] = set()
        self._indexer: Client | None = None

    async def open(self) -> None:
        config = self.process.config
        name = config.indexer_service_name
        if any(entry.service == name for entry in master_cf.services(config.config_directory)):
            # It is told and not left to subscribe, so that it need not run while nothing happens.
            self._indexer = self.process.client(name)

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Changed: self._changed, Subscribe: self._subscribe}

    def _changed(self, request: Request[Changed]) -> None:
        for subscriber in self._subscribers:
            subscriber.tell(request.message)
        if self._indexer is not None:
            self._indexer.tell(request.message)

    async def _subscribe(self, request: Request[Subscribe]) -> Done:
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        leaving = self.process.loop.create_task(self.process.stopping.wait())
        try:
            while not self.process.stopping.is_set():
                news = self.process.loop.create_task(subscriber.news.wait())
                try:
                    await asyncio.wait({news, leaving}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()  # also when we are cancelled, which ``wait`` does not pass on
                hints, subscriber.pending = list(subscriber.pending), {}
                subscriber.news.clear()
                for hint in hints:
                    await request.emit(hint)
        finally:
            leaving.cancel()
            self._subscribers.discard(subscriber)
        return Done()
