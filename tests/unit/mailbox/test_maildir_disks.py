"""A bad or full disk, and what goes while it is copied."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir import transfer
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.backup import Backup

from tests.fakes.maildir import MAIL, put, read


def test_a_copy_that_finds_the_disk_full_leaves_no_piece_of_a_message(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = account.folder("INBOX"), account.create("Work")
    uid = put(folder)

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    def full(source: str, path: str) -> None:
        Path(path).write_bytes(b"Subject: x\n")
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(OSError):
        folder.copy([uid], target)
    assert [os.listdir(f"{target.path}/{part}") for part in ("tmp", "new", "cur")] == [[], [], []]
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", no_link)
    assert transfer.copy(folder, [uid], target)[0] == [uid]
    assert read(target, 1) == MAIL
    assert os.listdir(f"{target.path}/tmp") == []


def test_a_folder_that_cannot_be_looked_at_now_is_not_forgotten(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = account.create("Work")
    before = work.uidvalidity
    put(work)
    stat = os.stat

    def sick(path: object, *arguments: object, **named: object) -> os.stat_result:
        if str(path).endswith("/.Work/cur"):
            raise OSError(errno.EIO, "input/output error")
        return stat(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", sick)
    (Path(account.root) / ".Other" / "cur").mkdir(parents=True)
    try:
        account.folders()
    except OSError:
        pass
    monkeypatch.undo()
    found = account.folder("Work")
    assert found.uidvalidity == before
    assert found.status().messages == 1


def test_a_folder_that_goes_while_it_is_copied_is_not_in_the_copy(
    account: MaildirAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(account.folder("INBOX"))
    put(account.create("Going"))
    put(account.create("Work"))
    backup = Backup(account, str(tmp_path / "copy"))
    listed = backup._list_root
    second = MaildirAccount(account.root)
    gone = False

    def lists() -> list[str]:
        nonlocal gone
        found = listed()
        if not gone:
            gone = True
            second.delete("Going")
        return found

    monkeypatch.setattr(backup, "_list_root", lists)
    assert backup.run().messages == 2
    second.close()
    copy = MaildirAccount(str(tmp_path / "copy"))
    assert [info.name for info in copy.folders()] == ["INBOX", "Work"]
    copy.close()
