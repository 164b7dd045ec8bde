"""Opens approved tables and answers for them: the only file of this service that does I/O."""

import time
from collections.abc import Mapping

from tubepost.common.wire.base import Message
from tubepost.common.wire.proxymap import Delete, Done, Found, Lookup, Refused, Update
from tubepost.common.system import log
from tubepost.common.bus import Handler, Request
from tubepost.common.tables import Table, TableEnvironment, TableError, open_table
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process

from tubepost.services.proxymap import protocol

# From one time that a refusal is told to the next, seconds.
_COMPLAINT_INTERVAL = 1.0


class Proxymap(request.Service):
    """One process of proxymap or, by its service name, proxywrite."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._writes = "write" in process.name
        self._parameter = "proxy_write_maps" if self._writes else "proxy_read_maps"
        self._approved: frozenset[str] = frozenset()
        self._next_complaint = 0.0
        # No proxy in it: a proxied table of a proxied table would ask this same service.
        self._environment = TableEnvironment(
            config_directory=process.birth.config_directory,
            accounts_directory=process.config.accounts_directory,
            default_type=process.config.default_database_type,
        )

    async def open(self) -> None:
        self._approved = protocol.approved(self.config.get(self._parameter))

    async def close(self) -> None:
        self._environment.close()

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        if self._writes:
            return {Lookup: self.lookup, Update: self.update, Delete: self.delete}
        return {Lookup: self.lookup}

    async def lookup(self, asked: Request[Lookup]) -> Found | Refused:
        table = self._table(asked.message.table)
        if isinstance(table, Refused):
            return table
        try:
            return Found(value=await table.lookup(asked.message.key))
        except TableError as error:
            log.warning(str(error))
            return Refused(reason=str(error))

    async def update(self, asked: Request[Update]) -> Done | Refused:
        table = self._table(asked.message.table)
        if isinstance(table, Refused):
            return table
        try:
            await table.update(asked.message.key, asked.message.value)
        except TableError as error:
            log.warning(str(error))
            return Refused(reason=str(error))
        return Done()

    async def delete(self, asked: Request[Delete]) -> Done | Refused:
        table = self._table(asked.message.table)
        if isinstance(table, Refused):
            return table
        try:
            await table.delete(asked.message.key)
        except TableError as error:
            log.warning(str(error))
            return Refused(reason=str(error))
        return Done()

    def _table(self, spec: str) -> Table | Refused:
        if spec not in self._approved:
            reason = protocol.refusal(spec, self._parameter)
            now = time.monotonic()
            # One that asks for ever does not fill the log.
            if now >= self._next_complaint:
                self._next_complaint = now + _COMPLAINT_INTERVAL
                log.warning(reason)
            return Refused(reason=reason)
        # The caller has folded the key as its parameter wants it.
        return open_table(spec, environment=self._environment, fold=False)
