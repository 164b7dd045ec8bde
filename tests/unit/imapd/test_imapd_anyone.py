"""Mailboxes that are shared with ``anyone`` (RFC 4314 2) are listed for all who may see them."""

import os
from pathlib import Path

import pytest

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd import notification, shares
from tubepost.services.imapd.commands import listing

BOB = "user/bob@example.test"


def names(lines: list[str]) -> list[str]:
    return [line.rpartition(' "/" ')[2] for line in lines if line.startswith("* LIST")]


def test_listed_while_shared(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice, carol = [await server.log_in(name) for name in ("bob", "alice", "carol")]
        await bob.ok("create News")
        assert names(await alice.ok('list "" "*"')) == ["INBOX"]
        await bob.ok("setacl News anyone lr")
        for pattern in ("*", "user/*", "user/%/%", "user/*News"):
            assert f"{BOB}/News" in names(await alice.ok(f'list "" "{pattern}"')), pattern
        # RFC 9051 6.3.9.5: what is above it is told with %.
        assert await alice.ok('list "" "user/%"') == [f'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" {BOB}']
        assert names(await carol.ok('list "" "*"')) == ["INBOX", "user", BOB, f"{BOB}/News"]
        # His own mailboxes stand under their own names.
        assert names(await bob.ok('list "" "*"')) == ["INBOX", "News"]
        # Who is left out by name sees nothing of it.
        await bob.ok("setacl News -carol l")
        assert names(await carol.ok('list "" "*"')) == ["INBOX"]
        assert f"{BOB}/News" in names(await alice.ok('list "" "*"'))
        assert await alice.ok('list "" "user/*" return (myrights status (messages))') == [
            f'* LIST (\\NonExistent \\HasChildren) "/" {BOB}',
            f'* LIST (\\HasNoChildren) "/" {BOB}/News',
            f"* MYRIGHTS {BOB}/News lr",
            f"* STATUS {BOB}/News (MESSAGES 0)",
        ]
        await bob.ok("deleteacl News anyone")
        assert names(await alice.ok('list "" "*"')) == ["INBOX"]
        assert os.listdir(tmp_path / "shares") == []

    play(tmp_path, scene, imapd_shares_directory=str(tmp_path / "shares"))


def test_an_answer_that_was_kept_is_not_given_again(tmp_path: Path) -> None:
    """LIST of an account where nothing changed is answered from memory: not when others share something new."""

    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        for _ in range(3):
            assert names(await alice.ok('list "" "*"')) == ["INBOX"]
        await bob.ok("setacl inbox anyone l")
        assert BOB in names(await alice.ok('list "" "*"'))

    play(tmp_path, scene, imapd_shares_directory=str(tmp_path / "shares"))


def test_notes_that_are_wrong(tmp_path: Path) -> None:
    directory = tmp_path / "shares"

    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("create News")
        await bob.ok("setacl News anyone l")
        await bob.ok("delete News")
        shares.note(str(directory), "nobody@example.test", True)
        shares.note(str(directory), "../../etc", True)
        os.utime(directory / "nobody@example.test", (1, 1))
        assert names(await alice.ok('list "" "*"')) == ["INBOX"]
        # Neither of an account that shares nothing any more, nor of one that is no more; a young one may be right.
        assert os.listdir(directory) == ["%2E.%2F..%2Fetc"]
        # A note that was lost comes again when its owner looks.
        await bob.ok("setacl inbox anyone l")
        os.unlink(directory / "bob@example.test")
        assert names(await alice.ok('list "" "*"')) == ["INBOX"]
        await bob.ok('list "" "%"')
        assert BOB in names(await alice.ok('list "" "*"'))

    play(tmp_path, scene, imapd_shares_directory=str(directory))


@pytest.mark.parametrize("settings", [{"imapd_shares_limit": "0"}, {"imapd_shares_directory": ""}])
def test_bounds(tmp_path: Path, settings: dict[str, str]) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("setacl inbox anyone lr")
        assert names(await alice.ok('list "" "*"')) == ["INBOX"]
        assert names(await alice.ok(f'list "" "{BOB}"')) == [BOB]

    play(tmp_path, scene, **{"imapd_shares_directory": str(tmp_path / "shares"), **settings})


def test_who_shares_with_a_user_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_ACCOUNTS", 1)
    # And many names are held against patterns in a thread.
    monkeypatch.setattr(listing, "_QUICK", 0)

    async def scene(server: FakeImapd) -> None:
        bob, alice, carol = [await server.log_in(name) for name in ("bob", "alice", "carol")]
        await bob.ok("setacl inbox anyone l")
        assert BOB in names(await alice.ok('list "" "*"'))
        await carol.ok("setacl inbox alice l")
        assert names(await alice.ok('list "" "*"')) == ["INBOX", "user", "user/carol@example.test"]

    play(tmp_path, scene, imapd_shares_directory=str(tmp_path / "shares"))


def test_a_notify_keeps_few_accounts_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "_ACCOUNTS", 1)

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        events = "(messagenew messageexpunge)"
        await alice.ok(f"notify set (mailboxes ({BOB} {BOB}/Work) {events})")
        answer = await alice.no(f"notify set (mailboxes ({BOB} user/carol@example.test) {events})")
        assert answer.startswith("NO [NOTIFICATIONOVERFLOW]")
        # What was watched before is watched still.
        assert alice.session.watching is not None and alice.session.notifying

    play(tmp_path, scene)


def test_only_so_many_are_looked_at(tmp_path: Path) -> None:
    for number in range(9):
        shares.note(str(tmp_path / "s"), f"u{number}", True)
    assert shares.owners(str(tmp_path / "s"), 3) == ["u0", "u1", "u2"]
    assert shares.owners(str(tmp_path / "nowhere"), 3) == []


@pytest.mark.parametrize("owner", ["a/b", ".hidden", "..", "jörg@example.test", "a%2Fb", "a b\n"])
def test_names_of_owners_are_kept_apart(tmp_path: Path, owner: str) -> None:
    directory = str(tmp_path / "s")
    shares.note(directory, owner, True)
    assert shares.owners(directory, 9) == [owner]
    assert shares.is_noted(directory, owner)
    shares.note(directory, owner, False)
    assert os.listdir(directory) == []
    assert os.listdir(tmp_path) == ["s"]


def test_what_cannot_be_noted_is_no_failure(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        await bob.ok("setacl inbox anyone lr")
        await bob.ok("deleteacl inbox anyone")

    (tmp_path / "file").write_bytes(b"")
    play(tmp_path, scene, imapd_shares_directory=str(tmp_path / "file"))
    play(tmp_path, scene, imapd_shares_directory=str(tmp_path / "no" / "where"))
    shares.note(str(tmp_path / "s"), "x" * 300, True)
