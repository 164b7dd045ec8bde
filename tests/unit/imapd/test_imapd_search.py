"""SEARCH, SORT, THREAD and ESEARCH as a client sees them, by the RFCs' own examples where they have some."""

import re
from pathlib import Path

import pytest

from tests.fakes.imap import Client, FakeImapd, play

FLAGS = {1: "\\Seen", 2: "\\Flagged", 3: "\\Seen \\Flagged", 4: "", 5: "$Junk", 6: "\\Deleted"}


async def fill(client: Client) -> None:
    """Six messages: subjects of three kinds, replies, names in another order than addresses."""
    names = ["Zoe", "ann", "=?utf-8?q?=C3=89mile?=", "", "bob", "Ann"]
    for number in range(1, 7):
        text = (
            f"From: {names[number - 1]} <user{7 - number}@example.org>\r\nTo: alice@example.test\r\n"
            f"Subject: {'Re: ' if number > 3 else ''}topic {number % 3}\r\n"
            f"Date: Mon, {10 + 7 - number} Nov 2025 12:00:00 +0000\r\nMessage-ID: <{number}@x>\r\n"
            + (f"References: <{number - 3}@x>\r\n" if number > 3 else "")
            + f"\r\nbody of {'the' if number % 2 else 'a'} message\r\n"
        )
        answer = await client.append("INBOX", text, f'({FLAGS[number]}) "{number:2d}-Nov-2025 12:00:00 +0000"')
        assert answer[-1].startswith("OK")


async def begin(server: FakeImapd, *enable: str) -> Client:
    client = await server.log_in("alice", *enable)
    await fill(client)
    await client.ok("select inbox")
    return client


