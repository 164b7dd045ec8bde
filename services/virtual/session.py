"""Drives deliveries: tables, the mailbox store, one status a recipient."""

import asyncio
import os
import time

from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.commit import GroupCommit
from tubepost.common.mailbox import Content, DeliveryError
from tubepost.common.mailbox.maildir import MaildirStore
from tubepost.common.spool import Spool
from tubepost.common.tables import Maps, TableError, address
from tubepost.common.skeleton import worker
from tubepost.common.skeleton.deliveries import log_status, open_content
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment


class Virtual(worker.Agent):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        tables = table_environment(process)
        self._mailboxes = Maps(config.virtual_mailbox_maps, tables)
        self._uids = Maps(config.virtual_uid_maps, tables)
        self._gids = Maps(config.virtual_gid_maps, tables)
        self._delimiter = config.recipient_delimiter
        self._spool = Spool()
        self._commit = GroupCommit()
        self._store = MaildirStore(config.virtual_mailbox_base, self._commit)

    async def deliver(self, job: Job) -> Report:
        begun = time.time()
        try:
            content = open_content(self._spool, job)
        except OSError as error:
            return worker.defer_all(job, "4.3.0", f"cannot open the queue file: {error.strerror}")
        try:
            if len(job.recipients) == 1:
                statuses = [await self._one(job, job.recipients[0], content, begun)]
            else:
                statuses = list(await asyncio.gather(*(self._one(job, r, content, begun) for r in job.recipients)))
        finally:
            os.close(content.fd)
        return Report(statuses=tuple(statuses))

    async def _one(self, job: Job, queued: QueuedRecipient, content: Content, begun: float) -> RecipientStatus:
        recipient = queued.recipient.address
        try:
            found = await address.find(self._mailboxes, recipient, delimiter=self._delimiter)
            if found is None:
                status = self._status(queued, "bounced", "5.1.1", f'unknown user: "{recipient}"')
            else:
                uid, gid = await self._owner(recipient)
                original = queued.recipient.original or recipient
                head = (
                    f"Return-Path: <{job.envelope.sender}>\nX-Original-To: {original}\nDelivered-To: {recipient}\n"
                ).encode()
                await self._store.deliver(
                    found.value,
                    Content(content.fd, content.offset, content.length, head, content.crlf),
                    uid=uid,
                    gid=gid,
                )
                status = self._status(queued, "sent", "2.0.0", "delivered to maildir")
        except TableError as error:
            log.warning(f"{job.queue_id}: {error}")
            status = self._status(queued, "deferred", "4.3.5", "mail system configuration error")
        except DeliveryError as error:
            kind = "bounced" if error.dsn.startswith("5") else "deferred"
            status = self._status(queued, kind, error.dsn, str(error))
        log_status(job, queued, status, begun=begun)
        return status

    async def _owner(self, recipient: str) -> tuple[int, int]:
        """uid and gid of the mailbox; -1 without maps, when this process cannot choose anyway. Raises TableError."""
        if os.geteuid() != 0:
            return -1, -1
        ids = []
        for maps in (self._uids, self._gids):
            found = await address.find(maps, recipient, delimiter=self._delimiter)
            if found is None or not found.value.isdigit():
                raise TableError(f"{recipient}: no numeric id in {maps.title}")
            ids.append(int(found.value))
        if ids[0] < self.config.virtual_minimum_uid:
            raise TableError(f"{recipient}: uid {ids[0]} is below virtual_minimum_uid")
        return ids[0], ids[1]

    def _status(self, queued: QueuedRecipient, status: str, dsn: str, text: str) -> RecipientStatus:
        return RecipientStatus(
            offset=queued.offset,
            status=status,  # type: ignore[arg-type]
            dsn=dsn,
            text=text,
            relay="virtual",
        )
