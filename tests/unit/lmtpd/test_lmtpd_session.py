"""A session's time: the client has its own, and what the server takes for its work is none of it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tubepost.common.wire.auth import User
from tubepost.common.skeleton.stream import Peer

from tests.fakes.imap import Transport
from tubepost.services.lmtpd.protocol import Settings
from tubepost.services.lmtpd.session import Session

TIMEOUT = 0.05


class Store:
    def __init__(self, takes: float) -> None:
        self.takes = takes
        self.delivered: list[str] = []

    async def deliver(self, mailbox: str, *_: Any, **__: Any) -> None:
        await asyncio.sleep(self.takes)
        self.delivered.append(mailbox)


def begin(store: Store, *, look_up: float = 0.0) -> tuple[Session, Transport, asyncio.Event]:
    over = asyncio.Event()

    async def find(address: str) -> User:
        await asyncio.sleep(look_up)
        return User(name=address, mailbox="/mail/" + address)

    async def may_connect(address: str) -> bool:
        return True

    tasks: list[object] = []
    server = SimpleNamespace(
        process=SimpleNamespace(spawn=tasks.append),
        config=SimpleNamespace(lmtpd_timeout=TIMEOUT, myhostname="mx.example.test", mail_name="tubepost"),
        settings=Settings("mx.example.test", "mx.example.test"),
        tls=SimpleNamespace(wrapper=False, offered=False, required=False),
        store=store,
        look_up=find,
        may_connect=may_connect,
        owner=lambda user: (-1, -1),
        forget=lambda session: over.set(),
    )
    session = Session(cast(Any, server), Peer("192.0.2.1", 4000, "127.0.0.1", 24, 2))
    transport = Transport()
    session.connection_made(transport)
    return session, transport, over


MESSAGE = b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nx: y\r\n.\r\n"


def test_a_delivery_that_takes_long_is_told_all_the_same() -> None:
    """Else the client comes again with what is there already; under stress it has ten seconds."""

    async def go() -> None:
        store = Store(4 * TIMEOUT)
        session, transport, over = begin(store)
        session.data_received(MESSAGE + b"QUIT\r\n")
        await asyncio.wait_for(over.wait(), 10)
        assert store.delivered == ["/mail/b@example.test"]
        assert b"saved\r\n221 2.0.0 Bye\r\n" in bytes(transport.sent)

    asyncio.run(go())


def test_a_recipient_who_takes_long_to_be_found_is_told_all_the_same() -> None:
    async def go() -> None:
        session, transport, over = begin(Store(0), look_up=4 * TIMEOUT)
        session.data_received(MESSAGE + b"QUIT\r\n")
        await asyncio.wait_for(over.wait(), 10)
        assert b"saved\r\n221 2.0.0 Bye\r\n" in bytes(transport.sent)

    asyncio.run(go())


def test_a_silent_client_has_its_time_and_no_more() -> None:
    async def go() -> None:
        for sent in (b"", MESSAGE, MESSAGE[:-3]):
            store = Store(0)
            session, _, over = begin(store)
            session.data_received(sent)
            await asyncio.wait_for(over.wait(), 10)
            assert session.timed_out
            assert len(store.delivered) == (sent == MESSAGE)

    asyncio.run(go())


def test_a_client_that_takes_no_replies_has_its_time_and_no_more() -> None:
    async def go() -> None:
        session, _, over = begin(Store(0))
        await asyncio.sleep(0)
        session.pause_writing()
        session.data_received(b"LHLO a\r\nNOOP\r\n")
        await asyncio.wait_for(over.wait(), 10)
        assert session.timed_out

    asyncio.run(go())
