"""The full-text index: filled in steps, by several at once, emptied and filled again."""

from pathlib import Path

import pytest
from tubepost.common.imap import search as keys

from tubepost.common.mailbox.maildir import fulltext
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.maildir.search import Evaluation
from tubepost.common.mailbox.maildir.words import needle
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.mailbox.values import Context


def deliver(root: Path, number: int, text: str, folder: str = "") -> Path:
    path = root / folder / "cur" / f"{1000 + number}.M{number}.host:2,"
    path.write_text(f"Subject: message {number}\n\n{text}\n")
    return path


def find(folder: Folder, text: str) -> list[int]:
    return list(Evaluation(folder, keys.Text(b"BODY", text), Context(0)).run())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "box"


@pytest.fixture
def account(root: Path) -> MaildirAccount:
    return MaildirAccount(str(root))


def test_two_processes_index_at_the_same_time(root: Path, account: MaildirAccount) -> None:
    for number in range(10):
        deliver(root, number, f"word{number} common")
    first, second = account.folder("INBOX"), MaildirAccount(str(root)).folder("INBOX")
    first.sync()
    # Both have read what is missing before either writes it.
    assert fulltext.index(first, limit=4).done == 4
    assert second.index(0, 100).done == 6
    assert first.index().done == 0
    connection = account.database.connection
    assert connection.execute("SELECT count(*) FROM words WHERE words MATCH 'common'").fetchone()[0] == 10
    assert find(second, "word3") == [4]


def test_a_message_is_indexed_once(root: Path, account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(root, 1, "once")
    folder = account.folder("INBOX")
    folder.sync()
    other = MaildirAccount(str(root)).folder("INBOX")
    real = fulltext._write

    def late(*arguments: object) -> None:
        monkeypatch.setattr(fulltext, "_write", real)
        assert other.index().done == 1
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fulltext, "_write", late)
    folder.index()
    rows = account.database.connection.execute("SELECT rowid FROM words WHERE words MATCH 'once'").fetchall()
    assert rows == [(1,)]


def test_a_file_that_is_gone_does_not_stop_the_others(root: Path, account: MaildirAccount) -> None:
    paths = [deliver(root, number, f"text{number}") for number in range(3)]
    folder = account.folder("INBOX")
    folder.sync()
    paths[1].unlink()
    progress = folder.index()
    assert progress.done == 3
    assert folder.index(progress.place).done == 0
    assert fulltext.pending(folder) == 1
    assert find(folder, "text2") == [3]
    assert find(folder, "text1") == []


def test_words_that_come_later_are_found_by_their_parts(root: Path, account: MaildirAccount) -> None:
    folder, other = account.folder("INBOX"), MaildirAccount(str(root)).folder("INBOX")
    deliver(root, 1, "alphabet")
    folder.sync()
    assert find(folder, "phab") == [1]
    deliver(root, 2, "betaphabet")
    other.sync()
    assert find(other, "taph") == [2]
    # Read on from where it had read to.
    assert find(folder, "phab") == [1, 2]
    fulltext.reset(other.account)
    deliver(root, 3, "xphabx")
    folder.sync()
    assert find(folder, "phab") == [1, 2, 3]


def test_a_vocabulary_that_is_too_large_is_asked_each_time(
    root: Path, account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fulltext, "_KEPT_OF_ONE", 10)
    deliver(root, 1, "alphabet soup")
    deliver(root, 2, "soup of letters, alphabetic")
    folder = account.folder("INBOX")
    folder.sync()
    assert find(folder, "phab") == [1, 2]
    assert find(folder, "et soup o") == []
    assert find(folder, "bet soup") == [1]
    assert find(folder, "up of let") == [2]


def test_vocabularies_of_other_accounts_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fulltext, "_KEPT", 40)
    folders = []
    for number in range(6):
        root = tmp_path / str(number)
        account = MaildirAccount(str(root))
        deliver(root, 1, f"alpha{number} beta{number}")
        folder = account.folder("INBOX")
        folder.sync()
        folders.append(folder)
        assert find(folder, f"pha{number}") == [1]
    kept = [folder for folder in folders if folder.database in fulltext._vocabularies]
    assert len(kept) < 4
    assert all(find(folder, f"pha{number}") == [1] for number, folder in enumerate(folders))


def test_more_alternatives_than_one_question_takes(
    root: Path, account: MaildirAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fulltext, "_TERMS", 3)
    for number in range(20):
        deliver(root, number, f"ab{number}c x{number}ab, 1{number}")
    folder = account.folder("INBOX")
    folder.sync()
    assert find(folder, "ab") == list(range(1, 21))
    assert find(folder, "b, 1") == list(range(1, 21))
    assert find(folder, "9ab") == [10, 20]