ANSWERS = [
    ("search all", ["* SEARCH 1 2 3 4 5 6"]),
    ("search seen flagged", ["* SEARCH 3"]),
    ("search keyword $JUNK", ["* SEARCH 5"]),
    ("search subject nothing", ["* SEARCH"]),
    ("uid search or flagged deleted", ["* SEARCH 2 3 6"]),
    ("search charset US-ASCII subject topic 1:2", ["* SEARCH 1 2"]),
    ("search 5:100", ["* SEARCH 5 6"]),
    ("search 100:200", ["* SEARCH"]),
    ("search from emile", ["* SEARCH"]),
    ("search from Emile", ["* SEARCH"]),
    ("search charset utf-8 from {6+}\r\némile", ["* SEARCH 3"]),
    ("search return () seen", ['* ESEARCH (TAG "@") ALL 1,3']),
    ("uid search return (min max count all) all", ['* ESEARCH (TAG "@") UID MIN 1 MAX 6 ALL 1:6 COUNT 6']),
    ("search return (min count) subject nothing", ['* ESEARCH (TAG "@") COUNT 0']),
    ("search return (context count) all", ['* ESEARCH (TAG "@") COUNT 6']),
    ("search return (partial 1:2) all", ['* ESEARCH (TAG "@") PARTIAL (1:2 1:2)']),
    ("search return (partial -1:-2 count) all", ['* ESEARCH (TAG "@") PARTIAL (-1:-2 5:6) COUNT 6']),
    ("search return (partial 7:9) all", ['* ESEARCH (TAG "@") PARTIAL (7:9 NIL)']),
    ("sort (date) utf-8 all", ["* SORT 6 5 4 3 2 1"]),
    ("sort (reverse arrival) utf-8 all", ["* SORT 6 5 4 3 2 1"]),
    ("uid sort (subject reverse date) utf-8 all", ["* SORT 3 6 1 4 2 5"]),
    ("sort (from) utf-8 all", ["* SORT 6 5 4 3 2 1"]),
    # RFC 5957: É is decomposed and stands right behind E, an address is shown where there is no name.
    ("sort (displayfrom) utf-8 all", ["* SORT 2 6 5 3 4 1"]),
    ("sort (reverse size) us-ascii subject nothing", ["* SORT"]),
    ("sort return () (date) utf-8 all", ['* ESEARCH (TAG "@") ALL 6,5,4,3,2,1']),
    # RFC 5267 3.1: the lowest and the highest of the order asked for.
    ("uid sort return (min max count) (date) utf-8 all", ['* ESEARCH (TAG "@") UID MIN 6 MAX 1 COUNT 6']),
    ("sort return (partial 2:3) (date) utf-8 all", ['* ESEARCH (TAG "@") PARTIAL (2:3 5,4)']),
    ("thread orderedsubject utf-8 all", ["* THREAD (6 3)(5 2)(4 1)"]),
    ("thread references utf-8 all", ["* THREAD (3 6)(2 5)(1 4)"]),
    ("uid thread refs utf-8 seen", ["* THREAD (3)(1)"]),
    ("thread references utf-8 subject nothing", ["* THREAD"]),
    ("search fuzzy subject {7+}\r\n1 topic", ["* SEARCH 1 4"]),
    (
        "search return (all relevancy) fuzzy body {11+}\r\nthe message",
        ['* ESEARCH (TAG "@") ALL 1,3,5 RELEVANCY (100 100 100)'],
    ),
    ("search not $", ["* SEARCH 1 2 3 4 5 6"]),
    ("search savedatesupported 1", ["* SEARCH 1"]),
    ("search older 1000000 younger 1", ["* SEARCH"]),
]
REFUSALS = [
    ("search", "BAD"),
    ("search frobozz", "BAD"),
    ("search charset klingon all", "NO [BADCHARSET (US-ASCII UTF-8)]"),
    ("sort (date) klingon all", "NO [BADCHARSET (US-ASCII UTF-8)]"),
    ("sort (color) utf-8 all", "BAD"),
    ("thread color utf-8 all", "BAD"),
    ("search return (relevancy) all", "BAD"),
    ("sort (relevancy) utf-8 all", "BAD"),
    ("search return (partial 1:2 all) all", "BAD"),
    ("search return (partial 1:-2) all", "BAD"),
    ('cancelupdate "none"', "BAD"),
    ("esearch in (mailboxes other) return (save) all", "BAD"),
    ("esearch in (selected-delayed) all", "BAD"),
]


def test_answers_and_refusals(tmp_path: Path) -> None:
    """One server for all: nothing of this changes anything."""

    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        for command, expected in ANSWERS:
            found = await client.ok(command)
            tag = f"t{client._tag}"
            assert found == [line.replace("@", tag, 1) for line in expected], command
        for command, refusal in REFUSALS:
            assert (await client.no(command)).startswith(refusal), command

    play(tmp_path, scene)


