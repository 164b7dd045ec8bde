"""Check: each kind of damage is found, told as it is, left alone on request, and repaired without a loss."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.check import Check, Finding
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.maildir.upkeep import UNFINISHED


@pytest.fixture
def account(tmp_path: Path) -> Iterator[MaildirAccount]:
    made = MaildirAccount(str(tmp_path / "m"))
    made.create("Work")
    for name in ("INBOX", "Work"):
        for number in range(3):
            add(made.folder(name), number)
    yield made
    made.close()


def add(folder: Folder, number: int) -> None:
    draft = folder.draft()
    draft.write(b"Subject: %d\nMessage-ID: <%d@x>\n\nbody\n" % (number, number))
    draft.finish()
    draft.set(("\\Seen", "blue") if number else ())
    folder.append([draft])


def look(
    account: MaildirAccount, *, repair: bool = True, read: bool = False, now: float | None = None
) -> list[Finding]:
    return list(Check(account, repair=repair, read=read, now=now).run())


def run(account: MaildirAccount, sql: str, *values: object) -> None:
    account.database.connection.execute(sql, values)
    account.generation += 1


def dump(account: MaildirAccount) -> list[object]:
    """All but the times of directories: those are noted whenever they have aged enough to be believed."""
    tables = ("message", "content", "expunged", "keyword", "acl", "annotation", "words_data")
    questions = [f"SELECT * FROM {table}" for table in tables]
    questions += [
        "SELECT * FROM account WHERE key!='root_mtime'",
        "SELECT id, name, mailboxid, uidvalidity, uidnext, modseq, floor, recent, messages, unseen, deleted, size,"
        " special FROM folder",
    ]
    return [account.database.connection.execute(question).fetchall() for question in questions]


def files(account: MaildirAccount, folder: str = "INBOX") -> list[Path]:
    return sorted(Path(account.folder(folder).path, "cur").iterdir())


def test_nothing_is_wrong(account: MaildirAccount) -> None:
    assert look(account, read=True) == []


def hide(account: MaildirAccount) -> None:
    """As if the directories had been seen as they are now."""
    times = [os.stat(f"{account.root}/{part}").st_mtime_ns for part in ("new", "cur")]
    run(account, "UPDATE folder SET new_mtime=?, cur_mtime=? WHERE name='INBOX'", *times)


def remove_file(account: MaildirAccount) -> None:
    files(account)[0].unlink()
    hide(account)


def drop_file(account: MaildirAccount) -> None:
    Path(account.root, "new", "1.x.h").write_bytes(b"Subject: new\n\n")
    hide(account)


def rename_file(account: MaildirAccount) -> None:
    path = files(account)[0]
    path.rename(path.with_name(path.name.partition(":")[0] + ":2,FS"))
    hide(account)


def lose_rows(account: MaildirAccount) -> None:
    run(account, "DELETE FROM message WHERE folder=? AND uid=2", account.folder("INBOX").id)


def spoil_counters(account: MaildirAccount) -> None:
    run(account, "UPDATE folder SET messages=9, unseen=9, size=9, deleted=9, uidnext=2, modseq=1 WHERE name='Work'")


def leave_content(account: MaildirAccount) -> None:
    run(account, "INSERT INTO content (emailid) VALUES ('Mnobody')")


def lose_content(account: MaildirAccount) -> None:
    run(account, "DELETE FROM content WHERE id=(SELECT content FROM message WHERE uid=1 LIMIT 1)")


def leave_rows(account: MaildirAccount) -> None:
    run(account, "INSERT INTO expunged VALUES (77, 1, 1)")
    run(account, "INSERT INTO keyword (folder, name) VALUES (77, 'x')")
    run(account, "INSERT INTO acl VALUES (77, 'bob', 'lr')")
    run(account, "INSERT INTO annotation VALUES (77, '/private/comment', x'00')")


def lose_flags(account: MaildirAccount) -> None:
    run(account, "UPDATE message SET flagset=999 WHERE uid=1")


def spoil_sizes(account: MaildirAccount) -> None:
    run(account, "UPDATE message SET size=1 WHERE uid=3 AND folder=?", account.folder("Work").id)


def spoil_words(account: MaildirAccount) -> None:
    account.folder("INBOX").index()
    run(account, "UPDATE words_data SET block=x'00112233445566' WHERE id>10")


def keep_names(account: MaildirAccount) -> None:
    account.folder("INBOX").store([1], "+", ["\\Flagged"])


@pytest.mark.parametrize(
    ("harm", "words", "messages"),
    [
        (remove_file, ["1 messages of the index have no file any more"], 2),
        (drop_file, ["1 messages are not in the index"], 4),
        (rename_file, ["1 files have another name than the index says"], 3),
        (lose_rows, ["1 messages are not in the index"], 3),
        (spoil_counters, ["counters were wrong: messages 9 is 3, unseen 9 is 1"], 3),
        (leave_content, ["1 entries of messages that no folder has"], 3),
        (lose_content, ["1 messages had no entry for their content"], 3),
        (leave_rows, ["1 removals", "1 keywords", "1 annotations", "1 rights"], 3),
        (lose_flags, ["messages had flags that are not known"], 3),
        (spoil_sizes, ["1 messages have another size"], 3),
        (spoil_words, ["the full-text index is corrupt"], 3),
        (keep_names, ["1 files did not yet tell their flags"], 3),
    ],
)
def test_found_and_repaired(
    account: MaildirAccount, harm: Callable[[MaildirAccount], None], words: list[str], messages: int
) -> None:
    for name in ("INBOX", "Work"):
        # The directories are seen while they do not change any more.
        account.folder(name).sync()
    harm(account)
    before = dump(account)
    there = sorted(str(path) for path in Path(account.root).rglob("*"))
    looked = look(account, repair=False, read=True)
    assert dump(account) == before
    assert sorted(str(path) for path in Path(account.root).rglob("*")) == there
    repaired = look(account, read=True)
    for found in (looked, repaired):
        for word in words:
            assert any(word in finding.text for finding in found), found
    assert not any(finding.repaired for finding in looked)
    assert all(finding.repaired for finding in repaired)
    assert look(account, read=True) == []
    folder = account.folder("INBOX")
    folder.sync()
    assert folder.status().messages == messages == len(folder.uids())
    assert folder.status().size == sum(size for (size,) in folder.rows(("size",), [uid for uid, _ in folder.uids()]))


def test_what_every_reader_notices_is_no_fault(account: MaildirAccount) -> None:
    first, second, _ = files(account)
    first.unlink()
    second.rename(second.with_name(second.name.partition(":")[0] + ":2,FS"))
    Path(account.root, "new", "1.x.h").write_bytes(b"Subject: new\n\n")
    Path(account.root, "cur", "2.x.h:2,S").write_bytes(b"Subject: new\n\n")
    assert look(account) == []
    assert account.folder("INBOX").status().messages == 4


def test_what_deliveries_left(account: MaildirAccount) -> None:
    root = Path(account.root)
    old, young = root / "tmp" / "1.old.h", root / ".Work" / "tmp" / "2.young.h"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    half = root / "tmp" / "deleted.1"
    (half / "cur").mkdir(parents=True)
    (half / "cur" / "3.x.h").write_bytes(b"x")
    now = old.stat().st_ctime
    # A folder that was being removed is told earlier than a file that was being written.
    assert look(account, now=now + 60) == []
    assert [found.text.partition(" ")[0] for found in look(account, repair=False, now=now + UNFINISHED - 5)] == [
        "tmp/deleted.1"
    ]
    later = now + UNFINISHED + 60
    os.utime(young, (later, later))
    looked = look(account, repair=False, now=later)
    assert {finding.text.partition(" ")[0] for finding in looked} == {"tmp/1.old.h", "tmp/deleted.1"}
    assert old.exists()
    look(account, now=later)
    assert not old.exists()
    assert not half.exists()
    assert young.exists()


def test_missing_directories(account: MaildirAccount) -> None:
    os.rmdir(f"{account.root}/.Work/tmp")
    os.rmdir(f"{account.root}/.Work/new")
    assert len(look(account, repair=False)) == 2
    assert len(look(account)) == 2
    assert os.path.isdir(f"{account.root}/.Work/new")
    assert look(account) == []


def test_two_files_of_one_name(account: MaildirAccount) -> None:
    path = files(account)[0]
    os.link(path, path.with_name(path.name.partition(":")[0] + ":2,FT"))
    found = look(account)
    assert any("there are two files" in finding.text and not finding.repaired for finding in found)
    # Nothing is removed: a person must look.
    assert len(files(account)) == 4
