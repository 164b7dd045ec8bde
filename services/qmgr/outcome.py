"""The ends of recipients and messages: marks in the queue file, bounce and defer logs, reports, removal.

In the order that common/spool/STATES.md demands: a failure is in the bounce log before its recipient is marked done;
the report is queued before the log and the file go.
"""

import os
import time
from collections.abc import Callable

from tubepost.common.wire import bounce, flush, verify
from tubepost.common.wire.base import Done
from tubepost.common.wire.bounce import Append, Purge, Send
from tubepost.common.wire.bounce import Entry as LogEntry
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.bus import BusError
from tubepost.common.spool import Damaged, Incomplete, Spool, open_queue_file
from tubepost.common.spool.queuefile import WARNED, mark_done, set_flag
from tubepost.common.skeleton.deliveries import delay
from tubepost.common.skeleton.process import Process

from tubepost.services.qmgr.backoff import Lifetimes, expired, next_try, warning_due
from tubepost.services.qmgr.message import ActiveMessage, wants

_ACTIONS = {"sent": "delivered", "expanded": "expanded", "bounced": "failed", "deferred": "delayed"}
# A message whose report could not be queued is kept for at least this long, seconds.
_REPORT_RETRY = 60.0


class Outcome:
    """``released`` is called when a message has left the active queue."""

    def __init__(self, process: Process, spool: Spool, released: Callable[[ActiveMessage], None]) -> None:
        self._process = process
        self._spool = spool
        self._released = released
        self._under_way = 0
        config = process.config
        self._config = config
        self._soft = config.soft_bounce
        self._flush_sites = bool(config.fast_flush_domains)
        self._lifetimes = Lifetimes(
            config.minimal_backoff_time,
            config.maximal_backoff_time,
            config.maximal_queue_lifetime,
            config.bounce_queue_lifetime,
            config.delay_warning_time,
        )

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    def close(self) -> None:
        """Nothing is held between outcomes."""

    # -- the common end ----------------------------------------------------------------------------------------------

    def is_plain(self, message: ActiveMessage, recipient: Recipient, status: RecipientStatus) -> bool:
        """Delivered, the only recipient, nothing to report or to clean up."""
        return (
            status.status == "sent"
            and not message.from_deferred
            and not message.bounced
            and not message.traced
            and not message.probe
            and not message.deferred
            and (not recipient.notify or "SUCCESS" not in recipient.notify)
        )

    def remove(self, message: ActiveMessage) -> None:
        """The message is done with."""
        if not self._spool.remove("active", message.queue_id):
            log.warning(f"{message.queue_id}: was already gone from the active queue")
        self._close(message)
        log.info(f"{message.queue_id}: removed")
        self._released(message)

    def _close(self, message: ActiveMessage) -> None:
        if message.fd >= 0:
            os.close(message.fd)
            message.fd = -1

    # -- one recipient -----------------------------------------------------------------------------------------------

    async def record(
        self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus, silent: bool = False
    ) -> None:
        """Write down what became of a recipient. Never raises: what cannot be written leaves it to be tried again."""
        self._under_way += 1
        try:
            await self._record(message, queued, status, silent)
        except (BusError, OSError) as error:
            log.warning(f"{message.queue_id}: outcome for <{queued.recipient.address}> cannot be recorded: {error}")
            message.deferred += 1
        finally:
            self._under_way -= 1

    async def _record(
        self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus, silent: bool
    ) -> None:
        recipient = queued.recipient
        kind = status.status
        if message.probe:
            await self._verified(message, queued, status)
            return
        if kind == "bounced" and self._soft:
            kind = "deferred"
        if kind == "deferred" and self._gives_up(message):
            kind = "bounced"
        if kind == "deferred":
            message.deferred += 1
            message.defer_entries.append(self._entry(recipient, status, "delayed"))
            return
        if kind == "bounced":
            await self._append("bounce", message, [self._entry(recipient, status, "failed")])
            message.bounced = True
        elif not silent and recipient.notify and wants(recipient, "SUCCESS") and not status.dsn_passed:
            action = "relayed" if status.relayed else _ACTIONS.get(kind, "delivered")
            await self._append("trace", message, [self._entry(recipient, status, action)])
            message.traced = True
        self._mark(message, queued)

    def _gives_up(self, message: ActiveMessage) -> bool:
        if message.forced_expire:
            return True
        return expired(message.envelope.arrival_time, time.time(), message.sender, self._lifetimes)

    def _mark(self, message: ActiveMessage, queued: QueuedRecipient) -> None:
        if message.fd < 0:
            message.fd = os.open(self._spool.path("active", message.queue_id), os.O_WRONLY | os.O_CLOEXEC)
        mark_done(message.fd, queued.offset)

    def _entry(self, recipient: Recipient, status: RecipientStatus, action: str) -> LogEntry:
        return LogEntry(recipient=recipient, status=status, action=action, time=time.time())  # type: ignore[arg-type]

    async def _verified(self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus) -> None:
        outcomes = {"sent": "ok", "deliverable": "ok", "expanded": "ok", "deferred": "defer"}
        client = self._process.client(self._config.address_verify_service_name)
        await client.call(
            verify.Update(
                address=queued.recipient.original or queued.recipient.address,
                status=outcomes.get(status.status, "bounce"),  # type: ignore[arg-type]
                reason=f"{status.dsn} {status.text}",
            ),
            Done,
        )

    # -- the logs of bounce ------------------------------------------------------------------------------------------

    def _service(self, kind: bounce.Kind) -> str:
        config = self._config
        names = {
            "bounce": config.bounce_service_name,
            "defer": config.defer_service_name,
            "trace": config.trace_service_name,
        }
        return names[kind]

    async def _append(self, kind: bounce.Kind, message: ActiveMessage, entries: list[LogEntry]) -> None:
        client = self._process.client(self._service(kind))
        await client.call(Append(kind=kind, queue_id=message.queue_id, entries=tuple(entries)), Done)

    async def _purge(self, kind: bounce.Kind, message: ActiveMessage) -> None:
        client = self._process.client(self._service(kind))
        await client.call(Purge(kind=kind, queue_id=message.queue_id), Done)

    async def _send(self, kind: str, message: ActiveMessage) -> None:
        services: dict[str, bounce.Kind] = {"failure": "bounce", "delay": "defer", "success": "trace"}
        client = self._process.client(self._service(services[kind]))
        await client.call(
            Send(
                kind=kind,  # type: ignore[arg-type]
                queue_id=message.queue_id,
                envelope=message.envelope,
                content_offset=message.content_offset,
                content_length=message.content_length,
            ),
            Done,
        )

    # -- the whole message -------------------------------------------------------------------------------------------

    async def finish(self, message: ActiveMessage, jitter: float) -> None:
        """Every recipient has its outcome of this round: reports, then away or to deferred. ``jitter``: 0 … 1."""
        self._under_way += 1
        try:
            await self._finish(message, jitter)
        except (BusError, OSError) as error:
            log.warning(f"{message.queue_id}: a report or log could not be written: {error}; kept for later")
            self._defer(message, time.time() + max(_REPORT_RETRY, self._lifetimes.minimal))
        finally:
            self._under_way -= 1

    async def _finish(self, message: ActiveMessage, jitter: float) -> None:
        now = time.time()
        if message.probe:
            self.remove(message)
            return
        if message.defer_logged:
            # The log of earlier rounds says nothing any more.
            await self._purge("defer", message)
            message.defer_logged = False
        if message.defer_entries:
            await self._append("defer", message, message.defer_entries)
            message.defer_entries = []
        if message.bounced:
            if self._gives_up(message):
                verb = "force-expired" if message.forced_expire else "expired"
                log.info(f"{message.queue_id}: from=<{message.sender}>, status={verb}, returned to sender")
            await self._send("failure", message)
            message.bounced = False
        if not message.deferred:
            if message.traced or os.path.exists(self._spool.path("trace", message.queue_id)):
                await self._send("success", message)
            self.remove(message)
            return
        arrival = message.envelope.arrival_time
        if warning_due(arrival, now, message.sender, message.warned, self._lifetimes):
            await self._send("delay", message)
            self._set_warned(message)
        self._tell_flush(message)
        self._defer(message, next_try(arrival, now, self._lifetimes, jitter))

    def _set_warned(self, message: ActiveMessage) -> None:
        fd = os.open(self._spool.path("active", message.queue_id), os.O_WRONLY | os.O_CLOEXEC)
        try:
            set_flag(fd, WARNED)
        finally:
            os.close(fd)

    def _tell_flush(self, message: ActiveMessage) -> None:
        if not self._flush_sites:
            return
        client = self._process.client(self._config.flush_service_name)
        for site in {address.rpartition("@")[2].lower() for _, address in self._waiting(message)}:
            client.tell(flush.Add(site=site, queue_id=message.queue_id))

    def _waiting(self, message: ActiveMessage) -> list[tuple[int, str]]:
        try:
            with open_queue_file(self._spool.path("active", message.queue_id)) as file:
                return [(offset, recipient.address) for offset, done, recipient, _ in file.recipients() if not done][
                    :100
                ]
        except (OSError, Damaged, Incomplete):
            return []

    def _defer(self, message: ActiveMessage, when: float) -> None:
        path = self._spool.path("active", message.queue_id)
        self._close(message)
        try:
            os.utime(path, (when, when))
            self._spool.move(message.queue_id, "active", "deferred")
        except FileNotFoundError:
            log.info(f"{message.queue_id}: is no longer in the active queue: moved or removed by a person")
        except OSError as error:
            log.error(f"{message.queue_id}: cannot be moved to deferred: {error.strerror}; it stays in active")
        self._released(message)

    # -- log lines ---------------------------------------------------------------------------------------------------

    def log_status(self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus) -> None:
        """Of a recipient that no agent was asked to deliver to."""
        now = time.time()
        arrival = message.envelope.arrival_time
        recipient = queued.recipient
        original = recipient.original
        orig_to = f" orig_to=<{original}>," if original and original != recipient.address else ""
        log.info(
            f"{message.queue_id}: to=<{recipient.address}>,{orig_to} relay=none, delay={delay(now - arrival)}, "
            f"delays={delay(message.active_time - arrival)}/{delay(now - message.active_time)}/0/0, "
            f"dsn={status.dsn}, status={status.status} ({status.text})"
        )
