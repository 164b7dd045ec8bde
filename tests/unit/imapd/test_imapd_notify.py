"""NOTIFY (RFC 5465), ENABLE METADATA (RFC 5464), UIDONLY (RFC 9586), MESSAGELIMIT (RFC 9738)."""

import re
import sys
from pathlib import Path

import pytest

from tests.fakes.imap import FakeImapd, play

BOTH = "(MessageNew MessageExpunge)"


def plain(lines: list[str]) -> list[str]:
    """Without what differs from run to run."""
    return [re.sub(r"(UIDVALIDITY|HIGHESTMODSEQ) \d+", r"\1 n", line) for line in lines]


def test_other_mailboxes(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "IMAP4rev2")
        for name in ("Lists", "Lists/Lemonade", "Lists/Im2000", "Misc"):
            await alice.ok(f"create {name}")
        await alice.append("Lists/Lemonade")
        found = await alice.ok(f"notify set status (subtree Lists {BOTH})")
        assert plain(found) == [
            "* STATUS Lists (UIDVALIDITY n UIDNEXT 1 MESSAGES 0)",
            "* STATUS Lists/Im2000 (UIDVALIDITY n UIDNEXT 1 MESSAGES 0)",
            "* STATUS Lists/Lemonade (UIDVALIDITY n UIDNEXT 2 MESSAGES 1)",
        ]
        other = await server.log_in("alice")
        await other.append("Lists/Lemonade")
        assert await alice.until("* STATUS") == ["* STATUS Lists/Lemonade (UIDNEXT 3 MESSAGES 2)"]
        await other.append("Misc")
        await other.ok("select Lists/Lemonade")
        await other.ok("store 1 +flags \\Seen")
        assert await alice.quiet() == []
        await other.ok("store 1 +flags \\Deleted")
        await other.ok("expunge")
        assert await alice.until("* STATUS") == ["* STATUS Lists/Lemonade (UIDNEXT 3 MESSAGES 1)"]
        # A hint of another process.
        await alice.ok("notify none")
        await other.append("Lists/Lemonade")
        assert await alice.quiet() == []

    play(tmp_path, scene)


