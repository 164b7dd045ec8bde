"""imapd without sockets: its real sessions and a real store, over connections that are lists of bytes.

async with FakeImapd(directory) as server:
    alice = await server.log_in("alice")
    assert await alice.do("select inbox") == [...]        # untagged lines, then the tagged one
"""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

from tubepost.common.wire import anvil, auth, notify
from tubepost.common.wire.base import Refused
from tubepost.common.bus.errors import Refusal
from tubepost.common.config import load
from tubepost.common.skeleton.mailboxes import Mailboxes
from tubepost.common.skeleton.stream import Peer

from tubepost.services.imapd.commands.uses import parse_folders
from tubepost.services.imapd.logins import Logins
from tubepost.services.imapd.server import Imapd
from tubepost.services.imapd.session import Session
from tubepost.services.imapd.watch import Watch

DOMAIN = "example.test"
# What a test waits for at most, seconds.
PATIENCE = 20.0
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class Transport(asyncio.Transport):
    """Keeps what is written; ``taken`` is called for each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.news = asyncio.Event()
        self.closing = False
        self.paused = False

    def write(self, data: Any) -> None:
        self.sent += data
        self.news.set()

    def close(self) -> None:
        self.closing = True
        self.news.set()

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Client:
    """One connection, as its client sees it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.transport = Transport()
        self._tag = 0
        session.connection_made(self.transport)

    def write(self, data: bytes) -> None:
        self.session.data_received(data)

    async def line(self) -> bytes:
        """The next line, with the literals in it, without its CRLF. Raises EOFError at the end."""
        end = 0
        async with asyncio.timeout(PATIENCE):
            while True:
                sent = self.transport.sent
                place = sent.find(b"\r\n", end)
                if place >= 0:
                    found = _LITERAL.search(sent, max(end, place - 24), place + 2)
                    if found is None:
                        line = bytes(sent[:place])
                        del sent[: place + 2]
                        return line
                    end = place + 2 + int(found[1])
                    continue
                if self.transport.closing:
                    raise EOFError(bytes(sent))
                self.transport.news.clear()
                await self.transport.news.wait()

    async def lines(self, tag: str) -> list[str]:
        """All up to the tagged answer."""
        found = []
        while True:
            line = (await self.line()).decode("utf-8", "surrogateescape")
            found.append(line)
            if line.startswith(f"{tag} "):
                return found

    async def do(self, command: str | bytes) -> list[str]:
        """One command, literals (``{3+}``) and all. The tag is taken off the answer."""
        self._tag += 1
        tag = f"t{self._tag}"
        data = command.encode("utf-8", "surrogateescape") if isinstance(command, str) else command
        self.write(tag.encode() + b" " + data + b"\r\n")
        found = await self.lines(tag)
        found[-1] = found[-1].removeprefix(f"{tag} ")
        return found

    async def ok(self, command: str | bytes) -> list[str]:
        """The untagged lines of a command that must succeed."""
        found = await self.do(command)
        assert found[-1].startswith("OK"), found
        return found[:-1]

    async def no(self, command: str | bytes) -> str:
        """The answer to one that must not."""
        found = await self.do(command)
        assert found[-1].startswith(("NO", "BAD")), found
        return found[-1]

    async def append(self, mailbox: str, message: str = "Subject: x\r\n\r\nbody\r\n", flags: str = "") -> list[str]:
        size = len(message.encode())
        return await self.do(f"append {mailbox} {flags + ' ' if flags else ''}{{{size}+}}\r\n{message}")

    async def quiet(self) -> list[str]:
        """What was sent without being asked, as far as it has come."""
        for _ in range(20):
            await asyncio.sleep(0)
        found = []
        while b"\r\n" in self.transport.sent:
            found.append((await self.line()).decode("utf-8", "surrogateescape"))
        return found

    async def quiet_turn(self) -> None:
        """Let the server work for a moment."""
        await asyncio.sleep(0.001)

    async def until(self, start: str) -> list[str]:
        """Unasked lines up to one that begins so."""
        found: list[str] = []
        while not found or not found[-1].startswith(start):
            found.append((await self.line()).decode("utf-8", "surrogateescape"))
        return found


