"""Answers smtpd's and imapd's questions from the counters."""

import asyncio
import time
from collections.abc import Mapping

from tubepost.common.wire.anvil import Connect, Count, Counts, Disconnect, Serves, Total
from tubepost.common.wire.base import Message
from tubepost.common.system import log
from tubepost.common.bus import Handler, Request
from tubepost.common.bus.identity import Caller
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process

from tubepost.services.anvil.logins import Logins
from tubepost.services.anvil.protocol import Counters


class Anvil(request.Service):
    stays = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._counters = Counters(self.config.anvil_rate_time_unit)
        self._logins = Logins()

    async def open(self) -> None:
        self.process.spawn(asyncio.create_task(self._tend()))

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Connect: self._connect, Disconnect: self._disconnect, Count: self._count, Serves: self._serves}

    def _connect(self, request: Request[Connect]) -> Counts:
        message = request.message
        counters = self._counters
        opened, rate = counters.connect((message.service, message.client), request.caller.pid, time.time())
        return Counts(connections=opened, rate=rate)

    def _disconnect(self, request: Request[Disconnect]) -> None:
        self._counters.disconnect((request.message.service, request.message.client), request.caller.pid)

    def _count(self, request: Request[Count]) -> Counts:
        message = request.message
        opened, rate = self._counters.count((message.service, message.client), message.event, time.time())
        return Counts(connections=opened, rate=rate)

    def _serves(self, request: Request[Serves]) -> Total:
        caller, message = request.caller, request.message
        # By the program that the kernel vouches for: none counts in another's name.
        key = caller.program, message.user, message.network
        return Total(connections=self._logins.serves(key, caller.pid, message.connections))

    def caller_gone(self, caller: Caller) -> None:
        self._counters.gone(caller.pid)
        self._logins.gone(caller.pid)

    async def _tend(self) -> None:
        """Forget who is idle; say the peaks."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(self.config.anvil_rate_time_unit)
            self._counters.forget(time.time())
            if time.monotonic() - last >= self.config.anvil_status_update_time:
                last = time.monotonic()
                self._say_peaks()

    def _say_peaks(self) -> None:
        for what, peak in self._counters.take_peaks():
            service, client = peak.key
            log.info(f"statistics: max {what} {peak.value} for ({service}:{client}) at {log.timestamp(peak.time)}")

    async def close(self) -> None:
        self._say_peaks()
