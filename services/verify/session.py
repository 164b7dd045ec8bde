"""Answers from the cache, sends probes, takes their outcomes."""

import asyncio
import time
from collections.abc import Mapping

from tubepost.common.mail import dsn
from tubepost.common.mail.date import format_date
from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.cleanup import QUEUE_ID_MARK, Deposit, Deposited
from tubepost.common.wire.envelope import Envelope, Origin, Recipient
from tubepost.common.wire.verify import PROBE, Query, Update, Verdict, probe_sender
from tubepost.common.system import log
from tubepost.common.bus import BusError, Handler, Request
from tubepost.common.tables import TableError
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.verify.protocol import (
    IN_PROGRESS,
    PROBE_TIME,
    Ages,
    Status,
    after_outcome,
    after_probe,
    judge,
    verdict,
)
from tubepost.services.verify.store import open_store

# Longer ones, which smtpd would have to be broken into to ask for, are not kept.
_ADDRESS_LIMIT = 4096
_TOO_MANY = "Too many address verification requests"


class Verify(request.Service):
    stays = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._environment = table_environment(process)
        self._cleanup = process.client(config.cleanup_service_name)
        self._ages = Ages(
            config.address_verify_positive_expire_time,
            config.address_verify_positive_refresh_time,
            config.address_verify_negative_expire_time,
            config.address_verify_negative_refresh_time,
            config.address_verify_negative_cache,
        )
        self._pending: dict[str, float] = {}
        """Probes without an outcome, and when they were sent, oldest first."""

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Query: self._query, Update: self._update}

    async def open(self) -> None:
        """Raises ConfigError when the cache cannot be used."""
        config = self.config
        try:
            self._store = open_store(config.address_verify_map, self._environment)
        except (OSError, ValueError, TableError) as error:
            raise config.bad_value("address_verify_map", str(error)) from None
        if config.address_verify_cache_cleanup_interval:
            self.process.spawn(asyncio.create_task(self._tend(config.address_verify_cache_cleanup_interval)))

    async def close(self) -> None:
        self._store.close()
        self._environment.close()

    async def _tend(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            removed = self._store.clean(time.time(), self._ages)
            log.info(f"cache {self.config.address_verify_map}: {removed} expired entries were removed")

    async def _query(self, request: Request[Query]) -> Verdict:
        address = request.message.address
        if len(address) > _ADDRESS_LIMIT:
            return Verdict(status="bounce", reason="The address is too long")
        now = time.time()
        found = await self._store.get(address)
        current, due = judge(found, now, self._ages)
        if found is not None and current.status == "todo" and not self._ages.negative_cache:
            await self._store.delete(address)
        if not due or self._is_pending(address, now):
            return verdict(current)
        if len(self._pending) >= self.config.address_verify_pending_request_limit:
            # What is known is told all the same; what is not can be asked for later.
            return verdict(current) if current.updated else Verdict(status="defer", reason=_TOO_MANY)
        self._pending[address] = now
        kept = after_probe(current, now, self._ages)
        if kept is not None:
            await self._store.put(address, kept)
        self.process.spawn(asyncio.create_task(self._probe(address)))
        return verdict(current)

    def _is_pending(self, address: str, now: float) -> bool:
        # The dict is in order of time: lost probes stand in front.
        while self._pending and now - (sent := next(iter(self._pending.items())))[1] > PROBE_TIME:
            del self._pending[sent[0]]
        return address in self._pending

    async def _update(self, request: Request[Update]) -> Done:
        message = request.message
        # The status code says what the class says already; smtpd puts its own before the reason.
        await self._learn(message.address, message.status, dsn.split(message.reason)[1])
        return Done()

    async def _learn(self, address: str, status: Status, reason: str) -> None:
        self._pending.pop(address, None)
        found = await self._store.get(address)
        finding = after_outcome(found, status, reason, time.time(), self._ages)
        if finding is not None:
            await self._store.put(address, finding)

    async def _probe(self, address: str) -> None:
        config = self.config
        now = time.time()
        sender = probe_sender(config.address_verify_sender, config.address_verify_sender_ttl, now, config.myorigin)
        local = time.localtime(now)
        stamp = format_date(now, local.tm_gmtoff, local.tm_zone)
        deposit = Deposit(
            envelope=Envelope(sender=sender, arrival_time=now, origin=Origin(log_ident=PROBE)),
            recipients=(Recipient(address=address),),
            source="verify",
            rewrite_context="local",
            filters=False,
            bcc=False,
            milters=False,
            prepend=(f"Received: by {config.myhostname} ({config.mail_name})\n\tid {QUEUE_ID_MARK}; {stamp}",),
        )
        content = b"Subject: address verification probe\n\n" + IN_PROGRESS.encode() + b"\n"
        try:
            done = await self._cleanup.call(deposit, Deposited, payload=content)
        except BusError as error:
            # Asked again it is tried again.
            log.warning(f"no probe for <{address}> could be sent: {error}")
            self._pending.pop(address, None)
            found = await self._store.get(address)
            if found is not None and found.probed:
                if found.updated:
                    await self._store.put(address, type(found)(found.status, 0.0, found.updated, found.reason))
                else:
                    await self._store.delete(address)
            return
        if done.discarded:
            await self._learn(address, "ok", "aliased to multiple recipients")
