"""The harness of imapd's sessions can fail: each fault that it looks for is planted once."""

import pytest
from tubepost.common.imap.reader import Command

from tests.fakes.imap import DOMAIN
from tests.fuzz import fuzz_imap_session as fuzz
from tubepost.services.imapd.commands import COMMANDS
from tubepost.services.imapd.session import Session

GOOD = b"d FETCH 1:* FLAGS\r\n"


def _say(monkeypatch: pytest.MonkeyPatch, name: str, said: bytes) -> None:
    """The command says this besides."""
    entry = COMMANDS[name.encode()]

    async def saying(session: Session, command: Command) -> object:
        session.send(said)
        return await entry.run(session, command)

    monkeypatch.setitem(COMMANDS, name.encode(), entry._replace(run=saying))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"d OK again\r\n", "answer"),
        (b"x OK nobody asked\r\n", "answer"),
        (b"hello\r\n", "no answer"),
        (b"* hello\r\n", "hello"),
        (b"* 1 FETCH (BODY[] {900}\r\nshort)\r\n", "cut short"),
        (b"* 1 FETCH (BODY[] {%d}\r\n%b)\r\n" % (len(fuzz.SECRET), fuzz.SECRET), "is shown"),
    ],
)
def test_what_is_said_wrongly(monkeypatch: pytest.MonkeyPatch, said: bytes, why: str) -> None:
    _say(monkeypatch, "FETCH", said)
    with pytest.raises(AssertionError, match=why):
        fuzz.check(2, GOOD)


def test_a_panic(monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaking(session: Session, command: Command) -> object:
        raise KeyError("planted")

    monkeypatch.setitem(COMMANDS, b"FETCH", COMMANDS[b"FETCH"]._replace(run=breaking))  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="panic"):
        fuzz.check(2, GOOD)


def test_a_mailbox_before_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opening(session: Session, command: Command) -> object:
        mailbox = await session.server.mailboxes.open(session.server.users[f"alice@{DOMAIN}"])  # type: ignore[attr-defined]
        session.server.mailboxes.release(mailbox)
        return await COMMANDS[b"CAPABILITY"].run(session, command)

    monkeypatch.setitem(COMMANDS, b"NOOP", COMMANDS[b"NOOP"]._replace(run=opening))  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="for a stranger"):
        fuzz.check(1, b"a NOOP\r\n")


def test_a_listing_before_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    _say(monkeypatch, "NOOP", b"* 3 EXISTS\r\n")
    with pytest.raises(AssertionError, match="said to a stranger"):
        fuzz.check(1, b"a NOOP\r\n")


def test_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Session._answer

    def silent(session: Session, tag: bytes, *rest: object) -> None:
        if tag != b"d":
            answer(session, tag, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "_answer", silent)
    with pytest.raises(AssertionError, match="answer"):
        fuzz.check(2, GOOD)


def test_another_answer_when_it_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    received = Session.received
    monkeypatch.setattr(Session, "received", lambda session, data: received(session, data.replace(b"FETCH", b"FLETCH")))
    with pytest.raises(AssertionError, match="in pieces"):
        fuzz.check(2, GOOD)


def test_nothing_is_found_where_nothing_is() -> None:
    fuzz.check(2, GOOD)
