"""The client itself, driven by jobs, against SMTP peers on loopback that misbehave as they are told."""

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from tubepost.common.wire.delivery import Job, Report
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.ids import new_queue_id
from tubepost.common.config import from_text
from tubepost.common.net import selfsigned
from tubepost.common.net.dns import Resolver
from tubepost.common.spool import encode

from tubepost.services.smtp.session import Smtp

T = TypeVar("T")
CLOSE, HANG = b"CLOSE", b"HANG"
KEYWORDS = ("PIPELINING", "SIZE 10240000", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES", "SMTPUTF8")
DEFAULTS = {
    "smtp_connect_timeout": "2s",
    "smtp_fallback_relay": "",
    "disable_dns_lookups": "yes",
    "inet_interfaces": "loopback-only",
    "myhostname": "me.example",
}


class Peer:
    """``says``: verb (GREETING, EHLO, MAIL, RCPT, DATA, DOT, RSET, QUIT, or ``RCPT user@domain``) to the reply, CLOSE
    or HANG. For LMTP a tuple at DOT. ``messages``: (sender, recipients, content as received).
    """

    def __init__(
        self,
        says: dict[str, Any] | None = None,
        keywords: Sequence[str] = KEYWORDS,
        lmtp: bool = False,
        tls: ssl.SSLContext | None = None,
    ):
        """``tls``: of a server; STARTTLS is offered then."""
        self.says = says or {}
        self.tls = tls
        self.on_tls: Callable[[], None] = lambda: None
        self.keywords = keywords
        self.lmtp = lmtp
        self.commands: list[str] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.sessions = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: str = "", host: str = "127.0.0.1", port: int = 0) -> "Peer":
        if path:
            self._server = await asyncio.start_unix_server(self._session, path)
        else:
            self._server = await asyncio.start_server(self._session, host, port, limit=1 << 20)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def nexthop(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter, stage: str, default: bytes, key: str = "") -> bool:
        answer = self.says.get(key, self.says.get(stage, default))
        if callable(answer):
            answer = answer()
        if answer == HANG:
            await asyncio.sleep(30)
        if answer == CLOSE:
            return False
        for line in answer if isinstance(answer, tuple) else (answer,):
            writer.write(line + b"\r\n")
        await writer.drain()
        return True

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "GREETING", b"220 peer.example ESMTP"):
            return
        sender, recipients = "", list[str]()
        while line := await reader.readline():
            text = line.decode().rstrip("\r\n")
            self.commands.append(text)
            verb = text.split(" ")[0].upper()
            if verb in ("EHLO", "LHLO"):
                words = (*self.keywords, "STARTTLS") if self.tls is not None else self.keywords
                reply = b"\r\n".join([b"250-peer.example", *(b"250-" + k.encode() for k in words), b"250 HELP"])
                going = await self._say(writer, "EHLO", reply)
            elif verb == "STARTTLS" and self.tls is not None:
                going = await self._say(writer, "STARTTLS", b"220 go on")
                if going and "STARTTLS" not in self.says:
                    await writer.start_tls(self.tls)
                    self.on_tls()
            elif verb == "MAIL":
                sender, recipients = text[10:].split(">")[0].strip("<"), []
                going = await self._say(writer, "MAIL", b"250 2.1.0 Ok")
            elif verb == "RCPT":
                address = text[8:].split(">")[0].strip("<")
                answer = self.says.get(f"RCPT {address}", self.says.get("RCPT", b"250"))
                if callable(answer) or (answer and answer[:1] == b"2"):
                    recipients.append(address)
                going = await self._say(writer, "RCPT", b"250 2.1.5 Ok", f"RCPT {address}")
            elif verb == "DATA":
                going = await self._say(writer, "DATA", b"354 go on" if recipients else b"554 no valid recipients")
                if going and recipients and self.says.get("DATA", b"354").startswith(b"354"):
                    if self.says.get("BODY") is not None:
                        await reader.read(1000)
                        if not await self._say(writer, "BODY", b""):
                            return
                    lines = list[bytes]()
                    while not lines or lines[-1] != b".\r\n":
                        lines.append(await reader.readuntil(b"\r\n"))
                    self.messages.append((sender, recipients, b"".join(lines)))
                    default = b"250 2.0.0 Ok: queued as X"
                    if self.lmtp and "DOT" not in self.says:
                        for _ in recipients:
                            writer.write(default + b"\r\n")
                    else:
                        going = await self._say(writer, "DOT", default)
            elif verb == "BDAT":
                size = int(text.split()[1])
                self.messages.append((sender, recipients, await reader.readexactly(size)))
                going = await self._say(writer, "DOT", b"250 2.0.0 Ok")
            elif verb == "QUIT":
                await self._say(writer, "QUIT", b"221 2.0.0 Bye")
                return
            else:
                going = await self._say(writer, verb, b"250 2.0.0 Ok")
            if not going:
                return


