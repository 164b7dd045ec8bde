"""Mailboxes and their names: RFC 9051 6.3, LIST-EXTENDED by the examples of RFC 5258, special uses (RFC 6154)."""

from pathlib import Path

import pytest

from tests.fakes.imap import Client, FakeImapd, play


async def fruits(server: FakeImapd) -> Client:
    """The mailboxes of RFC 5258 5."""
    alice = await server.log_in("alice", "IMAP4rev2")
    for name in ("Fruit", "Fruit/Apple", "Fruit/Banana", "Tofu", "Vegetable", "Vegetable/Broccoli", "Vegetable/Corn"):
        await alice.ok(f"create {name}")
    for name in ("INBOX", "Fruit/Banana", "Fruit/Peach", "Vegetable", "Vegetable/Broccoli"):
        # A subscription outlives its mailbox.
        if name == "Fruit/Peach":
            await alice.ok(f"create {name}")
            await alice.ok(f"subscribe {name}")
            await alice.ok(f"delete {name}")
        else:
            await alice.ok(f"subscribe {name}")
    return alice


def test_list_extended(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await fruits(server)

        async def listed(command: str) -> set[str]:
            found = await alice.ok(command)
            assert len(found) == len(set(found))
            return {line.removeprefix("* LIST ").replace(' "/" ', " ") for line in found}

        assert await listed('list "" "*"') == {
            "(\\HasNoChildren) INBOX",
            "(\\HasChildren) Fruit",
            "(\\HasNoChildren) Fruit/Apple",
            "(\\HasNoChildren) Fruit/Banana",
            "(\\HasNoChildren) Tofu",
            "(\\HasChildren) Vegetable",
            "(\\HasNoChildren) Vegetable/Broccoli",
            "(\\HasNoChildren) Vegetable/Corn",
        }
        assert await listed('list "" "%"') == {
            "(\\HasNoChildren) INBOX",
            "(\\HasChildren) Fruit",
            "(\\HasNoChildren) Tofu",
            "(\\HasChildren) Vegetable",
        }
        # 5. Example 2
        assert await listed('list (subscribed) "" "*"') == {
            "(\\HasNoChildren \\Subscribed) INBOX",
            "(\\HasNoChildren \\Subscribed) Fruit/Banana",
            "(\\NonExistent \\HasNoChildren \\Subscribed) Fruit/Peach",
            "(\\HasChildren \\Subscribed) Vegetable",
            "(\\HasNoChildren \\Subscribed) Vegetable/Broccoli",
        }
        # 5. Example 8: Fruit for what is below it; Vegetable is there itself.
        assert await listed('list (subscribed recursivematch) "" "%"') == {
            "(\\HasNoChildren \\Subscribed) INBOX",
            '(\\HasChildren) Fruit ("CHILDINFO" ("SUBSCRIBED"))',
            '(\\HasChildren \\Subscribed) Vegetable ("CHILDINFO" ("SUBSCRIBED"))',
        }
        # 3.3 2.B: not for children that are told themselves.
        found = await listed('list (recursivematch subscribed) "" "*"')
        assert not any(line.split(" ")[1] == "Fruit" for line in found)
        assert await listed('list "" (inbox "Tofu" "Fruit/%") return (subscribed)') == {
            "(\\HasNoChildren \\Subscribed) INBOX",
            "(\\HasNoChildren) Tofu",
            "(\\HasNoChildren) Fruit/Apple",
            "(\\HasNoChildren \\Subscribed) Fruit/Banana",
        }
        assert await listed('list (remote) "" Tofu return (children)') == {"(\\HasNoChildren) Tofu"}
        assert await listed('list () "Fruit/" "%"') == {
            "(\\HasNoChildren) Fruit/Apple",
            "(\\HasNoChildren) Fruit/Banana",
        }
        assert await alice.ok('list "" ""') == ['* LIST (\\Noselect) "/" ""']
        for wrong in ('list (recursivematch) "" *', 'list (remote recursivematch) "" *', 'list (x) "" *', 'list ""'):
            assert (await alice.no(wrong)).startswith("BAD")
        lines = await alice.ok('list "" (Tofu) return (status (messages unseen) subscribed)')
        assert lines == ['* LIST (\\HasNoChildren) "/" Tofu', "* STATUS Tofu (MESSAGES 0 UNSEEN 0)"]

    play(tmp_path, scene)


def test_lsub(tmp_path: Path) -> None:
    """RFC 3501 6.3.9"""

    async def scene(server: FakeImapd) -> None:
        alice = await fruits(server)
        assert await alice.ok('lsub "" "%"') == [
            '* LSUB (\\Noselect) "/" Fruit',
            '* LSUB () "/" INBOX',
            '* LSUB () "/" Vegetable',
        ]
        assert '* LSUB () "/" Fruit/Peach' in await alice.ok('lsub "" "*"')
        await alice.ok("unsubscribe Fruit/Peach")
        assert '* LSUB () "/" Fruit/Peach' not in await alice.ok('lsub "" "*"')
        assert (await alice.no("subscribe Nowhere")).startswith("NO [NONEXISTENT]")

    play(tmp_path, scene)


def test_parents_that_are_none(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        assert (await alice.do("create a/b/c/"))[-1].startswith("OK [MAILBOXID (")
        assert await alice.ok('list "" "%"') == [
            '* LIST (\\HasNoChildren) "/" INBOX',
            '* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a',
        ]
        assert (await alice.no("select a/b")).startswith("NO [NONEXISTENT]")
        await alice.ok("create a/b")
        assert (await alice.no("create a/b")).startswith("NO [ALREADYEXISTS]")
        assert (await alice.no("create inbox")).startswith("NO [ALREADYEXISTS]")
        for wrong in ("create a//b", "create /a", 'create ""', 'create "a/&"', 'create "a\x7fb"'):
            assert (await alice.no(wrong)).startswith("NO"), wrong
        # RFC 9051 6.3.5: what is below stays.
        await alice.append("a/b/c")
        await alice.ok("delete a/b")
        assert await alice.ok("status a/b/c (messages)") == ["* STATUS a/b/c (MESSAGES 1)"]
        assert (await alice.no("delete a/b")).startswith("NO [HASCHILDREN]")
        assert (await alice.no("delete a/x")).startswith("NO [NONEXISTENT]")
        assert (await alice.no("delete inbox")).startswith("NO [CANNOT]")
        # RFC 9051 6.3.6: with all below, also of a name that is no mailbox.
        await alice.ok("rename a z")
        assert await alice.ok("status z/b/c (messages)") == ["* STATUS z/b/c (MESSAGES 1)"]
        await alice.ok("create other")
        assert (await alice.no("rename z/b/c other")).startswith("NO [ALREADYEXISTS]")
        assert (await alice.no("rename z z/y")).startswith("NO [CANNOT]")
        assert (await alice.no("rename nowhere there")).startswith("NO [NONEXISTENT]")

    play(tmp_path, scene)


def test_rename_inbox(tmp_path: Path) -> None:
    """RFC 9051 6.3.6: its messages move, and it stays, empty; names below it stay."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create inbox/sub")
        await alice.append("inbox")
        await alice.ok("rename inbox old")
        assert await alice.ok("status inbox (messages)") == ["* STATUS INBOX (MESSAGES 0)"]
        assert await alice.ok("status old (messages)") == ["* STATUS old (MESSAGES 1)"]
        assert await alice.ok("status INBOX/sub (messages)") == ["* STATUS INBOX/sub (MESSAGES 0)"]

    play(tmp_path, scene)


def test_uidvalidity_of_a_name_used_again(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        seen = set()
        for _ in range(3):
            await alice.ok("create x")
            (line,) = await alice.ok("status x (uidvalidity)")
            seen.add(line)
            await alice.ok("delete x")
        assert len(seen) == 3

    play(tmp_path, scene)


def test_special_uses(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "IMAP4rev2")
        assert await alice.ok('list (special-use) "" "*" return (subscribed)') == [
            f'* LIST (\\HasNoChildren \\Subscribed \\{use}) "/" {name}'
            for name, use in (("Archiv", "Archive"), ("Drafts", "Drafts"), ("Junk", "Junk"))
        ]
        assert '* LSUB () "/" Plain' in await alice.ok('lsub "" "*"')
        await alice.ok("create Gone (use (\\Trash))")
        assert (await alice.no("create X (use (\\Nonsense))")).startswith("NO [USEATTR]")
        assert (await alice.no("create X (use (\\All))")).startswith("NO [USEATTR]")
        # What its owner removes does not come again.
        await alice.ok("delete Junk")
        again = await server.log_in("alice")
        assert not any("Junk" in line for line in await again.ok('list "" "*"'))
        # RFC 6154: it goes with the mailbox.
        await alice.ok("rename Gone Papierkorb")
        assert '* LIST (\\HasNoChildren \\Trash) "/" Papierkorb' in await alice.ok('list "" "*"')

    play(tmp_path, scene, imapd_auto_folders="Archiv=\\Archive, Drafts, Junk, Plain")


def test_auto_folders_of_an_account_that_has_some(tmp_path: Path) -> None:
    """As it comes from another server: its folders get their uses."""

    async def scene(server: FakeImapd) -> None:
        for name in ("", "/.Sent"):
            for part in ("tmp", "new", "cur"):
                (tmp_path / f"alice{name}" / part).mkdir(parents=True)
        alice = await server.log_in("alice")
        assert '* LIST (\\HasNoChildren \\Sent) "/" Sent' in await alice.ok('list "" "*"')

    play(tmp_path, scene, imapd_auto_folders="Sent")


def test_names_beyond_ascii(tmp_path: Path) -> None:
    """Modified UTF-7 before, UTF-8 after it was enabled (RFC 9051 5.1, appendix A)."""

    async def scene(server: FakeImapd) -> None:
        old, new = await server.log_in("alice"), await server.log_in("alice", "IMAP4rev2")
        await old.ok('create "Entw&APw-rfe &- mehr"')
        assert '* LIST (\\HasNoChildren) "/" "Entwürfe & mehr"' in await new.ok('list "" "*"')
        await new.ok('create "日本語 &AOk-"')
        assert any('"&ZeVnLIqe- &-AOk-"' in line for line in await old.ok('list "" "*"'))
        assert (await new.do('select "日本語 &AOk-"'))[-1].startswith("OK")

    play(tmp_path, scene)


def test_select_and_what_follows(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for flags in ("(\\Seen)", "", "(\\Deleted)"):
            await alice.append("inbox", flags=flags)
        found = await alice.do("select inbox")
        text = "\n".join(found)
        for wanted in (
            "* 3 EXISTS",
            "* 3 RECENT",
            "* OK [UNSEEN 2]",
            "* OK [UIDVALIDITY ",
            "* OK [UIDNEXT 4]",
            "* OK [HIGHESTMODSEQ ",
            "* OK [MAILBOXID (",
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)",
            "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]",
        ):
            assert wanted in text
        assert found[-1].startswith("OK [READ-WRITE]")
        # RFC 9051 6.3.2: a SELECT that fails leaves nothing selected.
        assert (await alice.do("select nowhere"))[0].startswith("* OK [CLOSED]")
        assert (await alice.no("fetch 1 flags")).startswith("BAD")
        # 6.3.3, 6.4.1: nothing is changed, nor expunged by CLOSE.
        assert (await alice.do("examine inbox"))[-1].startswith("OK [READ-ONLY]")
        assert (await alice.no("store 1 +flags \\Seen")).startswith("NO [READ-ONLY]")
        assert (await alice.no("expunge")).startswith("NO")
        await alice.ok("fetch 2 body[]")
        assert await alice.ok("close") == []
        assert await alice.ok("status inbox (messages unseen)") == ["* STATUS INBOX (MESSAGES 3 UNSEEN 2)"]
        await alice.ok("select inbox")
        await alice.ok("unselect")
        assert (await alice.no("close")).startswith("BAD")
        await alice.ok("select inbox")
        assert await alice.ok("close") == []
        assert await alice.ok("status inbox (messages)") == ["* STATUS INBOX (MESSAGES 2)"]

    play(tmp_path, scene)


def test_recent(tmp_path: Path) -> None:
    """RFC 3501 2.3.2: of one session only; RFC 9051 has none."""

    async def scene(server: FakeImapd) -> None:
        new, first, second = (
            await server.log_in("alice", "IMAP4rev2"),
            await server.log_in("alice"),
            await server.log_in("alice"),
        )
        await first.append("inbox")
        assert "* 1 RECENT" in await second.ok("examine inbox")
        assert "* 1 RECENT" in await first.ok("select inbox")
        assert "* 0 RECENT" in await second.ok("select inbox")
        assert not any("RECENT" in line.upper() and "UNSEEN" in line for line in await new.ok("select inbox"))
        assert not any(line.endswith("RECENT") for line in await new.ok("select inbox"))
        assert await first.ok("fetch 1 flags") == ["* 1 FETCH (FLAGS (\\Recent))"]
        assert await second.ok("fetch 1 flags") == ["* 1 FETCH (FLAGS ())"]
        assert (await first.no("store 1 flags (\\Recent)")).startswith("BAD")

    play(tmp_path, scene)


def test_a_selected_mailbox_that_another_removes_or_renames(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await other.ok("create x")
        await other.append("x")
        await alice.ok("select x")
        await other.ok("rename x y")
        await other.append("y")
        assert "* 2 EXISTS" in await alice.ok("noop")
        assert any("BODY[]" in line for line in await alice.ok("fetch 2 body.peek[]"))
        await alice.ok("store 2 +flags \\Seen")
        await other.ok("delete y")
        alice.write(b"a noop\r\n")
        assert (await alice.line()).startswith(b"* BYE ")
        with pytest.raises(EOFError):
            await alice.line()

    play(tmp_path, scene)


def test_own_selected_mailbox_deleted(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create x")
        await alice.ok("select x")
        await alice.ok("rename x y")
        assert await alice.ok("noop") == []
        await alice.ok("delete y")
        assert (await alice.no("check")).startswith("BAD")
        await alice.ok("noop")

    play(tmp_path, scene)
