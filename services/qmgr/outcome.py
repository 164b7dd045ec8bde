"""The ends of recipients and messages: marks in the queue file, bounce and defer logs, reports, removal.

In the order that common/spool/STATES.md demands: a failure is in the bounce log before its recipient is marked done;
the report is queued before the log and the file go.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

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
from tubepost.common.spool.listing import read_log
from tubepost.common.spool.queuefile import WARNED, mark_done, set_flag
from tubepost.common.skeleton import deliveries
from tubepost.common.skeleton.process import Process

from tubepost.services.qmgr.backoff import Lifetimes, expired, next_try, warning_due
from tubepost.services.qmgr.clock import Clock
from tubepost.services.qmgr.message import ActiveMessage, Result, wants

_ACTIONS = {"sent": "delivered", "expanded": "expanded", "bounced": "failed", "deferred": "delayed"}
_GOOD = ("sent", "deliverable", "expanded")
_SERVICES: dict[str, bounce.Kind] = {"failure": "bounce", "delay": "defer", "success": "trace", "verbose": "trace"}
# A report that could not be queued is tried again after this long at the latest, seconds.
_REPORT_RETRY = 60.0
# What the disk refused is tried again after this long, seconds.
_DISK_RETRY = 10.0
# Reasons of deferral that are held of one message before they are written to its log.
_DEFER_ENTRIES = 1000
# Sites of one message that flush is told of.
_SITES = 100
# Where postsuper may have put a message that is being delivered, and whence it comes back as it is.
_ASIDE = ("hold", "deferred")


class Outcome:
    """``released`` is called when a message has left the active queue."""

    def __init__(self, process: Process, spool: Spool, clock: Clock, released: Callable[[ActiveMessage], None]) -> None:
        self._process = process
        self._spool = spool
        self._clock = clock
        self._released = released
        config = process.config
        self._config = config
        self._soft = config.soft_bounce
        self._flush_sites = bool(config.fast_flush_domains)
        self._digits = config.delay_logging_resolution_limit
        self._lifetimes = Lifetimes(
            config.minimal_backoff_time,
            config.maximal_backoff_time,
            config.maximal_queue_lifetime,
            config.bounce_queue_lifetime,
            config.delay_warning_time,
        )

    # -- the common end ----------------------------------------------------------------------------------------------

    def is_plain(self, message: ActiveMessage, recipient: Recipient, status: RecipientStatus) -> bool:
        """Delivered, the only recipient, nothing to report or to clean up."""
        return (
            status.status == "sent"
            and not message.bounced
            and not message.defer_logged
            and not message.envelope.trace
            and not message.verifying
            and not message.deferred
            # With NOTIFY there may be a trace log, also one that cleanup wrote.
            and not recipient.notify
        )

    def remove(self, message: ActiveMessage, offset: int = 0) -> None:
        """The message is done with. ``offset``: of its only recipient, who is not marked done yet."""
        try:
            there = self._spool.remove("active", message.queue_id)
            if not there and offset:
                self._mark(message, (offset,))
        except OSError as error:
            # Given up from memory it would stand in active with nobody to look at it, and be delivered again one day.
            self._once_more(message, f"cannot be removed: {error.strerror}", partial(self.remove, message, offset))
            return
        if there:
            log.info(f"{message.queue_id}: removed")
        else:
            log.warning(f"{message.queue_id}: was already gone from the active queue: moved or removed by a person")
        self._released(message)

    def _once_more(self, message: ActiveMessage, trouble: str, work: Callable[[], None]) -> None:
        log.error(f"{message.queue_id}: {trouble}; it stays in active, and this is tried again in {_DISK_RETRY:.0f} s")
        self._process.loop.call_later(_DISK_RETRY, work)

    # -- recipients --------------------------------------------------------------------------------------------------

    async def record(self, message: ActiveMessage, results: Sequence[Result]) -> None:
        """Write down what became of recipients. Never raises: what cannot be written leaves them to be tried again."""
        try:
            if message.verifying:
                await self._verified(message, results)
            elif message.trial:
                await self._tried(message, results)
            else:
                await self._record(message, results)
        except (BusError, OSError) as error:
            some = results[0][0].recipient.address
            log.warning(
                f"{message.queue_id}: the outcome for <{some}> ({len(results)} recipients in all) cannot be recorded: "
                f"{error}; they are tried again"
            )
            message.deferred += len(results)

    async def _record(self, message: ActiveMessage, results: Sequence[Result]) -> None:
        failed: dict[int, LogEntry] = {}
        traced: list[LogEntry] = []
        waiting: list[LogEntry] = []
        done: list[int] = []
        for queued, status, silent in results:
            recipient = queued.recipient
            kind = status.status
            if kind == "bounced" and self._soft:
                kind = "deferred"
            if kind == "deferred" and self._gives_up(message):
                kind = "bounced"
            action = "relayed" if status.relayed and kind == "sent" else _ACTIONS.get(kind, "delivered")
            if not silent and self._is_traced(message, recipient, status, kind):
                traced.append(self._entry(recipient, status, action))
            if kind == "deferred":
                waiting.append(self._entry(recipient, status, action))
                continue
            if kind == "bounced":
                failed[queued.offset] = self._entry(recipient, status, action)
            else:
                done.append(queued.offset)
        message.deferred += len(waiting)
        message.defer_entries += waiting
        # What is delivered first: that a log cannot be written must not have it delivered again.
        self._mark_or_remember(message, done)
        if failed:
            await self._fail(message, failed)
        if traced:
            await self._trace(message, traced)
        if len(message.defer_entries) >= _DEFER_ENTRIES:
            await self._log_deferred(message)

    async def _fail(self, message: ActiveMessage, failed: dict[int, LogEntry]) -> None:
        """By offset. Without its line in the log a failure is not one yet: the recipient is tried again."""
        try:
            await self._append("bounce", message, list(failed.values()))
        except BusError as error:
            log.warning(f"{message.queue_id}: the bounce log cannot be written: {error}; kept for later")
            message.deferred += len(failed)
            return
        message.bounced = True
        self._mark_or_remember(message, failed)

    def _is_traced(self, message: ActiveMessage, recipient: Recipient, status: RecipientStatus, kind: str) -> bool:
        if message.tracing:
            return True
        good = kind in ("sent", "expanded")
        return good and bool(recipient.notify) and wants(recipient, "SUCCESS") and not status.dsn_passed

    async def _trace(self, message: ActiveMessage, entries: list[LogEntry]) -> None:
        """What is delivered stays delivered when this cannot be written: a report less is better than mail twice."""
        try:
            await self._append("trace", message, entries)
        except (BusError, OSError) as error:
            log.warning(f"{message.queue_id}: the trace log cannot be written: {error}; the report lacks recipients")

    def _gives_up(self, message: ActiveMessage) -> bool:
        """Only mail that has just been tried in vain comes here: the last try is after the end of its time."""
        message.given_up = message.forced_expire or expired(
            self._arrival(message), time.time(), message.sender, self._lifetimes
        )
        return message.given_up

    def _arrival(self, message: ActiveMessage) -> float:
        """By the clock of now, whatever it showed then."""
        self._clock.look(time.time(), time.monotonic())
        return self._clock.arrival(message.envelope.arrival_time)

    def _mark_or_remember(self, message: ActiveMessage, offsets: Collection[int]) -> None:
        """What the disk does not take is in memory until it does: meanwhile the message does not leave active."""
        try:
            self._mark(message, offsets)
        except OSError as error:
            log.warning(
                f"{message.queue_id}: {len(offsets)} recipients cannot be marked as done: {error.strerror}; "
                "they are before the message is tried again"
            )
            message.unmarked = (*message.unmarked, *offsets)

    def _mark(self, message: ActiveMessage, offsets: Collection[int]) -> None:
        """Also in a file that postsuper has put aside: what is delivered is not to be delivered again one day."""
        if not offsets:
            return
        fd = self._open(message)
        if fd is None:
            return  # deleted by a person, or on its way through pickup
        try:
            for offset in offsets:
                mark_done(fd, offset)
        finally:
            os.close(fd)

    def _open(self, message: ActiveMessage) -> int | None:
        """The queue file for writing, None when it is gone. Raises OSError."""
        for queue in ("active", *_ASIDE):
            try:
                return os.open(self._spool.path(queue, message.queue_id), os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
        return None

    def _entry(self, recipient: Recipient, status: RecipientStatus, action: str) -> LogEntry:
        return LogEntry(recipient=recipient, status=status, action=action, time=time.time())  # type: ignore[arg-type]

    async def _verified(self, message: ActiveMessage, results: Sequence[Result]) -> None:
        client = self._process.client(self._config.address_verify_service_name)
        for queued, status, _ in results:
            outcome = "ok" if status.status in _GOOD else "defer" if status.status == "deferred" else "bounce"
            update = verify.Update(
                address=queued.recipient.original or queued.recipient.address,
                status=outcome,  # type: ignore[arg-type]
                reason=f"{status.dsn} {status.text}",
            )
            await client.call(update, Done)

    async def _tried(self, message: ActiveMessage, results: Sequence[Result]) -> None:
        """sendmail -bv: the sender is told, and there is no second try."""
        entries = [
            self._entry(queued.recipient, status, "deliverable" if status.status in _GOOD else "undeliverable")
            for queued, status, silent in results
            if not silent
        ]
        if entries:
            await self._append("trace", message, entries)
        self._mark(message, [queued.offset for queued, _, _ in results])

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
        client = self._process.client(self._service(_SERVICES[kind]))
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
        try:
            if message.unmarked and not self._has_marked(message, jitter):
                return
            await self._finish(message, jitter)
        except (BusError, OSError) as error:
            log.warning(f"{message.queue_id}: a report or log could not be written: {error}; kept for later")
            self._defer(message, time.time() + min(_REPORT_RETRY, self._lifetimes.minimal))

    def _has_marked(self, message: ActiveMessage, jitter: float) -> bool:
        """False: what is delivered could be delivered again, so that the message has to wait."""
        try:
            self._mark(message, message.unmarked)
            message.unmarked = ()
        except OSError as error:
            if message.deferred or self._spool.find(message.queue_id, ("active", *_ASIDE)) in _ASIDE:
                trouble = f"recipients cannot be marked as done: {error.strerror}"
                self._once_more(message, trouble, partial(self._finish_again, message, jitter))
                return False
        return True

    def _finish_again(self, message: ActiveMessage, jitter: float) -> None:
        self._process.spawn(asyncio.create_task(self.finish(message, jitter)))

    async def _finish(self, message: ActiveMessage, jitter: float) -> None:
        now = time.time()
        if message.verifying:
            self.remove(message)
            return
        await self._log_deferred(message)
        if self._spool.find(message.queue_id, ("active", *_ASIDE)) in _ASIDE:
            # What is to be reported is so when the message comes back: its logs stay with it.
            self._put_aside(message)
            return
        if message.bounced:
            if message.given_up:
                verb = "force-expired" if message.forced_expire else "expired"
                log.info(f"{message.queue_id}: from=<{message.sender}>, status={verb}, returned to sender")
            await self._send("failure", message)
            message.bounced = False
        if message.tracing:
            await self._send("verbose", message)
        if os.path.exists(self._spool.path("trace", message.queue_id)):
            # Also while others wait (Postfix: atrace_flush): it may be days until their end.
            await self._send("success", message)
        if not message.deferred:
            self.remove(message)
            return
        arrival = self._arrival(message)
        if warning_due(arrival, now, message.sender, message.warned, self._lifetimes):
            await self._send("delay", message)
            self._set_warned(message)
        self._tell_flush(message)
        self._defer(message, next_try(arrival, now, self._lifetimes, jitter))

    def reasons(self, message: ActiveMessage, offsets: Collection[int]) -> dict[int, RecipientStatus]:
        """Why these recipients waited, by the defer log of an earlier round."""
        if not message.defer_logged:
            return {}
        entries = read_log(self._spool.path("defer", message.queue_id))
        return {entry.status.offset: entry.status for entry in entries if entry.status.offset in offsets}

    async def _log_deferred(self, message: ActiveMessage) -> None:
        if message.defer_logged:
            # The log of earlier rounds says nothing any more.
            await self._purge("defer", message)
            message.defer_logged = False
        if message.defer_entries:
            entries, message.defer_entries = message.defer_entries, []
            await self._append("defer", message, entries)

    def _set_warned(self, message: ActiveMessage) -> None:
        fd = self._open(message)
        if fd is None:
            return
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
                waiting = ((offset, recipient.address) for offset, done, recipient, _ in file.recipients() if not done)
                return list(itertools.islice(waiting, _SITES))
        except (OSError, Damaged, Incomplete):
            return []

    def _defer(self, message: ActiveMessage, when: float) -> None:
        path = self._spool.path("active", message.queue_id)
        try:
            os.utime(path, (when, when))
            self._spool.move(message.queue_id, "active", "deferred")
        except FileNotFoundError:
            self._put_aside(message)
            return
        except OSError as error:
            trouble = f"cannot be moved to deferred: {error.strerror}"
            self._once_more(message, trouble, partial(self._defer, message, when))
            return
        self._released(message)

    def _put_aside(self, message: ActiveMessage) -> None:
        log.info(f"{message.queue_id}: is no longer in the active queue: moved or removed by a person")
        self._released(message)

    # -- log lines ---------------------------------------------------------------------------------------------------

    def log_status(self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus) -> None:
        """Of a recipient that no agent was asked to deliver to."""
        word = ("deliverable" if status.status in _GOOD else "undeliverable") if message.probe else ""
        deliveries.log_status(message, queued, status, begun=time.time(), word=word, digits=self._digits)
