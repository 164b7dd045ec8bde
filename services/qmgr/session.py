"""Drives the queue: resolves, hands out deliveries. ``intake`` takes messages up, ``outcome`` writes the ends."""

import asyncio
import math
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from tubepost.common.mail.address import split
from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.programs import USER
from tubepost.common.wire.qmgr import Arrived, Flush, FlushMessage, QueuedRecipient, Scan
from tubepost.common.wire.rewrite import Resolved
from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
from tubepost.common.bus import BusError, Handler, Request
from tubepost.common.bus.rewriting import RewriteClient
from tubepost.common.config import ConfigError
from tubepost.common.spool import Spool, leftovers
from tubepost.common.tables.users import forbidden
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.qmgr.clock import Clock
from tubepost.services.qmgr.intake import Intake
from tubepost.services.qmgr.limits import deliveries_at_once, limits_of
from tubepost.services.qmgr.message import ActiveMessage, ActiveQueue, Result
from tubepost.services.qmgr.outcome import Outcome
from tubepost.services.qmgr.schedule import Entry, Transport

# The loop is given back after this many recipients.
_SLICE = 200
# Outcomes that are written down together.
_BATCH = 500
_CLEAN_INTERVAL = 60.0
_RETRY_PAUSE = 5.0
_EXPIRED = RecipientStatus(
    offset=-1, status="deferred", dsn="4.7.0", text="message is administratively expired", relay="none"
)
_DISCARDED = RecipientStatus(
    offset=-1, status="sent", dsn="2.0.0", text="undeliverable postmaster notification discarded", relay="none"
)
_UNRESOLVED = RecipientStatus(offset=-1, status="deferred", dsn="4.3.0", text="address resolver failure", relay="none")


