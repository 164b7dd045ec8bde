"""What a client may make the server keep in memory, and what happens while other processes write."""

import asyncio
import itertools
import os
import sqlite3
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.view import View

from tests.fakes.imap import Client, FakeImapd, play
from tubepost.services.imapd import selected
from tubepost.services.imapd.commands import fetch, select
from tubepost.services.imapd.selected import Selected


def put(folder: Folder) -> None:
    draft = folder.draft()
    draft.write(b"Subject: x\r\n\r\nbody\r\n")
    draft.finish()
    folder.append([draft])


async def settled(client: Client) -> int:
    """Octets that were sent, once no more come."""
    before = -1
    while before != len(client.transport.sent):
        before = len(client.transport.sent)
        await asyncio.sleep(0.02)
    return before


def test_a_message_that_is_wanted_many_times_over(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        line = "x" * 78 + "\r\n"
        await alice.append("inbox", "Subject: x\r\n\r\n" + line * 6000)
        await alice.ok("select inbox")
        wanted = " ".join(f"BODY.PEEK[]<{start}.400000>" for start in range(64))
        alice.session.pause_writing()
        alice.write(f"a fetch 1 ({wanted})\r\n".encode())
        assert await settled(alice) < 2_000_000
        alice.session.resume_writing()
        answer = await alice.lines("a")
        assert answer[-1].startswith("a OK") and len(answer) == 2
        assert answer[0].count("{400000}") == 64 and len(answer[0]) > 64 * 400000

    play(tmp_path, scene)


def test_what_the_index_tells_of_many_messages_is_bounded(tmp_path: Path) -> None:
    """A message of 45 KiB can have a structure of 1 MiB: not all of them are read at once, nor sent unasked."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + "--b\r\n\r\n" * 9000
        for _ in range(30):
            await alice.append("inbox", parts)
        await alice.ok("select inbox")
        size = len((await alice.ok("fetch 1 (body bodystructure)"))[0])
        assert size > 1_000_000
        alice.session.pause_writing()
        tracemalloc.start()
        try:
            alice.write(b"a fetch 1:30 (uid body bodystructure)\r\n")
            assert await settled(alice) < 3 * size
            assert tracemalloc.get_traced_memory()[1] < 16_000_000
        finally:
            tracemalloc.stop()
        alice.session.resume_writing()
        answer = await alice.lines("a")
        assert [line.split()[1:5] for line in answer[:-1]] == [[str(n), "FETCH", "(UID", str(n)] for n in range(1, 31)]
        assert answer[-1] == "a OK FETCH completed"

    play(tmp_path, scene)


def test_one_header_that_is_wanted_many_times_over(tmp_path: Path) -> None:
    """Of many messages: others get their turn meanwhile, and no more is made than the client takes."""

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        for _ in range(50):
            await alice.append("inbox", f"Subject: {'x' * 900}\r\n\r\n")
        await alice.ok("select inbox")
        names = ("".join(letters) for letters in itertools.product(*zip("subject", "SUBJECT", strict=True)))
        wanted = " ".join(f"BODY.PEEK[HEADER.FIELDS ({name})]" for name in names)
        alice.session.pause_writing()
        alice.write(f"a fetch 1:50 ({wanted})\r\n".encode())
        await other.ok("noop")
        assert await settled(alice) < 1_000_000
        alice.session.resume_writing()
        answer = await alice.lines("a")
        assert len(answer) == 51 and all(line.count("x" * 900) == 128 for line in answer[:-1])

    play(tmp_path, scene)


def test_pieces_of_large_and_small_messages_are_the_same(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n"
        parts += "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        for lines in (10, 40_000):
            await alice.append("inbox", parts + ("=\r\n" * lines + "a=3Db\r\n") * 12 + "--b--\r\n")
        await alice.ok("select inbox")
        for number in (1, 2):
            answer = await alice.ok(
                f"fetch {number} (FLAGS BODY.PEEK[1] BINARY.SIZE[2] UID BINARY.PEEK[2] BODY.PEEK[HEADER.FIELDS (X)])"
            )
            text = "a=b\r\n" * 11 + "a=b"
            assert answer == [
                f"* {number} FETCH (FLAGS (\\Recent) BODY[1] {{3}}\r\none BINARY.SIZE[2] {len(text)} UID {number}"
                f" BINARY[2] {{{len(text)}}}\r\n{text} BODY[HEADER.FIELDS (X)] {{2}}\r\n\r\n)"
            ]

    play(tmp_path, scene)


def test_an_encoding_that_is_not_known_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        for size in (10, 1_500_000):
            await alice.append("inbox", "Content-Transfer-Encoding: x-own\r\n\r\n" + ("x" * 78 + "\r\n") * (size // 80))
        await alice.ok("select inbox")
        for number in (1, 2):
            assert await alice.do(f"fetch {number} (BODY.PEEK[HEADER] BINARY.PEEK[1])") == [
                "NO [UNKNOWN-CTE] the content-transfer-encoding 'x-own' is not known"
            ]

    play(tmp_path, scene)


def test_news_wait_while_a_client_does_not_read(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        for _ in range(50):
            await other.append("inbox")
        await alice.ok("select inbox")
        await other.ok("select inbox")
        alice.write(b"a idle\r\n")
        assert await alice.line() == b"+ idling"
        await settled(alice)
        alice.transport.sent.clear()
        alice.session.pause_writing()
        for _ in range(20):
            await other.ok("store 1:* +flags.silent (one)")
            await other.ok("store 1:* -flags.silent (one)")
            await asyncio.sleep(0)
        assert await settled(alice) < 20 * 50 * 20
        alice.session.resume_writing()
        alice.write(b"done\r\n")
        assert (await alice.lines("a"))[-1].startswith("a OK")

    play(tmp_path, scene)


def test_a_message_that_comes_while_the_mailbox_is_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox")
        second = MaildirAccount(f"{tmp_path}/alice")

        class Late(Selected):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                # Another process, between the look at the mailbox and its description.
                put(second.folder("INBOX"))
                assert isinstance(self.folder, Folder)
                self.folder.verified = time.monotonic()

        with monkeypatch.context() as patch:
            patch.setattr(select, "Selected", Late)
            assert "* 1 EXISTS" in await alice.ok("select inbox")
        assert "* 2 EXISTS" in await alice.ok("noop")
        second.close()

    play(tmp_path, scene)


def test_a_mailbox_whose_index_was_made_anew(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        first = await server.log_in("alice")
        # Keeps the account in use.
        await server.log_in("alice")
        await first.append("inbox")
        (before,) = [line for line in await first.ok("select inbox") if "MAILBOXID" in line]
        root = f"{tmp_path}/alice"
        for suffix in ("-wal", "-shm", ""):
            os.unlink(f"{root}/tubepost.db{suffix}")
        MaildirAccount(root).close()
        first.write(b"a noop\r\n")
        assert await first.line() == b"* BYE The index of the mailbox had to be opened again; please come again"
        third = await server.log_in("alice")
        found = await third.ok("select inbox")
        assert "* 1 EXISTS" in found and before not in found

    play(tmp_path, scene)


def test_flags_that_changed_before_the_mailbox_was_read(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        for _ in range(3):
            await other.append("inbox")
        await other.ok("select inbox")
        await alice.ok("select inbox")
        await other.ok("store 2 +flags (\\Flagged)")
        found = await alice.ok("fetch 1 (uid)")
        assert found[0] == "* 1 FETCH (UID 1)"
        assert [line for line in found if "FLAGS" in line and " 2 FETCH" in line and "Flagged" in line], found
        assert not [line for line in await alice.ok("noop") if "FETCH" in line]

    play(tmp_path, scene)


def test_long_lists_are_read_in_threads_and_told_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selected, "_LONG", 3)
    monkeypatch.setattr(fetch, "_FLAGS", 2)
    load = Selected._load
    threads = []

    def note(self: Selected) -> View:
        threads.append(threading.current_thread() is threading.main_thread())
        return load(self)

    monkeypatch.setattr(Selected, "_load", note)

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "IMAP4rev2")
        for _ in range(3):
            await alice.append("inbox")
        await alice.ok("select inbox")
        await alice.ok("unselect")
        await alice.ok("select inbox")
        assert await alice.ok("fetch 1:* flags") == [f"* {number} FETCH (FLAGS ())" for number in range(1, 4)]
        assert threads == [True]
        for _ in range(2):
            await alice.append("inbox")
        await alice.ok("select inbox")
        await alice.ok("unselect")
        await alice.ok("select inbox")
        assert await alice.ok("uid fetch 1,3:5 flags") == [
            f"* {number} FETCH (UID {number} FLAGS ())" for number in (1, 3, 4, 5)
        ]
        assert threads == [True, False]

    play(tmp_path, scene)


def test_directories_that_a_backup_has_lost(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create x")
        await alice.append("x")
        await alice.ok("select x")
        for part in ("new", "tmp"):
            os.rmdir(f"{tmp_path}/alice/.x/{part}")
        await alice.ok("noop")
        os.rmdir(f"{tmp_path}/alice/.x/tmp")
        assert (await alice.append("x"))[-1].startswith("OK")
        os.rmdir(f"{tmp_path}/alice/.x/new")
        assert "* 2 EXISTS" in await alice.ok("select x")

    play(tmp_path, scene)


def test_a_disk_that_is_full_ends_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await alice.ok("select inbox")
        await other.append("inbox")

        def full(_: Folder) -> tuple[int, int]:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "settle_new", full)
            for _ in range(2):
                assert (await alice.do("noop"))[-1].startswith("OK")
        await alice.ok("noop")
        assert "(UID 1)" in (await alice.ok("fetch 1 uid"))[0]
        await other.append("inbox")
        assert "* 2 EXISTS" in await alice.ok("noop")

    play(tmp_path, scene)
