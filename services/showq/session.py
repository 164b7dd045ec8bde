"""Drives a listing: reads the queue a message at a time, sends what is gathered, stops when nobody reads."""

import asyncio
from collections.abc import Mapping

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.showq import List
from tubepost.common.bus import Handler, Request
from tubepost.common.spool import Spool
from tubepost.common.spool.listing import QUEUES, entries
from tubepost.common.tables.users import forbidden
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.showq.protocol import Gathering


class Showq(request.Service):
    """Answers List."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._spool = Spool(".", tuple(self.config.hash_queue_names), self.config.hash_queue_depth)
        self._environment = table_environment(process)

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {List: self._list}

    async def close(self) -> None:
        self._environment.close()

    async def _list(self, request: "Request[List]") -> Done | Refused:
        config = self.config
        uid = request.caller.uid
        user = await forbidden(
            "authorized_mailq_users", config.authorized_mailq_users, uid, self._environment, config.mail_owner
        )
        if user:
            # RFC 3463: 4.7.1 would promise another answer later.
            return Refused(code=550, dsn="5.7.1", reason=f"User {user}({uid}) is not allowed to view the mail queue")
        wrong = [queue for queue in request.message.queues if queue not in QUEUES]
        if wrong:
            return Refused(code=501, dsn="5.5.4", reason=f"{wrong[0]!r} is no queue of messages")
        gathering = Gathering()
        for entry in entries(self._spool, request.message.queues, config.duplicate_filter_limit):
            due = gathering.add(entry)
            if due:
                await request.emit(*due)
                # Other callers, the master's orders, and this caller's farewell want to be heard.
                await asyncio.sleep(0)
        rest = gathering.rest()
        if rest:
            await request.emit(*rest)
        return Done()
