"""Other programs at the same Maildir: no message is lost or doubled, and no flag."""

import os

import pytest

from tubepost.common.mailbox.maildir import scan
from tubepost.common.mailbox.maildir.account import MaildirAccount

from tests.fakes.maildir import deliver, flags


@pytest.mark.parametrize("known", [True, False])
def test_a_message_that_another_program_moves_while_directories_are_read_is_one(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    folder = account.folder("INBOX")
    deliver(folder, "1700000001.M1P1.h")
    if known:
        folder.sync()
    listing = scan._listing
    moved = False

    def reads(directory: str) -> set[str]:
        nonlocal moved
        found = listing(directory)
        if directory.endswith("/new") and not moved:
            moved = True
            os.rename(f"{folder.path}/new/1700000001.M1P1.h", f"{folder.path}/cur/1700000001.M1P1.h:2,S")
        return found

    monkeypatch.setattr(scan, "_listing", reads)
    folder.sync(force=True)
    assert moved
    monkeypatch.undo()
    folder.sync(force=True)
    assert flags(folder) == {1: {"\\Seen"}}
    assert folder.status().messages == 1


def test_two_files_of_one_name_are_two_messages_until_one_goes(account: MaildirAccount) -> None:
    folder = account.folder("INBOX")
    deliver(folder, "1700000001.M1P1.h")
    deliver(folder, "1700000001.M1P1.h:2,S", "cur")
    folder.sync(force=True)
    assert len(folder.uids()) == 2
    os.unlink(f"{folder.path}/new/1700000001.M1P1.h")
    folder.sync(force=True)
    assert len(folder.uids()) == 1
    assert folder.status().messages == 1


def test_a_message_that_one_reading_of_the_directories_does_not_show_stays(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = account.folder("INBOX")
    deliver(folder, "1700000001.M1P1.h")
    folder.sync()
    listing = scan._listing
    hidden = 2

    def reads(directory: str) -> set[str]:
        nonlocal hidden
        if not hidden:
            return listing(directory)
        hidden -= 1
        if not hidden:
            os.rename(f"{folder.path}/new/1700000001.M1P1.h", f"{folder.path}/cur/1700000001.M1P1.h")
        return set()

    monkeypatch.setattr(scan, "_listing", reads)
    folder.sync(force=True)
    assert not hidden
    folder.sync(force=True)
    assert list(flags(folder)) == [1]


@pytest.mark.parametrize(
    ("before", "mode", "theirs", "after"),
    [("", "+", "S", "FS"), ("F", "-", "FS", "S"), ("F", "-", "FSX", "S"), ("", "+", "FSX", "FSX")],
)
def test_flags_that_could_not_be_told_because_the_file_was_renamed_are_told_later(
    account: MaildirAccount, before: str, mode: str, theirs: str, after: str
) -> None:
    folder = account.folder("INBOX")
    name = "1700000001.M1P1.h:2,"
    deliver(folder, name + before, "cur")
    folder.sync()
    folder.store([1], mode, ["\\Flagged"])
    os.rename(f"{folder.path}/cur/{name}{before}", f"{folder.path}/cur/{name}{theirs}")
    folder.flush()
    folder.sync(force=True)
    assert flags(folder) == {1: {"\\Flagged", "\\Seen"} if mode == "+" else {"\\Seen"}}
    while folder.flush():
        pass
    assert os.listdir(f"{folder.path}/cur") == [name + after]
