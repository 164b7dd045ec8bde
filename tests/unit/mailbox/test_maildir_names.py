"""Names of files and keywords that other programs made."""

import os
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount

from tests.fakes.maildir import MAIL, deliver, flags, put, read


def test_a_name_that_is_not_utf_8_is_a_message(account: MaildirAccount) -> None:
    folder = account.folder("INBOX")
    with open(os.fsencode(f"{folder.path}/new/1700000001.M1P1.h") + b"\xff\xe9", "wb") as file:
        file.write(MAIL)
    with open(os.fsencode(f"{folder.path}/cur/1700000002.M1P1.h") + b"\xff:2,FS", "wb") as file:
        file.write(MAIL)
    with open(os.fsencode(f"{folder.path}/cur/1700000003.M1P1.h:2,S") + b"\xff", "wb") as file:
        file.write(MAIL)
    deliver(folder, "1700000004.M1P1.h")
    folder.sync()
    assert flags(folder) == {1: set(), 2: {"\\Flagged", "\\Seen"}, 3: {"\\Seen"}, 4: set()}
    assert all(read(folder, uid) == MAIL for uid in (1, 2, 3, 4))
    folder.sync(force=True)
    assert [uid for uid, _ in folder.uids()] == [1, 2, 3, 4]


def test_a_name_as_long_as_can_be_keeps_no_other_from_telling_its_flags(account: MaildirAccount) -> None:
    folder = account.folder("INBOX")
    deliver(folder, "1700000001." + "x" * 244)
    deliver(folder, "1700000002.M1P1.h")
    folder.sync()
    folder.settle_new()
    folder.store([1, 2], "+", ["\\Seen"])
    while folder.flush():
        pass
    assert os.listdir(f"{folder.path}/cur") == ["1700000002.M1P1.h:2,S"]
    folder.sync(force=True)
    assert flags(folder) == {1: {"\\Seen"}, 2: {"\\Seen"}}
    assert read(folder, 1) == MAIL


@pytest.mark.parametrize("word", [b"caf\xe9", b"two words", b"a)b", b'"', b"{3}", b"\\Seen", b"x" * 5000])
def test_a_keyword_of_another_program_that_is_none_is_passed_over(account: MaildirAccount, word: bytes) -> None:
    folder = account.folder("INBOX")
    Path(folder.path, "dovecot-keywords").write_bytes(b"0 good\n1 " + word + b"\n2 better\n")
    deliver(folder, "1700000001.M1P1.h:2,abc", "cur")
    folder.sync()
    assert flags(folder) == {1: {"good", "better"}}


def test_a_new_keyword_takes_no_letter_that_another_program_has_given(account: MaildirAccount) -> None:
    folder = account.folder("INBOX")
    put(folder, flags=("first",))
    keywords = Path(folder.path, "dovecot-keywords")
    keywords.write_text(keywords.read_text() + "1 theirs\n")
    put(folder, flags=("ours",))
    assert keywords.read_text() == "0 first\n1 theirs\n2 ours\n"
    deliver(folder, "1700000001.M1P1.h:2,b", "cur")
    folder.sync(force=True)
    assert flags(folder)[3] == {"theirs"}
