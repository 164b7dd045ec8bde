"""The store on a real Maildir: folders, messages, flags, removals, and other programs at the same files."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.maildir.names import directory_of, folder_of
from tubepost.common.mailbox.store import FolderExists, NoSuchFolder, NoSuchMessage
from tubepost.common.mailbox.values import BadName

from tests.fakes.maildir import put, read


def other(account: MaildirAccount) -> MaildirAccount:
    """The same account as another process would have it."""
    return MaildirAccount(account.root)


def deliver(account: MaildirAccount, name: str, text: bytes = b"Subject: y\n\nbody\n", place: str = "new") -> Path:
    path = Path(account.root) / place / name
    path.write_bytes(text)
    age(account)
    return path


def age(account: MaildirAccount, folder: str = "") -> None:
    """Directories changed long ago, so that their times count at once."""
    for part in ("new", "cur"):
        path = Path(account.root) / folder / part
        stamp = time.time_ns() - 1_000_000_000 - next(_ages)
        os.utime(path, ns=(stamp, stamp))


_ages = iter(range(1, 1_000_000))


def flags(folder: Folder) -> dict[int, tuple[str, ...]]:
    return {uid: folder.account.flagsets.flags(number) for uid, number in folder.uids()}


def test_an_appended_message_is_there_with_everything(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    uid = put(inbox, b"Subject: Hello\r\nFrom: A <a@b.example>\r\n\r\none\r\ntwo\r\n", flags=("\\Seen", "foo"))
    assert uid == 1
    assert read(inbox, uid) == b"Subject: Hello\nFrom: A <a@b.example>\n\none\ntwo\n"
    assert flags(inbox) == {1: ("\\Seen", "foo")}
    row = next(iter(inbox.rows(("uid", "size", "internal", "subject", "preview"), [1])))
    assert row == (1, 51, 1_000_000_000, "HELLO", "one two")
    assert inbox.status()[:4] == (1, 0, 0, 51)
    assert account.usage() == (51, 1)
    assert [name for name in os.listdir(f"{account.root}/cur") if name.endswith(":2,Sa")]


def test_a_bare_cr_and_a_split_crlf_are_kept_and_counted(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    draft = inbox.draft()
    for piece in (b"Subject: x\r", b"\n\r\na\rb\r", b"\r\n", b"end\r"):
        draft.write(piece)
    draft.finish()
    (uid,) = inbox.append([draft])
    assert read(inbox, uid) == b"Subject: x\n\na\rb\r\nend\r"
    size = next(iter(inbox.rows(("size",), [uid])))[0]
    # With CRLF for the LFs that have no CR: "\r\r\n" became "\r\n", which is a CRLF to every reader.
    assert size == draft.octets


def test_uids_are_never_given_twice(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    assert [put(inbox) for _ in range(3)] == [1, 2, 3]
    assert inbox.remove([2, 3]) == [2, 3]
    assert put(inbox) == 4
    assert [uid for uid, _ in inbox.uids()] == [1, 4]
    assert other(account).folder("INBOX").status().uidnext == 5


def test_store_modes_and_modseq(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    for _ in range(3):
        put(inbox)
    before = inbox.status().modseq
    done = inbox.store([1, 2], "+", ["\\Seen", "$Work"])
    assert [row[0] for row in done.changed] == [1, 2]
    assert {row[2] for row in done.changed} == {inbox.status().modseq}
    assert inbox.status().modseq > before
    assert inbox.status().unseen == 1
    # Nothing changes, so no modification sequence does (RFC 7162 3.1.3).
    assert inbox.store([1], "+", ["\\seen", "$WORK"]).changed == []
    assert flags(inbox)[1] == ("\\Seen", "$Work")
    failed = inbox.store([1, 3], "=", ["\\Flagged"], unchanged_since=before)
    assert failed.modified == [1]
    assert [row[0] for row in failed.changed] == [3]
    assert inbox.store([1], "-", ["\\Seen"]).changed
    assert flags(inbox) == {1: ("$Work",), 2: ("\\Seen", "$Work"), 3: ("\\Flagged",)}
    assert inbox.keywords() == ["$Work"]
    assert inbox.status().unseen == 2


def test_flags_reach_the_names_of_files(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    inbox.store([1], "+", ["\\Seen", "\\Flagged", "$Forwarded", "later"])
    while inbox.flush():
        pass
    (name,) = os.listdir(f"{account.root}/cur")
    assert name.endswith(":2,FPSa")
    assert Path(account.root, "dovecot-keywords").read_text() == "0 later\n"
    # Without the index the same flags are found.
    account.close()
    for file in Path(account.root).glob("tubepost.db*"):
        file.unlink()
    account.__init__(account.root)  # type: ignore[misc]
    inbox = account.folder("INBOX")
    inbox.sync()
    assert flags(inbox) == {1: ("\\Flagged", "\\Seen", "$Forwarded", "later")}


def test_changes_and_removals_are_told_since_a_modseq(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    for _ in range(4):
        put(inbox)
    since = inbox.status().modseq
    inbox.store([2], "+", ["\\Deleted"])
    assert inbox.expunge() == [2]
    inbox.store([3], "+", ["\\Seen"])
    put(inbox)
    changes = inbox.changes(since)
    assert changes.gone == [2]
    assert [row[0] for row in changes.changed] == [3, 5]
    assert inbox.changes(inbox.status().modseq) == ([], [])


def test_expunge_takes_only_what_is_marked(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    for _ in range(4):
        put(inbox)
    inbox.store([1, 3], "+", ["\\Deleted"])
    assert inbox.expunge([1, 2]) == [1]
    assert inbox.expunge() == [3]
    assert inbox.status()[:3] == (2, 2, 0)
    assert len(os.listdir(f"{account.root}/cur")) == 2


def test_copy_and_move(account: MaildirAccount) -> None:
    inbox, target = account.folder("INBOX"), account.create("Work/Plans")
    for number in range(3):
        put(inbox, b"Subject: %d\r\n\r\n\r\n" % number, flags=("\\Seen", "foo"))
    old, new = inbox.copy([1, 3], target)
    assert (old, new) == ([1, 3], [1, 2])
    assert flags(target) == {1: ("\\Seen", "foo"), 2: ("\\Seen", "foo")}
    assert read(target, 2) == read(inbox, 3)
    ids = [row[0] for row in target.rows(("emailid",), [1, 2])]
    assert ids == [row[0] for row in inbox.rows(("emailid",), [1, 3])], "RFC 8474 5.1: the same message"
    since = inbox.status().modseq
    assert inbox.move([1, 2], target) == ([1, 2], [3, 4])
    assert inbox.changes(since).gone == [1, 2]
    assert inbox.status().messages == 1
    assert target.status().messages == 4
    assert account.usage().messages == 5
    assert account.database.one("SELECT count(*) FROM intent")[0] == 0


def test_copy_to_itself_and_move_to_itself(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    assert inbox.copy([1], inbox) == ([1], [2])
    assert inbox.move([1], inbox) == ([1], [3])
    assert [uid for uid, _ in inbox.uids()] == [2, 3]


def test_mail_of_another_program_is_noticed(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    inbox.sync()
    deliver(account, "1700000002.b.host")
    deliver(account, "1700000001.a.host")
    deliver(account, ".hidden")
    assert inbox.stale()
    inbox.sync()
    rows = list(inbox.rows(("uid", "file", "size"), [1, 2]))
    assert [row[1] for row in rows] == ["1700000001.a.host", "1700000002.b.host"], "in the order of delivery"
    assert rows[0][2] == len(b"Subject: y\r\n\r\nbody\r\n")
    assert inbox.settle_new() == (1, 3)
    while inbox.flush():
        pass
    assert os.listdir(f"{account.root}/new") == [".hidden"]
    assert inbox.settle_new() == (3, 3)


def test_flags_of_another_program_are_noticed(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    put(inbox)
    (first,) = [row[0] + row[1] for row in inbox.rows(("file", "info"), [1])]
    since = inbox.status().modseq
    os.rename(f"{account.root}/cur/{first}", f"{account.root}/cur/{first}FS")
    age(account)
    inbox.sync()
    assert flags(inbox) == {1: ("\\Flagged", "\\Seen"), 2: ()}
    assert [row[0] for row in inbox.changes(since).changed] == [1]
    assert inbox.status().unseen == 1


def test_what_is_not_yet_in_a_name_survives_another_programs_change(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox, flags=("\\Draft",))
    inbox.store([1], "+", ["\\Answered", "kept"])
    (name,) = os.listdir(f"{account.root}/cur")
    # The other program has seen only D: it takes that away and adds S.
    os.rename(f"{account.root}/cur/{name}", f"{account.root}/cur/{name.removesuffix('D')}S")
    age(account)
    inbox.sync()
    assert flags(inbox) == {1: ("\\Answered", "\\Seen", "kept")}
    while inbox.flush():
        pass
    (name,) = os.listdir(f"{account.root}/cur")
    assert name.endswith(":2,RSa")


def test_removals_of_another_program_are_noticed(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    for _ in range(3):
        put(inbox)
    (path,) = [f"{account.root}/cur/{row[0]}{row[1]}" for row in inbox.rows(("file", "info"), [2])]
    os.unlink(path)
    with pytest.raises(NoSuchMessage):
        inbox.open(2)
    inbox.sync()
    assert [uid for uid, _ in inbox.uids()] == [1, 3]
    assert inbox.status().messages == 2


def test_a_renamed_file_is_still_read(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    (name,) = os.listdir(f"{account.root}/cur")
    os.rename(f"{account.root}/cur/{name}", f"{account.root}/cur/{name}T")
    assert read(inbox, 1) == b"Subject: x\n\nbody\n"
    assert flags(inbox)[1] == ("\\Deleted",)


def test_files_that_are_no_messages_do_no_harm(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    os.mkdir(f"{account.root}/new/directory")
    os.mkfifo(f"{account.root}/new/fifo")
    os.symlink("/etc/passwd", f"{account.root}/new/link")
    deliver(account, "17.good")
    inbox.sync()
    assert [row[0] for row in inbox.rows(("file",), [1, 2, 3])] == ["17.good"]


def test_two_processes_see_each_other(account: MaildirAccount) -> None:
    second = other(account)
    ours, theirs = account.folder("INBOX"), second.folder("INBOX")
    put(ours)
    assert theirs.status().messages == 1
    theirs.store([1], "+", ["\\Seen", "both"])
    assert flags(ours) == {1: ("\\Seen", "both")}
    assert ours.keywords() == ["both"]
    theirs.remove([1])
    assert ours.status().messages == 0
    second.create("New")
    assert [info.name for info in account.folders()] == ["INBOX", "New"]
    second.close()


def test_folders(account: MaildirAccount) -> None:
    account.create("Sent", ["\\Sent"])
    account.create("a/b.c/ü & co")
    with pytest.raises(FolderExists):
        account.create("Sent")
    assert [(info.name, info.special) for info in account.folders()] == [
        ("INBOX", ()),
        ("Sent", ("\\Sent",)),
        ("a/b.c/ü & co", ()),
    ]
    put(account.folder("a/b.c/ü & co"))
    account.rename("a", "z")
    assert account.folder("z/b.c/ü & co").status().messages == 1
    with pytest.raises(NoSuchFolder):
        account.folder("a/b.c/ü & co")
    with pytest.raises(FolderExists):
        account.rename("z/b.c/ü & co", "Sent")
    with pytest.raises(BadName):
        account.rename("Sent", "Sent/below")
    account.delete("z/b.c/ü & co")
    with pytest.raises(NoSuchFolder):
        account.folder("z/b.c/ü & co")
    assert not list(Path(account.root).glob(".z*"))
    assert account.database.one("SELECT count(*) FROM content")[0] == 0


def test_a_folder_made_again_has_another_uidvalidity(account: MaildirAccount) -> None:
    first = account.create("x").uidvalidity
    account.delete("x")
    assert account.create("x").uidvalidity > first


def test_folders_of_other_programs(account: MaildirAccount) -> None:
    for part in ("tmp", "new", "cur"):
        os.makedirs(f"{account.root}/.Made.Elsewhere/{part}")
    os.makedirs(f"{account.root}/.notafolder")
    assert [info.name for info in account.folders()] == ["INBOX", "Made/Elsewhere"]
    os.rename(f"{account.root}/.Made.Elsewhere", f"{account.root}/.Other")
    assert [info.name for info in account.folders()] == ["INBOX", "Other"]


def test_rename_of_inbox_moves_its_messages(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox, flags=("\\Seen",))
    account.rename("INBOX", "Old")
    assert inbox.status().messages == 0
    assert flags(account.folder("Old")) == {1: ("\\Seen",)}


@pytest.mark.parametrize("name", ["Work", "a/b", "a.b/c", "täglich", "日本語/会議", "a&b", "~x", "INBOX/x"])
def test_names_lead_back(name: str) -> None:
    assert folder_of(directory_of(name)) == name


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "a\x00b", "x" * 300, "\ud800"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(BadName):
        directory_of(name)


@pytest.mark.parametrize("name", [".", "..", "...", ".a..b", "cur", ".&bad", ".INBOX", ".a."])
def test_directories_that_are_no_folders(name: str) -> None:
    assert folder_of(name) is None


def test_a_corrupt_index_is_set_aside_and_built_anew(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    before = inbox.uidvalidity
    for _ in range(5):
        put(inbox, flags=("\\Seen",))
    account.close()
    Path(account.root, "tubepost.db").write_bytes(b"\x00garbage" * 4096)
    again = other(account)
    inbox = again.folder("INBOX")
    inbox.sync()
    assert flags(inbox) == dict.fromkeys(range(1, 6), ("\\Seen",))
    assert list(Path(account.root).glob("tubepost.db.corrupt.*"))
    # Within the same second: the UIDs may not be what they were.
    assert inbox.uidvalidity > before
    again.close()
    account.__init__(account.root)  # type: ignore[misc]


def test_a_newer_index_is_not_touched(account: MaildirAccount) -> None:
    account.database.connection.execute("PRAGMA user_version=99")
    with pytest.raises(OSError, match="newer version"):
        other(account)


def test_an_unfinished_copy_of_a_dead_process_is_taken_back(account: MaildirAccount) -> None:
    name = "1700000001.M1P1Q1.host"
    account.database.connection.execute("INSERT INTO intent (directory, files) VALUES ('', ?)", (f"{name}\nnever",))
    Path(account.root, "cur", f"{name}:2,S").write_bytes(b"half")
    # By a process that had the account open when the other died, and by one that opens it.
    age(account)
    account.folder("INBOX").sync()
    assert account.folder("INBOX").status().messages == 0
    assert os.listdir(f"{account.root}/cur") == []
    account.database.connection.execute("INSERT INTO intent (directory, files) VALUES ('', ?)", (f"{name}\nnever",))
    Path(account.root, "cur", f"{name}:2,S").write_bytes(b"half")
    second = other(account)
    assert os.listdir(f"{account.root}/cur") == []
    assert second.database.one("SELECT count(*) FROM intent")[0] == 0
    second.close()


def test_several_messages_are_appended_or_none(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = account.folder("INBOX")
    drafts = []
    for number in range(3):
        draft = inbox.draft()
        draft.write(b"Subject: %d\r\n\r\n" % number)
        draft.finish()
        drafts.append(draft)
    os.unlink(drafts[2].path)
    with pytest.raises(OSError):
        inbox.append(drafts)
    for draft in drafts:
        draft.discard()
    inbox.sync()
    assert inbox.status().messages == 0
    assert os.listdir(f"{account.root}/cur") == []
    assert os.listdir(f"{account.root}/tmp") == []


def test_dovecots_maildir_is_taken_over(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    for part in ("tmp", "new", "cur", ".Work.Plans/tmp", ".Work.Plans/new", ".Work.Plans/cur"):
        (root / part).mkdir(parents=True)
    (root / "cur" / "1700000001.M1.host,S=20:2,Sab").write_text("Subject: a\n\n")
    (root / "cur" / "1700000003.M3.host:2,F").write_text("Subject: c\n\n")
    (root / "new" / "1700000002.M2.host").write_text("Subject: b\n\n")
    (root / "dovecot-uidlist").write_text(
        "3 V1600000000 N42 G0123456789abcdef\n7 :1700000001.M1.host,S=20:2,S\n"
        "30 W100 :1700000003.M3.host\n31 :1700000099.gone\n"
    )
    (root / "dovecot-keywords").write_text("0 $Label1\n1 Work\n")
    (root / "subscriptions").write_text("V\t2\n\nWork\tPlans\nSent\n")
    account = MaildirAccount(str(root))
    inbox = account.folder("INBOX")
    inbox.sync()
    assert flags(inbox) == {7: ("\\Seen", "$Label1", "Work"), 30: ("\\Flagged",), 42: ()}
    assert inbox.uidvalidity == 1600000000 and account.folder("INBOX").status().uidnext == 43
    assert account.subscriptions() == ["Sent", "Work/Plans"]
    assert [info.name for info in account.folders()] == ["INBOX", "Work/Plans"]
    account.close()


def test_threads_follow_references(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox, b"Message-ID: <a@x>\r\nSubject: s\r\n\r\n")
    put(inbox, b"Message-ID: <b@x>\r\nReferences: <a@x>\r\nSubject: Re: s\r\n\r\n")
    put(inbox, b"Message-ID: <c@x>\r\nSubject: other\r\n\r\n")
    threads = [row[0] for row in inbox.rows(("threadid",), [1, 2, 3])]
    assert threads[0] == threads[1] != threads[2]


def test_a_busy_index_is_waited_for_and_then_said(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    blocker = sqlite3.connect(f"{account.root}/tubepost.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    account.database.connection.execute("PRAGMA busy_timeout=10")
    with pytest.raises(sqlite3.OperationalError):
        inbox.store([1], "+", ["\\Seen"])
    blocker.execute("ROLLBACK")
    assert inbox.store([1], "+", ["\\Seen"]).changed
    blocker.close()
