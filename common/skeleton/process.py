"""What a program's session is given: its configuration, its clients, its place in the system."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from tubepost.common.wire.master import Birth
from tubepost.common.system.register import Register
from tubepost.common.bus import Bus, Client
from tubepost.common.config import Config


def socket_path(config: Config, service: str) -> str:
    """Below the queue directory, unless ``service`` is such a path already. Which services are public is fixed, as in
    Postfix: people's commands reach those. anvil and proxymap are where they are found: Postfix's master.cf has them
    private, but then the owner of mailboxes cannot reach them where he is another account.
    """
    if "/" in service:
        return service
    if service in ("anvil", config.proxymap_service_name):
        return f"public/{service}" if os.path.exists(f"public/{service}") else f"private/{service}"
    public = (
        config.cleanup_service_name,
        config.pickup_service_name,
        config.queue_service_name,
        config.flush_service_name,
        config.showq_service_name,
        # The owner of mailboxes, another account than mail_owner's, asks these.
        config.auth_service_name,
        config.notify_service_name,
    )
    return f"public/{service}" if service in public else f"private/{service}"


class Process:
    """One running program. Made by ``life`` after privileges were dropped."""

    def __init__(self, birth: Birth, config: Config, bus: Bus, register: Register | None) -> None:
        self.birth = birth
        self.name = birth.service
        self.program = birth.program
        self.config = config
        self.bus = bus
        self.register = register
        self.loop = bus.loop
        self.stopping = asyncio.Event()
        """Set when no new work is to be begun."""
        self.hurried = asyncio.Event()
        """Set when sessions are to be ended at the next moment that loses nothing."""
        self.on_stress: list[Callable[[], None]] = []
        self.crowded = False
        """No process of this service has room, and none may be added."""
        self.on_crowd: list[Callable[[], None]] = []
        self.wake: Callable[[], None] = lambda: None
        """Have ``woken`` called; set by ``life``."""
        self.retire: Callable[[], None] = lambda: None
        """Take no more work, finish what is under way, and end: the master starts another. Set by ``life``."""
        self.prepared: Any = None
        """What the ``prepare`` that was given to ``life.run`` returned before privileges were dropped."""
        self._tasks: set[asyncio.Task[object]] = set()
        self._clients: dict[str, Client] = {}
        self._tokens = 0

    @property
    def stress(self) -> bool:
        """The master has no free process left for this service."""
        return bool(self.config.stress)

    def set_stress(self, wanted: bool) -> None:
        """The configuration with or without ``stress=yes``: ``${stress?{10}:{300}}s`` changes with it. What main.cf
        says by now is for a reload.
        """
        if wanted == self.stress:
            return
        self.config = self.config.with_overrides({"stress": "yes" if wanted else ""})
        for callback in self.on_stress:
            callback()

    def set_crowded(self, wanted: bool) -> None:
        if wanted != self.crowded:
            self.crowded = wanted
            for callback in self.on_crowd:
                callback()

    def client(self, service: str) -> Client:
        """The client for a service of this instance, by its name in master.cf."""
        client = self._clients.get(service)
        if client is None:
            client = self.bus.client(socket_path(self.config, service), deadline=self.config.ipc_timeout)
            self._clients[service] = client
        return client

    def spawn(self, work: "asyncio.Task[object]") -> None:
        """Hold on to a background task until it ends."""
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def inflow(self) -> None:
        """in_flow_delay: take a token from the pipe that qmgr fills as it takes mail from incoming; without one, wait.

        Mail that comes in faster than qmgr takes it up is slowed to a rate that the queue manager can follow.
        """
        fd = self.birth.flow[0]
        if fd < 0 or self.config.in_flow_delay <= 0:
            return
        try:
            os.read(fd, 1)
        except BlockingIOError:
            await asyncio.sleep(self.config.in_flow_delay)

    def outflow(self, tokens: int) -> None:
        """qmgr: so many messages were taken up from incoming. It is told at the end of this turn of the loop."""
        if not self._tokens:
            self.loop.call_soon(self._pour)
        self._tokens += tokens

    def _pour(self) -> None:
        tokens, self._tokens = self._tokens, 0
        fd = self.birth.flow[1]
        if fd >= 0:
            try:
                os.write(fd, b"." * tokens)
            except BlockingIOError:
                pass  # the pipe is full: nobody is waiting


class Service:
    """Base of what a skeleton drives."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.config = process.config

    async def open(self) -> None:
        """After privileges are dropped, before the first request. Raise ConfigError or OSError to fail the start."""

    async def woken(self) -> None:
        """A wake-up of the master: at the interval in master.cf, and when a person asks."""

    async def close(self) -> None:
        """After the last request."""

    @property
    def busy(self) -> bool:
        """Work is under way beyond requests and connections: the process does not leave for idleness."""
        return False
