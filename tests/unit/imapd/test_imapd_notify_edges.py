"""NOTIFY (RFC 5465) where something goes wrong or changes meanwhile: trouble of the disk, other clients, rights."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.mailbox.interface import Folder
from tubepost.common.skeleton.mailboxes import Mailbox

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd.notification import Watching

BOTH = "(MessageNew MessageExpunge)"
TEAM = "user/bob@example.test/Team"


def put(folder: Folder) -> None:
    draft = folder.draft()
    draft.write(b"Subject: x\r\n\r\nbody\r\n")
    draft.finish()
    folder.append([draft])


@pytest.mark.parametrize("between", [True, False])
def test_trouble_that_passes_ends_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: bool) -> None:
    """As with the selected mailbox: what was not told is told with the next command."""
    broken: list[str] = []
    look = Mailbox.up_to_date

    async def up_to_date(self: Mailbox, name: str) -> Folder:
        if name in broken:
            broken.remove(name)
            raise OSError(errno.ENOSPC, "No space left on device")
        return await look(self, name)

    monkeypatch.setattr(Mailbox, "up_to_date", up_to_date)

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create Misc")
        await alice.ok(f"notify set (mailboxes Misc {BOTH})")
        if not between:
            alice.session.notifying = False
        broken.append("Misc")
        await other.append("Misc")
        # The files may tell of it a second time.
        found = await (alice.quiet() if between else alice.ok("noop"))
        assert not broken
        assert [*found, *await alice.ok("noop")] == ["* STATUS Misc (UIDNEXT 2 MESSAGES 1)"]

    play(tmp_path, scene)


def test_trouble_half_way_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create Misc")
        await alice.ok(f"notify set (personal {BOTH[:-1]} MailboxName))")
        attend = Watching._attend_to_new

        async def fail(*_: Any) -> None:
            monkeypatch.setattr(Watching, "_attend_to_new", attend)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Watching, "_attend_to_new", fail)
        await other.ok("create New")
        assert await alice.quiet() == []
        assert await alice.ok("noop") == ['* LIST (\\HasNoChildren) "/" New']

    play(tmp_path, scene)


def test_what_others_do_during_an_own_command_is_told(tmp_path: Path) -> None:
    """A message comes while this client makes a mailbox: of that it need not be told, of the message it must."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create Misc")
        await alice.ok(f"notify set (personal {BOTH[:-1]} MailboxName))")
        changed = server.changed

        def meanwhile(mailbox: Mailbox, *folders: tuple[int, str]) -> None:
            put(mailbox.account.folder("Misc"))
            server._hint(mailbox.path, "Misc")
            changed(mailbox, *folders)

        server.changed = meanwhile  # type: ignore[method-assign]
        assert await alice.ok("create Own") == ["* STATUS Misc (UIDNEXT 2 MESSAGES 1)"]

    play(tmp_path, scene)


def test_subscriptions_to_mailboxes_of_others(tmp_path: Path) -> None:
    """They are no personal ones, and are there, whoever has them."""

    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice"), await server.log_in("bob")
        other = await server.log_in("alice")
        await bob.ok("create Team")
        await bob.ok("setacl Team alice lr")
        await alice.ok("notify set (personal (SubscriptionChange))")
        await other.ok(f"subscribe {TEAM}")
        assert await alice.quiet() == []
        for which in ("subscribed", f"mailboxes {TEAM}"):
            await alice.ok(f"notify set ({which} (SubscriptionChange))")
            await other.ok(f"unsubscribe {TEAM}")
            assert await alice.until("* LIST") == [f'* LIST (\\HasNoChildren) "/" {TEAM}']
            await other.ok(f"subscribe {TEAM}")
            assert await alice.until("* LIST") == [f'* LIST (\\HasNoChildren \\Subscribed) "/" {TEAM}']

    play(tmp_path, scene)


@pytest.mark.parametrize("who", ["alice", "other"])
def test_what_is_subscribed_to_later_is_heard_of(tmp_path: Path, who: str) -> None:
    """RFC 5465 6.4: the list of subscribed mailboxes is looked at anew when it changes."""

    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice"), await server.log_in("bob")
        other = await server.log_in("alice")
        await bob.ok("create Team")
        await bob.ok("setacl Team alice lr")
        await alice.ok("create Misc")
        await alice.ok(f"notify set (subscribed {BOTH})")
        client = alice if who == "alice" else other
        await client.ok(f"subscribe {TEAM}")
        await client.ok("subscribe Misc")
        assert await alice.quiet() == []
        await bob.append("Team")
        assert await alice.until("* STATUS") == [f"* STATUS {TEAM} (UIDNEXT 2 MESSAGES 1)"]
        # Nobody tells of these.
        for path, name in (("bob/.Team", TEAM), ("alice/.Misc", "Misc")):
            (tmp_path / path / "new" / "1.x").write_bytes(b"Subject: x\n\n")
            found = await alice.until("* STATUS")
            assert len(found) == 1 and found[0].startswith(f"* STATUS {name} (UIDNEXT "), found
        await alice.ok("notify none")
        assert [box.users for path, box in server.mailboxes._open.items() if path.endswith("/bob")] == [1]

    play(tmp_path, scene)


def test_annotations_of_who_may_only_see_that_it_is_there(tmp_path: Path) -> None:
    """RFC 5464 3.3, as GETMETADATA: not with the right to see the mailbox alone."""

    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice"), await server.log_in("bob")
        await bob.ok("create Team")
        await bob.ok("setacl Team alice l")
        await alice.ok("notify set (subtree user/bob@example.test (MailboxMetadataChange))")
        await bob.ok('setmetadata Team (/shared/comment "x")')
        assert await alice.quiet() == []
        await bob.ok("setacl Team alice lr")
        assert await alice.quiet() == []
        await bob.ok('setmetadata Team (/shared/comment "y")')
        assert await alice.until("* METADATA") == [f"* METADATA {TEAM} /shared/comment"]
        await bob.ok("setacl Team alice l")
        assert await alice.quiet() == []

    play(tmp_path, scene)


def test_mailboxes_that_come_later_count(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok(f"notify set (personal {BOTH})")
        for number in range(9):
            await other.ok(f"create {number}")
        assert await alice.quiet() == []
        await other.ok("create more")
        assert "[NOTIFICATIONOVERFLOW]" in (await alice.until("* OK"))[-1]
        assert server._by_folder == {}
        # Those that the client makes itself.
        await alice.ok("delete more")
        await alice.ok(f"notify set (personal {BOTH})")
        found = await alice.ok("create more")
        assert len(found) == 1 and "[NOTIFICATIONOVERFLOW]" in found[0]

    play(tmp_path, scene, imapd_notify_limit="10")


def test_many_names_are_held_against_many_groups_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    events = Watching._events

    def noted(self: Watching, *arguments: Any) -> set[bytes]:
        threads.add(threading.current_thread())
        return events(self, *arguments)

    monkeypatch.setattr(Watching, "_events", noted)

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for number in range(60):
            await alice.ok(f"create {number}")
        groups = " ".join(f"(subtree x{number} (MailboxName))" for number in range(100))
        await alice.ok(f"notify set {groups}")
        assert threads and threading.current_thread() not in threads

    play(tmp_path, scene)