def test_reindex_all_and_one_folder(root: Path, account: MaildirAccount) -> None:
    account.create("Work")
    deliver(root, 1, "inbox text")
    deliver(root, 2, "work text", ".Work")
    inbox, work = account.folder("INBOX"), account.folder("Work")
    for folder in (inbox, work):
        folder.sync()
        folder.index()
    assert [name for name, done in fulltext.reindex(account) if done] == ["INBOX", "Work"]
    assert find(inbox, "text") == [1]
    assert [(name, done) for name, done in fulltext.reindex(account, "Work") if done] == [("Work", 1)]
    assert fulltext.pending(inbox) == 1
    assert fulltext.pending(work) == 0
    assert find(inbox, "text") == [1]
    with pytest.raises(NoSuchFolder):
        list(fulltext.reindex(account, "None"))
    connection = account.database.connection
    assert connection.execute("SELECT count(*) FROM words WHERE words MATCH 'text'").fetchone()[0] == 2


def test_wasteful(root: Path, account: MaildirAccount) -> None:
    for number in range(5):
        deliver(root, number, "text")
    folder = account.folder("INBOX")
    folder.sync()
    assert not fulltext.wasteful(account, 1)
    folder.index()
    folder.remove([1, 2])
    assert not fulltext.wasteful(account, 1)
    folder.remove([3])
    assert fulltext.wasteful(account, 1)
    assert not fulltext.wasteful(account)
    # Few messages, of which each has very many words.
    assert fulltext.wasteful(account, words=1)
    # What the index still knows is not found.
    assert find(folder, "text") == [4, 5]


def test_copies_share_the_index(root: Path, account: MaildirAccount) -> None:
    deliver(root, 1, "shared text")
    folder, other = account.folder("INBOX"), account.create("Other")
    folder.sync()
    folder.index()
    folder.copy([1], other)
    folder.copy([1], folder)
    assert find(other, "shared") == [1]
    assert find(folder, "shared text") == [1, 2]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"Subject: \xff\xfe broken\n\n\x00\xff\xfe\n",
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain; charset=nope\n\nabc\n--x--\n",
        b"Content-Type: text/html\n\n<b>bo</b>ld &amp; text\n",
        b"Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: deep\n\nx\n",
        b"Content-Transfer-Encoding: base64\n\n!!!!\n",
        b"Subject: =?utf-8?b?" + b"A" * 9999 + b"\n\nx\n",
    ],
)
def test_any_bytes_are_indexed(root: Path, account: MaildirAccount, raw: bytes) -> None:
    (root / "cur" / "1.M1.host:2,").write_bytes(raw)
    folder = account.folder("INBOX")
    folder.sync()
    assert folder.index().done == 1
    assert fulltext.pending(folder) == 0
    find(folder, "anything at all")


def texts(raw: bytes) -> tuple[str, str]:
    made = fulltext.texts_of(raw)
    return "\n\n".join(made.header()), "\n\n".join(made.body())


def test_texts_of_html_and_of_messages_within() -> None:
    header, body = texts(b"Content-Type: text/html\nX-A: b\n\n<p>bo<b>ld</b> &amp; new</p>\n")
    assert "bold & new" in body
    assert "x-a: b" in header
    inner = b"Content-Type: message/rfc822\nX-Part: mime\n\nSubject: deep\n\ninner body\n"
    header, body = texts(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" + inner + b"--x--\n")
    assert "subject: deep" in body
    assert "inner body" in body
    # RFC 9051 6.4.4: TEXT looks into MIME header fields too.
    assert "x-part: mime" in header
    assert "x-part" not in body


def test_candidates_of_what_the_index_cannot_tell(account: MaildirAccount) -> None:
    assert fulltext.candidates(account.database, needle("---"), ("body",)) is None
    assert fulltext.candidates(account.database, needle("nothing"), ("body",)) == set()


def test_a_damaged_index_is_built_anew_and_nothing_else(root: Path, account: MaildirAccount) -> None:
    for number in range(3):
        deliver(root, number, f"text{number} common")
    folder = account.folder("INBOX")
    folder.sync()
    folder.index()
    validity = folder.uidvalidity
    account.database.connection.execute("DELETE FROM words_data WHERE id>10")
    assert find(folder, "common") == [1, 2, 3]
    account.database.connection.execute("DELETE FROM words_data WHERE id>10")
    assert find(folder, "text1 com") == [2]
    assert account.folder("INBOX").uidvalidity == validity
    assert not list(root.glob("*corrupt*"))
    deliver(root, 4, "text4 common")
    folder.sync()
    account.database.connection.execute("DELETE FROM words_data WHERE id>=10")
    try:
        folder.index()
    except fulltext.Damaged:
        pass
    assert find(folder, "common") == [1, 2, 3, 4]
