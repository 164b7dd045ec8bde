"""Another process puts a new index in the place of the one that is open here."""

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.auth import User
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.database import Database
from tubepost.common.skeleton.mailboxes import Mailboxes


def _replace(root: Path) -> None:
    """As a process does that found it corrupt."""
    for suffix in ("-wal", "-shm"):
        (root / f"tubepost.db{suffix}").unlink(missing_ok=True)
    os.rename(root / "tubepost.db", root / "tubepost.db.corrupt.1")
    MaildirAccount(str(root)).close()


def test_after_an_error_the_new_one_is_opened(tmp_path: Path) -> None:
    root = tmp_path / "box"
    account = MaildirAccount(str(root))
    before = account.folder("INBOX").mailboxid
    assert not account.recover(sqlite3.OperationalError("database is locked"))
    _replace(root)
    assert account.recover(sqlite3.OperationalError("disk I/O error"))
    assert account.folder("INBOX").mailboxid != before
    assert not account.database.replaced
    assert not account.recover(sqlite3.OperationalError("database is locked"))
    account.close()


def test_an_account_that_waits_for_the_next_user_is_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "box"
    user = User(name="a@b", mailbox=f"{root}/")

    async def run() -> None:
        mailboxes = Mailboxes(1, False)
        first = await mailboxes.open(user)
        before = first.account.folder("INBOX").mailboxid
        mailboxes.release(first)
        _replace(root)
        second = await mailboxes.open(user)
        assert second is first
        assert second.account.folder("INBOX").mailboxid != before
        mailboxes.release(second)
        mailboxes.close()

    asyncio.run(run())


def test_who_comes_while_the_old_one_is_in_use_gets_the_new_one(tmp_path: Path) -> None:
    root = tmp_path / "box"
    user = User(name="a@b", mailbox=f"{root}/")

    async def run() -> None:
        mailboxes = Mailboxes(1, False)
        first = await mailboxes.open(user)
        _replace(root)
        second = await mailboxes.open(user)
        assert (
            second is not first and second.account.folder("INBOX").mailboxid != first.account.folder("INBOX").mailboxid
        )
        assert await mailboxes.open(user) is second
        mailboxes.release(first)
        await mailboxes.in_thread(int)
        with pytest.raises(sqlite3.ProgrammingError):
            first.account.folder("INBOX")
        mailboxes.release(second)
        mailboxes.release(second)
        assert mailboxes.get(str(root)) is second
        mailboxes.close()

    asyncio.run(run())


def test_one_that_cannot_be_opened_again_is_not_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "box"
    user = User(name="a@b", mailbox=f"{root}/")

    async def run() -> None:
        mailboxes = Mailboxes(1, False)
        first = await mailboxes.open(user)
        mailboxes.release(first)
        _replace(root)
        with monkeypatch.context() as patch:
            patch.setattr(MaildirAccount, "_open", lambda _: (_ for _ in ()).throw(OSError("no")))
            with pytest.raises(OSError):
                await mailboxes.open(user)
        assert first.users == 0
        assert await mailboxes.open(user) is first
        mailboxes.close()

    asyncio.run(run())


def _ill(_: object) -> sqlite3.Connection:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    raise error


def test_one_that_the_disk_took_away_is_opened_for_the_next_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of reading, and opening it again meets the next one: it is not closed for ever."""
    user = User(name="a@b", mailbox=f"{tmp_path / 'box'}/")

    async def run() -> None:
        mailboxes = Mailboxes(1, False)
        first = await mailboxes.open(user)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "_try_open", _ill)
            with pytest.raises((OSError, sqlite3.Error)):
                await first.work(_ill, None)
        # Who had it open hears of the trouble, and comes again.
        assert first.account.is_replaced
        mailboxes.release(first)
        second = await mailboxes.open(user)
        assert await second.work(second.account.folders)
        mailboxes.release(second)
        mailboxes.close()

    asyncio.run(run())


def test_one_that_is_damaged_when_it_is_prepared_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "box"
    MaildirAccount(str(root)).close()
    prepare = MaildirAccount._prepare
    times = []

    def once(account: MaildirAccount) -> None:
        times.append(1)
        if len(times) == 1:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        prepare(account)

    monkeypatch.setattr(MaildirAccount, "_prepare", once)
    account = MaildirAccount(str(root))
    assert account.database.rebuilt
    assert len(list(root.glob("tubepost.db.corrupt.*"))) == 1
    account.close()


def test_what_another_process_made_since_it_was_found_corrupt_is_not_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "box"
    (root / "cur").mkdir(parents=True)
    (root / "tubepost.db").write_bytes(b"no index" * 1000)
    first: list[MaildirAccount] = []
    opened = Database._try_open

    def opens(database: Database) -> sqlite3.Connection:
        try:
            return opened(database)
        except sqlite3.DatabaseError:
            if not first:
                monkeypatch.undo()
                first.append(MaildirAccount(str(root)))
            raise

    monkeypatch.setattr(Database, "_try_open", opens)
    second = MaildirAccount(str(root))
    assert not first[0].database.replaced
    assert second.folder("INBOX").mailboxid == first[0].folder("INBOX").mailboxid
    assert len(list(root.glob("tubepost.db.corrupt.*"))) == 1
    first[0].close()
    second.close()


def test_an_index_that_was_put_aside_while_it_was_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "box"
    MaildirAccount(str(root)).close()
    connect = sqlite3.connect
    made: list[sqlite3.Connection] = []

    def connects(*arguments: Any, **named: Any) -> sqlite3.Connection:
        made.append(connect(*arguments, **named))
        if len(made) == 1:
            monkeypatch.undo()
            _replace(root)
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", connects)
    account = MaildirAccount(str(root))
    opened = {os.path.realpath(found.path) for found in os.scandir("/proc/self/fd")}
    # With the log of the new one, which SQLite knows by its name, it would be mixed.
    assert f"{root}/tubepost.db" in opened
    assert f"{root}/tubepost.db.corrupt.1" not in opened
    account.close()
