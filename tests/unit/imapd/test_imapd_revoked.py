"""Rights that change while a mailbox is selected (RFC 4314 4): they hold from the next command on."""

from pathlib import Path

import pytest

from tests.fakes.imap import FakeImapd, play

BOB = "user/bob@example.test"


def test_rights_that_are_taken_away(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.append("inbox")
        await bob.append("inbox")
        await bob.ok("setacl inbox alice lrswite")
        assert (await alice.do(f"select {BOB}"))[-1].startswith("OK [READ-WRITE]")
        await alice.ok("store 1 +flags (\\Deleted one)")
        await bob.ok("setacl inbox alice lrs")
        # RFC 4314 5.1.1: the client hears what is left.
        told = await alice.ok("noop")
        assert "* OK [PERMANENTFLAGS (\\Seen)] Flags that are kept" in told
        for command in ("store 1 +flags \\Deleted", "store 1 +flags two", "expunge", "uid expunge 1", "move 1 inbox"):
            assert (await alice.no(command)).startswith("NO [NOPERM]"), command
        await alice.ok("store 2 +flags \\Seen")
        await alice.ok("close")
        assert (await bob.ok("status inbox (messages)")) == ["* STATUS INBOX (MESSAGES 2)"]

    play(tmp_path, scene)


def test_marking_by_reading_stops(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.append("inbox")
        await bob.ok("setacl inbox alice lrs")
        await alice.ok(f"select {BOB}")
        await bob.ok("setacl inbox alice lr")
        await alice.ok("fetch 1 body[]")
        assert (await bob.ok("status inbox (unseen)")) == ["* STATUS INBOX (UNSEEN 1)"]

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "command",
    [
        "fetch 1 body[]",
        "uid fetch 1 flags",
        "search all",
        "uid sort (date) us-ascii all",
        "thread references us-ascii all",
        "copy 1 inbox",
        "store 1 +flags \\Seen",
        "check",
    ],
)
def test_who_may_not_read_any_more(tmp_path: Path, command: str) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.append("inbox")
        await bob.ok("setacl inbox alice lrswite")
        await alice.ok(f"select {BOB}")
        await bob.ok("deleteacl inbox alice")
        assert (await alice.no(command)).startswith("NO [NOPERM]")
        # Nor is anything told of it.
        await bob.append("inbox")
        await bob.ok("select inbox")
        await bob.ok("store 1 +flags secret")
        assert await alice.ok("noop") == []
        assert await alice.ok("esearch in (selected) return (count) all") == []
        # What is given back holds again, with all that came meanwhile.
        await bob.ok("setacl inbox alice lr")
        told = await alice.ok("noop")
        assert "* 2 EXISTS" in told and any("secret" in line for line in told)
        await bob.ok("deleteacl inbox alice")
        await alice.ok("unselect")

    play(tmp_path, scene)


def test_revoked_while_idling(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("setacl inbox alice lr")
        await alice.ok(f"select {BOB}")
        alice.write(b"i idle\r\n")
        await alice.until("+ idling")
        await bob.ok("setacl inbox alice l")
        await bob.append("inbox")
        assert not [line for line in await alice.quiet() if "EXISTS" in line]
        alice.write(b"done\r\n")
        assert (await alice.lines("i"))[-1].startswith("i OK")

    play(tmp_path, scene)


def test_nothing_is_claimed_as_recent_any_more(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("setacl inbox alice lrs")
        await alice.ok(f"select {BOB}")
        await bob.ok("deleteacl inbox alice")
        await bob.append("inbox")
        await alice.ok("noop")
        assert "* 1 RECENT" in await bob.ok("select inbox")

    play(tmp_path, scene)


def test_the_owner_too(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        one, other = await server.log_in("bob"), await server.log_in("bob")
        await one.append("inbox")
        await one.ok("select inbox")
        await other.ok("setacl inbox bob lra")
        assert (await one.no("store 1 +flags \\Deleted")).startswith("NO [NOPERM]")

    play(tmp_path, scene)


def test_a_copy_brings_no_more_keywords_than_a_mailbox_may_have(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        limit = server.config.imapd_mailbox_keyword_limit
        for name, start in (("one", 0), ("two", limit // 2 + 1)):
            await bob.ok(f"create {name}")
            await bob.append(name)
            await bob.ok(f"select {name}")
            for first in range(start, start + limit // 2 + 1, 50):
                last = min(first + 50, start + limit // 2 + 1)
                await bob.ok(f"store 1 +flags ({' '.join(f'k{n}' for n in range(first, last))})")
        await bob.ok("copy 1 inbox")
        await bob.ok("select one")
        assert (await bob.no("copy 1 inbox")).startswith("NO [LIMIT]")
        assert (await bob.no("move 1 inbox")).startswith("NO [LIMIT]")
        await bob.ok("copy 1 one")

    play(tmp_path, scene)


def test_keywords_that_are_not_used_any_more_do_not_count(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        limit = server.config.imapd_mailbox_keyword_limit
        await bob.append("inbox")
        await bob.append("inbox")
        await bob.ok("select inbox")
        for first in range(0, limit, 50):
            await bob.ok(f"store 1 flags ({' '.join(f'k{n}' for n in range(first, first + 50))})")
        # 26 letters are kept.
        told = await bob.ok("store 2 flags (one more)")
        assert told[0].startswith("* FLAGS (") and len(told[0].split()) < 26 + 50 + 2 + 10
        assert told[-1].startswith("* 2 FETCH (FLAGS (more one")
        for first in range(0, limit - 100, 50):
            await bob.ok(f"store 1 +flags ({' '.join(f'm{n}' for n in range(first, first + 50))})")
        assert (await bob.no(f"store 1 +flags ({' '.join(f'n{n}' for n in range(90))})")).startswith("NO [LIMIT]")

    play(tmp_path, scene)
