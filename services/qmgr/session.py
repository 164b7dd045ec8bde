"""Drives the queue: takes messages up, hands out deliveries, sees to what is left. ``outcome`` writes the ends."""

import asyncio
import fcntl
import os
import random
import struct
import termios
import time
from collections.abc import Iterator, Mapping

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import Arrived, Flush, FlushMessage, QueuedRecipient, Scan
from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
from tubepost.common.bus import BusError, Handler, Request
from tubepost.common.bus.rewriting import RewriteClient
from tubepost.common.spool import Damaged, Incomplete, QueueFile, Spool, open_queue_file
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process

from tubepost.services.qmgr.limits import limits_of
from tubepost.services.qmgr.message import ActiveMessage
from tubepost.services.qmgr.outcome import Outcome
from tubepost.services.qmgr.schedule import Entry, Transport

# A scan gives the loop back after this many directory entries.
_SLICE = 200
# A file in incoming that is younger is left to the hint that comes after its sync, seconds.
_YOUNG = 5.0
# Messages whose hint came while there was no room are found by scanning; hints themselves are not kept.
_FLOW_TOKENS = 100
_CLEAN_INTERVAL = 60.0
_RETRY_PAUSE = 5.0


class QueueManager(request.Service):
    stays = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._spool = Spool(".", tuple(config.hash_queue_names), config.hash_queue_depth)
        self._transports: dict[str, Transport] = {}
        self._active: dict[str, ActiveMessage] = {}
        self._recipients = 0
        """In memory, of all messages."""
        self._unread: list[ActiveMessage] = []
        self._deliveries = 0
        self._incoming: Iterator[os.DirEntry[str]] | None = None
        self._deferred: Iterator[os.DirEntry[str]] | None = None
        self._incoming_again = False
        self._everything_due = False
        self._feeding = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._last_deferred_scan = 0.0
        self._flushed_transports = False
        self._clog_warned = 0.0
        self._outcome = Outcome(process, self._spool, self._released)

    async def open(self) -> None:
        config = self.config
        self._rewrite = RewriteClient(
            self.process.client(config.rewrite_service_name),
            by_sender=bool(
                config.raw("sender_dependent_relayhost_maps") or config.raw("sender_dependent_default_transport_maps")
            ),
        )
        # What a qmgr before us had in work goes first; it cannot exceed the limits by much.
        for entry in list(self._spool.scan("active")):
            self._take_file(entry.name, "active")
        self._incoming_again = True
        self._last_deferred_scan = time.time()
        self._deferred = self._spool.scan("deferred")
        self._feed_soon()
        self.process.spawn(asyncio.create_task(self._tend()))

    async def close(self) -> None:
        self._outcome.close()

    @property
    def busy(self) -> bool:
        return self._deliveries > 0 or self._outcome.busy

    # -- what others say ---------------------------------------------------------------------------------------------

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {
            Arrived: self._arrived,
            Flush: self._flush,
            FlushMessage: self._flush_message,
            Scan: self._scan,
        }

    async def woken(self) -> None:
        """Every queue_run_delay by the master, or when a person flushes by trigger."""
        self._incoming_again = True
        if time.time() - self._last_deferred_scan >= self.config.queue_run_delay - 1:
            self._start_deferred_scan()
        self._feed_soon()

    def _arrived(self, request: Request[Arrived]) -> None:
        hint = request.message
        if not self._room() or self.process.stopping.is_set():
            self._incoming_again = True
            return
        if hint.queue_id in self._active or not is_queue_id(hint.queue_id):
            return
        if len(hint.recipients) != hint.recipient_count:
            self._take_file(hint.queue_id, "incoming")
            return
        try:
            self._spool.move(hint.queue_id, "incoming", "active")
        except FileNotFoundError:
            return  # a scan was quicker, or postsuper took it
        self.process.outflow(1)
        message = ActiveMessage(
            hint.queue_id,
            hint.envelope,
            hint.content_offset,
            hint.content_length,
            hint.recipient_count,
            time.time(),
        )
        self._enter(message, hint.recipients)

    def _flush(self, request: Request[Flush]) -> Message:
        """postqueue -f: all deferred mail is due now, and whom we gave up is tried again."""
        self._forgive()
        self._everything_due = True
        self._start_deferred_scan()
        self._incoming_again = True
        self._feed_soon()
        return Done()

    def _flush_message(self, request: Request[FlushMessage]) -> Message:
        queue_id = request.message.queue_id
        if not is_queue_id(queue_id):
            return Refused(reason=f"{queue_id!r} is not a queue id")
        if queue_id in self._active:
            return Done()
        self._forgive()
        for queue in ("deferred", "incoming"):
            if os.path.exists(self._spool.path(queue, queue_id)):
                self._take_file(queue_id, queue)
                return Done()
        return Refused(reason=f"{queue_id}: no such message in the deferred or incoming queue")

    def _scan(self, request: Request[Scan]) -> Message:
        if request.message.queue == "incoming":
            self._incoming_again = True
        else:
            self._start_deferred_scan()
        self._feed_soon()
        return Done()

    def _forgive(self) -> None:
        now = time.time()
        self._flushed_transports = True
        for transport in self._transports.values():
            transport.blocked_until = 0.0
            for destination in transport.destinations.values():
                destination.dead_until = 0.0
            transport.clean(now)

    def _start_deferred_scan(self) -> None:
        self._last_deferred_scan = time.time()
        self._deferred = self._spool.scan("deferred")

    # -- taking up ---------------------------------------------------------------------------------------------------

    def _room(self) -> bool:
        config = self.config
        return (
            len(self._active) < config.qmgr_message_active_limit
            and self._recipients < config.qmgr_message_recipient_limit
        )

    def _feed_soon(self) -> None:
        if not self._feeding and not self.process.stopping.is_set():
            self._feeding = True
            self.process.spawn(asyncio.create_task(self._feed()))

    async def _feed(self) -> None:
        """One message of incoming, one of deferred, in turn, while there is room (Postfix: the two scans)."""
        try:
            looked = 0
            while self._room() and not self.process.stopping.is_set():
                if self._incoming is None and self._incoming_again:
                    self._incoming_again = False
                    self._incoming = self._spool.scan("incoming")
                if self._incoming is None and self._deferred is None:
                    break
                if self._incoming is not None and not self._next_incoming():
                    self._incoming = None
                    self._fill_flow()
                if self._deferred is not None and not self._next_deferred():
                    self._deferred = None
                    self._everything_due = False
                    self._flushed_transports = False
                looked += 1
                if looked % _SLICE == 0:
                    self._pump_all()
                    await asyncio.sleep(0)
        finally:
            self._feeding = False
        self._pump_all()

    def _next_incoming(self) -> bool:
        """Look at one file. False at the end of the scan."""
        assert self._incoming is not None
        entry = next(self._incoming, None)
        if entry is None:
            return False
        if entry.name not in self._active:
            try:
                young = time.time() - entry.stat(follow_symlinks=False).st_mtime < _YOUNG
            except FileNotFoundError:
                return True
            if young:
                # Its hint is on the way; should that be lost, this scan comes again.
                self.process.loop.call_later(_YOUNG, self._look_again)
            else:
                self._take_file(entry.name, "incoming")
        return True

    def _look_again(self) -> None:
        self._incoming_again = True
        self._feed_soon()

    def _next_deferred(self) -> bool:
        assert self._deferred is not None
        # Many files are not due: looking at their time is all that they cost.
        now = time.time()
        for _ in range(50):
            entry = next(self._deferred, None)
            if entry is None:
                return False
            if entry.name in self._active:
                continue
            try:
                due = self._everything_due or entry.stat(follow_symlinks=False).st_mtime <= now
            except FileNotFoundError:
                continue
            if due:
                self._take_file(entry.name, "deferred")
                return True
        return True

    def _fill_flow(self) -> None:
        """Incoming is empty: nobody who brings mail need wait (Postfix: mail_flow_put)."""
        fd = self.process.birth.flow[0]
        if fd >= 0:
            waiting = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]
            if waiting < _FLOW_TOKENS:
                self.process.outflow(_FLOW_TOKENS - waiting)

    def _take_file(self, queue_id: str, queue: str) -> None:
        """Read a queue file and move it to active."""
        path = self._spool.path(queue, queue_id)
        try:
            with open_queue_file(path) as file:
                found, following = self._read_recipients(file, 0)
                message = ActiveMessage(
                    queue_id,
                    file.envelope,
                    file.content_offset,
                    file.content_length,
                    file.recipient_count,
                    time.time(),
                    from_deferred=queue != "incoming",
                    warned=file.warned,
                    forced_expire=file.expired,
                    unread=following,
                    defer_logged=queue != "incoming",
                )
            if queue != "active":
                self._spool.move(queue_id, queue, "active")
        except FileNotFoundError:
            return
        except Incomplete:
            if queue == "incoming":
                return  # being written; postsuper removes what never gets finished
            self._corrupt(queue_id, queue, "the file is shorter than it says")
            return
        except Damaged as error:
            self._corrupt(queue_id, queue, str(error))
            return
        except OSError as error:
            log.warning(f"{queue_id}: cannot take it up from {queue}: {error.strerror}; tried again later")
            return
        if queue == "incoming":
            self.process.outflow(1)
        # It may have been delivered while another process gave a log to it: ask bounce at the end.
        if queue != "incoming":
            message.bounced = os.path.exists(self._spool.path("bounce", queue_id))
            message.traced = os.path.exists(self._spool.path("trace", queue_id))
        self._enter(message, found)

    def _read_recipients(self, file: QueueFile, start: int) -> tuple[list[QueuedRecipient], int]:
        """A portion of those still to be done, and where to go on (0: all are read)."""
        most = max(
            self.config.qmgr_message_recipient_minimum,
            min(
                self.config.default_recipient_limit,
                self.config.qmgr_message_recipient_limit - self._recipients,
            ),
        )
        found: list[QueuedRecipient] = []
        for offset, done, recipient, following in file.recipients(start):
            if not done:
                found.append(QueuedRecipient(offset=offset, recipient=recipient))
                if len(found) >= most and following < file.size:
                    return found, following
        return found, 0

    def _corrupt(self, queue_id: str, queue: str, reason: str) -> None:
        log.warning(f"{queue_id}: {queue} queue file cannot be read: {reason}; saved in the corrupt queue")
        try:
            self._spool.move(queue_id, queue, "corrupt")
        except OSError as error:
            log.error(f"{queue_id}: cannot be moved to corrupt: {error.strerror}")

    def _enter(self, message: ActiveMessage, recipients: "list[QueuedRecipient] | tuple[QueuedRecipient, ...]") -> None:
        """A message is active now: resolve its recipients, at once when the answers are known."""
        self._active[message.queue_id] = message
        log.info(
            f"{message.queue_id}: from=<{message.sender}>, size={message.content_length}, "
            f"nrcpt={message.recipient_count} (queue active)"
        )
        if message.unread:
            self._unread.append(message)
        self._accept(message, recipients)

    def _accept(
        self, message: ActiveMessage, recipients: "list[QueuedRecipient] | tuple[QueuedRecipient, ...]"
    ) -> None:
        message.outstanding += len(recipients)
        self._recipients += len(recipients)
        if not recipients:
            if not message.outstanding and not message.unread:
                self._finish(message)
            return
        envelope = message.envelope
        if len(recipients) == 1 and not envelope.redirect and not envelope.content_filter:
            # The common message: no task, no list.
            queued = recipients[0]
            route = self._rewrite.known_route(envelope.sender, queued.recipient.address)
            if route is not None:
                transport = self._assign(message, queued, route.transport, route.nexthop, route.error, route.recipient)
                if transport is not None:
                    self._pump(transport, time.time())
                return
        self.process.spawn(asyncio.create_task(self._resolve(message, list(recipients))))

    async def _resolve(self, message: ActiveMessage, recipients: list[QueuedRecipient]) -> None:
        envelope = message.envelope
        if envelope.redirect:
            first, *others = recipients
            replaced = first.recipient.model_copy(update={"address": envelope.redirect, "original": ""})
            self._settle_now(message, others, "2.0.0", "redirected")
            recipients = [first.model_copy(update={"recipient": replaced})]
        try:
            routes = await self._rewrite.resolve_all(
                envelope.sender, [queued.recipient.address for queued in recipients]
            )
        except BusError as error:
            log.warning(f"{message.queue_id}: recipients cannot be resolved now: {error}")
            status = RecipientStatus(offset=-1, status="deferred", dsn="4.3.0", text="address resolver failure")
            for queued in recipients:
                self._settled(message, queued, status.model_copy(update={"offset": queued.offset}))
            return
        touched = set()
        for queued, route in zip(recipients, routes, strict=True):
            transport_name, nexthop = route.transport, route.nexthop
            if envelope.content_filter and route.error == "":
                transport_name, _, nexthop = envelope.content_filter.partition(":")
                nexthop = nexthop or self.config.default_filter_nexthop or route.nexthop
            transport = self._assign(message, queued, transport_name, nexthop, route.error, route.recipient)
            if transport is not None:
                touched.add(transport)
        now = time.time()
        for transport in touched:
            self._pump(transport, now)

    def _settle_now(self, message: ActiveMessage, recipients: list[QueuedRecipient], dsn: str, text: str) -> None:
        for queued in recipients:
            self._settled(message, queued, RecipientStatus(offset=queued.offset, status="sent", dsn=dsn, text=text))

    def _assign(
        self, message: ActiveMessage, queued: QueuedRecipient, name: str, nexthop: str, error: str, address: str
    ) -> Transport | None:
        """Give a recipient to its transport's scheduler; None when it was settled without one."""
        recipient = queued.recipient
        if error:
            dsn, text, kind = (
                ("5.1.3", "bad address syntax", "bounced")
                if error == "bad_syntax"
                else ("4.3.0", "address resolver failure", "deferred")
            )
            self._fail(message, queued, dsn, text, kind)
            return None
        if not name:
            self._fail(message, queued, "4.3.5", "mail system configuration error: no transport", "deferred")
            return None
        if recipient.address != address:
            queued = queued.model_copy(
                update={
                    "recipient": recipient.model_copy(
                        update={"address": address, "original": recipient.original or recipient.address}
                    )
                }
            )
        if message.recipient_count > 1:
            key = (queued.recipient.address, recipient.orcpt)
            if key in message.seen:
                # The same mailbox twice in one message: one copy (Postfix: duplicate_filter_limit).
                self._settled(
                    message,
                    queued,
                    RecipientStatus(offset=queued.offset, status="sent", dsn="2.0.0", text="duplicate recipient"),
                    silent=True,
                )
                return None
            if len(message.seen) < max(self.config.duplicate_filter_limit, 1):
                message.seen.add(key)
        transport = self._transports.get(name)
        if transport is None:
            transport = self._transports[name] = Transport(name, limits_of(self.config, name))
        now = time.time()
        if name in self.config.defer_transports and not self._flushed_transports:
            self._fail(message, queued, "4.3.2", "deferred transport", "deferred")
            return None
        if transport.blocked_until > now and transport.why is not None:
            self._fail(message, queued, transport.why.dsn, transport.why.text, "deferred", transport.why)
            return None
        destination = transport.destination(nexthop, queued.recipient.address)
        if destination.dead_until > now and destination.why is not None:
            why = destination.why
            self._fail(message, queued, why.dsn, f"delivery temporarily suspended: {why.text}", "deferred", why)
            return None
        transport.add(transport.job(message, now), destination, queued)
        return transport

    def _fail(
        self,
        message: ActiveMessage,
        queued: QueuedRecipient,
        dsn: str,
        text: str,
        kind: str,
        why: RecipientStatus | None = None,
    ) -> None:
        """An outcome without a delivery: logged here, as Postfix's error and retry programs do for qmgr."""
        base = why or RecipientStatus(offset=-1, status="deferred", dsn=dsn, text=text)
        status = base.model_copy(
            update={"offset": queued.offset, "status": kind, "dsn": dsn, "text": text, "relay": "none"}
        )
        self._outcome.log_status(message, queued, status)
        self._settled(message, queued, status)

    # -- deliveries --------------------------------------------------------------------------------------------------

    def _pump_all(self) -> None:
        now = time.time()
        for transport in self._transports.values():
            if transport.jobs:
                self._pump(transport, now)

    def _pump(self, transport: Transport, now: float) -> None:
        """Start what may start."""
        if self.process.stopping.is_set():
            return
        while (entry := transport.select(now)) is not None:
            self._deliveries += 1
            self.process.spawn(self.process.loop.create_task(self._deliver(transport, entry)))
        if transport.jobs and (at := transport.next_time(now)) is not None:
            self._alarm(at)

    def _alarm(self, at: float) -> None:
        """Pump again at a time."""
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.process.loop.call_later(max(at - time.time(), 0.001), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump_all()

    async def _deliver(self, transport: Transport, entry: Entry) -> None:
        message: ActiveMessage = entry.job.message
        job = Job(
            queue_id=message.queue_id,
            transport=transport.name,
            nexthop=entry.destination.nexthop,
            envelope=message.envelope,
            content_offset=message.content_offset,
            content_length=message.content_length,
            recipients=tuple(entry.recipients),
            active_time=message.active_time,
            probe=message.probe,
        )
        report: Report | None = None
        trouble: BusError | None = None
        try:
            report = await self.process.client(transport.name).call(job, Report)
        except BusError as error:
            trouble = error
        now = time.time()
        self._deliveries -= 1
        transport.finished(entry, now)
        if report is None:
            self._agent_failed(transport, entry, trouble)
        else:
            self._reported(transport, entry, report, now)
        self._pump(transport, now)
        if self._incoming is not None or self._deferred is not None or self._incoming_again:
            self._feed_soon()

    def _agent_failed(self, transport: Transport, entry: Entry, trouble: BusError | None) -> None:
        """No report: the agent died or is not there. This job waits; the transport too, when it looks hopeless."""
        log.warning(f"transport {transport.name}: {trouble}")
        why = RecipientStatus(
            offset=-1, status="deferred", dsn="4.3.0", text="mail transport unavailable", relay="none"
        )
        for queued in entry.recipients:
            self._fail(entry.job.message, queued, why.dsn, why.text, "deferred", why)
        now = time.time()
        transport.block(now + min(self.config.transport_retry_time, _RETRY_PAUSE), why)
        self._alarm(transport.blocked_until)

    def _reported(self, transport: Transport, entry: Entry, report: Report, now: float) -> None:
        destination = entry.destination
        message: ActiveMessage = entry.job.message
        if report.destination == "ok":
            destination.succeeded()
        elif destination.failed(now, report.why):
            self._give_up(transport)
        if len(entry.recipients) == 1 and len(report.statuses) == 1:
            queued, status = entry.recipients[0], report.statuses[0]
            if status.offset == queued.offset:
                self._settled(message, queued, status)
                return
        by_offset: dict[int, RecipientStatus] = {}
        wrong = len(report.statuses) != len(entry.recipients)
        for status in report.statuses:
            wrong = wrong or status.offset in by_offset
            by_offset[status.offset] = status
        if wrong:
            log.warning(
                f"{message.queue_id}: transport {transport.name} reported {len(report.statuses)} statuses for "
                f"{len(entry.recipients)} recipients; those without one are tried again"
            )
        for queued in entry.recipients:
            found = by_offset.get(queued.offset)
            if found is None:
                found = RecipientStatus(
                    offset=queued.offset, status="deferred", dsn="4.3.0", text="the delivery program gave no status"
                )
            self._settled(message, queued, found)

    def _give_up(self, transport: Transport) -> None:
        """A destination is dead: what waits for it is deferred without a try (Postfix: the retry service)."""
        for entry in list(transport.withdraw(lambda destination: destination.why is not None)):
            why = entry.destination.why
            assert why is not None
            for queued in entry.recipients:
                text = f"delivery temporarily suspended: {why.text}"
                self._fail(entry.job.message, queued, why.dsn, text, "deferred", why)

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def _settled(
        self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus, silent: bool = False
    ) -> None:
        """One recipient has its outcome of this round."""
        if message.recipient_count == 1 and self._outcome.is_plain(message, queued.recipient, status):
            # Delivered, and nobody to tell: the file goes. The common end of a message.
            self._recipients -= 1
            message.outstanding -= 1
            self._outcome.remove(message)
            return
        self.process.spawn(asyncio.create_task(self._settle(message, queued, status, silent)))

    async def _settle(
        self, message: ActiveMessage, queued: QueuedRecipient, status: RecipientStatus, silent: bool
    ) -> None:
        await self._outcome.record(message, queued, status, silent)
        self._recipients -= 1
        message.outstanding -= 1
        if message.unread and message.outstanding < self.config.default_recipient_refill_limit:
            self._read_more(message)
        if not message.outstanding and not message.unread:
            self._finish(message)

    def _read_more(self, message: ActiveMessage) -> None:
        """The next portion of a big list."""
        try:
            with open_queue_file(self._spool.path("active", message.queue_id)) as file:
                found, message.unread = self._read_recipients(file, message.unread)
        except (OSError, Damaged, Incomplete) as error:
            log.warning(f"{message.queue_id}: cannot read more recipients: {error}; tried again later")
            message.unread = 0
            message.deferred += 1
            return
        self._accept(message, found)

    def _finish(self, message: ActiveMessage) -> None:
        if message.finishing:
            return
        message.finishing = True
        self.process.spawn(asyncio.create_task(self._outcome.finish(message, random.random())))

    def _released(self, message: ActiveMessage) -> None:
        """The message is no longer active: there is room."""
        self._active.pop(message.queue_id, None)
        if self._incoming is not None or self._deferred is not None or self._incoming_again:
            self._feed_soon()

    async def _tend(self) -> None:
        """Now and then: forget idle destinations, warn of one that clogs the queue, look at deferred mail."""
        while True:
            await asyncio.sleep(min(_CLEAN_INTERVAL, self.config.queue_run_delay))
            now = time.time()
            for transport in self._transports.values():
                transport.clean(now)
            if now - self._last_deferred_scan >= self.config.queue_run_delay:
                self._start_deferred_scan()
                self._feed_soon()
            self._warn_of_clog(now)

    def _warn_of_clog(self, now: float) -> None:
        config = self.config
        if not config.qmgr_clog_warn_time or now - self._clog_warned < config.qmgr_clog_warn_time or self._room():
            return
        self._clog_warned = now
        waiting = [
            (destination.waiting, transport.name, destination.name)
            for transport in self._transports.values()
            for destination in transport.destinations.values()
        ]
        if waiting:
            count, name, destination_name = max(waiting)
            log.warning(
                f"mail for {destination_name} is using up {count} of {len(self._active)} active queue entries; "
                f"you may need to raise {name}_destination_concurrency_limit, or give it a transport of its own"
            )
