"""One delivery: which servers are tried in which order, and what becomes of each recipient (Postfix smtp_connect(3)).

A soft failure keeps a recipient for the next server; a hard one is final. What is left when no server is left gets the
last reason.
"""

import os
import time
from collections.abc import Sequence
from typing import Protocol

from tubepost.common.mail import header
from tubepost.common.smtp.extensions import parse_limits
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.tables import TableError

from tubepost.services.smtp.connection import Connection
from tubepost.services.smtp.content import Content, ContentError, Edit
from tubepost.services.smtp.hosts import Found
from tubepost.services.smtp.protocol import Mail, Sent
from tubepost.services.smtp.routing import Candidate, RoutingError, Target
from tubepost.services.smtp.security import Need
from tubepost.services.smtp.server import Server
from tubepost.services.smtp.stages import Stage, Trouble

# Where non-ASCII is looked for in a header, bytes.
_HEADER_PIECE = 128 * 1024


class Surroundings(Protocol):
    """What a delivery asks of its program."""

    lmtp: bool
    soft_bounce: bool
    relayhost: str
    best_mx_transport: str
    fallback: tuple[str, ...]
    address_limit: int
    session_limit: int
    line_limit: int
    plain_age: float
    pix_age: float
    pix_delay: float

    def target(self, text: str) -> Target: ...
    async def find(self, target: Target) -> Found: ...
    async def need(self, job: Job, target: Target) -> Need | Trouble: ...
    async def connect(
        self, job: Job, target: Target, candidate: Candidate, best: bool, need: Need, *, plain: bool = False
    ) -> Connection | Trouble: ...
    def kept_for(self, label: str, need: Need) -> Connection | None: ...
    def kept_at(self, target: Target, candidate: Candidate, need: Need) -> Connection | None: ...
    def release(self, connection: Connection, job: Job, label: str) -> None: ...
    def discard(self, connection: Connection, job: Job) -> None: ...
    async def generic(self, address: str) -> str: ...
    def edit(self, queue_id: str) -> Edit | None: ...
    async def settle(
        self, job: Job, queued: QueuedRecipient, status: RecipientStatus, begun: float, connected: float, uses: int
    ) -> RecipientStatus: ...
    async def pass_on(self, job: Job, transport: str) -> Report: ...
    async def pause(self, seconds: float) -> None: ...


