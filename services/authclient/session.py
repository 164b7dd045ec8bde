"""Serves connections of other mail servers, and asks auth for each request."""

import asyncio
import os
import pwd
import secrets
import socket
import struct

from tubepost.common.wire import auth
from tubepost.common.wire.base import Message
from tubepost.common.system import log
from tubepost.common.bus.client import Talk
from tubepost.common.bus.errors import BusError
from tubepost.common.net.streams import Channel
from tubepost.common.skeleton import stream
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.stream import Peer

from tubepost.services.authclient import protocol

# Requests of one connection that are under way at one time.
_REQUESTS = 100
_SCOPES: dict[str, auth.Scope] = {
    "smtp": "smtp",
    "submission": "smtp",
    "imap": "imap",
    "pop3": "pop3",
    "lmtp": "lmtp",
    "sieve": "sieve",
    "managesieve": "sieve",
}


class AuthClient(stream.Service):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._exchanges = 0
        self._connections = 0
        self.open_connections: set[Connection] = set()

    async def open(self) -> None:
        self.process.spawn(asyncio.create_task(self._leave()))

    async def _leave(self) -> None:
        """Other servers keep a connection for as long as they live: told to stop, we hang up where nothing is asked."""
        await self.process.stopping.wait()
        for connection in tuple(self.open_connections):
            connection.leave_when_idle()

    def connected(self, peer: Peer) -> asyncio.Protocol:
        self._connections += 1
        connection = Connection(self, self._connections)
        self.open_connections.add(connection)
        return connection

    def number(self) -> int:
        self._exchanges += 1
        return self._exchanges


class Connection(Channel):
    def __init__(self, service: AuthClient, number: int) -> None:
        super().__init__()
        self._service = service
        self._number = number
        self._client = service.process.client(service.config.auth_service_name)
        self._buffer = b""
        # By the peer's number of a request: ours of the exchange, how it began, and to which worker; what is to be said
        # once the client has answered the last challenge.
        self._exchanges: dict[int, int] = {}
        self._settled: dict[int, bytes] = {}
        self._begun: dict[int, protocol.Auth] = {}
        self._talks: dict[int, Talk] = {}
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = _peer_name(transport)
        if name not in self._service.config.authorized_auth_users:
            log.warning(f"{name} may not use the auth socket: see authorized_auth_users")
            self._leave()
            return
        self._service.process.spawn(self.loop.create_task(self._greet()))

    async def _greet(self) -> None:
        asked = auth.Mechanisms(scope="smtp", tls=True, client="")
        try:
            offer = await self._client.call(asked, reply=auth.Offer)
        except BusError as error:
            log.warning(f"auth does not say which mechanisms there are: {error}")
            self._leave()
            return
        self.write(protocol.greeting(offer.mechanisms, os.getpid(), self._number, secrets.token_hex(16)))

    def received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in lines:
                if len(line) > protocol.LINE_LIMIT:
                    raise protocol.ProtocolError("a line is too long")
                self._obey(protocol.parse(line))
            if len(self._buffer) > protocol.LINE_LIMIT:
                raise protocol.ProtocolError("a line is too long")
        except protocol.ProtocolError as error:
            log.warning(f"on the auth socket: {error}")
            self._leave()

    def _obey(self, command: protocol.Command) -> None:
        """Raises ProtocolError."""
        if isinstance(command, protocol.Auth):
            if command.number in self._exchanges or command.number in self._settled:
                raise protocol.ProtocolError("a request has the number of one that is under way")
            if len(self._exchanges) + len(self._settled) >= _REQUESTS:
                self.write(protocol.fail(command.number, "temporary"))
                return
            number = self._exchanges[command.number] = self._service.number()
            self._begun[command.number] = command
            self._talks[command.number] = self._client.talk()
            self._ask(command.number, self._begin(number, command))
        elif isinstance(command, protocol.Continue):
            if (settled := self._settled.pop(command.number, None)) is not None:
                self.write(settled)
            elif (ours := self._exchanges.get(command.number)) is not None:
                self._ask(command.number, auth.Continue(exchange=ours, data=command.data))
            else:
                self.write(protocol.fail(command.number, "protocol"))
        elif isinstance(command, protocol.Cancel):
            self._settled.pop(command.number, None)
            if (ours := self._exchanges.pop(command.number, None)) is not None:
                self._begun.pop(command.number, None)
                self._talks.pop(command.number).tell(auth.Forget(exchange=ours))

    def _begin(self, number: int, command: protocol.Auth) -> auth.Begin:
        told = command.parameters
        service = told.get("service", "")
        certificate = told.get("cert_username", "") if "valid-client-cert" in told else ""
        return auth.Begin(
            exchange=number,
            scope=_SCOPES.get(service, "web"),
            service=f"{self._service.process.name}/{service[:20]}",
            mechanism=command.mechanism,
            initial=command.initial,
            client=told.get("rip", ""),
            local=told.get("lip", ""),
            tls=command.secured,
            certificate_name=certificate,
        )

    def _ask(self, number: int, message: "auth.Begin | auth.Continue") -> None:
        self._service.process.spawn(self.loop.create_task(self._answer(number, message)))

    async def _answer(self, number: int, message: "auth.Begin | auth.Continue") -> None:
        reply: Message
        talk = self._talks.get(number)
        if talk is None:
            return  # cancelled
        try:
            reply = await talk.ask(message, auth.Challenge, auth.Success, auth.Failure)
        except BusError as error:
            log.warning(f"auth does not answer: {error}")
            reply = auth.Failure(cause="temporary", text="")
        if isinstance(reply, auth.Challenge):
            if self._talks.get(number) is talk:
                self.write(protocol.challenge(number, reply.data))
            return
        if self._talks.get(number) is not talk:
            return  # cancelled
        del self._talks[number]
        command = self._begun.pop(number, None)
        if self._exchanges.pop(number, None) is None or command is None:
            return  # cancelled
        if isinstance(reply, auth.Failure):
            self.write(protocol.fail(number, reply.cause))
        elif isinstance(reply, auth.Success):
            self._succeed(number, command, reply)
        if self._service.process.stopping.is_set():
            self.leave_when_idle()

    def _succeed(self, number: int, command: protocol.Auth, reply: auth.Success) -> None:
        if reply.data is None or "final-resp-ok" in command.parameters:
            self.write(protocol.ok(number, reply.user.name, reply.data))
        else:
            # A client that cannot take data with the success gets it as a last challenge, and answers with nothing.
            self._settled[number] = protocol.ok(number, reply.user.name, None)
            self.write(protocol.challenge(number, reply.data))

    def leave_when_idle(self) -> None:
        """The system stops."""
        if not self._exchanges and not self._settled:
            self._leave()

    def _leave(self) -> None:
        self.finish()
        self._end_all()

    def lost(self, timed_out: bool) -> None:
        self._end_all()

    def _end_all(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._service.open_connections.discard(self)
        for number, talk in self._talks.items():
            talk.tell(auth.Forget(exchange=self._exchanges[number]))
        self._talks.clear()
        self._service.ended()


def _peer_name(transport: asyncio.BaseTransport) -> str:
    """Login name of the account that the connecting process runs as, or its number."""
    peer: socket.socket = transport.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