class _Exchange:
    def __init__(self, server: "FakeImapd") -> None:
        self._server = server

    async def begin(self, mechanism: str, initial: bytes | None) -> Any:
        if initial is None:
            return auth.Challenge(data=b"")
        return await self.go_on(initial)

    async def go_on(self, initial: bytes) -> Any:
        name = initial.split(b"\0")[1].decode()
        user = self._server.users.get(name)
        if user is None or not initial.endswith(b"\0secret"):
            return auth.Failure(cause="credentials", text="Authentication failed")
        return auth.Success(user=user)

    def abandon(self) -> None:
        pass


class _Auth:
    def __init__(self, server: "FakeImapd") -> None:
        self._server = server

    async def offer(self, asker: Any) -> tuple[str, ...]:
        return ("PLAIN",)

    def known_offer(self, asker: Any) -> tuple[str, ...]:
        return ("PLAIN",)

    def exchange(self, asker: Any) -> _Exchange:
        return _Exchange(self._server)


class _Bus:
    """Of auth, notify and anvil: a hint is heard at once by the server that told it, as by any other."""

    ended = False

    def __init__(self, server: "FakeImapd") -> None:
        self._server = server

    def tell(self, message: notify.Changed | anvil.Serves) -> None:
        if isinstance(message, notify.Changed):
            self._server.told.append(message)

    def talk(self) -> "_Bus":
        return self

    async def ask(self, message: anvil.Serves, *_: Any, **__: Any) -> anvil.Total:
        await asyncio.sleep(0)
        return anvil.Total(connections=message.connections)

    async def call(self, message: auth.Lookup, *_: Any) -> auth.User:
        user = self._server.users.get(message.name) or self._server.users.get(f"{message.name}@{DOMAIN}")
        if user is None:
            raise Refusal(Refused(reason="there is no such user"))
        return user


class FakeImapd(Imapd):
    """``users``: alice, bob and carol of example.test; the password of all is "secret"."""

    def __init__(self, directory: str, **settings: str) -> None:
        conf = f"{directory}/conf"
        os.makedirs(conf, exist_ok=True)
        with open(f"{conf}/main.cf", "w") as file:
            defaults = {"myhostname": "mail.example.test", "mydomain": DOMAIN, "imapd_auto_folders": ""}
            file.writelines(f"{name} = {value}\n" for name, value in {**defaults, **settings}.items())
        config = load(conf)
        loop = asyncio.get_running_loop()
        bus = _Bus(self)
        process = SimpleNamespace(
            config=config, loop=loop, client=lambda _: bus, spawn=lambda _: None, stopping=asyncio.Event(), name="imap"
        )
        super().__init__(cast(Any, process))
        self.told: list[notify.Changed] = []
        self.users = {
            f"{name}@{DOMAIN}": auth.User(name=f"{name}@{DOMAIN}", mailbox=f"{directory}/{name}")
            for name in ("alice", "bob", "carol")
        }
        self.ended = lambda: None

    async def open(self) -> None:
        self.banner = "ready"
        self.tls = cast(Any, SimpleNamespace(wrapper=False, offered=False))
        self.auth = cast(Any, _Auth(self))
        self.mailboxes = Mailboxes(2, False)
        self.logins = Logins(self.process, self.config.imapd_user_connection_limit)
        self.auto_folders = parse_folders(self.config.imapd_auto_folders)
        self.watch = Watch(self.process.loop, self._changed_outside)
        self._notify = self.process.client("notify")

    async def __aenter__(self) -> "FakeImapd":
        await self.open()
        return self

    async def __aexit__(self, *raised: object) -> None:
        for session in tuple(self.sessions):
            session.leave()
        for _ in range(50):
            if not self.sessions:
                break
            await asyncio.sleep(0.01)
        await self.close()

    def limit(self, name: str, **changes: int) -> None:
        """Give a user a quota: ``quota_bytes``, ``quota_messages``."""
        name = f"{name}@{DOMAIN}"
        self.users[name] = self.users[name].model_copy(update=changes)

    async def connect(self) -> Client:
        session = self.connected(Peer("127.0.0.1", 4000, "127.0.0.1", 143, 2))
        client = Client(cast(Session, session))
        await client.line()
        return client

    async def log_in(self, name: str, *enable: str) -> Client:
        client = await self.connect()
        await client.ok(f"login {name}@{DOMAIN} secret")
        if enable:
            await client.ok(f"enable {' '.join(enable)}")
        return client


def play(directory: object, scene: Callable[[FakeImapd], Coroutine[Any, Any, None]], **settings: str) -> None:
    """Run a test against a server of its own."""

    async def run() -> None:
        async with FakeImapd(str(directory), **settings) as server:
            await scene(server)

    asyncio.run(run())
