"""Another process puts a new index in the place of the one that is open here."""

import asyncio
import os
import sqlite3
from pathlib import Path

from tubepost.common.wire.auth import User
from tubepost.common.mailbox.maildir.account import MaildirAccount
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