def test_relevancy(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        command = "sort return (all relevancy) (relevancy) utf-8 fuzzy text {9+}\r\nbody of a"
        found = await client.ok(command)
        match = re.fullmatch(r'\* ESEARCH \(TAG "\w+"\) ALL ([\d,:]+) RELEVANCY \(([\d ]+)\)', found[0])
        assert match is not None, found
        scores = [int(one) for one in match[2].split()]
        # The three that have it as it stands, then those that have its words.
        assert match[1].startswith("2,4,6,")
        assert scores == sorted(scores, reverse=True) and scores[2] > scores[3]

    play(tmp_path, scene)


def test_no_charset_with_utf8(tmp_path: Path) -> None:
    """RFC 6855 3."""

    async def scene(server: FakeImapd) -> None:
        client = await begin(server, "UTF8=ACCEPT")
        assert (await client.no("search charset utf-8 from x")).startswith("BAD")
        assert (await client.no("search return (count) charset utf-8 from x")).startswith("BAD")
        assert await client.ok('uid search from "émile"') == ["* SEARCH 3"]

    play(tmp_path, scene)


def test_rev2_is_answered_by_esearch(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server, "IMAP4rev2")
        assert await client.ok("search seen") == ['* ESEARCH (TAG "t10") ALL 1,3']
        assert await client.ok("uid search subject nothing") == ['* ESEARCH (TAG "t11") UID']
        assert await client.ok("search return (save) seen") == []
        assert await client.ok("sort (date) utf-8 seen") == ["* SORT 3 1"]

    play(tmp_path, scene)


def test_modseq_enables_condstore_and_is_told(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        status = await client.ok("status inbox (highestmodseq)")
        highest = status[0].partition("HIGHESTMODSEQ ")[2].rstrip(")")
        assert await client.ok("search modseq 1 all") == [f"* SEARCH 1 2 3 4 5 6 (MODSEQ {highest})"]
        assert await client.ok(f"search return (all) modseq {highest}") == [
            f'* ESEARCH (TAG "t{client._tag}") ALL 6 MODSEQ {highest}'
        ]
        assert await client.ok('sort (date) utf-8 modseq "/flags/\\\\draft" all 1 5:6') == [
            f"* SORT 6 5 (MODSEQ {highest})"
        ]
        # RFC 7162 3.1.5: nothing matches, nothing is told.
        assert await client.ok("search modseq 9223372036854775807") == ["* SEARCH"]
        least = await client.ok("search return (min) modseq 1")
        assert "MIN 1 MODSEQ " in least[0] and highest not in least[0]
        assert "MODSEQ" in (await client.ok("store 1 +flags (x)"))[-1]

    play(tmp_path, scene)


def test_saved_results(tmp_path: Path) -> None:
    """RFC 5182 2.1 and its examples."""

    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        assert await client.ok("search return (save) flagged") == []
        assert await client.ok("fetch $ (uid)") == ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)"]
        assert await client.ok("uid search uid $ seen") == ["* SEARCH 3"]
        assert await client.ok("search (or $ 1,3000:3021) not deleted") == ["* SEARCH 1 2 3"]
        # Neither BAD, nor another search, nor a failure of one without SAVE changes it.
        await client.no("search return (save) frobozz")
        await client.ok("search return (all) all")
        await client.no("search charset klingon all")
        assert await client.ok("search $") == ["* SEARCH 2 3"]
        # A message that is removed is no more among them.
        await client.ok("store 2 +flags.silent (\\Deleted)")
        await client.ok("uid expunge 2")
        assert await client.ok("search $") == ["* SEARCH 2"]
        assert await client.ok("uid search $") == ["* SEARCH 3"]
        # One that is answered NO empties it (example 5).
        await client.no("search return (save) charset klingon all")
        assert await client.ok("search $") == ["* SEARCH"]
        assert await client.ok("fetch $ flags") == []
        # Example 9: the second counts.
        await client.ok("search return (save) seen")
        await client.ok("search return (save min) all")
        assert await client.ok("search $") == ["* SEARCH 1"]
        assert await client.ok("sort return (save max) (date) utf-8 all") == [f'* ESEARCH (TAG "t{client._tag}") MAX 1']
        # What it means is looked up before it is overwritten.
        await client.ok("search return (save) 1:3")
        await client.ok("search return (save) $ seen")
        assert await client.ok("search $") == ["* SEARCH 1 2"]
        await client.ok("select inbox")
        assert await client.ok("search $") == ["* SEARCH"]

    play(tmp_path, scene)


def test_uidonly(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        client.session.enabled.add(b"UIDONLY")
        for command in ("search all", "sort (date) utf-8 all", "thread refs utf-8 all", "uid search 1:3"):
            assert (await client.no(command)).startswith("BAD [UIDREQUIRED]"), command
        assert await client.ok("uid search uid 1:3") == ["* SEARCH 1 2 3"]
        assert await client.ok("uid search $") == ["* SEARCH"]

    play(tmp_path, scene)


def test_no_expunge_shifts_numbers_during_search(tmp_path: Path) -> None:
    """RFC 9051 7.5.1: told at the end of UID SEARCH, and not before the end of SEARCH, SORT and THREAD."""

    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        other = await server.log_in("alice")
        await other.ok("select inbox")
        await other.ok("uid expunge 6")
        for command in ("search 5:*", "sort (arrival) utf-8 5:*", "thread refs utf-8 5"):
            assert not any("EXPUNGE" in line for line in await client.ok(command)), command
        assert await client.ok("uid search 5:*") == ["* SEARCH 5", "* 6 EXPUNGE"]
        assert await client.ok("search all") == ["* SEARCH 1 2 3 4 5"]

    play(tmp_path, scene)


def test_several_mailboxes(tmp_path: Path) -> None:
    """RFC 7377 2 and 3."""

    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice")
        for name in ("folder1", "folder2", "folder2/banana", "folder2/peach", "folder2/peach/stone", "empty", "&-x"):
            await client.ok(f"create {name}")
        for name in ("folder1", "folder1", "folder2/banana", "folder2/peach/stone", "&-x", "INBOX"):
            await client.append(name, "Subject: chad\r\n\r\nx\r\n")
        await client.append("folder2/peach", "Subject: other\r\n\r\nx\r\n", "(\\Seen)")

        async def ask(command: str) -> list[str]:
            found = await client.ok(command)
            assert all(f'* ESEARCH (TAG "t{client._tag}" MAILBOX ' in line and "UIDVALIDITY" in line for line in found)
            return [re.sub(r".* MAILBOX (\S+) UIDVALIDITY [1-9]\d*\) UID ", r"\1 ", line) for line in found]

        assert await ask('esearch in (mailboxes "folder1" subtree "folder2") unseen') == [
            "folder1 ALL 1:2",
            "folder2/banana ALL 1",
            "folder2/peach/stone ALL 1",
        ]
        assert await ask('esearch in (mailboxes folder1 subtree-one folder2) subject "chad"') == [
            "folder1 ALL 1:2",
            "folder2/banana ALL 1",
        ]
        # Nothing is told of mailboxes where nothing matches, whatever is asked for, nor of those that are none.
        assert await ask("esearch in (mailboxes (empty nowhere &-x folder1)) return (min max count) all") == [
            "&-x MIN 1 MAX 1 COUNT 1",
            "folder1 MIN 1 MAX 2 COUNT 2",
        ]
        personal = [line.partition(" ")[0] for line in await ask("esearch in (personal) all")]
        assert sorted(personal) == ["&-x", "INBOX", "folder1", "folder2/banana", "folder2/peach", "folder2/peach/stone"]
        assert await ask("esearch in (inboxes) all") == ["INBOX ALL 1"]
        await client.ok("subscribe folder2/peach")
        assert await ask("esearch in (subscribed) all") == ["folder2/peach ALL 1"]
        assert await ask("esearch in (mailboxes folder1 subtree folder1) return (partial -1:-1) all") == [
            "folder1 PARTIAL (-1:-1 2)"
        ]
        # Without a selected mailbox it cannot be searched.
        for command in ("esearch all", "esearch in (selected) all", "esearch in (personal) return (update) all"):
            assert (await client.no(command)).startswith("BAD"), command
        await client.ok("select folder1")
        assert await ask("esearch in (selected mailboxes (folder1 INBOX)) all") == ["folder1 ALL 1:2", "INBOX ALL 1"]
        assert await ask("esearch return (save all) 1") == ["folder1 ALL 1"]
        assert await client.ok("search $") == ["* SEARCH 1"]
        assert await ask("esearch subject nothing") == []

    play(tmp_path, scene)


def test_mailboxes_of_others(tmp_path: Path) -> None:
    """RFC 7377 2.2: right r for what is named, l as well for what is found; all else is passed over in silence."""

    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        for name in ("Work", "Work/Plans", "Work/Secret", "Work/Named"):
            await bob.ok(f"create {name}")
            await bob.append(name)
        for name, rights in (("Work", "lr"), ("Work/Plans", "lr"), ("Work/Named", "r"), ("Work/Secret", "l")):
            await bob.ok(f"setacl {name} alice@example.test {rights}")
        alice = await server.log_in("alice")

        async def ask(source: str) -> list[str]:
            found = await alice.ok(f"esearch in ({source}) all")
            return [line.partition(" MAILBOX ")[2].partition(" ")[0].strip('"') for line in found]

        top = "user/bob@example.test/Work"
        assert await ask(f'subtree "{top}"') == [top, f"{top}/Plans"]
        assert await ask(f'mailboxes ("{top}/Named" "{top}/Secret" "{top}/None")') == [f"{top}/Named"]
        assert await ask("personal") == []

    play(tmp_path, scene)


async def updates(client: Client, command: str) -> list[str]:
    return [line for line in await client.ok(command) if "ESEARCH" in line or "EXISTS" in line or "EXPUNGE" in line]


def test_results_that_are_kept(tmp_path: Path) -> None:
    """RFC 5267 4.3: ADDTO behind EXISTS, REMOVEFROM before EXPUNGE."""

    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        other = await server.log_in("alice")
        await other.ok("select inbox")
        assert await client.ok("uid search return (update count) flagged") == [
            f'* ESEARCH (TAG "t{client._tag}") UID COUNT 2'
        ]
        uid = f"t{client._tag}"
        await client.ok("search return (update) flagged")
        number = f"t{client._tag}"
        await client.ok("sort return (update all) (reverse subject reverse date) utf-8 not deleted")
        order = f"t{client._tag}"
        # Subjects: topic 2 (2, 5), topic 1 (1, 4), topic 0 (3); 6 is deleted.
        await other.ok("store 1 +flags (\\Flagged)")
        assert await updates(client, "noop") == [
            f'* ESEARCH (TAG "{uid}") UID ADDTO (0 1)',
            f'* ESEARCH (TAG "{number}") ADDTO (0 1)',
        ]
        await other.ok("store 2 +flags (\\Deleted)")
        await other.ok("store 6 -flags (\\Deleted)")
        assert await updates(client, "noop") == [
            f'* ESEARCH (TAG "{order}") REMOVEFROM (1 2)',
            # topic 0: 3 is newer than 6.
            f'* ESEARCH (TAG "{order}") ADDTO (5 6)',
        ]
        await other.ok("expunge")
        assert await updates(client, "noop") == [
            f'* ESEARCH (TAG "{uid}") UID REMOVEFROM (0 2)',
            f'* ESEARCH (TAG "{number}") REMOVEFROM (0 2)',
            "* 2 EXPUNGE",
        ]
        date = "Date: Mon, 10 Nov 2024 12:00:00 +0000\r\n\r\nx\r\n"
        await other.append("INBOX", f"Subject: topic 1\r\n{date}", "(\\Flagged)")
        await other.append("INBOX", f"Subject: topic 3\r\n{date}")
        assert await updates(client, "noop") == [
            "* 7 EXISTS",
            f'* ESEARCH (TAG "{uid}") UID ADDTO (0 7)',
            f'* ESEARCH (TAG "{number}") ADDTO (0 6)',
            # topic 3, then 5, 1, 4 and the new one of topic 1.
            f'* ESEARCH (TAG "{order}") ADDTO (1 7 5 6)',
        ]
        assert await updates(client, "noop") == []
        # A tag that is in use (4.3), and one that is given up (4.3.5).
        client._tag = int(uid[1:]) - 1
        assert (await client.no("search return (update) all")).startswith("BAD")
        client._tag = 100
        await client.ok(f'cancelupdate "{uid}" "{order}"')
        await other.ok("store 3 -flags (\\Flagged)")
        assert len(await updates(client, "noop")) <= 1
        await client.ok("select inbox")
        await other.ok("store 1:* +flags (\\Flagged)")
        assert await updates(client, "noop") == []

    play(tmp_path, scene)


def test_numbers_in_a_kept_search_mean_what_they_meant(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        await client.ok("search return (save) 1")
        await client.ok("uid search return (update) or 2:3 $ unseen")
        tag = f"t{client._tag}"
        await client.ok("store 1 +flags (\\Deleted)")
        await client.ok("search return (save) 5")
        # By the numbers after this 2 and 3 are UIDs 3 and 4, and 4 was never meant.
        assert "* 1 EXPUNGE" in await client.ok("uid expunge 1")
        assert await updates(client, "store 1 +flags (\\Seen)") == [f'* ESEARCH (TAG "{tag}") UID REMOVEFROM (0 2)']
        assert await updates(client, "store 3 +flags (\\Flagged)") == []

    play(tmp_path, scene)


def test_too_many_kept_results(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        for _ in range(16):
            assert not any("NOUPDATE" in line for line in await client.ok("search return (update count) all"))
        found = await client.ok("search return (update count) all")
        # RFC 5267 4.3.1: all else is done.
        assert found[0].endswith("COUNT 6")
        assert found[1].startswith(f'* NO [NOUPDATE "t{client._tag}"]')

    play(tmp_path, scene)


def test_a_kept_result_of_esearch(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        first = await client.ok("esearch return (update all) flagged")
        correlator = first[0].partition(" UID ")[0]
        assert await updates(client, "store 4 +flags (\\Flagged)") == [f"{correlator} UID ADDTO (0 4)"]

    play(tmp_path, scene)


def test_long_searches_tell_that_they_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585 4."""
    monkeypatch.setattr("tubepost.services.imapd.searching._PATIENCE", 0.0)
    monkeypatch.setattr("tubepost.common.mailbox.maildir.fulltext.BATCH", 2)

    async def scene(server: FakeImapd) -> None:
        client = await begin(server)
        found = await client.ok('search text "a message"')
        told = [line for line in found if "INPROGRESS" in line]
        assert all(re.match(rf'\* OK \[INPROGRESS \("t{client._tag}" (\d+ \d+|NIL NIL)\)\] ', line) for line in told)
        assert told and found[-1] == "* SEARCH 2 4 6"

    play(tmp_path, scene)


def test_all_of_it_is_announced(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice")
        words = set((await client.ok("capability"))[0].split())
        assert words >= {
            "ESEARCH", "SEARCHRES", "SORT", "SORT=DISPLAY", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "THREAD=REFS",
            "ESORT", "CONTEXT=SEARCH", "CONTEXT=SORT", "PARTIAL", "MULTISEARCH", "SEARCH=FUZZY", "I18NLEVEL=1",
            "WITHIN", "INPROGRESS",
        }  # fmt: skip

    play(tmp_path, scene)


def test_threads_of_ids_with_spaces(tmp_path: Path) -> None:
    """RFC 5322 3.6.4: within quotes the left part of a message-id may have some."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox", 'Subject: one\r\nMessage-ID: <"a b"@x.example>\r\n\r\n')
        await alice.append("inbox", "Subject: two\r\nMessage-ID: <b@x.example>\r\n\r\n")
        await alice.append(
            "inbox", 'Subject: three\r\nMessage-ID: <3@x.example>\r\nReferences: <"a b"@x.example>\r\n\r\n'
        )
        await alice.append("inbox", 'Message-ID: <4@x.example>\r\nIn-Reply-To: <"a b"@x.example>\r\n\r\n')
        await alice.ok("select inbox")
        assert await alice.ok("thread references us-ascii all") == ["* THREAD (1 (3)(4))(2)"]
        ids = [line.rpartition("THREADID (")[2] for line in await alice.ok("fetch 1:4 threadid")]
        assert ids[0] == ids[2] == ids[3] != ids[1]

    play(tmp_path, scene)
