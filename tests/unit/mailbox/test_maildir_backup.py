"""The copy is its owner's, who may have prepared it for the next time: nothing elsewhere is touched."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.backup import Backup, Copied


@pytest.fixture
def account(tmp_path: Path) -> Iterator[MaildirAccount]:
    made = MaildirAccount(str(tmp_path / "mail"))
    made.create("Work")
    for name in ("INBOX", "Work"):
        add(made, name, "one", ("blue",))
    yield made
    made.close()


def add(account: MaildirAccount, name: str, subject: str, flags: tuple[str, ...] = ()) -> None:
    folder = account.folder(name)
    draft = folder.draft()
    draft.write(f"Subject: {subject}\r\n\r\n".encode())
    draft.finish()
    draft.set(flags)
    folder.append([draft])


def run(account: MaildirAccount, tmp_path: Path, link: bool) -> Copied:
    return Backup(account, str(tmp_path / "copies" / "alice"), link=link).run()


def subjects(root: Path) -> dict[str, list[str]]:
    copy = MaildirAccount(str(root))
    found = {}
    for info in copy.folders():
        folder = copy.folder(info.name)
        found[info.name] = [os.pread(folder.open(uid), 99, 0).decode().split()[1] for uid, _ in folder.uids()]
    copy.close()
    return found


@pytest.mark.parametrize("link", [True, False])
def test_again_and_again(account: MaildirAccount, tmp_path: Path, link: bool) -> None:
    target = tmp_path / "copies" / "alice"
    assert run(account, tmp_path, link)[:3] == (2, 2, 0)
    account.create("Later/Deeper")
    add(account, "Later/Deeper", "deep")
    add(account, "INBOX", "two")
    account.folder("INBOX").store([1], "+", ["\\Seen"])
    account.folder("INBOX").flush()
    account.delete("Work")
    assert run(account, tmp_path, link)[:3] == (3, 2, 1)
    assert os.listdir(target.parent) == ["alice"]
    assert (target / "dovecot-keywords").read_text() == "0 blue\n"
    assert subjects(target) == {"INBOX": ["one", "two"], "Later/Deeper": ["deep"]}
    assert sorted(path.stat().st_mode & 0o77 for path in target.rglob("*") if path.is_file())[-1] == 0


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("part", ["cur", "new", "tmp", ".Work", ".Work/cur", ".Gone", ".Gone/cur"])
def test_links_in_the_place_of_directories(account: MaildirAccount, tmp_path: Path, link: bool, part: str) -> None:
    account.create("Gone")
    run(account, tmp_path, link)
    account.delete("Gone")
    victim = tmp_path / "victim"
    for name in ("", "cur", "new", "tmp"):
        (victim / name).mkdir(exist_ok=True)
    (victim / "cur" / "precious").write_bytes(b"x")
    (victim / "precious").write_bytes(b"x")
    place = tmp_path / "copies" / "alice" / part
    place.rename(tmp_path / "aside")
    place.symlink_to(victim)
    before = sorted(str(path) for path in victim.rglob("*"))
    add(account, "INBOX", "two")
    add(account, "Work", "two")
    try:
        run(account, tmp_path, link)
    except OSError:
        pass
    assert sorted(str(path) for path in victim.rglob("*")) == before
    assert victim.stat().st_uid == os.getuid()


def test_links_in_the_place_of_files(account: MaildirAccount, tmp_path: Path) -> None:
    run(account, tmp_path, False)
    target = tmp_path / "copies" / "alice"
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    names = [f".copying.{os.getpid()}", f"cur/.copying.{os.getpid()}", "dovecot-keywords"]
    names += ["tubepost.db", "tubepost.db-wal", ".tubepost.db.copying"]
    for name in names:
        (target / name).unlink(missing_ok=True)
        (target / name).symlink_to(victim)
    add(account, "INBOX", "two")
    run(account, tmp_path, False)
    assert victim.read_bytes() == b"precious"
    assert not (target / "tubepost.db").is_symlink()
    assert subjects(target)["INBOX"] == ["one", "two"]


def test_no_uid_and_no_sequence_comes_again_after_a_restoration(account: MaildirAccount, tmp_path: Path) -> None:
    """A client saw what came after the backup; it must not take new mail for that, nor old flags for new ones."""
    run(account, tmp_path, True)
    inbox = account.folder("INBOX")
    add(account, "INBOX", "after the backup")
    inbox.store([1], "+", ["\\Seen"])
    seen, told = inbox.status(), {uid for uid, _ in inbox.uids()}
    assert told == {1, 2}
    copy = MaildirAccount(str(tmp_path / "copies" / "alice"))
    restored = copy.folder("INBOX")
    add(copy, "INBOX", "after the restoration")
    assert restored.uidvalidity == inbox.uidvalidity
    assert [uid for uid, _ in restored.uids() if uid not in told] == [1_000_002]
    # It resynchronises (RFC 7162): the old flags of 1 are news, and all that is not there is gone.
    changes = restored.changes(seen.modseq)
    assert [row[0] for row in changes.changed] == [1, 1_000_002]
    assert changes.gone is None
    assert min(row[2] for row in changes.changed) > seen.modseq
    copy.close()
    # The account itself goes on as it was.
    assert inbox.status() == seen
