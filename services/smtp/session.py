"""Drives deliveries: the connections that are kept, the tables, DNS; ``delivery`` decides whom to talk to."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable

from tubepost.common.mail import addresslist, notice
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.bus import BusError
from tubepost.common.net import connect as net
from tubepost.common.net.dns import Resolver
from tubepost.common.spool import Spool
from tubepost.common.tables import Maps, TableError
from tubepost.common.tables import address as table_address
from tubepost.common.tables.match import LocalDomains, StringList
from tubepost.common.skeleton import worker
from tubepost.common.skeleton.deliveries import Outcomes
from tubepost.common.skeleton.postmaster import Postmaster
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.resolver import make_resolver
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.smtp import hosts, settings
from tubepost.services.smtp.connection import Connection
from tubepost.services.smtp.content import Edit
from tubepost.services.smtp.delivery import Delivery
from tubepost.services.smtp.edits import Checks, Editor
from tubepost.services.smtp.policy import PolicyError
from tubepost.services.smtp.pool import Demand, Pool
from tubepost.services.smtp.protocol import Conversation
from tubepost.services.smtp.routing import Candidate, Target, known_ports, parse_target
from tubepost.services.smtp.security import Handshake, Keeper, Need
from tubepost.services.smtp.server import Server
from tubepost.services.smtp.stages import Trouble
from tubepost.services.smtp.transcript import Transcript

# Of this host: they say nothing of the destination.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Smtp(worker.Agent):
    """See ``delivery.Surroundings`` for what a delivery asks of it."""

    def __init__(self, process: Process, resolver: Resolver | None = None) -> None:
        super().__init__(process)
        self.lmtp = process.program == "lmtp"
        config = self.config = process.config.as_lmtp() if self.lmtp else process.config
        self._manner = settings.manner(config, self.lmtp)
        self._timing = settings.timing(config)
        self._rules = settings.rules(config, self.lmtp)
        self._bind = settings.bind_addresses(config)
        self._ports = known_ports(config.known_tcp_ports)
        self.soft_bounce = config.soft_bounce
        self.relayhost = (config.raw("relayhost") or "").strip()
        self.best_mx_transport = config.best_mx_transport
        self.fallback = config.smtp_fallback_relay
        self.address_limit = config.smtp_mx_address_limit
        self.session_limit = config.smtp_mx_session_limit
        self.line_limit = config.smtp_line_length_limit
        self.plain_age = config.minimal_backoff_time
        self.pix_age = config.smtp_pix_workaround_threshold_time
        self.pix_delay = config.smtp_pix_workaround_delay_time
        self._postmaster = Postmaster(process, "LMTP client" if self.lmtp else "SMTP client")
        self._transcribes = notice.is_wanted(("protocol", "data"), config.notify_classes)
        self._spool = Spool()
        self._pool: Pool[Connection] = Pool()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._demand = Demand(config.smtp_connection_cache_time_limit)
        self._on_demand = config.smtp_connection_cache_on_demand
        self._keep_for = config.smtp_connection_cache_time_limit
        self._reuse_time = config.smtp_connection_reuse_time_limit
        self._reuse_count = config.smtp_connection_reuse_count_limit
        self._open_tables()
        self.resolver = resolver or make_resolver(
            config, self._environment, config.smtp_dns_reply_filter, "smtp_dns_reply_filter"
        )

    def _open_tables(self) -> None:
        config = self.config
        environment = self._environment = table_environment(self.process)
        prefix = "lmtp" if self.lmtp else "smtp"

        def maps(name: str, specs: tuple[str, ...]) -> Maps:
            return Maps(specs, environment, title=f"{prefix}_{name}")

        self._outcomes = Outcomes(
            config, config.smtp_delivery_status_filter, environment, f"{prefix}_delivery_status_filter"
        )
        self._discard = maps("discard_ehlo_keyword_address_maps", config.smtp_discard_ehlo_keyword_address_maps)
        self._pix = maps("pix_workaround_maps", config.smtp_pix_workaround_maps)
        self._reply_filter = maps("reply_filter", config.smtp_reply_filter)
        self._always = StringList(
            f"{prefix}_connection_cache_destinations", config.smtp_connection_cache_destinations, environment
        )
        self._generic = maps("generic_maps", config.smtp_generic_maps)
        self._local = LocalDomains(
            config.mydestination, environment, addresses=sorted(self._rules.own), myorigin=config.myorigin
        )
        self._login = config.smtp_sasl_auth_enable
        self._keeper = Keeper(config, environment, self.process.prepared or (), lmtp=self.lmtp)
        self._propagate = "generic" in config.propagate_unmatched_extensions

        def check(name: str, specs: tuple[str, ...]) -> Callable[[str], Awaitable[str | None]] | None:
            return _texts(maps(name, specs)) if specs else None

        self._checks = Checks(
            header=check("header_checks", config.smtp_header_checks),
            mime_header=check("mime_header_checks", config.smtp_mime_header_checks),
            nested_header=check("nested_header_checks", config.smtp_nested_header_checks),
            body=check("body_checks", config.smtp_body_checks),
            generic=self.generic if config.smtp_generic_maps else None,
            body_limit=config.body_checks_size_limit,
            header_limit=config.header_size_limit,
            nesting_limit=config.mime_nesting_limit,
            boundary_limit=config.mime_boundary_length_limit,
            token_limit=config.header_address_token_limit,
        )

    # -- the program -------------------------------------------------------------------------------------------------

    async def deliver(self, job: Job) -> Report:
        self._demand.begin(job.nexthop, self.process.loop.time())
        try:
            try:
                fd = os.open(self._spool.path(job.queue, job.queue_id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError as error:
                return worker.defer_all(job, "4.3.0", f"cannot open the queue file: {error.strerror}")
            try:
                return await Delivery(self, job, fd).run()
            finally:
                os.close(fd)
        finally:
            self._demand.end(job.nexthop)

    @property
    def busy(self) -> bool:
        return self._postmaster.busy

    async def close(self) -> None:
        for connection in self._pool.all():
            self._forget(connection)
            await connection.leave()
        self._environment.close()

    # -- what a delivery asks ----------------------------------------------------------------------------------------

    def target(self, text: str) -> Target:
        return parse_target(text, self.config.smtp_tcp_port, self._ports, _service_port, lmtp=self.lmtp)

    async def find(self, target: Target) -> hosts.Found:
        return await hosts.find(target, self.resolver, self._rules)

    async def need(self, job: Job, target: Target) -> Need | Trouble:
        """How secure a connection to this next hop must be, and who is to authenticate on it."""
        try:
            return await self._keeper.need(target, job.envelope.sender)
        except (TableError, PolicyError) as error:
            log.warning(f"{job.queue_id}: {error}")
            text = "client TLS configuration problem" if isinstance(error, PolicyError) else "local data error"
            return Trouble("4.7.5" if isinstance(error, PolicyError) else "4.3.0", text, throttle=True)

    async def connect(
        self, job: Job, target: Target, candidate: Candidate, best: bool, need: Need, *, plain: bool = False
    ) -> Connection | Trouble:
        """``plain``: TLS has just failed with this server, and may be left out."""
        host = candidate.host or self.config.myhostname
        server = Server(host, candidate.address, candidate.port, best=best)
        try:
            conversation = await self._conversation(job, target, server)
            conversation.security = await self._keeper.security(need, target, server, plain=plain)
        except TableError as error:
            log.warning(f"{job.queue_id}: {error}")
            return Trouble("4.3.0", f"local data error while talking to {server.name}", throttle=True)

        handshake = Handshake(self._keeper, need.policy, target.host or target.path) if need.policy.wanted else None

        def factory() -> Connection:
            made = Connection(conversation, self._timing, handshake)
            made.need, made.target = need, target
            return made

        limit = self.config.smtp_connect_timeout
        try:
            if target.path:
                return await net.connect_unix(factory, target.path, timeout=limit)
            return await net.connect_tcp(
                factory,
                candidate.address,
                candidate.port,
                timeout=limit,
                bind=self._bind.get(candidate.version, ""),
                on_bind_error=None if self.config.smtp_bind_address_enforce else log.warning,
            )
        except net.BindError as error:
            log.warning(f"{job.queue_id}: {error}")
            return Trouble("4.4.0", "server configuration error", throttle=True)
        except ValueError as error:
            log.warning(f"{job.queue_id}: {error}")
            return Trouble("4.3.5", "Server configuration error", throttle=True)
        except OSError as error:
            if error.errno in _SHORTAGES:
                log.warning(f"{job.queue_id}: connect to {server.relay}: {net.error_text(error)}")
                return Trouble("4.3.1", f"local resource shortage: {net.error_text(error)}")
            return Trouble("4.4.1", f"connect to {server.relay}: {net.error_text(error)}", throttle=True)

    async def _conversation(self, job: Job, target: Target, server: Server) -> Conversation:
        config = self.config
        words = await self._discard.lookup(server.address) if self._discard else None
        if words is None:
            words = " ".join(config.smtp_discard_ehlo_keywords)
        keywords, silent = settings.discarded(words)
        if keywords and not silent:
            log.info(f"discarding EHLO keywords: {' '.join(sorted(keywords))}")
        manner = self._manner
        if self._pix and (pix := await self._pix.lookup(server.address)) is not None:
            manner = settings.with_pix(manner, pix)
        return Conversation(
            server,
            manner,
            nexthop=job.nexthop,
            watch_loops=not self.lmtp and target.port == self._rules.loop_port,
            discard=keywords,
            reply_filter=self._reply_filter.find if self._reply_filter else None,
            old_message=job.active_time - job.envelope.arrival_time >= self.pix_age,
            transcript=Transcript() if self._transcribes else None,
        )

    def kept_for(self, label: str, need: Need) -> Connection | None:
        return self._take(("hop", label, need))

    def kept_at(self, target: Target, candidate: Candidate, need: Need) -> Connection | None:
        host = candidate.host or self.config.myhostname
        return self._take(self._end(target, host, candidate.address, candidate.port, need))

    def _end(self, target: Target, host: str, address: str, port: int, need: Need) -> tuple[object, ...]:
        """A label for the server at this address."""
        # Next hops that lead to one server are not the same where its certificate, or our password, goes by the name.
        whose = (target.text, host) if self._login or need.policy.verifies else ()
        return ("end", address, port, whose, need)

    def _take(self, label: tuple[object, ...]) -> Connection | None:
        connection = self._pool.take(label)
        if connection is not None:
            self._forget(connection)
        return connection

    def release(self, connection: Connection, job: Job, label: str) -> None:
        """A session is over: keep the connection for more mail, or say goodbye. ``label``: next hop to find it by."""
        if not connection.usable:
            self.discard(connection, job)
            return
        now = self.process.loop.time()
        expired = now - connection.opened >= self._reuse_time or (
            self._reuse_count and connection.uses >= self._reuse_count
        )
        assert connection.need is not None and connection.target is not None
        if connection.conversation.security.active:
            reuse = connection.need.policy.reuse
            expired = expired or not (self.config.smtp_tls_connection_reuse if reuse is None else reuse)
        if expired or self.process.stopping.is_set() or not self._wanted(job.nexthop, connection.target, now):
            self.discard(connection, job)
            return
        server = connection.conversation.server
        labels = [self._end(connection.target, server.host, server.address, server.port, connection.need)]
        if label:
            labels.append(("hop", label, connection.need))
        self._pool.put(connection, *labels)
        connection.on_idle_loss = self._lost
        self._timers[id(connection)] = self.process.loop.call_later(self._keep_for, self._expire, connection)

    def _wanted(self, nexthop: str, target: Target, now: float) -> bool:
        if self._on_demand and self._demand.likely(nexthop, now):
            return True
        if not self._always:
            return False
        try:
            return self._always.match_now(target.path or target.host) if self._always.immediate else False
        except TableError as error:
            log.warning(str(error))
            return False

    def discard(self, connection: Connection, job: Job | None = None) -> None:
        """Say goodbye where that is still possible. ``job``: what it was used for last."""
        connection.on_idle_loss = None
        transcript = connection.conversation.transcript
        if transcript is not None and transcript.troubles and job is not None:
            connection.conversation.transcript = None
            if not self._postmaster.is_deaf(job.envelope.sender):
                self.process.spawn(
                    self.process.loop.create_task(
                        self._postmaster.tell(
                            connection.conversation.server.relay, frozenset(transcript.troubles), transcript.lines
                        )
                    )
                )
        if connection.closed:
            return
        if self.config.smtp_skip_quit_response:
            connection.say_goodbye()
        else:
            self.process.spawn(self.process.loop.create_task(connection.leave(wait=True)))

    def _forget(self, connection: Connection) -> None:
        """It is not kept any more."""
        connection.on_idle_loss = None
        self._pool.remove(connection)
        timer = self._timers.pop(id(connection), None)
        if timer is not None:
            timer.cancel()

    def _expire(self, connection: Connection) -> None:
        self._forget(connection)
        self.discard(connection)

    def _lost(self, connection: Connection) -> None:
        """The peer ended, or spoke, while it was kept."""
        self._forget(connection)
        if not connection.closed:
            connection.say_goodbye()

    async def generic(self, address: str) -> str:
        """generic(5): the address that stands for this one outside."""
        if not self._generic or not address:
            return address
        found = await table_address.find(
            self._generic, address, delimiter=self.config.recipient_delimiter, local=self._local
        )
        if found is None:
            return address
        results = table_address.expand(address, found, addresslist.extract_addresses, self._propagate)
        if len(results) != 1:
            log.warning(f"multi-valued {self._generic.title} result for {address}")
        return results[0] if results else address

    def edit(self, queue_id: str) -> Edit | None:
        return Editor(self._checks, queue_id).edit if self._checks else None

    async def settle(
        self, job: Job, queued: QueuedRecipient, status: RecipientStatus, begun: float, connected: float, uses: int
    ) -> RecipientStatus:
        return await self._outcomes.settle(job, queued, status, begun=begun, connected=connected, uses=uses)

    async def pass_on(self, job: Job, transport: str) -> Report:
        """best_mx_transport: another agent of this system delivers it."""
        job = job.model_copy(update={"transport": transport})
        try:
            return await self.process.client(transport).call(job, Report)
        except BusError as error:
            log.warning(f"{job.queue_id}: best_mx_transport {transport}: {error}")
            return worker.defer_all(job, "4.3.0", "mail transport unavailable")

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _texts(maps: Maps) -> Callable[[str], Awaitable[str | None]]:
    async def lookup(text: str) -> str | None:
        if maps.immediate:
            return maps.find(text)
        # Other programs are sent valid Unicode only.
        return await maps.lookup(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))

    return lookup


def _service_port(name: str) -> int:
    return socket.getservbyname(name, "tcp")