class Client:
    """The agent in this process."""

    def __init__(self, directory: Path, settings: dict[str, str], *, lmtp: bool, resolver: Resolver | None) -> None:
        text = "".join(f"{name} = {value}\n" for name, value in {**DEFAULTS, **settings}.items())
        (directory / "active").mkdir(exist_ok=True)
        loop = asyncio.get_running_loop()
        self.tasks: list[asyncio.Task[Any]] = []
        self.calls: list[tuple[str, Job]] = []
        process: Any = SimpleNamespace(
            prepared=None,
            program="lmtp" if lmtp else "smtp",
            config=from_text(text, str(directory)),
            birth=SimpleNamespace(config_directory=str(directory)),
            loop=loop,
            stopping=asyncio.Event(),
            spawn=self.tasks.append,
            client=self._bus,
        )
        self.agent = Smtp(process, resolver)

    def _bus(self, service: str) -> Any:
        async def call(job: Job, reply: type[Report]) -> Report:
            self.calls.append((service, job))
            return Report(statuses=())

        return SimpleNamespace(call=call)

    async def deliver(
        self,
        nexthop: str,
        recipients: Sequence[str | Recipient] = ("bob@example.net",),
        content: bytes = b"Subject: x\n\nbody\n",
        *,
        sender: str = "alice@example.test",
        probe: bool = False,
        age: float = 0,
        **envelope: Any,
    ) -> Report:
        people = [r if isinstance(r, Recipient) else Recipient(address=r) for r in recipients]
        now = time.time()
        wrapped = Envelope(sender=sender, arrival_time=now - age, **envelope)
        buffers, offsets, length = encode(wrapped, people, [content])
        queue_id = new_queue_id()
        Path("active", queue_id).write_bytes(b"".join(buffers))
        job = Job(
            queue_id=queue_id,
            transport="smtp",
            nexthop=nexthop,
            envelope=wrapped,
            content_offset=128,
            content_length=length,
            recipients=tuple(
                QueuedRecipient(offset=offset, recipient=person) for offset, person in zip(offsets, people, strict=True)
            ),
            active_time=now,
            probe=probe,
        )
        report = await asyncio.wait_for(self.agent.deliver(job), 20)
        assert sorted(status.offset for status in report.statuses) == offsets or self.calls
        return report


class Scene:
    """Runs a test's coroutine with peers that are ended afterwards."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._peers: list[Peer] = []
        self._clients: list[Client] = []

    async def peer(
        self,
        says: dict[str, Any] | None = None,
        path: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        **options: Any,
    ) -> Peer:
        peer = await Peer(says, **options).start(path, host, port)
        self._peers.append(peer)
        return peer

    def server_tls(self) -> ssl.SSLContext:
        """Of a server that is 127.0.0.1 and nobody else; ``ca.pem`` in the directory vouches for it."""
        key, certificate = selfsigned.make(["peer.example"], ["127.0.0.1"])
        (self.directory / "ca.pem").write_bytes(certificate)
        (self.directory / "server.pem").write_bytes(key + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem")
        return context

    def client(self, *, lmtp: bool = False, resolver: Resolver | None = None, **settings: str) -> Client:
        client = Client(self.directory, settings, lmtp=lmtp, resolver=resolver)
        self._clients.append(client)
        return client

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def whole() -> T:
            try:
                return await work()
            finally:
                for client in self._clients:
                    await client.agent.close()
                    await asyncio.gather(*client.tasks, return_exceptions=True)
                for peer in self._peers:
                    await peer.stop()

        return asyncio.run(whole())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.chdir(tmp_path)
    return Scene(tmp_path)


@pytest.fixture
def logged(tmp_path: Path) -> Callable[[], str]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    log.setup("postfix/smtp", fd=fd)
    return path.read_text
