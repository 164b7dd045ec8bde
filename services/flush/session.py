"""Adds to the lists and has qmgr try what stands in them."""

import asyncio
import pwd
import time
from collections.abc import Mapping

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.flush import Add, Refresh, SendSite
from tubepost.common.wire.programs import USER
from tubepost.common.wire.qmgr import FlushMessage
from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
from tubepost.common.bus import BusError, Handler, Refusal, Request
from tubepost.common.bus.identity import Caller
from tubepost.common.tables import TableError
from tubepost.common.tables.match import DomainList, StringList, matches_subdomains
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.flush.lists import Lists, list_name


class Flush(request.Service):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._lists = Lists()
        self._qmgr = process.client(config.queue_service_name)
        self._environment = table_environment(process)
        self._eligible = DomainList(
            "fast_flush_domains",
            config.fast_flush_domains,
            self._environment,
            parents=matches_subdomains(
                config.parent_domain_matches_subdomains, "fast_flush_domains", self._environment
            ),
        )
        self._users = StringList("authorized_flush_users", config.authorized_flush_users, self._environment)
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Add: self._add, SendSite: self._send_site, Refresh: self._refresh}

    async def close(self) -> None:
        self._environment.close()

    @property
    def busy(self) -> bool:
        return self._refreshing is not None

    async def woken(self) -> None:
        self._start_refresh()

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _add(self, request: Request[Add]) -> Message:
        message = request.message
        if not is_queue_id(message.queue_id):
            return Refused(reason=f"{message.queue_id!r} is not a queue id")
        try:
            name = await self._eligible_name(message.site)
            if name:
                self._lists.add(name, (message.queue_id,), time.time())
        except OSError as error:
            log.warning(f"{message.queue_id}: cannot be listed for {message.site}: {error.strerror}")
        except TableError as error:
            log.warning(f"{message.queue_id}: cannot be listed for {message.site}: {error}")
        return Done()

    async def _send_site(self, request: Request[SendSite]) -> Message:
        site = request.message.site
        try:
            if not await self._may_flush(request.caller):
                return Refused(
                    code=550, dsn="5.7.1", reason="you may not flush the mail queue (authorized_flush_users)"
                )
            name = await self._eligible_name(site)
            if not name:
                return Refused(
                    code=459, dsn="5.7.1", reason=f"{site}: not in fast_flush_domains: mail cannot be flushed"
                )
            await self._send(name)
        except (TableError, OSError) as error:
            log.warning(f"mail for {site} cannot be flushed: {error}")
            return Refused(code=458, dsn="4.3.0", reason=f"{site}: mail cannot be flushed now")
        except BusError as error:
            log.warning(f"mail for {site} cannot be flushed: {error}")
            return Refused(code=458, dsn="4.3.0", reason=f"{site}: the queue manager does not answer")
        return Done()

    async def _refresh(self, request: Request[Refresh]) -> Message:
        if not await self._may_flush(request.caller):
            return Refused(reason="you may not flush the mail queue (authorized_flush_users)")
        self._start_refresh()
        return Done()

    async def _may_flush(self, caller: Caller) -> bool:
        """Raises TableError. The superuser may; programs of this instance ask for those that they have judged."""
        if caller.program != USER or caller.uid == 0:
            return True
        try:
            name = pwd.getpwuid(caller.uid).pw_name
        except KeyError:
            name = "unknown"
        return name == self.config.mail_owner or await self._users.match(name)

    async def _eligible_name(self, site: str) -> str:
        """The list's name, empty where mail for the site is not listed. Raises TableError."""
        try:
            name = list_name(site)
        except ValueError:
            return ""
        return name if await self._eligible.match(site.lower()) else ""

    # -- work --------------------------------------------------------------------------------------------------------

    async def _send(self, name: str) -> None:
        """Raises OSError and BusError; what was not asked for by then is put back."""
        waiting = self._lists.take(name, time.time())
        for place, queue_id in enumerate(waiting):
            try:
                await self._qmgr.call(FlushMessage(queue_id=queue_id), Done)
            except Refusal:
                continue  # delivered or removed since
            except BusError:
                self._lists.add(name, waiting[place:], time.time())
                raise

    def _start_refresh(self) -> None:
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh_all())
            self.process.spawn(self._refreshing)

    async def _refresh_all(self) -> None:
        config = self.config
        try:
            now = time.time()
            for name in list(self._lists.due(now, config.fast_flush_refresh_time, config.fast_flush_purge_time)):
                if self.process.stopping.is_set():
                    return
                await self._send(name)
        except (OSError, BusError) as error:
            log.warning(f"the lists of deferred mail cannot be refreshed: {error}; tried again later")
        finally:
            self._refreshing = None
