"""What an index remembers is bounded by the mail that is there, not by what was done to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.mailbox.maildir import flags as flags_module
from tubepost.common.mailbox.maildir import summaries
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder

from tests.fakes.maildir import put


def count(account: MaildirAccount, table: str) -> int:
    return int(account.database.one(f"SELECT count(*) FROM {table}")[0])


def flags_of(folder: Folder) -> dict[int, tuple[str, ...]]:
    return {uid: folder.account.flagsets.flags(number) for uid, number in folder.uids()}


def test_sets_of_flags_that_no_message_has_go(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_module, "_LOOK", 16)
    inbox = account.folder("INBOX")
    put(inbox, flags=("kept",))
    put(inbox)
    for number in range(200):
        inbox.store([2], "=", [f"k{number % 12}", f"j{number % 11}"])
    assert count(account, "flagset") <= 16 + 3
    assert flags_of(inbox) == {1: ("kept",), 2: ("j1", "k7")}
    # A number never means another set.
    highest = account.database.one("SELECT max(id) FROM flagset")[0]
    inbox.store([1], "=", ["another"])
    assert inbox.uids()[0][1] == highest + 1


def test_another_process_drops_sets(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_module, "_LOOK", 16)
    inbox = account.folder("INBOX")
    put(inbox)
    put(inbox)
    inbox.store([1], "=", ["mine"])
    number = dict(inbox.uids())[1]
    inbox.store([1], "=", [])
    theirs = MaildirAccount(account.root)
    try:
        for step in range(40):
            theirs.folder("INBOX").store([2], "=", [f"t{step}"])
        assert theirs.database.one("SELECT 1 FROM flagset WHERE flags='mine'") is None
        # The set that is known here is no more: it is made again, and others can read it.
        inbox.store([1], "=", ["mine"])
        assert flags_of(theirs.folder("INBOX"))[1] == ("mine",)
        assert flags_of(inbox) == {1: ("mine",), 2: ("t39",)}
        # A session that has the old number in its view still knows what it was.
        assert account.flagsets.flags(number) == ("mine",)
    finally:
        theirs.close()


def test_a_failed_transaction_drops_nothing(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_module, "_LOOK", 4)
    inbox = account.folder("INBOX")
    put(inbox)
    inbox.store([1], "=", ["first"])
    with pytest.raises(RuntimeError), account.database.transaction():
        for step in range(9):
            account.flagsets.number([f"x{step}"])
        raise RuntimeError
    assert flags_of(inbox) == {1: ("first",)}
    inbox.store([1], "+", ["second"])
    assert flags_of(inbox) == {1: ("first", "second")}
    assert flags_of(MaildirAccount(account.root).folder("INBOX")) == {1: ("first", "second")}


Steps = list[tuple[int, int, str, set[str]]]
_STEP = st.tuples(st.integers(0, 1), st.integers(0, 3), st.sampled_from("+-="), st.sets(st.sampled_from("abcdef")))


@settings(max_examples=25, deadline=None)
@given(st.lists(_STEP, max_size=40))
def test_two_processes_agree(tmp_path_factory: pytest.TempPathFactory, steps: Steps) -> None:
    """Whatever is dropped meanwhile, both have the flags that were stored."""
    before = flags_module._LOOK
    flags_module._LOOK = 2
    root = str(tmp_path_factory.mktemp("agree") / "mail")
    accounts = [MaildirAccount(root), MaildirAccount(root)]
    try:
        for _ in range(4):
            put(accounts[0].folder("INBOX"))
        model: dict[int, set[str]] = {uid: set() for uid in range(1, 5)}
        for which, index, mode, given_flags in steps:
            uid = index + 1
            accounts[which].folder("INBOX").store([uid], mode, sorted(given_flags))
            old = model[uid]
            model[uid] = old | given_flags if mode == "+" else old - given_flags if mode == "-" else given_flags
            if index == 3:
                accounts[which].folder("INBOX").copy([1], accounts[which].folder("INBOX"))
        for account in accounts:
            found = flags_of(account.folder("INBOX"))
            assert {uid: set(found[uid]) for uid in model} == model
    finally:
        flags_module._LOOK = before
        for account in accounts:
            account.close()


def test_keywords_that_no_message_has_are_forgotten(account: MaildirAccount) -> None:
    inbox = account.folder("INBOX")
    put(inbox)
    put(inbox)
    inbox.store([2], "=", ["zz"])
    for number in range(40):
        inbox.store([1], "=", [f"k{number}"])
    assert len(inbox.keywords()) == 41
    inbox.forget_keywords()
    # The first 26 have a letter in the names of files, and other programs read it from there.
    letters = inbox.letters()
    assert len(letters) == 26
    assert set(inbox.keywords()) == {*letters, "k39"}
    assert flags_of(inbox) == {1: ("k39",), 2: ("zz",)}


def test_threads_of_mail_that_is_gone_go(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_LOOK", 0)
    monkeypatch.setattr(summaries, "_FEW_THREADS", 40)
    monkeypatch.setattr(summaries, "_THREADS", 4)
    inbox = account.folder("INBOX")

    def message(number: int, *references: int) -> bytes:
        named = " ".join(f"<{one}@x>" for one in references)
        return f"Message-ID: <{number}@x>\r\nReferences: {named}\r\n\r\nb\r\n".encode()

    kept = put(inbox, message(1))
    for number in range(100, 200):
        inbox.remove([put(inbox, message(number, number + 1000, number + 2000))])
    assert count(account, "thread") <= 40 + 4 * 2 + 3
    # What is there keeps its thread, and so do answers to it.
    answer = put(inbox, message(2, 1))
    rows = dict(inbox.rows(("uid", "threadid"), [kept, answer]))
    assert rows[kept] == rows[answer]
