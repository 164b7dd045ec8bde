"""What fails half-way, and what other processes do in between: nothing of it stays behind."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir import folder as folder_module
from tubepost.common.mailbox.maildir import scan
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.store import NoSuchFolder, NoSuchMessage
from tubepost.common.mailbox.values import BadName

from tests.fakes.maildir import put


@pytest.fixture
def second(account: MaildirAccount) -> Iterator[MaildirAccount]:
    """The same account as another process would have it."""
    made = MaildirAccount(account.root)
    yield made
    made.close()


def flags(folder: Folder) -> list[set[str]]:
    return [set(folder.account.flagsets.flags(number)) for _, number in folder.uids()]


def test_a_commit_that_fails_leaves_no_transaction_open(account: MaildirAccount, second: MaildirAccount) -> None:
    execute = account.database.connection.execute
    execute("PRAGMA foreign_keys=ON")
    execute("CREATE TEMP TABLE above (id INTEGER PRIMARY KEY)")
    execute("CREATE TEMP TABLE below (id REFERENCES above DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), account.database.transaction():
        execute("INSERT INTO below VALUES (1)")
    assert not account.database.connection.in_transaction
    second.database.connection.execute("PRAGMA busy_timeout=1")
    put(second.folder("INBOX"))
    put(account.folder("INBOX"))
    assert account.folder("INBOX").status().messages == 2


def test_flags_of_a_store_that_failed_do_not_become_others(
    account: MaildirAccount, second: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, theirs = account.folder("INBOX"), second.folder("INBOX")
    put(inbox)
    put(inbox)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_file", full)
        with pytest.raises(OSError):
            inbox.store([1], "=", ["\\Flagged", "failed"])
    # The number that the failed set had is given to another.
    theirs.store([1], "=", ["\\Seen", "theirs"])
    assert flags(inbox) == [{"\\Seen", "theirs"}, set()]
    inbox.store([2], "=", ["\\Flagged", "failed"])
    assert flags(inbox) == flags(theirs) == [{"\\Seen", "theirs"}, {"\\Flagged", "failed"}]


def test_a_keyword_that_was_asked_for_before_it_was_set(account: MaildirAccount, second: MaildirAccount) -> None:
    inbox, theirs = account.folder("INBOX"), second.folder("INBOX")
    put(inbox)
    assert inbox.flagsets_with("project") == []
    theirs.store([1], "+", ["Project"])
    assert inbox.flagsets_with("project") == theirs.flagsets_with("project") != []
    inbox.store([1], "-", ["PROJECT"])
    assert flags(theirs) == [set()]


def test_one_store_with_two_spellings(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    inbox.store([1], "+", ["Twice", "twice"])
    assert flags(inbox) == [{"Twice"}]


def test_a_set_that_there_is_none_of_is_not_kept(account: MaildirAccount) -> None:
    assert account.flagsets.flags(0) == ()
    put(account.folder("INBOX"))
    assert account.folder("INBOX").uids()[0][1] != 0


def test_a_folder_that_was_renamed_and_made_again_is_not_taken_for_the_old_one(
    account: MaildirAccount, second: MaildirAccount
) -> None:
    account.create("Archive")
    stale = account.folder("Archive")
    for _ in range(3):
        put(stale, flags=("kept",))
    stale.store([3], "+", ["\\Deleted"])
    second.rename("Archive", "Old")
    put(second.create("Archive"), flags=("other",))
    uids = stale.uids()
    for call in (
        lambda: stale.open(1),
        lambda: stale.expunge(),
        lambda: stale.remove([1]),
        lambda: put(stale),
        lambda: stale.flush(),
        lambda: stale.copy([1], account.folder("INBOX")),
        lambda: account.folder("INBOX").copy([], stale) and stale.move([1], account.folder("INBOX")),
    ):
        with pytest.raises((NoSuchFolder, NoSuchMessage)):
            call()
    old, new = second.folder("Old"), second.folder("Archive")
    for folder in (old, new):
        folder.sync()
    assert old.uids() == uids
    assert new.status().messages == 1
    assert sorted(os.listdir(f"{account.root}/.Archive/tmp"))[1:] == []


def test_a_rename_that_fails_half_way_changes_nothing(account: MaildirAccount) -> None:
    account.create("a")
    account.create("a/" + "b" * 120)
    validity = account.folder("a").uidvalidity
    with pytest.raises(BadName):
        account.rename("a", "c" * 200)
    assert account.folder("a").uidvalidity == validity
    account.renew()
    assert [info.name for info in account.folders()] == ["INBOX", "a", "a/" + "b" * 120]
    assert account.folder("a").uidvalidity == validity


def test_what_another_process_changes_is_moved_as_it_is_then(
    account: MaildirAccount, second: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = account.create("there")
    inbox, theirs = account.folder("INBOX"), second.folder("INBOX")
    put(inbox)
    transaction = account.database.transaction

    def late() -> object:
        monkeypatch.undo()
        theirs.store([1], "+", ["\\Seen", "late"])
        return transaction()

    monkeypatch.setattr(account.database, "transaction", late)
    inbox.move([1], target)
    assert flags(target) == [{"\\Seen", "late"}]
    assert target.status().unseen == 0
    assert inbox.status().unseen == 0


def test_files_that_others_renamed_are_found_by_one_look(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = account.folder("INBOX")
    uids = [put(inbox) for _ in range(20)]
    for name in os.listdir(f"{account.root}/cur"):
        os.rename(f"{account.root}/cur/{name}", f"{account.root}/cur/{name}S")
    looks = []
    listdir = os.listdir

    def look(path: str) -> list[str]:
        looks.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", look)
    assert inbox.remove(uids) == uids
    assert len(looks) == 2
    assert listdir(f"{account.root}/cur") == []


def test_what_was_noticed_is_known_even_when_it_cannot_be_made_durable(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = account.folder("INBOX")
    assert inbox.status().messages == 0
    Path(account.root, "new", "1.x.y").write_bytes(b"Subject: y\n\n")

    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(account.database, "sync", broken)
    with pytest.raises(OSError):
        inbox.sync()
    assert inbox.status().messages == 1


def test_folders_that_change_while_they_are_listed(
    account: MaildirAccount, second: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.create("x")
    stamp = 1_000_000_000_000_000_000
    os.utime(account.root, ns=(stamp, stamp))
    account.folders()
    account.generation += 1
    state = account.state

    def late() -> tuple[int, int]:
        found = state()
        if not changed:
            changed.append(1)
        elif len(changed) == 1:
            # After the folders were read, before their state is asked for, if it was in that order.
            changed.append(2)
            second.set_special("x", ["\\Junk"])
            found = state()
        return found

    changed: list[int] = []
    monkeypatch.setattr(account, "state", late)
    account.folders()
    monkeypatch.undo()
    assert {info.name: info.special for info in account.folders()}["x"] == ("\\Junk",)


def test_a_keyword_is_spelled_alike_in_every_folder(account: MaildirAccount) -> None:
    inbox, there = account.folder("INBOX"), account.create("there")
    put(inbox, flags=("Work",))
    put(there, flags=("WORK",))
    assert there.keywords() == ["Work"]
    assert [name.partition(":")[2] for name in os.listdir(f"{there.path}/cur")] == ["2,a"]


def test_files_are_measured_before_the_index_is_locked(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Path(account.root, "cur" if number else "new", f"{number}.a.b").write_bytes(b"Subject: y\n\nyes\n")
    measure = scan.measure
    locked = []

    def note(path: str) -> tuple[int, int] | None:
        locked.append(account.database.connection.in_transaction)
        return measure(path)

    monkeypatch.setattr(scan, "measure", note)
    inbox = account.folder("INBOX")
    inbox.sync()
    assert locked == [False] * 3
    assert inbox.status().messages == 3 and inbox.status().size == 3 * 19


def test_a_folder_whose_removal_cannot_be_committed_stays(account: MaildirAccount) -> None:
    folder = account.create("Work")
    put(folder, flags=("\\Seen",))
    execute = account.database.connection.execute
    execute("PRAGMA foreign_keys=ON")
    execute("CREATE TEMP TABLE above (id INTEGER PRIMARY KEY)")
    execute("CREATE TEMP TABLE below (id REFERENCES above DEFERRABLE INITIALLY DEFERRED)")
    execute("CREATE TEMP TRIGGER fail AFTER DELETE ON folder BEGIN INSERT INTO below VALUES (1); END")
    with pytest.raises(sqlite3.IntegrityError):
        account.delete("Work")
    execute("DROP TRIGGER fail")
    assert os.listdir(f"{account.root}/tmp") == []
    assert flags(account.folder("Work")) == [{"\\Seen"}]
    account.folder("Work").open(1)
    account.delete("Work")
    assert not os.path.exists(f"{account.root}/.Work")
    assert os.listdir(f"{account.root}/tmp") == []


def test_what_a_killed_process_left_is_tidied(account: MaildirAccount, tmp_path: Path) -> None:
    root = Path(account.root)
    account.create("Work")
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"x")
    half = root / "tmp" / "deleted.0123456789abcdef"
    (half / "cur" / "deeper").mkdir(parents=True)
    (half / "cur" / "deeper" / "1.x.h").write_bytes(b"x")
    (half / "link").symlink_to(elsewhere)
    (root / "tmp" / "deleted.link").symlink_to(elsewhere)
    (root / ".Work" / "tmp" / "1.old.h").write_bytes(b"x")
    now = half.stat().st_ctime
    # Its remover may still be at it, and put it back.
    account.tidy(["Work"], now + 300)
    assert half.exists()
    account.tidy(["Work"], now + 3600)
    assert not half.exists()
    assert os.listdir(root / ".Work" / "tmp") == ["1.old.h"]
    account.tidy(["Work"], now + 40 * 3600)
    assert os.listdir(root / "tmp") == os.listdir(root / ".Work" / "tmp") == []
    assert (elsewhere / "file").exists()


@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE])
@pytest.mark.parametrize("part", ["new", "cur"])
def test_what_cannot_be_read_now_is_looked_at_again(
    account: MaildirAccount, monkeypatch: pytest.MonkeyPatch, call: str, error: int, part: str
) -> None:
    """It was left out until something else changed in the directory; one bad file made the folder unusable."""
    inbox = account.folder("INBOX")
    put(inbox)
    name = f"1000000000.M1P1.x{':2,S' if part == 'cur' else ''}"
    path = Path(account.root, part, name)
    path.write_bytes(b"Subject: y\n\nbody\n")
    for place in ("new", "cur"):
        os.utime(Path(account.root, place), (1_000_000_000, 1_000_000_000))
    true = getattr(os, call)

    def fail(what: object, *more: object, **named: object) -> object:
        if what == str(path) or (call == "read" and os.readlink(f"/proc/self/fd/{what}") == str(path)):
            raise OSError(error, os.strerror(error))
        return true(what, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        inbox.sync()
        assert inbox.status().messages == 1
    inbox.verified = 0.0
    assert inbox.stale()
    inbox.sync()
    assert inbox.status().messages == 2
    assert not inbox.stale()
