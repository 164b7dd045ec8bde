"""What stands at an edge: ranges beyond the end, names that are none, lines without end, mailboxes that were moved."""

from pathlib import Path

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
