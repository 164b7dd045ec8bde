"""One client: bytes in and out, TLS below, one deadline; what the machine's events ask for."""

import asyncio
import pwd
import socket
import struct
import time
from typing import TYPE_CHECKING

from tubepost.common.wire.auth import User
from tubepost.common.system import ids, log
from tubepost.common.bus.errors import BusError, Refusal
from tubepost.common.mailbox import Content, DeliveryError
from tubepost.common.mailbox.values import Limit
from tubepost.common.net.tls import HandshakeError
from tubepost.common.skeleton.conversation import Conversation, Gone
from tubepost.common.skeleton.stream import Peer

from tubepost.services.lmtpd import events
from tubepost.services.lmtpd.head import delivery_head, protocol_name
from tubepost.services.lmtpd.incoming import Incoming
from tubepost.services.lmtpd.protocol import Machine

if TYPE_CHECKING:
    from tubepost.services.lmtpd.server import Lmtpd


class Session(Conversation):
    ahead = 256 * 1024
    server: "Lmtpd"

    def __init__(self, server: "Lmtpd", peer: Peer) -> None:
        super().__init__(server, peer)
        self.machine = Machine(server.settings)
        self._users: list[User] = []
        self._incoming: Incoming | None = None
        self._failure = ""
        self._security = ""

    # The connection

    def received(self, data: bytes) -> None:
        self.machine.receive(data)
        if self.machine.waiting_input > self.ahead:
            self.hold_input()
        self.wake_up()

    def forget_input(self) -> None:
        self.machine.forget_input()

    def lost(self, timed_out: bool) -> None:
        if timed_out and self._input is not None and self._transport is not None and not self._paused:
            # RFC 5321 3.8: the client is told why.
            self.machine.time_out()
            self._transport.write(b"".join(self.machine.output))
            self.machine.output.clear()
        super().lost(timed_out)

    @property
    def has_proven(self) -> bool:
        return bool(self._users) or self.machine.in_content

    def say_full(self) -> None:
        host = self.server.config.myhostname
        self.machine.hang_up(f"421 4.3.2 {host} Error: too many clients, come again later", "too many clients")
        self.wake_up()

    async def _next_event(self) -> events.Event:
        """Raises Gone."""
        machine = self.machine
        while True:
            if self.closed:
                raise Gone
            if self.leaving and not machine.in_content:
                machine.leave()
            event = machine.next_event()
            if event is not None:
                self._silent_since = self.loop.time()
                # What is done now takes none of the client's time: a message that is delivered must be told to be.
                self.expect_by(0)
                return event
            self.flush()
            self.expect_by(self.server.config.lmtpd_timeout)
            await self.drained()
            self.expect_by(self.server.config.lmtpd_timeout)
            await self.more_input()

    def flush(self) -> None:
        output = self.machine.output
        if output:
            self.write(b"".join(output))
            output.clear()

    # Life

    @property
    def client(self) -> str:
        """For the log."""
        return f"unknown[{self.peer.address}]" if self.peer.address else "local"

    def break_down(self) -> None:
        self.machine.output.clear()
        self.machine.reply(f"421 4.3.0 {self.server.config.myhostname} Internal error; it was logged")

    def settle(self, reason: str) -> None:
        self._forget_mail()
        log.info(f"disconnect from {self.client}{f': {reason}' if reason else ''}")

    async def converse(self) -> str:
        server, machine = self.server, self.machine
        self.expect_by(server.config.lmtpd_timeout)
        log.info(f"connect from {self.client}")
        if not await self._may_connect():
            machine.hang_up(f"521 5.7.1 {server.config.myhostname} You may not use this service", "refused")
        else:
            if server.tls.wrapper and self.transport is not None:
                agreed = server.tls.accepted(self.transport, self.client)
                machine.secured()
                self._security = str(agreed)
            # A UNIX socket goes nowhere that others listen.
            machine.tls_offered = server.tls.offered and bool(self.peer.address)
            machine.tls_required = server.tls.required and bool(self.peer.address)
            machine.greet()
        while True:
            event = await self._next_event()
            match event:
                case events.Content():
                    await self._take(event.data)
                case events.Recipient():
                    await self._recipient(event.address)
                case events.Begin():
                    self._incoming = Incoming(self._users[0].mailbox, server.owner(self._users[0]))
                case events.End():
                    await self._deliver(event.size)
                case events.Lost():
                    self._forget_mail()
                case events.StartTls():
                    await self._start_tls()
                case events.Hangup():
                    return event.reason

    async def _may_connect(self) -> bool:
        if self.peer.address:
            if await self.server.may_connect(self.peer.address):
                return True
            log.warning(f"{self.client} may not connect: see lmtpd_authorized_clients")
            return False
        allowed = self.server.config.lmtpd_authorized_users
        name = _peer_name(self.transport)
        if "*" in allowed or name in allowed:
            return True
        log.warning(f"{name} may not use the LMTP socket: see lmtpd_authorized_users")
        return False

    async def _start_tls(self) -> None:
        if self.server.tls.context() is None:
            self.machine.refuse("454 4.7.0 TLS not available due to local problem")
            return
        self.flush()
        try:
            agreed = await self.server.tls.upgrade_channel(self, self.client, b"220 2.0.0 Ready to start TLS\r\n")
        except HandshakeError:
            raise Gone from None
        self.machine.secured()
        self._security = str(agreed)
        self._forget_mail()

    def _forget_mail(self) -> None:
        self._users = []
        self._failure = ""
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None

    # Mail

    async def _recipient(self, address: str) -> None:
        try:
            user = await self.server.look_up(address)
        except Refusal as error:
            refused = error.refused
            code = 550 if refused.code >= 500 else 451
            self.machine.refuse(f"{code} {refused.dsn or f'{code // 100}.1.1'} <{address}>: {refused.reason}")
        except BusError as error:
            log.warning(f"look-up of {address}: {error}")
            self.machine.refuse(f"451 4.3.0 <{address}>: it cannot be told now whether there is such a user")
        else:
            self._users.append(user)
            self.machine.accept()

    async def _take(self, data: bytes) -> None:
        if self._incoming is None or self._failure:
            return
        try:
            await self._incoming.write(data)
        except OSError as error:
            log.error(f"{self.client}: cannot keep a message: {error}")
            self._failure = "452 4.3.1 Insufficient system storage"
            self._incoming.close()

    async def _deliver(self, size: int) -> None:
        """One reply for each recipient (RFC 2033 4.2)."""
        machine, incoming = self.machine, self._incoming
        assert incoming is not None
        number = ids.new_queue_id()
        sender, recipients = machine.sender, machine.recipients
        log.info(f"{number}: client={self.client}, from=<{sender}>, size={size}, nrcpt={len(recipients)}")
        begun = time.monotonic()
        replies = [self._failure] * len(recipients)
        if not self._failure:
            try:
                content = await incoming.content()
            except OSError as error:
                log.error(f"{number}: cannot keep the message: {error}")
                replies = ["452 4.3.1 Insufficient system storage"] * len(recipients)
            else:
                now = time.time()
                pairs = zip(recipients, self._users, strict=True)
                replies = await asyncio.gather(
                    *(self._deliver_to(number, address, user, content, now) for address, user in pairs)
                )
        took = time.monotonic() - begun
        for address, user, reply in zip(recipients, self._users, replies, strict=True):
            code, dsn, text = reply.split(" ", 2)
            word = {"2": "sent", "4": "deferred", "5": "bounced"}[code[0]]
            log.info(f"{number}: to=<{address}>, user={user.name}, delay={took:.2g}, dsn={dsn}, status={word} ({text})")
        self._forget_mail()
        if self.closed:
            # The client does not know what became of it: it will come again, and the message be there twice.
            log.warning(f"{number}: {self.client} left before it was told of the delivery")
        machine.finished(replies)

    async def _deliver_to(self, number: str, address: str, user: User, content: Content, now: float) -> str:
        """The reply."""
        server, machine = self.server, self.machine
        config = server.config
        uid, gid = server.owner(user)
        moment = time.localtime(now)
        head = delivery_head(
            sender=machine.sender,
            recipient=address,
            name=machine.name,
            address=self.peer.address,
            myhostname=config.myhostname,
            mail_name=config.mail_name,
            protocol=protocol_name(smtputf8=machine.smtputf8, tls=machine.tls_active),
            session_id=number,
            security=self._security,
            now=now,
            offset=moment.tm_gmtoff,
            zone=moment.tm_zone,
        )
        whole = Content(content.fd, content.offset, content.length, head, data=content.data)
        limit = Limit(user.quota_bytes, user.quota_messages)
        try:
            await server.store.deliver(user.mailbox, whole, uid=uid, gid=gid, limit=limit)
        except DeliveryError as error:
            return self._failed(address, error)
        except Exception as error:
            log.panic(f"{number}: delivery to {address}: {type(error).__name__}: {error}")
            return f"451 4.3.0 <{address}> Internal error; it was logged"
        return f"250 2.0.0 <{address}> {number} saved"

    def _failed(self, address: str, error: DeliveryError) -> str:
        dsn = error.dsn
        if dsn == "5.2.2" and self.server.config.lmtpd_quota_full_tempfail:
            dsn = "4.2.2"
        # RFC 5321 4.2.2: 452 and 552 speak of storage.
        full = dsn in ("4.2.2", "5.2.2", "4.3.1")
        code = f"{dsn[0]}52" if full else "451" if dsn[0] == "4" else "554"
        return f"{code} {dsn} <{address}> {error}"


def _peer_name(transport: asyncio.Transport | None) -> str:
    """Login name of the account that the connecting process runs as, or its number."""
    assert transport is not None
    peer: socket.socket = transport.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
