"""A session's time: who has said who he is waits for the maildrop as long as that takes to open."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tubepost.common.wire import auth
from tubepost.common.wire.auth import User
from tubepost.common.skeleton.stream import Peer

from tests.fakes.imap import Transport
from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Settings
from tubepost.services.pop3d.session import Refused, Session


class Exchange:
    async def begin(self, mechanism: str, initial: bytes | None) -> auth.Success:
        return auth.Success(user=User(name="alice", mailbox="/mail/alice"))


@pytest.mark.parametrize("refused", [False, True])
def test_opening_a_large_maildrop_is_none_of_the_time_for_the_login(
    monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """Under stress that is ten seconds, and a maildrop that is indexed for the first time would never be opened."""
    left: list[float] = []

    async def opened(session: Session, user: User) -> Maildrop:
        left.append(session._deadline - session.loop.time())
        if refused:
            raise Refused("Another session has the maildrop", "IN-USE")
        return Maildrop((), (), 1, uidl_format("%u"))

    monkeypatch.setattr(Session, "_open_maildrop", opened)

    async def offer(asker: object) -> tuple[str, ...]:
        return ("PLAIN",)

    async def go() -> None:
        server = SimpleNamespace(
            process=SimpleNamespace(spawn=lambda task: None),
            config=SimpleNamespace(pop3d_login_timeout=10, pop3d_timeout=600),
            settings=Settings("ready", "tubepost"),
            tls=SimpleNamespace(wrapper=False, offered=False, required=False),
            auth=SimpleNamespace(offer=offer, exchange=lambda asker: Exchange()),
            forget=lambda session: None,
        )
        session = Session(cast(Any, server), Peer("192.0.2.1", 4000, "127.0.0.1", 110, 2))
        session.connection_made(Transport())
        for line in (b"", b"USER alice\r\nPASS secret\r\n"):
            if line:
                session.data_received(line)
            for _ in range(10):
                await asyncio.sleep(0)
        assert 590 < left[0] <= 600
        limit = 10 if refused else 600
        assert limit - 5 < session._deadline - session.loop.time() <= limit
        session.connection_lost(None)
        await asyncio.sleep(0)

    asyncio.run(go())
