"""What stands at an edge: ranges beyond the end, names that are none, lines without end, mailboxes that were moved."""

import zlib
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire import auth

from tests.fakes.imap import FakeImapd, play


def test_fetch_of_a_part_beyond_the_first_message(tmp_path: Path) -> None:
    """RFC 9394 3.1, 3.3: a range that lies wholly outside is empty, also when it is counted from the end."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for _ in range(3):
            await alice.append("inbox")
        await alice.ok("select inbox")
        assert await alice.ok("uid fetch 1:* (uid) (partial -5:-10)") == []
        assert await alice.ok("uid fetch 1:* (uid) (partial -4:-4)") == []
        assert await alice.ok("uid fetch 1:* (uid) (partial -3:-10)") == ["* 1 FETCH (UID 1)"]
        assert await alice.ok("uid fetch 1:* (uid) (partial 4:9)") == []

    play(tmp_path, scene)


def test_match_data_that_name_a_message_twice(tmp_path: Path) -> None:
    """RFC 7162 7: both sets ascend. Repeated without end they would keep the server busy for minutes."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "qresync")
        for _ in range(3):
            await alice.append("inbox")
        opened = " ".join(await alice.ok("select inbox"))
        validity = opened.partition("[UIDVALIDITY ")[2].partition("]")[0]
        for numbers, uids in (("1:2,1:2", "1:2"), ("1:2,1:2", "1:2,1:2"), ("3,1", "1,3"), ("1,3", "3,1")):
            answer = await alice.no(f"select inbox (qresync ({validity} 1 1:3 ({numbers} {uids})))")
            assert answer.startswith("BAD"), answer
        # RFC 9051 6.3.2: what is BAD has changed nothing.
        assert await alice.ok("fetch 1 uid") == ["* 1 FETCH (UID 1)"]
        await alice.ok(f"select inbox (qresync ({validity} 1 1:3 (1,2:3 1:2,3)))")

    play(tmp_path, scene)


def test_select_of_what_is_no_name(tmp_path: Path) -> None:
    """RFC 9051 6.3.2: a SELECT that is answered NO leaves no mailbox selected, for whatever reason."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox")
        await alice.ok("select inbox")
        assert (await alice.do('select "&bad"'))[0].startswith("* OK [CLOSED]")
        assert (await alice.no("fetch 1 uid")).startswith("BAD")
        assert (await alice.no('examine "&bad"')).startswith("NO [CANNOT]")

    play(tmp_path, scene)


def test_close_of_a_mailbox_that_was_renamed(tmp_path: Path) -> None:
    """RFC 2180 3.4: it stays selected under its new name, and CLOSE does there what it has to."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create box")
        await alice.append("box")
        await alice.ok("select box")
        await alice.ok("store 1 +flags.silent \\Deleted")
        await other.ok("rename box moved")
        await alice.ok("close")
        assert (await alice.no("fetch 1 uid")).startswith("BAD")
        assert await other.ok("status moved (messages)") == ["* STATUS moved (MESSAGES 0)"]

    play(tmp_path, scene)


