"""States, updates and resynchronisation: RFC 9051 3 and 7, RFC 7162, RFC 8437, RFC 5161, RFC 7888."""

import re
import zlib
from pathlib import Path

import pytest

from tubepost.common.wire.auth import User
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.skeleton.mailboxes import Mailbox

from tests.fakes.imap import Client, FakeImapd, play
from tubepost.services.imapd import session as session_module


def test_states(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await server.connect()
        for command in ("select inbox", 'list "" *', "noop x", "idle", "fetch 1 flags", "enable condstore", "nonsense"):
            assert (await client.no(command)).startswith("BAD"), command
        await client.ok("noop")
        assert (await client.do("login alice@example.test wrong"))[-1].startswith("NO [AUTHENTICATIONFAILED]")
        answer = (await client.do("login alice@example.test secret"))[-1]
        assert answer.startswith("OK [CAPABILITY IMAP4rev2 IMAP4rev1 ")
        assert " NOTIFY " in answer and " AUTH=" not in answer and "LOGINDISABLED" not in answer
        for command in ("login a b", "authenticate plain", "starttls", "close", "expunge", "uid fetch 1 flags"):
            assert (await client.no(command)).startswith("BAD"), command
        assert (await client.do("logout"))[0].startswith("* BYE")

    play(tmp_path, scene)


def test_enable(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        assert await alice.ok("enable nonsense") == ["* ENABLED"]
        assert await alice.ok("enable qresync x-y utf8=accept") == ["* ENABLED QRESYNC UTF8=ACCEPT"]
        assert await alice.ok("enable QRESYNC") == ["* ENABLED"]
        assert (await alice.no("enable")).startswith("BAD")

    play(tmp_path, scene)


def test_expunges_wait_while_numbers_are_in_use(tmp_path: Path) -> None:
    """RFC 9051 7.5.1"""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        for _ in range(3):
            await other.append("inbox")
        await alice.ok("select inbox")
        await other.ok("select inbox")
        await other.ok("store 1 +flags.silent (\\Deleted)")
        await other.ok("expunge")
        found = await alice.do("fetch 1:3 (uid rfc822.size)")
        assert [line for line in found if "SIZE" in line] == [
            "* 2 FETCH (UID 2 RFC822.SIZE 20)",
            "* 3 FETCH (UID 3 RFC822.SIZE 20)",
        ]
        assert found[-1].startswith("OK [EXPUNGEISSUED]")
        assert not any("EXPUNGE" in line for line in await alice.ok("store 3 +flags \\Seen"))
        assert not any(line.endswith("EXPUNGE") for line in await alice.ok("search all"))
        # A UID command may tell (RFC 9051 6.4.9).
        assert "* 1 EXPUNGE" in await alice.ok("uid fetch 3 flags")
        assert await alice.ok("fetch 2 uid") == ["* 2 FETCH (UID 3)"]

    play(tmp_path, scene)


def test_store_of_what_is_gone(tmp_path: Path) -> None:
    """RFC 2180 4.2: OK, and until the client hears of the removal its picture of the message holds."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        for _ in range(2):
            await other.append("inbox", flags="(\\Flagged)")
        await alice.ok("select inbox")
        await alice.ok("fetch 1:2 flags")
        await other.ok("select inbox")
        await other.ok("store 1 +flags.silent (\\Deleted)")
        await other.ok("expunge")
        found = await alice.do("store 1:2 +flags (\\Seen)")
        assert sorted(found[:-1]) == [
            "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))",
            "* 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen))",
        ]
        assert found[-1].startswith("OK [EXPUNGEISSUED]")
        assert await alice.ok("noop") == ["* 1 EXPUNGE"]

    play(tmp_path, scene)


def test_silent_hides_nothing(tmp_path: Path) -> None:
    """RFC 9051 6.4.6: what another has changed is told, also of a message that is stored without being told."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        await other.append("inbox")
        await alice.ok("select inbox")
        await alice.ok("fetch 1 flags")
        assert await alice.ok("store 1 +flags.silent (\\Flagged)") == []
        await other.ok("select inbox")
        await other.ok("store 1 +flags (\\Seen)")
        assert await alice.ok("store 1 +flags.silent (\\Draft)") == [
            "* 1 FETCH (UID 1 FLAGS (\\Draft \\Flagged \\Seen))"
        ]

    play(tmp_path, scene)


async def filled(server: FakeImapd, count: int = 6) -> tuple[Client, str]:
    """Messages 1 to ``count``; 2 and 4 are removed. Returns the modification sequence of before."""
    alice = await server.log_in("alice")
    for _ in range(count):
        await alice.append("inbox")
    (line,) = await alice.ok("status inbox (highestmodseq)")
    match = re.search(r"\d+", line)
    assert match is not None
    before = match[0]
    await alice.ok("select inbox")
    await alice.ok("store 2,4 +flags.silent (\\Deleted)")
    await alice.ok("expunge")
    await alice.ok("store 1 +flags.silent (\\Flagged)")
    return alice, before


def validity(lines: list[str]) -> str:
    match = re.search(r"UIDVALIDITY (\d+)", "\n".join(lines))
    assert match is not None
    return match[1]


def test_qresync(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, before = await filled(server)
        number = validity(await alice.ok("status inbox (uidvalidity)"))
        client = await server.log_in("alice")
        assert (await client.no(f"select inbox (qresync ({number} {before}))")).startswith("BAD")
        await client.ok("enable qresync")

        async def changes(arguments: str) -> list[str]:
            found = await client.ok(f"select inbox (qresync ({arguments}))")
            return [
                re.sub(r" MODSEQ \(\d+\)", "", line).replace(" \\Recent", "")
                for line in found
                if "VANISHED" in line or "FETCH" in line
            ]

        gone, flagged = "* VANISHED (EARLIER) 2,4", "* 1 FETCH (UID 1 FLAGS (\\Flagged))"
        assert await changes(f"{number} {before}") == [gone, flagged]
        assert await changes(f"{number} {before} 3:6") == ["* VANISHED (EARLIER) 4"]
        assert await changes(f"{number} {before} 1:6 (1:2 1,3)") == ["* VANISHED (EARLIER) 4", flagged]
        assert await changes(f"{number} {before} (1:4 1,3,5,6)") == [flagged]
        assert await changes(f"{number} {before} 1:6 (1,2 1,2)") == [gone, flagged]
        assert await changes(f"1 {before}") == []
        # Older than what is remembered: all that is missing (RFC 7162 3.2.6).
        await alice.ok("noop")
        mailbox = next(iter(server.sessions)).mailbox
        assert mailbox is not None and isinstance(mailbox.account, MaildirAccount)
        with mailbox.account.database.transaction() as connection:
            connection.execute("UPDATE folder SET floor=?", (int(before) + 1_000_000,))
            connection.execute("DELETE FROM expunged")
        mailbox.account.generation += 1
        assert await changes(f"{number} 1 1:4000000000") == [
            "* VANISHED (EARLIER) 2,4",
            "* 1 FETCH (UID 1 FLAGS (\\Flagged))",
            "* 2 FETCH (UID 3 FLAGS ())",
            "* 3 FETCH (UID 5 FLAGS ())",
            "* 4 FETCH (UID 6 FLAGS ())",
        ]
        assert (await changes(f"{number} 1 1:6 (1:2 1,3)"))[0] == "* VANISHED (EARLIER) 4"
        found = await client.ok("uid fetch 1:4 (flags) (changedsince 1 vanished)")
        assert found[0] == "* VANISHED (EARLIER) 2,4"
        plain = await server.log_in("alice")
        await plain.ok("select inbox")
        assert (await plain.no("uid fetch 1:* (flags) (changedsince 1 vanished)")).startswith("BAD")
        assert (await client.no("fetch 1:* (flags) (changedsince 1 vanished)")).startswith("BAD")
        assert (await client.no("uid fetch 1:* (flags) (vanished)")).startswith("BAD")

    play(tmp_path, scene)


def test_expunge_with_qresync(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "qresync")
        for _ in range(4):
            await alice.append("inbox", flags="(\\Deleted)")
        await alice.ok("create x")
        await alice.ok("select inbox")
        found = await alice.do("uid expunge 1:2")
        assert found[0] == "* VANISHED 1:2" and found[-1].startswith("OK [HIGHESTMODSEQ ")
        found = await alice.do("move 1 x")
        assert "* VANISHED 3" in found and found[-1].startswith("OK [HIGHESTMODSEQ ")
        # RFC 7162 3.2.8: MUST NOT tell it.
        assert (await alice.do("close"))[-1].startswith("OK CLOSE")

    play(tmp_path, scene)


def test_condstore(tmp_path: Path) -> None:
    """RFC 7162 3.1.3"""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for _ in range(3):
            await alice.append("inbox")
        await alice.ok("select inbox (condstore)")
        (line,) = await alice.ok("fetch 1 modseq")
        match = re.fullmatch(r"\* 1 FETCH \(MODSEQ \((\d+)\)\)", line)
        assert match is not None
        before = match[1]
        other = await server.log_in("alice")
        await other.ok("select inbox")
        await other.ok("store 2 +flags (\\Flagged)")
        found = await alice.do(f"store 1:3 (unchangedsince {10**15}) +flags.silent (\\Seen)")
        assert not found[-1].startswith("OK [MODIFIED")
        assert sum("MODSEQ" in line for line in found) >= 3
        (line,) = await alice.ok("fetch 1 modseq")
        assert int(re.findall(r"\d+", line)[1]) > int(before)
        found = await alice.do(f"store 1:3 (unchangedsince {before}) +flags (\\Answered)")
        assert found[-1].startswith("OK [MODIFIED 1:3]")
        found = await alice.do(f"uid store 1,3 (unchangedsince {before}) +flags (\\Answered)")
        assert found[-1].startswith("OK [MODIFIED 1,3]")
        assert (await alice.no("store 1 (unchangedsince x) flags ()")).startswith("BAD")
        found = await alice.ok(f"fetch 1:* (flags) (changedsince {before})")
        assert len(found) == 3 and all("MODSEQ" in line for line in found)

    play(tmp_path, scene)


def test_unauthenticate(tmp_path: Path) -> None:
    """RFC 8437: all is as after the greeting, and compression has ended."""

    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice", "qresync", "metadata")
        await client.append("inbox")
        await client.ok("select inbox")
        await client.ok("compress deflate")
        pack, unpack = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
        client.transport.sent.clear()
        client.write(pack.compress(b"u noop\r\nv unauthenticate\r\n") + pack.flush(zlib.Z_SYNC_FLUSH))
        for _ in range(2000):
            await client.quiet_turn()
            text = unpack.decompress(bytes(client.transport.sent))
            client.transport.sent.clear()
            if b"v OK" in text or unpack.eof:
                break
        assert b"v OK" in text
        await client.ok("noop")
        assert (await client.no("select inbox")).startswith("BAD")
        await client.ok("login bob@example.test secret")
        assert (await client.do("select inbox"))[-1].startswith("OK")
        # Nothing that was enabled is so any more.
        assert (await client.ok("enable qresync"))[0] == "* ENABLED QRESYNC"

    play(tmp_path, scene)


def test_compressed_mail(tmp_path: Path) -> None:
    """What compresses a thousand times is taken in as there is room for it."""

    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice")
        await client.ok("compress deflate")
        pack, unpack = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
        size = 5_000_000
        client.write(
            pack.compress(b"a append inbox {%d+}\r\n" % size + b"x" * size + b"\r\nb search subject {100000+}\r\n")
            + pack.compress(b"y" * 100_000 + b"\r\nc logout\r\n")
            + pack.flush(zlib.Z_SYNC_FLUSH)
        )
        while not client.transport.closing:
            await client.quiet_turn()
        text = unpack.decompress(bytes(client.transport.sent))
        assert re.search(rb"^a OK \[APPENDUID \d+ 1\]", text, re.MULTILINE)
        assert b"b BAD" in text or b"b OK" in text
        assert b"c OK" in text

    play(tmp_path, scene)


def test_large_literals_in_memory(tmp_path: Path) -> None:
    """Longer than what is read ahead, in pieces as they come."""

    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice")
        size = 400_000
        client.write(b"a setmetadata inbox (/private/x {%d+}\r\n" % size)
        for _ in range(size // 1000):
            client.write(b"z" * 1000)
        client.write(b")\r\nb noop\r\n")
        assert (await client.lines("a"))[-1].startswith("a OK")
        await client.lines("b")

    play(tmp_path, scene, imapd_metadata_limit="1000000")


def test_connection_limit(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        first, second = await server.log_in("alice"), await server.log_in("alice")
        third = await server.connect()
        assert (await third.do("login alice@example.test secret"))[-1].startswith("NO [LIMIT]")
        await third.ok("login bob@example.test secret")
        await second.do("logout")
        fourth = await server.connect()
        await fourth.ok("login alice@example.test secret")
        await first.ok("noop")

    play(tmp_path, scene, imapd_user_connection_limit="2")


def test_a_connection_is_given_back_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(server: FakeImapd) -> None:
        held = server.logins._held
        client = await server.log_in("alice")
        assert sum(held.values()) == 1
        await client.ok("unauthenticate")
        assert held == {}
        await client.ok("login alice@example.test secret")
        client.session.connection_lost(None)
        await client.quiet()
        assert (server.sessions, held) == (set(), {})

        trouble: list[Exception] = [PermissionError("no"), RuntimeError("a bug")]

        async def fail(user: object) -> None:
            raise trouble.pop()

        with monkeypatch.context() as patch:
            patch.setattr(server.mailboxes, "open", fail)
            client = await server.connect()
            while trouble:
                assert (await client.no("login alice@example.test secret")).startswith("NO [")
                assert held == {}
                assert client.session.mailbox is None
        first = await server.log_in("alice")
        box = first.session.mailbox
        assert box is not None
        assert box.users == 1
        assert (await client.no("login alice@example.test secret")).startswith("NO [LIMIT]")
        assert (box.users, sum(held.values())) == (1, 1)
        await client.ok("login bob@example.test secret")

    play(tmp_path, scene, imapd_user_connection_limit="1")


def test_opening_a_mailbox_is_none_of_the_time_for_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under stress that is ten seconds."""

    async def scene(server: FakeImapd) -> None:
        left: list[float] = []
        really = server.mailboxes.open

        async def open_mailbox(user: User) -> Mailbox:
            left.append(client.session._deadline - client.session.loop.time())
            return await really(user)

        monkeypatch.setattr(server.mailboxes, "open", open_mailbox)
        client = await server.connect()
        await client.ok("login alice@example.test secret")
        assert 1700 < left[0] <= 1800

    play(tmp_path, scene, imapd_login_timeout="10s")


def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585: a command that takes long says so."""
    monkeypatch.setattr(session_module, "_PATIENCE", 0.01)

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox")
        await alice.ok("create x")
        await alice.ok("select inbox")
        box = alice.session.mailbox
        assert box is not None
        await box.lock.acquire()
        alice.write(b"a copy 1 x\r\n")
        assert await alice.line() == b'* OK [INPROGRESS ("a" NIL NIL)] Still at it'
        box.lock.release()
        assert (await alice.lines("a"))[-1].startswith("a OK [COPYUID")

    play(tmp_path, scene)


def test_idle(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("select inbox")
        server.config.__dict__["imapd_idle_notify_interval"] = 0.01
        alice.write(b"a idle\r\n")
        assert await alice.line() == b"+ idling"
        await alice.until("* OK Still here")
        await other.append("inbox")
        assert "* 1 EXISTS" in await alice.until("* 1 EXISTS")
        alice.write(b"DONE\r\n")
        assert (await alice.lines("a"))[-1].startswith("a OK")
        assert await alice.quiet() == []
        alice.write(b"b idle\r\nc noop\r\n")
        assert (await alice.lines("b"))[-1].startswith("b BAD")
        await alice.ok("noop")

    play(tmp_path, scene)


def test_too_many_messages_at_once(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        text = " ".join("{2+}\r\nx\n" for _ in range(201))
        assert "[LIMIT]" in (await alice.no(f"append inbox {text}"))
        text = " ".join("{2+}\r\nx\n" for _ in range(200))
        await alice.ok(f"append inbox {text}")
        assert not list((tmp_path / "alice" / "tmp").iterdir())

    play(tmp_path, scene)


def test_bounds(tmp_path: Path) -> None:
    """What a client can make grow has an end."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox")
        await alice.ok("select inbox")
        await alice.ok("store 1 +flags (a b c)")
        assert "[LIMIT]" in await alice.no("store 1 +flags (d e f)")
        await alice.ok("store 1 +flags (C d e)")
        await alice.ok("store 1 -flags (x y z)")
        assert "[LIMIT]" in (await alice.append("inbox", flags="(f)"))[-1]
        assert (await alice.append("inbox", flags="(E)"))[-1].startswith("OK")
        patterns = " ".join("x" for _ in range(101))
        assert "[LIMIT]" in await alice.no(f'list "" ({patterns})')
        groups = " ".join("(mailboxes x (messagenew messageexpunge))" for _ in range(101))
        assert "[NOTIFICATIONOVERFLOW]" in await alice.no(f"notify set {groups}")
        value = "x" * 1_000_000
        for number in range(16):
            await alice.ok(f"setmetadata inbox (/private/{number} {{{len(value)}+}}\r\n{value})")
        assert "[METADATA TOOMANY]" in await alice.no(f'setmetadata "" (/private/x {{{len(value)}+}}\r\n{value})')
        for _ in range(2):
            await alice.ok("create y")
            await alice.ok("subscribe y")
            await alice.ok("rename y z")
            await alice.ok("delete z")

    play(tmp_path, scene, imapd_mailbox_keyword_limit="5", imapd_metadata_limit="1000000")


def test_no_reply_is_split(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        url = "/a\r\n* BYE x"
        (answer,) = await alice.do(f"append inbox CATENATE (URL {{{len(url)}+}}\r\n{url})")
        assert answer.startswith("NO ") and "BYE" not in answer
        url = 'imap://alice@h"\r\nx/INBOX/;uid=1;urlauth=anonymous'
        assert (await alice.no(f"genurlauth {{{len(url)}+}}\r\n{url} INTERNAL")).startswith("BAD")

    play(tmp_path, scene)


def test_many_bad_commands(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await server.connect()
        found = []
        for _ in range(10):
            client.write(b"GET / HTTP/1.1\r\n")
            try:
                found.append(await client.line())
            except EOFError:
                break
        assert any(line.startswith(b"* BYE") for line in found)
        assert len(found) <= 6

    play(tmp_path, scene, imapd_bad_command_limit="5")