class QueueManager(request.Service):
    stays = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._spool = Spool(".", tuple(config.hash_queue_names), config.hash_queue_depth)
        self._queue = ActiveQueue(
            message_limit=config.qmgr_message_active_limit,
            recipient_limit=config.qmgr_message_recipient_limit,
            recipient_minimum=config.qmgr_message_recipient_minimum,
            portion_limit=config.default_recipient_limit,
        )
        self._transports: dict[str, Transport] = {}
        self._at_once: Mapping[str, int] = {}
        self._under_way = 0
        """Deliveries, and outcomes that are being written down."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._clog_warned = -math.inf
        self._environment = table_environment(process)
        self._intake = Intake(process, self._spool, self._queue, self._enter, self._pump_all)
        self._clock = Clock(time.time(), time.monotonic())
        self._outcome = Outcome(process, self._spool, self._clock, self._released)
        self._swept = -math.inf
        self._double_bounce = config.double_bounce_sender.lower()

    async def open(self) -> None:
        config = self.config
        self._at_once = deliveries_at_once(config, self.process.birth.config_directory)
        self._rewrite = RewriteClient(
            self.process.client(config.rewrite_service_name),
            by_sender=bool(
                config.raw("sender_dependent_relayhost_maps") or config.raw("sender_dependent_default_transport_maps")
            ),
        )
        self._intake.open()
        self.process.spawn(asyncio.create_task(self._tend()))

    async def close(self) -> None:
        self._environment.close()

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    def _finish_first(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside other things; the process does not end before it is done."""
        self._under_way += 1
        task = self.process.loop.create_task(work)
        task.add_done_callback(self._one_less)
        self.process.spawn(task)

    def _one_less(self, _: object) -> None:
        self._under_way -= 1

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
        self._intake.woken()

    def _arrived(self, request: Request[Arrived]) -> None:
        self._intake.hint(request.message)

    async def _refusal(self, request: "Request[Flush] | Request[FlushMessage] | Request[Scan]") -> Refused | None:
        """authorized_flush_users counts for people; our own programs ask for themselves."""
        caller = request.caller
        if caller.program != USER:
            return None
        config = self.config
        user = await forbidden(
            "authorized_flush_users", config.authorized_flush_users, caller.uid, self._environment, config.mail_owner
        )
        if not user:
            return None
        return Refused(
            code=550, dsn="5.7.1", reason=f"User {user}({caller.uid}) is not allowed to flush the mail queue"
        )

    async def _flush(self, request: Request[Flush]) -> Message:
        """postqueue -f: all deferred mail is due now, and whom we gave up is tried again."""
        if refusal := await self._refusal(request):
            return refusal
        self._forgive()
        self._intake.flush()
        return Done()

    async def _flush_message(self, request: Request[FlushMessage]) -> Message:
        if refusal := await self._refusal(request):
            return refusal
        queue_id = request.message.queue_id
        if not is_queue_id(queue_id):
            return Refused(reason=f"{queue_id!r} is not a queue id")
        if queue_id in self._queue.messages:
            return Done()
        self._forgive()
        if self._intake.flush_message(queue_id):
            return Done()
        return Refused(reason=f"{queue_id}: no such message in the deferred or incoming queue")

    async def _scan(self, request: Request[Scan]) -> Message:
        if refusal := await self._refusal(request):
            return refusal
        self._intake.scan(request.message.queue)
        return Done()

    def _forgive(self) -> None:
        now = time.monotonic()
        for transport in self._transports.values():
            transport.forgive(now)

    # -- where to ----------------------------------------------------------------------------------------------------

    def _enter(self, message: ActiveMessage, recipients: Sequence[QueuedRecipient]) -> None:
        """A message is active now: resolve its recipients, at once when the answers are known."""
        self._queue.messages[message.queue_id] = message
        log.info(
            f"{message.queue_id}: from=<{message.sender}>, size={message.content_length}, "
            f"nrcpt={message.recipient_count} (queue active)"
        )
        self._accept(message, recipients)

    def _accept(self, message: ActiveMessage, recipients: Sequence[QueuedRecipient]) -> None:
        message.outstanding += len(recipients)
        self._queue.recipients += len(recipients)
        if not recipients:
            if not message.outstanding and not message.unread:
                self._finish(message)
            return
        envelope = message.envelope
        if len(recipients) == 1 and not envelope.redirect and not envelope.content_filter and not message.forced_expire:
            # The common message: no task, no list.
            queued = recipients[0]
            route = self._rewrite.known_route(envelope.sender, queued.recipient.address, message.verifying)
            if route is not None:
                transport = self._assign(message, queued, route)
                if transport is not None:
                    self._pump(transport, time.monotonic())
                return
        self.process.spawn(asyncio.create_task(self._resolve(message, list(recipients))))

    async def _resolve(self, message: ActiveMessage, recipients: list[QueuedRecipient]) -> None:
        """Where each recipient's mail goes, a slice of them at a time."""
        envelope = message.envelope
        if envelope.redirect:
            try:
                (address,) = await self._rewrite.rewrite_all("local", [envelope.redirect])
            except BusError as error:
                self._unresolved(message, recipients, error)
                return
            recipients = self._redirect(message, recipients, address)
        # REDIRECT overrides FILTER (header_checks(5)), and a trial or a probe asks where mail would go in the end.
        is_filtered = bool(envelope.content_filter) and not envelope.redirect and not message.probe
        for start in range(0, len(recipients), _SLICE):
            part = recipients[start : start + _SLICE]
            if message.forced_expire:
                self._expire(message, part)
            elif is_filtered:
                self._assign_all(message, part, [self._filtered(message, queued) for queued in part])
            else:
                addresses = [queued.recipient.address for queued in part]
                try:
                    routes = await self._rewrite.resolve_all(envelope.sender, addresses, message.verifying)
                except BusError as error:
                    self._unresolved(message, part, error)
                    continue
                self._assign_all(message, part, routes)
            await asyncio.sleep(0)

    def _unresolved(self, message: ActiveMessage, recipients: list[QueuedRecipient], error: BusError) -> None:
        log.warning(f"{message.queue_id}: recipients cannot be resolved now: {error}")
        self._fail_all(message, recipients, _UNRESOLVED)

    def _expire(self, message: ActiveMessage, recipients: list[QueuedRecipient]) -> None:
        """postsuper -e: it is not tried again, and goes back to its sender, with the reason why it waited."""
        known = self._outcome.reasons(message, {queued.offset for queued in recipients})
        self._settled(message, [(one, known[one.offset], False) for one in recipients if one.offset in known])
        self._fail_all(message, [one for one in recipients if one.offset not in known], _EXPIRED)

    def _filtered(self, message: ActiveMessage, queued: QueuedRecipient) -> Resolved:
        """content_filter, or FILTER: nobody asks where the recipient's mail would go."""
        config = self.config
        address = queued.recipient.address
        transport, _, nexthop = message.envelope.content_filter.partition(":")
        nexthop = nexthop or config.default_filter_nexthop or split(address)[1] or config.myhostname
        return Resolved(transport=transport, nexthop=nexthop, recipient=address, address_class="default")

    def _redirect(
        self, message: ActiveMessage, recipients: list[QueuedRecipient], address: str
    ) -> list[QueuedRecipient]:
        """REDIRECT: one copy, to the address that was given, whoever the recipients are."""
        kept: list[QueuedRecipient] = []
        if not message.redirected:
            message.redirected = True
            first, *recipients = recipients
            recipient = first.recipient.model_copy(update={"address": address, "original": ""})
            kept = [first.model_copy(update={"recipient": recipient})]
        status = RecipientStatus(offset=-1, status="sent", dsn="2.0.0", text="redirected")
        self._settled(message, [(queued, status, False) for queued in recipients])
        return kept

    def _assign_all(
        self, message: ActiveMessage, recipients: Sequence[QueuedRecipient], routes: Sequence[Resolved]
    ) -> None:
        touched = set()
        for queued, route in zip(recipients, routes, strict=True):
            transport = self._assign(message, queued, route)
            if transport is not None:
                touched.add(transport)
        now = time.monotonic()
        for transport in touched:
            self._pump(transport, now)

    def _assign(self, message: ActiveMessage, queued: QueuedRecipient, route: Resolved) -> Transport | None:
        """Give a recipient to its transport's scheduler; None when it was settled without one."""
        recipient = queued.recipient
        name, address = route.transport, route.recipient
        if route.error:
            dsn, text, kind = (
                ("5.1.3", "bad address syntax", "bounced")
                if route.error == "bad_syntax"
                else ("4.3.0", "address resolver failure", "deferred")
            )
            self._fail(message, queued, dsn, text, kind)
            return None
        if not name:
            self._fail(message, queued, "4.3.5", "mail system configuration error: no transport", "deferred")
            return None
        if route.address_class == "local" and split(address)[0].lower() == self._double_bounce:
            # Answers to notices and to probes of ours, for which there is no mailbox (Postfix: the same).
            self._fail_all(message, [queued], _DISCARDED)
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
                status = RecipientStatus(offset=-1, status="sent", dsn="2.0.0", text="duplicate recipient")
                self._settled(message, [(queued, status, True)])
                return None
            if len(message.seen) < max(self.config.duplicate_filter_limit, 1):
                message.seen.add(key)
        transport = self._transports.get(name)
        if transport is None:
            try:
                limits = limits_of(self.config, name, self._at_once.get(name, 0))
            except ConfigError as error:
                log.error(f"transport {name}: {error}; mail for it waits")
                self._fail(message, queued, "4.3.5", "mail system configuration error", "deferred")
                return None
            transport = self._transports[name] = Transport(name, limits)
        now = time.monotonic()
        if name in self.config.defer_transports and not message.flushed:
            self._fail(message, queued, "4.3.2", "deferred transport", "deferred")
            return None
        if transport.blocked_until > now and transport.why is not None:
            self._fail(message, queued, transport.why.dsn, transport.why.text, "deferred", transport.why)
            return None
        destination = transport.destination(route.nexthop, queued.recipient.address)
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
        base = why or RecipientStatus(offset=-1, status="deferred", dsn=dsn, text=text)
        status = base.model_copy(update={"status": kind, "dsn": dsn, "text": text, "relay": "none"})
        self._fail_all(message, [queued], status)

    def _fail_all(self, message: ActiveMessage, recipients: Sequence[QueuedRecipient], status: RecipientStatus) -> None:
        """An outcome without a delivery: logged here, as Postfix's error and retry programs do for qmgr."""
        results: list[Result] = []
        for queued in recipients:
            own = status.model_copy(update={"offset": queued.offset})
            self._outcome.log_status(message, queued, own)
            results.append((queued, own, False))
        self._settled(message, results)

    # -- deliveries --------------------------------------------------------------------------------------------------

    def _pump_all(self) -> None:
        now = time.monotonic()
        for transport in self._transports.values():
            if transport.jobs:
                self._pump(transport, now)

    def _pump(self, transport: Transport, now: float) -> None:
        """Start what may start."""
        if self.process.stopping.is_set():
            return
        while (entry := transport.select(now)) is not None:
            self._deliver(transport, entry)
        if transport.jobs and (at := transport.next_time(now)) is not None:
            self._alarm(at)

    def _alarm(self, at: float) -> None:
        """Pump again at a time."""
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.process.loop.call_later(max(at - time.monotonic(), 0.001), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump_all()

    def _deliver(self, transport: Transport, entry: Entry) -> None:
        """Without a task: the answer calls ``_delivered``."""
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
        self._under_way += 1
        # Far longer than other answers: a large message on a slow line, a command with a long time limit.
        answer = self.process.client(transport.name).ask(job, Report, deadline=self.config.daemon_timeout)
        answer.add_done_callback(partial(self._delivered, transport, entry))

    def _delivered(self, transport: Transport, entry: Entry, answer: "asyncio.Future[Report]") -> None:
        self._under_way -= 1
        now = time.monotonic()
        transport.finished(entry, now)
        trouble = answer.exception()
        if trouble is not None:
            self._agent_failed(transport, entry, trouble)
        else:
            self._reported(transport, entry, answer.result(), now)
        self._pump(transport, now)
        self._intake.feed_soon()

    def _agent_failed(self, transport: Transport, entry: Entry, trouble: BaseException) -> None:
        """No report: the agent died or is not there. This job waits; the transport too, when it looks hopeless."""
        log.warning(f"transport {transport.name}: {trouble}")
        why = RecipientStatus(
            offset=-1, status="deferred", dsn="4.3.0", text="mail transport unavailable", relay="none"
        )
        self._fail_all(entry.job.message, entry.recipients, why)
        now = time.monotonic()
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
                self._settled(message, [(queued, status, False)])
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
        results: list[Result] = []
        for queued in entry.recipients:
            found = by_offset.get(queued.offset)
            if found is None:
                found = RecipientStatus(
                    offset=queued.offset, status="deferred", dsn="4.3.0", text="the delivery program gave no status"
                )
            results.append((queued, found, False))
        self._settled(message, results)

    def _give_up(self, transport: Transport) -> None:
        """A destination is dead: what waits for it is deferred without a try (Postfix: the retry service)."""
        for entry in list(transport.withdraw(lambda destination: destination.why is not None)):
            why = entry.destination.why
            assert why is not None
            text = f"delivery temporarily suspended: {why.text}"
            status = why.model_copy(update={"status": "deferred", "text": text, "relay": "none"})
            self._fail_all(entry.job.message, entry.recipients, status)

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def _settled(self, message: ActiveMessage, results: Sequence[Result]) -> None:
        """Recipients have their outcome of this round."""
        if message.recipient_count == 1 and len(results) == 1:
            queued, status, _ = results[0]
            if self._outcome.is_plain(message, queued.recipient, status):
                # Delivered, and nobody to tell: the file goes. The common end of a message.
                self._queue.recipients -= 1
                message.outstanding -= 1
                self._outcome.remove(message, queued.offset)
                return
        message.results += results
        if results and not message.settling:
            message.settling = True
            self._finish_first(self._settle(message))

    async def _settle(self, message: ActiveMessage) -> None:
        """Write down what has come together: one after the other for a message, many at once."""
        while message.results:
            batch, message.results = message.results[:_BATCH], message.results[_BATCH:]
            await self._outcome.record(message, batch)
            self._queue.recipients -= len(batch)
            message.outstanding -= len(batch)
            if message.unread and message.outstanding < self.config.default_recipient_refill_limit:
                self._accept(message, self._intake.read_more(message))
        message.settling = False
        if not message.outstanding and not message.unread:
            self._finish(message)

    def _finish(self, message: ActiveMessage) -> None:
        if message.finishing:
            return
        message.finishing = True
        self._finish_first(self._outcome.finish(message, random.random()))

    def _released(self, message: ActiveMessage) -> None:
        """The message is no longer active: there is room."""
        self._queue.messages.pop(message.queue_id, None)
        self._intake.feed_soon()

    async def _tend(self) -> None:
        """Now and then: forget idle destinations, warn of one that clogs the queue, look at the queues."""
        while True:
            await asyncio.sleep(min(_CLEAN_INTERVAL, self.config.queue_run_delay))
            wall, now = time.time(), time.monotonic()
            if forward := self._clock.look(wall, now):
                self._clock_was_set(forward)
            for transport in self._transports.values():
                transport.clean(now)
            self._intake.look_around(now)
            self._warn_of_clog(now)
            if now - self._swept >= leftovers.INTERVAL:
                self._swept = now
                self.process.spawn(asyncio.create_task(leftovers.remove(self._spool, ("incoming", "hold"), wall)))

    def _clock_was_set(self, forward: float) -> None:
        way = "forward" if forward > 0 else "back"
        log.warning(f"the clock was set {way} by {abs(forward):.0f} s: mail is tried and given up as if it were not")
        if forward < 0:
            self._intake.clock_set_back(-forward)

    def _warn_of_clog(self, now: float) -> None:
        config = self.config
        if not config.qmgr_clog_warn_time or now - self._clog_warned < config.qmgr_clog_warn_time or self._queue.room:
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
                f"mail for {destination_name} is using up {count} of {len(self._queue.messages)} active queue entries; "
                f"you may need to raise {name}_destination_concurrency_limit, or give it a transport of its own"
            )
