"""What one search may take, and what it finds while other programs rename files."""

import os
import tracemalloc
from array import array

import pytest
from tubepost.common.imap import search as keys
from tubepost.common.imap.parse import Scanner
from tubepost.common.imap.search import parse_search
from tubepost.common.imap.sets import of_ranges

from tubepost.common.mailbox.maildir import search
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.values import Context

NOW = 1_764_000_000


def deliver(folder: Folder, name: str, text: str) -> str:
    path = f"{folder.path}/new/{name}"
    with open(path, "w") as file:
        file.write(text)
    return path


def some(account: MaildirAccount, count: int) -> Folder:
    folder = account.folder("INBOX")
    for number in range(count):
        deliver(folder, f"{number}.x", f"Subject: {number}\n\none or two\n")
    folder.sync()
    return folder


def found(folder: Folder, text: bytes, context: Context) -> list[int]:
    return list(folder.search(parse_search(Scanner(text)).key, context).run())


def test_many_times_a_long_saved_result(account: MaildirAccount) -> None:
    """``$`` is two octets of a command, and stands for as many messages as there are."""
    folder = some(account, 3)
    uids = array("I", [1, 2, 3])
    saved = array("I", [2, *range(1_000_000, 1_060_000, 2)])
    tracemalloc.start()
    try:
        assert found(folder, b" ".join([b"$"] * 300), Context(NOW, uids, saved)) == [2]
        assert found(folder, b" ".join([b"NOT $"] * 300), Context(NOW, uids, saved)) == [1, 3]
        assert found(folder, b" ".join([b"NOT $"] * 300), Context(NOW, None, saved, (), [2, 3])) == [3]
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_many_sets_of_many_ranges(account: MaildirAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets that are told apart and are nearly all messages, in a mailbox of many more than one step looks at."""
    monkeypatch.setattr(search, "_ROWS", 500)
    folder = some(account, 3)
    uids = array("I", [1, 2, 3, *range(1_000_000, 1_003_000)])
    low = b",".join(b"%d" % number for number in range(10, 130, 2))
    sets = [b"UID 1:2,%b,%d:*" % (low, number) for number in range(1000, 1040)]
    tracemalloc.start()
    try:
        assert found(folder, b" ".join(sets), Context(NOW, uids)) == [1, 2]
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()
    numbers = [b"2,4,%b,%d:*" % (low, number) for number in range(1000, 1003)]
    assert found(folder, b" ".join(numbers), Context(NOW, uids)) == [2]
    assert found(folder, b"UID 1,3,%b" % low, Context(NOW, None)) == [1, 3]
    assert found(folder, b"1,3,%b" % low, Context(NOW, None)) == [1, 3]


def test_files_that_were_renamed_meanwhile(account: MaildirAccount) -> None:
    """Another program marks a message as seen while the index does not know of it yet: it is found all the same."""
    folder = some(account, 3)
    os.rename(f"{folder.path}/new/1.x", f"{folder.path}/cur/1.x:2,S")
    assert found(folder, b'BODY "one or"', Context(NOW)) == [1, 2, 3]
    os.rename(f"{folder.path}/new/2.x", f"{folder.path}/cur/2.x:2,S")
    assert found(folder, b'BODY "or two"', Context(NOW)) == [1, 2, 3]
    os.rename(f"{folder.path}/cur/2.x:2,S", f"{folder.path}/cur/2.x:2,FS")
    assert found(folder, b"HEADER X-None y", Context(NOW)) == []
    assert found(folder, b'TEXT "two"', Context(NOW)) == [1, 2, 3]


def test_summaries_of_files_that_were_renamed_meanwhile(account: MaildirAccount) -> None:
    folder = some(account, 3)
    os.rename(f"{folder.path}/new/1.x", f"{folder.path}/cur/1.x:2,S")
    assert found(folder, b"SUBJECT 1", Context(NOW)) == [2]
    assert not folder.unfinished()


def test_one_long_set_in_many_keys(account: MaildirAccount) -> None:
    """As ``$`` stands in a search that is kept."""
    folder = some(account, 3)
    long = keys.Numbers(of_ranges([(2, 2), *[(uid, uid) for uid in range(1_000_000, 1_020_000, 2)]]), True)
    key = keys.And((long, *[keys.Or(long, keys.Numbers(of_ranges([(uid, uid)]), True)) for uid in range(1, 300)]))
    tracemalloc.start()
    try:
        assert list(folder.search(key, Context(NOW, array("I", [1, 2, 3]))).run()) == [2]
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_many_keys_about_flags_where_there_are_many_sets_of_them(account: MaildirAccount) -> None:
    folder = some(account, 3)
    sets = account.flagsets
    with account.database.transaction():
        for number in range(1500):
            sets.number(["\\Seen", *(f"k{place}" for place in range(11) if number >> place & 1)])
    folder.store([2], "+", ["\\Seen", "k1", "k3"])
    folder.store([3], "+", ["k3"])
    tracemalloc.start()
    try:
        assert found(folder, b" ".join([b"SEEN KEYWORD K3"] * 500), Context(NOW, array("I", [1, 2, 3]))) == [2]
        assert found(folder, b" ".join([b"UNSEEN"] * 500), Context(NOW)) == [1, 3]
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