def test_deliveries_of_other_programs(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create Misc")
        await alice.ok(f"notify set (mailboxes Misc {BOTH})")
        (tmp_path / "alice" / ".Misc" / "new" / "1.x").write_bytes(b"Subject: x\n\n")
        server._hint(str(tmp_path / "alice"), "Misc")
        assert await alice.until("* STATUS") == ["* STATUS Misc (UIDNEXT 2 MESSAGES 1)"]

    play(tmp_path, scene)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
def test_files_of_other_programs(tmp_path: Path) -> None:
    """Nobody tells of them, also in a mailbox that was made or renamed since."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create Misc")
        await alice.ok(f"notify set (personal {BOTH})")

        def deliver(folder: str, name: str) -> None:
            (tmp_path / "alice" / folder / "new" / name).write_bytes(b"Subject: x\n\n")

        deliver(".Misc", "1.x")
        assert await alice.until("* STATUS") == ["* STATUS Misc (UIDNEXT 2 MESSAGES 1)"]
        await other.ok("create Fresh")
        await alice.ok("noop")
        deliver(".Fresh", "2.x")
        assert await alice.until("* STATUS") == ["* STATUS Fresh (UIDNEXT 2 MESSAGES 1)"]
        await alice.ok("rename Misc Moved")
        deliver(".Moved", "3.x")
        assert await alice.until("* STATUS") == ["* STATUS Moved (UIDNEXT 3 MESSAGES 2)"]
        await alice.ok("select Moved")
        await alice.ok("unselect")
        deliver(".Moved", "4.x")
        assert await alice.until("* STATUS") == ["* STATUS Moved (UIDNEXT 4 MESSAGES 3)"]
        await alice.ok("notify none")
        deliver(".Moved", "5.x")
        assert await alice.quiet() == []

    play(tmp_path, scene)


def test_flags_elsewhere(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await other.append("inbox")
        await other.append("inbox")
        await other.ok("select inbox")
        await alice.ok("create X")
        await alice.ok("select X")
        await alice.ok("notify set (personal (MessageNew MessageExpunge FlagChange))")
        await other.ok("store 1 +flags \\Flagged")
        assert await alice.quiet() == []
        await other.ok("store 1 +flags \\Seen")
        assert await alice.until("* STATUS") == ["* STATUS INBOX (UNSEEN 1)"]
        await alice.ok("enable condstore")
        await other.ok("store 1 +flags \\Answered")
        assert plain(await alice.until("* STATUS")) == ["* STATUS INBOX (HIGHESTMODSEQ n UIDVALIDITY n)"]
        await other.append("inbox")
        (line,) = plain(await alice.until("* STATUS"))
        assert line.startswith("* STATUS INBOX (UIDNEXT 4 MESSAGES 3 HIGHESTMODSEQ n")

    play(tmp_path, scene)


def test_selected_mailbox(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        await alice.ok("select inbox")
        await alice.ok(
            "notify set (selected (MessageNew (uid body.peek[header.fields (subject)]) MessageExpunge FlagChange))"
        )
        await other.append("inbox", "Subject: one\r\nFrom: x@example.org\r\n\r\n")
        assert await alice.until("* 1 FETCH") == [
            "* 1 EXISTS",
            "* 1 FETCH (UID 1 BODY[HEADER.FIELDS (subject)] {16}\r\nSubject: one\r\n\r\n)",
        ]
        # Not what the client has itself brought (RFC 5465 5.2).
        assert (await alice.append("inbox"))[:-1] == ["* 2 EXISTS"]
        await other.ok("select inbox")
        await other.ok("store 1 +flags \\Flagged")
        assert await alice.until("* 1 FETCH") == ["* 1 FETCH (UID 1 FLAGS (\\Flagged))"]
        await other.ok("store 1 +flags \\Deleted")
        await other.ok("expunge")
        assert "* 1 EXPUNGE" in await alice.until("* 1 EXPUNGE")

    play(tmp_path, scene)


def test_selected_delayed(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        for _ in range(3):
            await other.append("inbox", flags="(\\Deleted)")
        await alice.ok("select inbox")
        await alice.ok(f"notify set (selected-delayed {BOTH})")
        await other.ok("select inbox")
        await other.ok("expunge")
        await other.append("inbox")
        assert await alice.until("* 4 EXISTS") == ["* 4 EXISTS"]
        assert not any("EXPUNGE" in line for line in await alice.ok("fetch 4 uid"))
        found = await alice.ok("noop")
        assert sorted(found) == ["* 1 EXPUNGE", "* 2 EXPUNGE", "* 3 EXPUNGE"]

    play(tmp_path, scene)


def test_what_is_not_wanted_is_not_told(tmp_path: Path) -> None:
    """RFC 5465 3.1: without SELECTED there is no news of the selected mailbox, a snapshot."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        for _ in range(2):
            await other.append("inbox")
        await alice.ok("select inbox")
        await alice.ok("notify none")
        await other.ok("select inbox")
        await other.ok("store 2 +flags (\\Deleted)")
        await other.ok("expunge")
        await other.ok("store 1 +flags (\\Flagged)")
        await other.append("inbox")
        assert await alice.quiet() == []
        assert await alice.ok("noop") == []
        # What is asked for is answered by what is true.
        assert await alice.ok("fetch 1 flags") == ["* 1 FETCH (FLAGS (\\Flagged))"]
        found = await alice.ok("notify set (selected (MessageNew MessageExpunge FlagChange))")
        assert found == ["* 2 EXPUNGE", "* 2 EXISTS", "* 1 FETCH (UID 1 FLAGS (\\Flagged))"]

    play(tmp_path, scene)


def test_own_expunge_is_answered_all_the_same(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox", flags="(\\Deleted)")
        await alice.ok("select inbox")
        await alice.ok("notify none")
        assert await alice.ok("expunge") == ["* 1 EXPUNGE"]

    play(tmp_path, scene)


def test_names(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice", "IMAP4rev2"), await server.log_in("alice")
        await alice.ok("notify set (personal (MailboxName SubscriptionChange))")
        # RFC 5465 5: not what this client does.
        assert await alice.ok("create Mine") == []
        await other.ok("create New")
        assert await alice.until("* LIST") == ['* LIST (\\HasNoChildren) "/" New']
        await other.ok("create New/Below")
        assert sorted(await alice.until('* LIST (\\HasChildren) "/" New')) == [
            '* LIST (\\HasChildren) "/" New',
            '* LIST (\\HasNoChildren) "/" New/Below',
        ]
        await other.ok("rename New Old")
        assert await alice.until("* LIST") == ['* LIST (\\HasChildren) "/" Old ("OLDNAME" (New))']
        assert await alice.quiet() == []
        await other.ok("subscribe Old")
        assert await alice.until("* LIST") == ['* LIST (\\HasChildren \\Subscribed) "/" Old']
        await other.ok("unsubscribe Old")
        assert await alice.until("* LIST") == ['* LIST (\\HasChildren) "/" Old']
        await other.ok("delete Old/Below")
        assert sorted(await alice.until('* LIST (\\HasNoChildren) "/" Old')) == [
            '* LIST (\\HasNoChildren) "/" Old',
            '* LIST (\\NonExistent \\HasNoChildren) "/" Old/Below',
        ]

    play(tmp_path, scene)


def test_rights_granted_and_taken(tmp_path: Path) -> None:
    """RFC 5465 5.4: the right to see a mailbox, given and taken away, is its coming and going."""

    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice", "IMAP4rev2"), await server.log_in("bob")
        await bob.ok("create Team")
        name = "user/bob@example.test/Team"
        await alice.ok(f"notify set (subtree user/bob@example.test {BOTH[:-1]} MailboxName))")
        await bob.append("Team")
        assert await alice.quiet() == []
        await bob.ok("setacl Team alice l")
        parent = f'* LIST (\\NonExistent \\HasChildren) "/" {name[:-5]}'
        # "the mailbox itself and its direct parent (whether it is an existing mailbox or not)"
        assert await alice.until(parent) == [f'* LIST (\\HasNoChildren \\NoAccess) "/" {name}', parent]
        await bob.append("Team")
        assert await alice.quiet() == []
        await bob.ok("setacl Team alice lr")
        assert await alice.until(parent) == [f'* LIST (\\HasNoChildren) "/" {name}', parent]
        await bob.append("Team")
        assert await alice.until("* STATUS") == [f"* STATUS {name} (UIDNEXT 4 MESSAGES 3)"]
        await bob.ok("deleteacl Team alice")
        assert await alice.until("* LIST (\\NonE") == [f'* LIST (\\NonExistent \\HasNoChildren) "/" {name}']

    play(tmp_path, scene)


def test_metadata_changes(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        third = await server.log_in("alice", "METADATA")
        await alice.ok("notify set (personal (MailboxMetadataChange ServerMetadataChange))")
        await other.ok('setmetadata inbox (/private/comment "x" /shared/comment "y")')
        assert await alice.until("* METADATA") == ["* METADATA INBOX /private/comment /shared/comment"]
        await other.ok("setmetadata inbox (/private/comment NIL)")
        assert await alice.until("* METADATA") == ["* METADATA INBOX /private/comment"]
        await other.ok('setmetadata "" (/private/comment "me")')
        assert await alice.until("* METADATA") == ['* METADATA "" /private/comment']
        assert await alice.ok('setmetadata "" (/private/comment "mine")') == []
        # ENABLE METADATA (RFC 5464 4.4): with the next command.
        assert await third.quiet() == []
        assert sorted(await third.ok("noop")) == ['* METADATA "" /private/comment', "* METADATA INBOX /shared/comment"]

    play(tmp_path, scene)


def test_idle_tells_the_same(tmp_path: Path) -> None:
    """RFC 5465 4"""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("create X")
        await alice.ok(f"notify set (mailboxes X {BOTH})")
        await alice.ok("select inbox")
        alice.write(b"i idle\r\n")
        assert await alice.line() == b"+ idling"
        await other.append("inbox")
        await other.append("X")
        assert await alice.until("* STATUS") == ["* STATUS X (UIDNEXT 2 MESSAGES 1)"]
        alice.write(b"done\r\n")
        await alice.lines("i")

    play(tmp_path, scene)


def test_refusals(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for wrong in (
            "notify",
            "notify set",
            "notify set (personal (MessageNew))",
            "notify set (personal (FlagChange))",
            "notify set (selected (MailboxName))",
            f"notify set (selected {BOTH}) (selected-delayed {BOTH})",
        ):
            assert (await alice.no(wrong)).startswith("BAD"), wrong
        answer = await alice.no("notify set (personal (Nonsense))")
        assert answer.startswith("NO [BADEVENT (")
        for number in range(11):
            await alice.ok(f"create {number}")
        assert "[NOTIFICATIONOVERFLOW]" in await alice.no(f"notify set (personal {BOTH})")
        assert await alice.ok(f"notify set (mailboxes (1 2 nowhere) {BOTH})") == []

    play(tmp_path, scene, imapd_notify_limit="10")


def test_uid_only(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for _ in range(3):
            await alice.append("inbox")
        await alice.ok("enable uidonly qresync")
        found = await alice.ok("select inbox")
        assert not any("UNSEEN" in line for line in found)
        for command in ("fetch 1 flags", "store 1 +flags \\Seen", "copy 1 inbox", "move 1 inbox", "search all"):
            assert (await alice.no(command)).startswith("BAD [UIDREQUIRED]"), command
        assert plain(await alice.ok("uid fetch 2 (uid rfc822.size)")) == ["* 2 UIDFETCH (RFC822.SIZE 20)"]
        found = plain(await alice.ok("uid store 1 +flags (\\Deleted)"))
        assert found and found[-1].startswith("* 1 UIDFETCH (FLAGS (\\Deleted")
        assert await alice.ok("uid expunge 1") == ["* VANISHED 1"]
        assert (await alice.no("select inbox (qresync (1 1 1:3 (1 2)))")).startswith("BAD [UIDREQUIRED]")

    play(tmp_path, scene)


def test_message_limit(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "IMAP4rev2")
        await alice.ok("create Old")
        for number in range(5):
            await alice.append("inbox", flags="(\\Deleted)" if number else "")
        await alice.ok("select inbox")
        found = await alice.do("fetch 1:* uid")
        assert found[:-1] == [f"* {number} FETCH (UID {number})" for number in (5, 4, 3)]
        assert found[-1].startswith("OK [MESSAGELIMIT 3 3]")
        assert (await alice.no("uid fetch 1:* uid (partial 1:4)")).startswith("NO [MESSAGELIMIT 3]")
        found = await alice.do("search undeleted")
        assert found[-1].startswith("OK [MESSAGELIMIT 3 3]") and "ALL" not in found[0]
        assert (await alice.do("search return (count) 1:3 all"))[-1].startswith("OK SEARCH")
        assert "ALL 4:5" in (await alice.do("uid search uidafter 3"))[0]
        assert "ALL 1:2" in (await alice.do("uid search uid 1:3 uidbefore 3"))[0]
        assert "ALL" not in (await alice.do("uid search uid 1:3 uidafter 5"))[0]
        assert "ALL" not in (await alice.do("uid search uid 1:3 uidbefore 1"))[0]
        assert " MESSAGELIMIT=3" in (await alice.ok("capability"))[0]
        assert (await alice.do("store 1:5 +flags (\\Seen)"))[-1].startswith("OK [MESSAGELIMIT 3 3]")
        assert await alice.ok("status inbox (unseen)") == ["* STATUS INBOX (UNSEEN 2)"]
        assert (await alice.no("copy 1:* Old")).startswith("NO [MESSAGELIMIT 3 3]")
        assert await alice.ok("status Old (messages)") == ["* STATUS Old (MESSAGES 0)"]
        assert (await alice.do("uid expunge 1:*"))[-1].startswith("OK [MESSAGELIMIT 3 3]")
        assert await alice.ok("expunge") == ["* 2 EXPUNGE"]
        text = " ".join("{1+}\r\nx" for _ in range(4))
        assert (await alice.no(f"append inbox {text}")).startswith("NO [MESSAGELIMIT 3]")

    play(tmp_path, scene, imapd_message_limit="3")
