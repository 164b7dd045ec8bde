"""ESEARCH (RFC 7377) with very many mailboxes, clients that do not read, and mailboxes that others rename."""

import asyncio
import re
from pathlib import Path

import pytest
from tubepost.common.imap import names

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd.commands import multisearch


def plain(lines: list[str]) -> list[str]:
    """The mailbox and the result."""
    return [re.sub(r'\* ESEARCH \(TAG "\w+" MAILBOX (\S+) UIDVALIDITY \d+\) UID', r"\1", line) for line in lines]


def test_many_tops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mailbox is not held against each of them."""
    looks = []

    def counted(name: str, above: str) -> bool:
        looks.append(name)
        return names.is_below(name, above)

    monkeypatch.setattr(multisearch, "is_below", counted, raising=False)

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for name in ("a", "a/b", "a/b/c", "a/b/c/d", "ab", "e/f", "e/f/g", *map(str, range(50))):
            await alice.ok(f"create {name}")
            await alice.append(name)

        async def ask(sources: str) -> list[str]:
            return [line.removesuffix(" ALL 1") for line in plain(await alice.ok(f"esearch in ({sources}) all"))]

        assert await ask("subtree a") == ["a", "a/b", "a/b/c", "a/b/c/d"]
        assert await ask("subtree-one a") == ["a", "a/b"]
        assert await ask("subtree-one (a a/b) subtree-one a") == ["a", "a/b", "a/b/c"]
        assert sorted(await ask("subtree-one a subtree (a/b e)")) == ["a", "a/b", "a/b/c", "a/b/c/d", "e/f", "e/f/g"]
        assert await ask("subtree-one e subtree a/b/c/d") == ["e/f", "a/b/c/d"]
        looks.clear()
        assert await ask(f"subtree ({' '.join(f'x{number}' for number in range(98))} a e)") == [
            *("a", "a/b", "a/b/c", "a/b/c/d", "e/f", "e/f/g")
        ]
        assert len(looks) < 1000
        answer = await alice.no(f"esearch in (subtree ({' '.join(map(str, range(101)))})) all")
        assert answer.startswith("NO [LIMIT]")

    play(tmp_path, scene)


def test_a_selected_mailbox_that_another_client_renames(tmp_path: Path) -> None:
    """It stays selected, and has its new name."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create Work")
        await alice.append("Work")
        await alice.ok("select Work")
        await other.ok("rename Work Done")
        assert plain(await alice.ok("esearch in (selected) all")) == ["Done ALL 1"]
        await other.ok("rename Done Again")
        await alice.ok("noop")
        assert plain(await alice.ok("esearch in (selected mailboxes Again) all")) == ["Again ALL 1"]
        bob = await server.log_in("bob")
        await bob.ok("create Team")
        await bob.append("Team")
        await bob.ok("setacl Team alice lr")
        await alice.ok("select user/bob@example.test/Team")
        await bob.ok("rename Team Crew")
        assert plain(await alice.ok("esearch in (selected) all")) == ["user/bob@example.test/Crew ALL 1"]

    play(tmp_path, scene)


def test_a_client_that_does_not_read(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for number in range(20):
            await alice.ok(f"create {number}")
            await alice.append(str(number))
        alice.session.pause_writing()
        alice.write(b"x esearch in (personal) all\r\n")
        for _ in range(10):
            await asyncio.sleep(0.02)
        assert alice.transport.sent.count(b"ESEARCH") == 1
        alice.session.resume_writing()
        found = await alice.lines("x")
        assert len(found) == 21

    play(tmp_path, scene)