def test_close_of_a_mailbox_that_was_deleted(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create box")
        await alice.ok("select box")
        await other.ok("delete box")
        assert await alice.ok("close") == []
        assert (await alice.no("expunge")).startswith("BAD")

    play(tmp_path, scene)


def test_replace_in_a_mailbox_that_was_deleted(tmp_path: Path) -> None:
    """The client is told of that, and not that the target (which is there) could be created."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create box")
        await alice.append("box")
        await alice.ok("select box")
        await other.ok("delete box")
        alice.write(b"t replace 1 inbox {3+}\r\nabc\r\n")
        assert (await alice.line()).startswith(b"* BYE The selected mailbox was deleted")

    play(tmp_path, scene)


def test_flags_of_a_mailbox_that_is_renamed_or_deleted_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They come into the names of its files all the same, and nobody is told of a mailbox that is wanted no more."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        for name in ("box", "other"):
            await alice.ok(f"create {name}")
            await alice.append(name)
            await alice.ok(f"select {name}")
            await alice.ok("store 1 +flags.silent \\Flagged")
        await other.ok("rename box moved")
        await other.ok("delete other")

    play(tmp_path, scene)
    assert [path.name.endswith(":2,F") for path in tmp_path.glob("alice/.moved/*/*:2,*")] == [True]
    assert "not yet in the names" not in capfd.readouterr().err


@pytest.mark.parametrize("command", ["idle", "authenticate plain"])
def test_a_line_without_end_is_the_end(tmp_path: Path, command: str) -> None:
    """Where a line was asked for, one that is too long ends the session: it can hear nothing more."""

    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice") if command == "idle" else await server.connect()
        client.write(f"t {command}\r\n".encode())
        assert (await client.line()).startswith(b"+")
        client.write(b"x" * 70_000 + b"\r\nt2 noop\r\n")
        assert await client.line() == b"* BYE Line too long"
        with pytest.raises(EOFError):
            await client.line()

    play(tmp_path, scene)


def test_what_comes_behind_the_end_of_the_compressed_data_is_bounded(tmp_path: Path) -> None:
    """RFC 8437 4.1 is the one reason to end it; without UNAUTHENTICATE nobody would ever look at what follows."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("compress deflate")
        layer = zlib.compressobj(wbits=-15)
        alice.write(layer.compress(b"t noop\r\n") + layer.flush(zlib.Z_FINISH))
        sent = 0
        while not (alice.transport.paused or alice.transport.closing):
            alice.write(b"x" * 65536)
            sent += 65536
            assert sent < 1 << 20
            await alice.quiet_turn()
        for _ in range(20):
            await alice.quiet_turn()
        assert alice.transport.closing

    play(tmp_path, scene)


def test_no_limit_of_append_is_not_one_of_nothing(tmp_path: Path) -> None:
    """RFC 7889 2: a value would be the limit of all mailboxes; without one STATUS tells that of each."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        words = (await alice.ok("capability"))[0].split()
        assert [word for word in words if word.startswith("APPENDLIMIT")] == ["APPENDLIMIT"]
        assert await alice.ok("status inbox (appendlimit)") == ["* STATUS INBOX (APPENDLIMIT NIL)"]

    play(tmp_path, scene, imapd_append_limit="0")


def test_all_annotations_of_a_kind(tmp_path: Path) -> None:
    """RFC 5464 4.2.2: /private and /shared are no entries, but all are below them."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok('setmetadata inbox (/private/comment "x" /private/vendor/a/b "y")')
        found = await alice.ok("getmetadata (depth infinity) inbox (/private /shared)")
        assert found == ['* METADATA INBOX (/private/comment "x" /private/vendor/a/b "y")']
        assert await alice.ok("getmetadata (depth 1) inbox /private") == ['* METADATA INBOX (/private/comment "x")']
        assert (await alice.no("getmetadata inbox /private")).startswith("BAD")
        assert (await alice.no('setmetadata inbox (/private "x")')).startswith("BAD")

    play(tmp_path, scene)


def test_nobody_is_asked_for_what_is_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are remembered by name: a hundred thousand octets of it are not."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        asked: list[str] = []
        call = type(server._notify).call

        async def listen(bus: Any, message: auth.Lookup, *rest: Any) -> auth.User:
            asked.append(message.name)
            found: auth.User = await call(bus, message, *rest)
            return found

        monkeypatch.setattr(type(server._notify), "call", listen)
        for name in ("nobody", "x" * 100_000):
            name = f"user/{name}/y"
            answer = await alice.no(f"status {{{len(name)}+}}\r\n{name} (messages)")
            assert answer.startswith("NO [NONEXISTENT]")
        await alice.no('append inbox catenate (url "imap://a%00b@mail/inbox/;uid=1")')
        assert asked == ["nobody"]

    play(tmp_path, scene)