class Delivery:
    """``run`` once."""

    def __init__(self, surroundings: Surroundings, job: Job, fd: int) -> None:
        """``fd``: the queue file, open; it stays the caller's."""
        self._world = surroundings
        self._job = job
        self._fd = fd
        self._begun = time.time()
        self._connected = self._begun
        self._left: list[QueuedRecipient] = list(job.recipients)
        self._statuses: list[RecipientStatus] = []
        self._reasons: dict[int, Trouble] = {}
        """Offset of a recipient that is kept to its last failure."""
        self._why: Trouble | None = None
        self._complete = False
        """A session went through to its end: the destination is well, whatever it said of some recipients."""
        self._unreachable: RecipientStatus | None = None
        self._server: Server | None = None
        """Of the last session: named in the status of what is left."""
        self._uses = 0
        self._needs_utf8: bool | None = None
        self._label = job.nexthop
        """The next hop that the next good connection may be kept for."""

    async def run(self) -> Report:
        world, job = self._world, self._job
        outcome = None
        try:
            if world.lmtp and job.nexthop.startswith("unix:"):
                await self._by_path()
            else:
                outcome = await self._by_network()
        except Exception as error:
            # What was sent stays sent.
            log.panic(f"{job.queue_id}: delivery by {job.transport} failed: {type(error).__name__}: {error}")
            settled = {status.offset for status in self._statuses}
            self._left = [queued for queued in job.recipients if queued.offset not in settled]
            self._reasons.clear()
            self._why = Trouble("4.3.0", "mail system error: the delivery program failed, see the log")
        if outcome is not None:
            return outcome
        if self._left:
            await self._give_up()
        if self._unreachable is not None and not self._complete:
            return Report(statuses=tuple(self._statuses), destination="unreachable", why=self._unreachable)
        return Report(statuses=tuple(self._statuses))

    # -- servers -----------------------------------------------------------------------------------------------------

    async def _by_path(self) -> None:
        world, job = self._world, self._job
        if world.fallback:
            log.warning('ignoring "lmtp_fallback_relay" setting for non-TCP connections')
        try:
            target = world.target(job.nexthop)
        except RoutingError as error:
            self._why = self._misconfigured(error)
            return
        candidate = Candidate(0, "", target.path, 0)
        need = await world.need(job, target)
        if isinstance(need, Trouble):
            self._why = need
            return
        while (connection := world.kept_for(job.nexthop, need)) is not None:
            if await self._transfer(connection):
                return
        await self._try(target, candidate, True, need)

    async def _by_network(self) -> Report | None:
        """A Report when the job was passed on to best_mx_transport."""
        world, job = self._world, self._job
        sites = job.nexthop.replace(",", " ").split()
        own_count = len(sites)
        sites += [site for site in world.fallback if site not in sites]
        number = -1
        for number, site in enumerate(sites):
            if not self._left:
                break
            if number:
                # Found under the next hop's name, it would be used in its stead.
                self._label = ""
            try:
                target = world.target(site)
            except RoutingError as error:
                self._why = self._misconfigured(error)
                continue
            need = await world.need(job, target)
            if isinstance(need, Trouble):
                self._why = need
                continue
            used: set[str] = set()
            sessions = 0
            if number == 0:
                sessions = await self._by_kept(need, used)
                if not self._left or (sessions and sessions == world.session_limit):
                    continue
            found = await world.find(target)
            if found.trouble is not None:
                self._connected = time.time()
                self._why = Trouble(found.trouble.dsn, found.trouble.text, throttle=True)
            await self._by_candidates(target, found, used, sessions, need)
            if found.myself or (not found.candidates and self._why is not None and self._why.loop):
                # Backups that are no MX hosts would only make a loop worse.
                break
        why = self._why
        if not self._left or why is None or why.soft or not why.throttle:
            return None
        # A mistake in the configuration is no reason to return mail.
        if number >= own_count:
            log.warning("smtp_fallback_relay configuration problem")
            self._why = Trouble("4.3.5", why.text, why.diagnostic, why.remote_mta, throttle=True)
        elif not world.lmtp and world.relayhost and sites[0] == world.relayhost:
            log.warning("relayhost configuration problem")
            self._why = Trouble("4.3.5", why.text, why.diagnostic, why.remote_mta, throttle=True)
        elif not world.lmtp and why.loop and world.best_mx_transport:
            rest = job.model_copy(update={"recipients": tuple(self._left)})
            report = await world.pass_on(rest, world.best_mx_transport)
            return report.model_copy(update={"statuses": (*self._statuses, *report.statuses)})
        return None

    def _misconfigured(self, error: RoutingError) -> Trouble:
        log.warning(f"{self._job.queue_id}: {error}")
        return Trouble("4.3.5", f"Server configuration error: {error}", throttle=True)

    async def _by_kept(self, need: Need, used: set[str]) -> int:
        """Over a connection that was kept for this next hop. Returns the number of sessions."""
        while (connection := self._world.kept_for(self._job.nexthop, need)) is not None:
            if await self._transfer(connection):
                used.add(connection.conversation.server.address)
                return 1
        return 0

    async def _by_candidates(self, target: Target, found: Found, used: set[str], sessions: int, need: Need) -> None:
        world = self._world
        addresses = len(used)
        candidates = [candidate for candidate in found.candidates if candidate.address not in used]
        best = min((candidate.preference for candidate in found.candidates), default=0)
        for candidate in candidates:
            if not self._left:
                return
            if (world.address_limit and addresses >= world.address_limit) or (
                world.session_limit and sessions >= world.session_limit
            ):
                return
            addresses += 1
            if self._reasons:
                # Why the host before this one is passed over.
                for text in dict.fromkeys(reason.text for reason in self._reasons.values()):
                    log.info(f"{self._job.queue_id}: {text}")
            if await self._try(target, candidate, candidate.preference == best, need):
                sessions += 1

    async def _try(self, target: Target, candidate: Candidate, best: bool, need: Need, *, plain: bool = False) -> bool:
        """One server. True when a session with it came about: what counts for smtp_mx_session_limit."""
        world, job = self._world, self._job
        while (connection := world.kept_at(target, candidate, need)) is not None:
            if await self._transfer(connection):
                return True
        made = await world.connect(job, target, candidate, best, need, plain=plain)
        if isinstance(made, Trouble):
            self._why = made
            self._connected = time.time()
            log.info(made.text)
            return False
        try:
            trouble = await made.greet()
        except BaseException:
            made.abort()
            raise
        if trouble is not None:
            self._server = made.conversation.server
            self._connected = time.time()
            world.discard(made, job)
            if self._may_go_plain(made) and not plain:
                log.info(f"{job.queue_id}: {trouble.text}")
                return await self._try(target, candidate, best, need, plain=True)
            await self._fail(self._left, trouble, made)
            return False
        done = await self._transfer(made)
        if self._left and self._may_go_plain(made) and not plain:
            return await self._try(target, candidate, best, need, plain=True) or done
        return done

    def _may_go_plain(self, connection: Connection) -> bool:
        """smtp_tls_security_level = may, and TLS failed: for mail that has waited, in the clear is better than never.

        Not at once, for it may be a passing trouble; and not where a password would go the same way (Postfix).
        """
        security, job = connection.conversation.security, self._job
        waited = job.active_time - job.envelope.arrival_time
        return (
            security.failed
            and security.login is None
            and (waited >= self._world.plain_age or job.envelope.trace == "probe")
        )

    # -- one session -------------------------------------------------------------------------------------------------

    async def _transfer(self, connection: Connection) -> bool:
        """Over this connection. False when it was a kept one that had died: nothing was said then."""
        try:
            return await self._transactions(connection)
        except BaseException:
            connection.abort()
            raise

    async def _transactions(self, connection: Connection) -> bool:
        world, job = self._world, self._job
        server = connection.conversation.server
        refusal = self._unfit(server)
        if refusal is not None:
            self._server = server
            self._connected = time.time()
            self._complete = True
            self._uses = connection.uses + 1
            await self._fail(self._left, refusal, connection, final=refusal.dsn == "5.3.4")
            world.release(connection, job, "")
            return True
        waiting = self._left
        self._left = []
        limit = _rcptmax(server)
        while waiting:
            batch, waiting = (waiting[:limit], waiting[limit:]) if limit else (waiting, [])
            if not await self._transaction(connection, batch):
                self._left += [*batch, *waiting]
                return False
            if waiting and not connection.usable:
                self._left += waiting
                break
        good = connection.usable
        world.release(connection, job, self._label if good else "")
        if good:
            # A farther server must not be kept as if it were the next hop's first.
            self._label = ""
        return True

    async def _transaction(self, connection: Connection, batch: list[QueuedRecipient]) -> bool:
        """False: stale."""
        world, job = self._world, self._job
        conversation = connection.conversation
        server = conversation.server
        try:
            mail = Mail(
                job.envelope,
                await world.generic(job.envelope.sender),
                [queued.recipient for queued in batch],
                [await world.generic(queued.recipient.address) for queued in batch],
                job.content_length,
                job.probe,
                job.queue_id,
            )
            if not connection.usable:
                # It ended while tables were asked.
                world.discard(connection, job)
                if connection.uses:
                    return False
                self._server = server
                text = f"lost connection with {server.name} while {Stage.MAIL.words}"
                await self._fail(batch, Trouble("4.4.2", text, throttle=True), connection)
                return True
            mail.plan(server, conversation.manner)
            self._connected = time.time()
            await connection.transact(mail, None if job.probe else self._content(mail, server))
        except (ContentError, TableError) as error:
            log.warning(f"{job.queue_id}: {error}")
            if conversation.transcript is not None:
                conversation.transcript.noted(str(error))
                conversation.transcript.troubles.add("data")
            world.discard(connection, job)
            self._server, self._uses = server, connection.uses
            await self._fail(batch, Trouble("4.3.0", f"local data error while talking to {server.name}"), connection)
            return True
        if conversation.stale:
            world.discard(connection, job)
            return False
        self._server, self._uses = server, connection.uses
        failure = conversation.failure
        if failure is None:
            self._complete = True
        for queued, result in zip(batch, mail.results, strict=True):
            if isinstance(result, Sent):
                await self._sent(queued, result, server)
            else:
                trouble = result or failure or Trouble("4.4.2", f"lost connection with {server.name}", throttle=True)
                await self._fail((queued,), trouble, connection)
        return True

    def _unfit(self, server: Server) -> Trouble | None:
        """Why this server cannot take this message at all."""
        job = self._job
        if server.size_limit and job.content_length > server.size_limit:
            text = f"message size {job.content_length} exceeds size limit {server.size_limit} of server {server.name}"
            return Trouble("5.3.4", text)
        if job.envelope.smtputf8 and "SMTPUTF8" not in server.keywords and self._requires_utf8():
            # RFC 6531 3.5
            return Trouble(
                "5.6.7",
                "message requires SMTPUTF8, but no server was found that supports SMTPUTF8. "
                f"The last attempted server was {server.name}",
            )
        return None

    def _requires_utf8(self) -> bool:
        if self._needs_utf8 is None:
            job = self._job
            addresses = [job.envelope.sender, *(queued.recipient.address for queued in job.recipients)]
            self._needs_utf8 = not all(address.isascii() for address in addresses)
            if not self._needs_utf8:
                head = os.pread(self._fd, min(job.content_length, _HEADER_PIECE), job.content_offset)
                self._needs_utf8 = not head[: header.split_message(head)[0]].isascii()
        return self._needs_utf8

    def _content(self, mail: Mail, server: Server) -> Content:
        world, job = self._world, self._job

        async def before_end() -> None:
            await world.pause(world.pix_delay)

        return Content(
            self._fd,
            job.content_offset,
            job.content_length,
            crlf=job.envelope.encoding == "binary",
            converting=mail.converting,
            bdat=mail.binary,
            line_limit=world.line_limit,
            edit=world.edit(job.queue_id),
            before_end=before_end if server.delay_dot else None,
        )

    # -- recipients --------------------------------------------------------------------------------------------------

    async def _sent(self, queued: QueuedRecipient, result: Sent, server: Server) -> None:
        passed = "DSN" in server.keywords
        status = RecipientStatus(
            offset=queued.offset,
            status="sent",
            dsn=result.dsn,
            text=result.text,
            relay=server.relay,
            diagnostic_type="smtp",
            diagnostic=result.text,
            remote_mta=server.host,
            relayed=not passed,
            dsn_passed=passed,
        )
        await self._settle(queued, status)

    async def _fail(
        self, recipients: Sequence[QueuedRecipient], trouble: Trouble, connection: Connection, *, final: bool = False
    ) -> None:
        """A hard failure ends a recipient here; a soft one keeps it for another server, whoever that may be."""
        recipients = tuple(recipients)
        offsets = {queued.offset for queued in recipients}
        self._left = [queued for queued in self._left if queued.offset not in offsets]
        self._why = trouble
        keep = (trouble.soft or self._world.soft_bounce or trouble.dsn == "5.6.7") and not final
        for queued in recipients:
            if keep:
                self._reasons[queued.offset] = trouble
                self._left.append(queued)
            else:
                await self._settle(queued, self._status(queued, trouble, connection.conversation.server.relay))

    async def _give_up(self) -> None:
        """No server is left for these."""
        waiting, self._left = self._left, []
        for queued in waiting:
            trouble = self._reasons.get(queued.offset) or self._why
            if trouble is None:
                trouble = Trouble("4.3.0", "server unavailable or unable to receive mail", throttle=True)
            relay = self._server.relay if self._server is not None and queued.offset in self._reasons else "none"
            status = self._status(queued, trouble, relay)
            settled = await self._settle(queued, status)
            if trouble.throttle and settled.status == "deferred" and self._unreachable is None:
                self._unreachable = settled.model_copy(update={"offset": -1})

    def _status(self, queued: QueuedRecipient, trouble: Trouble, relay: str) -> RecipientStatus:
        return RecipientStatus(
            offset=queued.offset,
            status="deferred" if trouble.soft else "bounced",
            dsn=trouble.dsn,
            text=trouble.text,
            relay=relay,
            diagnostic_type="smtp" if trouble.diagnostic else "",
            diagnostic=trouble.diagnostic,
            remote_mta=trouble.remote_mta,
        )

    async def _settle(self, queued: QueuedRecipient, status: RecipientStatus) -> RecipientStatus:
        settled = await self._world.settle(
            self._job, queued, status, self._begun, max(self._connected, self._begun), self._uses
        )
        self._statuses.append(settled)
        return settled


def _rcptmax(server: Server) -> int:
    """The most recipients that the server takes in one transaction (RFC 9422 4), 0 where it does not say."""
    limits = server.keywords.get("LIMITS")
    return parse_limits(limits).get("RCPTMAX", 0) if limits else 0
