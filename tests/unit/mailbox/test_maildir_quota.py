"""How much an account uses, told by the index, by the files, and by what is on its way."""

import os
from pathlib import Path

import pytest

from tubepost.common.mailbox import DeliveryError
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.delivery import make_maildir, split_place
from tubepost.common.mailbox.maildir.quota import Announced, check, used
from tubepost.common.mailbox.values import Limit, parse_limit

OWN = (-1, -1)


def _put(root: Path, name: str, size: int, folder: str = "new") -> None:
    (root / folder / name).write_bytes(b"x" * size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_maildir(str(tmp_path / "box"))
    return tmp_path / "box"


def test_without_an_index_the_files_are_counted(root: Path) -> None:
    make_maildir(str(root / ".Work"))
    _put(root, "1", 10)
    _put(root, "2:2,S", 20, "cur")
    _put(root, "3:2,", 30, ".Work/cur")
    _put(root, ".hidden", 99)
    _put(root, "half", 99, "tmp")
    assert used(str(root)) == (60, 3)


def test_the_index_and_what_came_since(root: Path) -> None:
    _put(root, "1.a", 10)
    account = MaildirAccount(str(root))
    account.folder("INBOX").sync()
    _put(root, "2.b", 5)
    assert used(str(root)) == (15, 2)
    account.folder("INBOX").sync()
    assert used(str(root)) == (15, 2)
    account.close()
    assert used(str(root)) == (15, 2)


def test_a_directory_that_was_lost_makes_no_mailbox_empty(root: Path) -> None:
    """As copies and backups lose those that have no files: what the index knows is used all the same."""
    _put(root, "1.a:2,", 10, "cur")
    account = MaildirAccount(str(root))
    account.folder("INBOX").sync()
    account.close()
    (root / "new").rmdir()
    assert used(str(root)) == (10, 1)
    with pytest.raises(DeliveryError):
        check(str(root), Limit(12, 0), 10, {}, OWN)


def test_a_broken_index_is_passed_over(root: Path) -> None:
    _put(root, "1.a", 10)
    (root / "tubepost.db").write_bytes(b"no database" * 100)
    assert used(str(root)) == (10, 1)


def test_what_is_on_its_way_counts_once(root: Path) -> None:
    announced = Announced()
    with announced.coming(str(root), "1.a", 10) as before:
        assert before == {}
        with announced.coming(str(root), "2.b", 20) as before:
            assert used(str(root), before) == (10, 1)
            _put(root, "1.a", 10)
            assert used(str(root), before) == (10, 1)
    with announced.coming(str(root), "3.c", 1) as before:
        assert before == {}


def test_limits(root: Path) -> None:
    _put(root, "1.a", 10)
    check(str(root), Limit(20, 2), 10, {}, OWN)
    with pytest.raises(DeliveryError) as caught:
        check(str(root), Limit(20, 0), 11, {}, OWN)
    assert caught.value.dsn == "5.2.2"
    with pytest.raises(DeliveryError) as caught:
        check(str(root), Limit(0, 1), 1, {}, OWN)
    assert caught.value.dsn == "5.2.2"
    # A mailbox that is still to be made is empty, but for what others are bringing.
    check(str(root / "none"), Limit(20, 1), 20, {}, OWN)
    with pytest.raises(DeliveryError):
        check(str(root / "none"), Limit(20, 1), 20, {"1": 1}, OWN)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_told_defers(root: Path) -> None:
    (root / "new").chmod(0)
    with pytest.raises(DeliveryError) as caught:
        check(str(root), Limit(20, 0), 1, {}, OWN)
    assert caught.value.dsn == "4.2.0"
    (root / "new").chmod(0o700)


@pytest.mark.parametrize(("text", "limit"), [("10", Limit(10, 0)), (" 10  5 ", Limit(10, 5)), ("0 0", Limit())])
def test_limits_are_read(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "-1", "1 2 3", "1k", "٣", "9" * 19])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match="is no quota"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/m/alice", ("/m/alice", "INBOX")),
        ("/m/alice/", ("/m/alice", "INBOX")),
        ("/m/alice/.Work.Plans/", ("/m/alice", "Work/Plans")),
        ("/m/alice/.", ("/m/alice/.", "INBOX")),
        ("/.x", ("/.x", "INBOX")),
    ],
)
def test_places(path: str, place: tuple[str, str]) -> None:
    assert split_place(path) == place
