"""Dovecot's Maildir taken over: a UID never means another message."""

from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.backup import Backup

from tests.fakes.maildir import MAIL, flags, put


def dovecot(root: Path) -> None:
    (root / "cur").mkdir(parents=True)
    (root / "dovecot-uidlist").write_text("3 V1500000000 N8 G0\n5 :1600000001.M1P1.h\n7 :1600000002.M1P1.h\n")
    for number in (1, 2):
        (root / "cur" / f"160000000{number}.M1P1.h:2,S").write_bytes(MAIL)


@pytest.mark.parametrize("name", ["INBOX", "Work"])
def test_uids_taken_over_from_dovecot_never_come_again_for_other_messages(tmp_path: Path, name: str) -> None:
    root = tmp_path / "mail"
    dovecot(root if name == "INBOX" else root / ".Work")
    account = MaildirAccount(str(root))
    folder = account.folder(name)
    folder.sync()
    assert (folder.uidvalidity, list(flags(folder))) == (1500000000, [5, 7])
    first, second = put(folder), put(folder)
    assert (first, second) == (8, 9)
    folder.remove([8])
    account.close()
    for found in root.glob("tubepost.db*"):
        found.unlink()
    account = MaildirAccount(str(root))
    folder = account.folder(name)
    folder.sync()
    # What was 9 would be 8 now.
    assert folder.uidvalidity > 1500000000
    account.close()


def test_a_uidvalidity_taken_over_from_dovecot_is_the_highest_that_is_known(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    dovecot(root)
    (root / "dovecot-uidlist").write_text("3 V4000000000 N8 G0\n5 :1600000001.M1P1.h\n")
    account = MaildirAccount(str(root))
    folder = account.folder("INBOX")
    folder.sync()
    assert folder.uidvalidity == 4000000000
    account.close()
    for found in root.glob("tubepost.db*"):
        found.unlink()
    account = MaildirAccount(str(root))
    assert account.folder("INBOX").uidvalidity > 4000000000
    account.close()


def test_the_last_uidvalidity_that_there_can_be_leaves_room_for_other_folders(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    dovecot(root)
    (root / "dovecot-uidlist").write_text("3 V4294967295 N8 G0\n5 :1600000001.M1P1.h\n")
    account = MaildirAccount(str(root))
    account.folder("INBOX").sync()
    assert account.create("Work").uidvalidity < 0xFFFFFFFF
    account.close()


def test_a_copy_knows_that_there_was_an_index(tmp_path: Path) -> None:
    root, copied = tmp_path / "mail", tmp_path / "copy"
    dovecot(root)
    account = MaildirAccount(str(root))
    Backup(account, str(copied)).run()
    account.close()
    for found in copied.glob("tubepost.db*"):
        found.unlink()
    copy = MaildirAccount(str(copied))
    folder = copy.folder("INBOX")
    folder.sync()
    assert folder.uidvalidity > 1500000000
    copy.close()
