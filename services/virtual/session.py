"""Drives deliveries: tables, the mailbox store, one status a recipient."""

import asyncio
import os
import time

from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.commit import GroupCommit
from tubepost.common.mailbox import Content, DeliveryError
from tubepost.common.mailbox.mbox import Locking, MboxStore, Rules, from_line
from tubepost.common.mailbox.opening import open_deliveries
from tubepost.common.mailbox.values import Limit, parse_limit
from tubepost.common.spool import Spool
from tubepost.common.tables import Maps, TableError, address
from tubepost.common.tables.static import StaticTable
from tubepost.common.skeleton import worker
from tubepost.common.skeleton.deliveries import Outcomes, delivery_head, open_content, status_of
from tubepost.common.skeleton.notices import Notices
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

_RELAY = "virtual"
_LARGEST_ID = (1 << 32) - 2

# Deliveries that come close together are synced together, seconds: nobody waits for them at a prompt, and each sync
# holds up cleanup's, for which a client waits. Measured with 20 sessions: 1,280 to 1,440 messages a second, 0.95 to
# 0.85 ms of CPU each.
_GATHER = 0.004


class Virtual(worker.Agent):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        base = config.virtual_mailbox_base
        if not base.startswith("/"):
            raise config.bad_value("virtual_mailbox_base", f'"{base}" is not an absolute path')
        self._tables = table_environment(process)
        self._mailboxes = self._open("virtual_mailbox_maps")
        self._uids = self._open("virtual_uid_maps")
        self._gids = self._open("virtual_gid_maps")
        self._quotas = self._open("virtual_mailbox_quota_maps")
        self._delimiter = config.recipient_delimiter
        self._original = config.enable_original_recipient
        self._limit = config.virtual_mailbox_limit
        self._root = os.geteuid() == 0
        self._minimum_uid = config.virtual_minimum_uid
        # With static: tables, as most have them, every mailbox has the same owner.
        uid, gid = _constant(self._uids, self._minimum_uid), _constant(self._gids, 1)
        self._same_owner = None if uid is None or gid is None else (uid, gid)
        self._outcomes = Outcomes(
            config, config.virtual_delivery_status_filter, self._tables, "virtual_delivery_status_filter"
        )
        self._spool = Spool()
        self._commit = GroupCommit(gather=_GATHER)
        self._notices = Notices(process)
        self._maildirs = open_deliveries(base, self._commit, self._notices.tell)
        self._mboxes: MboxStore | None = None

    def _open(self, name: str) -> Maps:
        # What decides whose rights are used is read by this program itself, and takes nothing from the address.
        specs = [spec.removeprefix("proxy:") for spec in self.config.get(name)]
        return Maps(specs, self._tables, title=name, substitution=False)

    async def close(self) -> None:
        self._commit.close()
        self._notices.close()
        if self._mboxes is not None:
            self._mboxes.close()
        self._tables.close()

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
                statuses = await self._all(job, content, begun)
        finally:
            os.close(content.fd)
        return Report(statuses=tuple(statuses))

    async def _all(self, job: Job, content: Content, begun: float) -> list[RecipientStatus]:
        deliveries = (worker.apart(job, each, self._one(job, each, content, begun)) for each in job.recipients)
        # With exceptions, so that who is cancelled waits for all of them: they read what is closed next.
        statuses = await asyncio.gather(*deliveries, return_exceptions=True)
        return [status for status in statuses if not isinstance(status, BaseException)]

    async def _one(self, job: Job, queued: QueuedRecipient, content: Content, begun: float) -> RecipientStatus:
        recipient = queued.recipient.address
        try:
            found = await address.find(self._mailboxes, recipient, delimiter=self._delimiter)
            if found is None:
                status = status_of(queued, "5.1.1", f'unknown user: "{recipient}"', _RELAY)
            else:
                text = await self._store(job, queued, content, found.value)
                status = status_of(queued, "2.0.0", text, _RELAY)
        except TableError as error:
            log.warning(f"{job.queue_id}: {error}")
            status = status_of(queued, "4.3.5", "mail system configuration error", _RELAY)
        except DeliveryError as error:
            status = status_of(queued, error.dsn, str(error), _RELAY)
        return await self._outcomes.settle(job, queued, status, begun=begun)

    async def _store(self, job: Job, queued: QueuedRecipient, content: Content, mailbox: str) -> str:
        """The words of success. Raises DeliveryError, TableError."""
        recipient = queued.recipient.address
        if "/../" in f"/{mailbox}/" or "\0" in mailbox:
            raise TableError(f"recipient {recipient}: bad mailbox path {mailbox} in virtual_mailbox_maps")
        uid, gid = await self._owner(recipient)
        # Postfix's base/path: a path that begins with a slash is below the base as well.
        mailbox = mailbox.lstrip("/")
        is_maildir = mailbox.endswith("/")
        if job.probe:
            return f"delivers to {'maildir' if is_maildir else 'mailbox'}"
        head = delivery_head(job, queued, original=self._original, delivered=recipient)
        if is_maildir:
            data = head.encode()
            if self._limit and len(data) + content.length > self._limit:
                raise DeliveryError(
                    "5.2.2", f"maildir delivery failed: the message is larger than virtual_mailbox_limit, {self._limit}"
                )
            await self._maildirs.deliver(
                mailbox,
                Content(content.fd, content.offset, content.length, data, content.crlf),
                uid=uid,
                gid=gid,
                limit=await self._quota(recipient) if self._quotas else None,
            )
            return "delivered to maildir"
        data = (from_line(job.envelope.sender, time.time()) + head).encode()
        try:
            await self._mbox_store().deliver(
                mailbox,
                Content(content.fd, content.offset, content.length, data, content.crlf),
                uid=uid,
                gid=gid,
                rules=Rules(self._limit, uid if self.config.strict_mailbox_ownership else -1),
            )
        except DeliveryError as error:
            raise DeliveryError(error.dsn, f"delivery failed to mailbox {mailbox}: {error}") from error
        return "delivered to mailbox"

    def _mbox_store(self) -> MboxStore:
        if self._mboxes is None:
            config = self.config
            locking = Locking(
                config.virtual_mailbox_lock,
                config.deliver_lock_attempts,
                config.deliver_lock_delay,
                config.stale_lock_time,
            )
            self._mboxes = MboxStore(config.virtual_mailbox_base, locking, Rules())
        return self._mboxes

    async def _owner(self, recipient: str) -> tuple[int, int]:
        """uid and gid of the mailbox; -1 for one's own, where this process cannot choose. Raises TableError."""
        if not self._root:
            return -1, -1
        if self._same_owner is not None:
            return self._same_owner
        uid = await self._id(self._uids, recipient, self._minimum_uid)
        return uid, await self._id(self._gids, recipient, 1)

    async def _quota(self, recipient: str) -> Limit | None:
        """Raises TableError."""
        found = await address.find(self._quotas, recipient, delimiter=self._delimiter)
        if found is None:
            return None
        try:
            return parse_limit(found.value)
        except ValueError as error:
            raise TableError(f"recipient {recipient}: {self._quotas.title}: {error}") from None

    async def _id(self, maps: Maps, recipient: str, least: int) -> int:
        found = await address.find(maps, recipient, delimiter=self._delimiter)
        if found is None:
            raise TableError(f"recipient {recipient}: not found in {maps.title}")
        value = found.value
        if not _is_id(value, least):
            raise TableError(f"recipient {recipient}: bad id {value} in {maps.title}: {least} or more is needed")
        return int(value)


def _is_id(value: str, least: int) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 10 and least <= int(value) <= _LARGEST_ID


def _constant(maps: Maps, least: int) -> int | None:
    """The id that a table gives for whatever it is asked; None when it depends, or is none."""
    first = maps.tables[0] if maps.tables else None
    return int(first.value) if isinstance(first, StaticTable) and _is_id(first.value, least) else None
