"""Access control lists (RFC 4314), the mailboxes of other users, LIST-MYRIGHTS (RFC 8440)."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd import rights

BOB = "user/bob@example.test"


def test_rights_of_today_and_before() -> None:
    # RFC 4314 2.1.1
    assert rights.ordered("adiwsrl") == "lrswitea"
    assert rights.shown(rights.ordered("lrswikda")) == "lrswikteacd"
    assert rights.changed("lr", "+", "c") == "lrkx"
    assert rights.changed("lrte", "-", "d") == "lr"


def test_effective_rights() -> None:
    acl = {"fred": "lrw", "-fred": "w", "anyone": "l", "-anyone": "r"}
    assert rights.effective(acl, "fred", "owner") == "l"
    assert rights.effective(acl, "eve", "owner") == "l"
    assert rights.effective(acl, "owner", "owner") == rights.ALL
    assert rights.effective({"owner": "lr"}, "owner", "owner") == "lra"
    assert rights.effective({"-owner": "lte"}, "owner", "owner") == "lrswipkxa"


@given(st.text("lrswipkxteacd"), st.text("lrswipkxteacd"))
def test_plus_then_minus_leaves_nothing_of_it(before: str, given: str) -> None:
    after = rights.changed(rights.changed(rights.ordered(before), "+", given), "-", given)
    assert set(after) == set(rights.ordered(before)) - set(rights.ordered(given))


def test_commands(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        assert await alice.ok("getacl inbox") == ["* ACL INBOX alice@example.test lrswipkxteacd"]
        assert await alice.ok("myrights inbox") == ["* MYRIGHTS INBOX lrswipkxteacd"]
        await alice.ok("setacl inbox bob lrswida")
        await alice.ok("setacl INBOX -bob w")
        await alice.ok("setacl INBOX anyone l")
        assert await alice.ok("getacl inbox") == [
            "* ACL INBOX alice@example.test lrswipkxteacd -bob@example.test w anyone l bob@example.test lrswitead"
        ]
        await alice.ok("setacl inbox bob@example.test -wd")
        await alice.ok("setacl inbox bob +k")
        await alice.ok("deleteacl inbox -bob")
        assert (await alice.ok("getacl inbox"))[0].endswith("anyone l bob@example.test lrsikac")
        assert await alice.ok("listrights inbox bob") == ['* LISTRIGHTS INBOX bob "" l r s w i p k x t e a c d']
        assert await alice.ok("listrights inbox alice") == ["* LISTRIGHTS INBOX alice la r s w i p k x t e c d"]
        for wrong in ("setacl inbox bob lrQ", "setacl inbox bob lrq", 'setacl inbox "" lr', "setacl inbox bob"):
            assert (await alice.no(wrong)).startswith("BAD")
        assert (await alice.no("getacl nowhere")).startswith("NO [NONEXISTENT]")

    play(tmp_path, scene)


def test_who_may_not_see_a_mailbox_is_told_that_there_is_none(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        await bob.ok("create Secret")
        alice = await server.log_in("alice")
        for command in (
            f"select {BOB}/Secret",
            f"select {BOB}",
            f"examine {BOB}/Nothing",
            f"status {BOB}/Secret (messages)",
            f"myrights {BOB}/Secret",
            f"getacl {BOB}/Secret",
            f"delete {BOB}/Secret",
            f"rename {BOB}/Secret mine",
            f"subscribe {BOB}/Secret",
            f"create {BOB}/New",
            f"getmetadata {BOB}/Secret /shared/comment",
            f"getquotaroot {BOB}",
            "select user/nobody@example.test",
            "select user/",
            "select user",
        ):
            assert "[NONEXISTENT]" in await alice.no(command), command
        assert "[TRYCREATE]" in (await alice.append(f"{BOB}/Secret"))[-1]
        assert await alice.ok('list "" "user/*"') == []
        assert await alice.ok(f'list "" "{BOB}/*"') == []

    play(tmp_path, scene)


def test_reading_another_mailbox(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        await bob.append("INBOX", flags="(\\Flagged)")
        await bob.ok("create Team")
        await bob.ok("setacl INBOX alice lr")
        alice = await server.log_in("alice", "IMAP4rev2")
        assert (await alice.ok("namespace"))[0] == '* NAMESPACE (("" "/")) (("user/" "/")) NIL'
        listed = await alice.ok('list "" "*"')
        assert f'* LIST (\\HasNoChildren) "/" {BOB}' in listed
        assert not any("Team" in line for line in listed)
        # Nothing of others where the pattern cannot lead to them.
        assert len(await alice.ok('list "" "INBOX"')) == 1
        found = await alice.do(f"select {BOB}")
        assert found[-1].startswith("OK [READ-ONLY]")
        assert any("[PERMANENTFLAGS ()]" in line for line in found)
        assert any("BODY[] {" in line for line in await alice.ok("fetch 1 body[]"))
        assert (await alice.no("store 1 +flags \\Seen")).startswith("NO")
        assert await alice.ok("fetch 1 flags") == ["* 1 FETCH (FLAGS (\\Flagged))"]
        assert "[NOPERM]" in (await alice.append(BOB))[-1]
        assert "[NOPERM]" in await alice.no(f"setacl {BOB} alice lrswi")
        assert "[NOPERM]" in await alice.no(f"delete {BOB}")
        await bob.ok("setacl INBOX alice -l")
        assert not any(BOB in line for line in await alice.ok('list "" "*"'))

    play(tmp_path, scene)


def test_flags_by_rights(tmp_path: Path) -> None:
    """RFC 4314 4: only what the user may set is set, and nothing else is changed."""

    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        await bob.append("INBOX", flags="(\\Flagged \\Deleted)")
        await bob.ok("setacl INBOX alice lrsi")
        alice = await server.log_in("alice", "IMAP4rev2")
        found = await alice.do(f"select {BOB}")
        assert found[-1].startswith("OK [READ-WRITE]")
        assert any("[PERMANENTFLAGS (\\Seen)]" in line for line in found)
        assert "[NOPERM]" in await alice.no("store 1 +flags (\\Answered)")
        assert await alice.ok("store 1 +flags (\\Answered \\Seen)") == [
            "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Flagged \\Seen))"
        ]
        assert "[NOPERM]" in await alice.no("store 1 flags (\\Draft)")
        await alice.ok("store 1 flags (\\Seen)")
        assert await alice.ok("store 1 flags ()") == ["* 1 FETCH (UID 1 FLAGS (\\Deleted \\Flagged))"]
        assert "[NOPERM]" in await alice.no("expunge")
        assert "[NOPERM]" in await alice.no("move 1 inbox")
        # The messages that arrive have the flags that may be set (RFC 4314 4).
        await alice.append(BOB, flags="(\\Seen \\Deleted $Work)")
        assert "* 2 FETCH (FLAGS (\\Seen))" in [
            line.replace(" \\Recent", "") for line in await alice.ok("fetch 2 flags")
        ]
        await alice.ok("close")
        await bob.ok("select inbox")
        assert "* 2 EXISTS" in (await bob.do("select inbox"))

    play(tmp_path, scene)


def test_copy_to_another_user_and_back(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("create Drop")
        await bob.ok("setacl Drop alice lrwi")
        await alice.append("INBOX", "Subject: one\r\n\r\n1\r\n", "(\\Answered \\Seen \\Deleted)")
        await alice.append("INBOX", "Subject: two\r\n\r\n2\r\n")
        await alice.ok("select inbox")
        assert (await alice.do(f"copy 1:2 {BOB}/Drop"))[-1].startswith("OK [COPYUID ")
        moved = await alice.ok(f"move 2 {BOB}/Drop")
        assert moved[0].startswith("* OK [COPYUID ") and moved[1] == "* 2 EXPUNGE"
        await bob.ok("select Drop")
        assert [line.replace(" \\Recent", "").replace("\\Recent", "") for line in await bob.ok("fetch 1:* flags")] == [
            "* 1 FETCH (FLAGS (\\Answered))",
            "* 2 FETCH (FLAGS ())",
            "* 3 FETCH (FLAGS ())",
        ]
        assert (await alice.no(f"copy 1 {BOB}/Nowhere")).startswith("NO [TRYCREATE]")

    play(tmp_path, scene)


def test_creating_below_takes_k_and_inherits(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("create Team")
        await bob.ok("setacl Team alice lrk")
        assert "[NOPERM]" in await alice.no(f"delete {BOB}/Team")
        await alice.ok(f"create {BOB}/Team/Plans")
        assert await alice.ok(f"myrights {BOB}/Team/Plans") == [f"* MYRIGHTS {BOB}/Team/Plans lrkc"]
        assert (await bob.ok("getacl Team/Plans"))[0].endswith("alice@example.test lrkc")
        assert "[NONEXISTENT]" in await alice.no(f"create {BOB}/Other")
        assert await alice.ok('list "" "user/%"') == [
            '* LIST (\\NonExistent \\Noselect \\HasChildren) "/" user/bob@example.test'
        ]
        await alice.ok(f"subscribe {BOB}/Team")
        assert await alice.ok('lsub "" "*"') == [f'* LSUB () "/" {BOB}/Team']
        assert await alice.ok('list (subscribed) "" "*" return (myrights)') == [
            f'* LIST (\\HasChildren \\Subscribed) "/" {BOB}/Team',
            f"* MYRIGHTS {BOB}/Team lrkc",
        ]

    play(tmp_path, scene)


def test_own_restrictions(tmp_path: Path) -> None:
    """The owner may keep himself from a mistake, and can always undo that."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create Archive")
        await alice.append("Archive")
        await alice.ok("setacl Archive alice lr")
        assert "[NOPERM]" in (await alice.append("Archive"))[-1]
        assert "[NOPERM]" in await alice.no("delete Archive")
        assert (await alice.do("select Archive"))[-1].startswith("OK [READ-ONLY]")
        await alice.ok("deleteacl Archive alice")
        assert (await alice.do("select Archive"))[-1].startswith("OK [READ-WRITE]")
        assert await alice.ok("myrights user/alice@example.test/Archive") == [
            "* MYRIGHTS user/alice@example.test/Archive lrswipkxteacd"
        ]

    play(tmp_path, scene)


def test_no_shared_mailboxes(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("setacl inbox alice lr")
        assert (await alice.ok("namespace"))[0] == '* NAMESPACE (("" "/")) NIL NIL'
        assert await alice.ok('list "" "user/*"') == []
        await alice.ok("create user/bob@example.test")
        assert (await alice.do(f"select {BOB}"))[-1].startswith("OK [READ-WRITE]")

    play(tmp_path, scene, imapd_shared_prefix="")
