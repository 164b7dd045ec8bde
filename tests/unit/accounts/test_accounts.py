"""The two databases, and what the mail road sees of them."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from tubepost.common.accounts import AccountsError, Directory, Passwords, StoredPassword
from tubepost.common.accounts import view as view_module
from tubepost.common.accounts.hashing import (
    Cost,
    hash_application_password,
    hash_password,
    make_application_password,
    store,
)
from tubepost.common.accounts.names import check_mailbox, fold_name, strip_extension
from tubepost.common.accounts.view import View
from tubepost.common.tables import TableEnvironment, TableError
from tubepost.common.tables.registry import open_table

CHEAP = Cost(memory=8, time=1, iterations=4096)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    with Directory(str(tmp_path), write=True) as accounts:
        accounts.add_domain("Example.test", 1)
        accounts.add_user("Alice@example.test", 2, quota_bytes=1000)
        accounts.add_user("bob@example.test", 3, uid=7, gid=8, mailbox="shared/bob")
        accounts.add_alias("sales@example.test", ["alice@example.test", "Bob@Example.test", "x@other.test"], 4)
    return str(tmp_path)


def _settle(folder: str) -> None:
    """As if the last change were long ago."""
    path = Path(folder) / "accounts.db"
    os.utime(path, (time.time() - 100, time.time() - 100))


def test_users_are_found_in_any_case_and_belong_to_a_domain(folder: str) -> None:
    with Directory(folder, write=True) as accounts:
        alice = accounts.user("ALICE@Example.Test")
        assert alice is not None
        assert (alice.name, alice.mailbox, alice.enabled) == ("alice@example.test", "example.test/alice/", True)
        with pytest.raises(ValueError, match="already"):
            accounts.add_user("alice@example.test", 1)
        with pytest.raises(ValueError, match="tubepost domain add"):
            accounts.add_user("a@elsewhere.test", 1)
        with pytest.raises(ValueError, match="is the mailbox of bob"):
            accounts.add_user("carol@example.test", 1, mailbox="shared/bob/")
        with pytest.raises(ValueError, match="users and"):
            accounts.delete_domain("example.test")
        assert [user.name for user in accounts.users(("a*",))] == ["alice@example.test"]
        assert accounts.change_user("alice@example.test", enabled=False, quota_bytes=5)
        assert accounts.users(("alice*",))[0].enabled is False
        with pytest.raises(ValueError, match="cannot change"):
            accounts.change_user("alice@example.test", name="x")
        assert not accounts.change_user("nobody@example.test", enabled=True)


@pytest.mark.parametrize(
    "name",
    [
        *("alice", "@example.test", "a b@example.test", "a/b@example.test", "../x@example.test", ".x@example.test"),
        *("a*b@example.test", "a\n@example.test", "a@", "a@-x.test", "a@x/y", "a..b@example.test", "-a@example.test"),
    ],
)
def test_names_that_could_be_read_as_something_else_are_refused(folder: str, name: str) -> None:
    with Directory(folder, write=True) as accounts, pytest.raises(ValueError, match=r"cannot be|not a"):
        accounts.add_user(name, 1)


@pytest.mark.parametrize("path", ["", "/", "../x", "a/../b", "a//b", "a/./b", "a\x00b"])
def test_mailboxes_stay_below_their_base(path: str) -> None:
    with pytest.raises(ValueError, match="not a directory below"):
        check_mailbox(path)


def test_aliases_grow_and_shrink(folder: str) -> None:
    with Directory(folder, write=True) as accounts:
        accounts.add_alias("sales@example.test", ["carol@other.test"], 5)
        sales = accounts.alias("sales@example.test")
        assert sales is not None
        assert sales.targets == ("alice@example.test", "Bob@Example.test", "x@other.test", "carol@other.test")
        assert accounts.delete_alias("sales@example.test", ["bob@example.test"])
        assert not accounts.delete_alias("sales@example.test", ["bob@example.test"])
        assert accounts.delete_alias("sales@example.test")
        assert accounts.alias("sales@example.test") is None
        with pytest.raises(ValueError, match="is a user"):
            accounts.add_alias("alice@example.test", ["bob@example.test"], 6)
        accounts.add_alias("alice@example.test", ["alice@example.test", "bob@example.test"], 6)
        with pytest.raises(ValueError, match="not an address"):
            accounts.add_alias("x@example.test", ["a b"], 6)
        with pytest.raises(ValueError, match="needs an address"):
            accounts.add_alias("x@example.test", [], 6)


def test_the_view_answers_what_the_mail_road_asks(folder: str) -> None:
    view = View(folder)
    assert view.find("domains", "example.test") == "example.test"
    assert view.find("domains", "other.test") is None
    assert view.find("mailboxes", "alice@example.test") == "example.test/alice/"
    assert view.find("aliases", "sales@example.test") == "alice@example.test, Bob@Example.test, x@other.test"
    assert view.find("uids", "bob@example.test") == "7"
    assert view.find("uids", "alice@example.test") is None
    assert view.find("quotas", "alice@example.test") == "1000 0"
    assert view.find("quotas", "bob@example.test") is None
    assert set((view.find("logins", "sales@example.test") or "").split(", ")) == {
        "alice@example.test",
        "bob@example.test",
    }
    view.close()


def test_an_alias_for_a_whole_domain_leaves_its_users_their_mail(folder: str) -> None:
    with Directory(folder, write=True) as accounts:
        accounts.add_alias("@example.test", ["alice@example.test"], 5)
    view = View(folder)
    assert view.find("aliases", "@example.test") == "alice@example.test"
    assert view.find("aliases", "bob@example.test") == "bob@example.test"
    assert view.find("aliases", "nobody@example.test") is None


def test_aliases_in_a_circle_end(folder: str) -> None:
    with Directory(folder, write=True) as accounts:
        accounts.add_alias("a@example.test", ["b@example.test"], 5)
        accounts.add_alias("b@example.test", ["a@example.test", "alice@example.test"], 5)
    assert View(folder).find("logins", "a@example.test") == "alice@example.test"


def test_a_change_is_seen_by_the_next_look_up_also_within_a_clock_tick(folder: str) -> None:
    view = View(folder)
    with Directory(folder, write=True) as accounts:
        for number in range(20):
            name = f"u{number}@example.test"
            assert view.find("mailboxes", name) is None
            accounts.add_user(name, 1)
            assert view.find("mailboxes", name) is not None


def test_answers_are_remembered_while_nothing_changes(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _settle(folder)
    view = View(folder)
    assert view.find("mailboxes", "alice@example.test") is not None
    assert view.find("mailboxes", "nobody@example.test") is None
    monkeypatch.setattr(view_module, "open_reading", None)
    monkeypatch.setattr(View, "_query", None)
    assert view.find("mailboxes", "alice@example.test") is not None
    assert view.find("mailboxes", "nobody@example.test") is None


def test_strangers_are_forgotten_before_who_is_asked_for_again(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _settle(folder)
    view = View(folder)
    asked: list[str] = []
    query = View._query

    def counted(self: View, section: str, key: str) -> str | None:
        asked.append(key)
        return query(self, section, key)

    monkeypatch.setattr(View, "_query", counted)
    most = 0
    for number in range(5 * view_module._REMEMBERED):
        assert view.find("mailboxes", f"stranger{number}@example.test") is None
        if not number % 100:
            assert view.find("mailboxes", "alice@example.test") is not None
        most = max(most, len(view._answers) + len(view._older))
    assert asked.count("alice@example.test") == 1
    assert most <= 2 * view_module._REMEMBERED


def test_a_database_put_in_its_place_anew_is_read_anew(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubepost.common.accounts.view._PAUSE", 0)
    view = View(folder)
    assert view.find("mailboxes", "alice@example.test") is not None
    other = tmp_path / "other"
    with Directory(str(other), write=True) as accounts:
        accounts.add_domain("example.test", 1)
    os.rename(other / "accounts.db", Path(folder) / "accounts.db")
    assert view.find("mailboxes", "alice@example.test") is None


def test_a_missing_database_is_no_empty_one(tmp_path: Path) -> None:
    """Mail must be deferred when a disk is not mounted, not refused for ever."""
    table = open_table("accounts:mailboxes", environment=TableEnvironment(accounts_directory=str(tmp_path)))
    with pytest.raises(TableError, match="tubepost user add"):
        table.find("alice@example.test")
    with pytest.raises(AccountsError):
        Directory(str(tmp_path)).user("x")


def test_tables_of_the_accounts(folder: str) -> None:
    environment = TableEnvironment(accounts_directory=folder)
    assert open_table("accounts:mailboxes", environment=environment).find("ALICE@example.test") == "example.test/alice/"
    with pytest.raises(TableError, match="no such part"):
        open_table("accounts:passwords", environment=environment, strict=True)
    with pytest.raises(TableError, match="accounts_directory"):
        open_table("accounts:mailboxes", environment=TableEnvironment(), strict=True)
    environment.close()


def test_a_writer_in_the_middle_does_not_stop_readers(folder: str) -> None:
    writer = sqlite3.connect(Path(folder) / "accounts.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE users SET mailbox = 'x/' WHERE name = 'alice@example.test'")
    assert View(folder).find("mailboxes", "alice@example.test") == "example.test/alice/"
    writer.execute("COMMIT")
    assert View(folder).find("mailboxes", "alice@example.test") == "x/"
    writer.close()


def test_a_newer_schema_is_not_touched(folder: str) -> None:
    with sqlite3.connect(Path(folder) / "accounts.db") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(AccountsError, match="newer version"):
        Directory(folder, write=True)


def test_passwords_are_private_and_forgotten_with_their_user(tmp_path: Path) -> None:
    with Passwords(str(tmp_path / "auth")) as passwords:
        assert os.stat(passwords.path).st_mode & 0o777 == 0o600
        assert os.stat(tmp_path / "auth").st_mode & 0o777 == 0o700
        passwords.set_password("Alice@x.test", StoredPassword("h1"), 1)
        passwords.set_password("alice@x.test", StoredPassword("h2", "s1", "s2"), 2)
        assert passwords.password("ALICE@x.test") == ("h2", "s1", "s2")
        assert passwords.add_application_password("alice@x.test", "phone", "h", ("imap", "smtp"), 3)
        assert not passwords.add_application_password("alice@x.test", "phone", "h", (), 3)
        with pytest.raises(ValueError, match="no such scope"):
            passwords.add_application_password("alice@x.test", "x", "h", ("ftp",), 3)
        passwords.note_use("alice@x.test", "phone", "192.0.2.1", 9)
        (phone,) = passwords.application_passwords("alice@x.test")
        assert (phone.scopes, phone.last_use, phone.last_client) == (("imap", "smtp"), 9, "192.0.2.1")
        passwords.delete_user("alice@x.test")
        assert passwords.password("alice@x.test") is None
        assert passwords.application_passwords("alice@x.test") == []
        passwords.set_master("admin", "h", 1)
        assert passwords.master("ADMIN") == "h"
        assert passwords.delete_master("admin")
        assert passwords.masters() == []


def test_hashes_are_salted_and_of_the_cost_that_was_asked_for() -> None:
    one, two = store("secret", CHEAP), store("secret", CHEAP)
    assert one.hash != two.hash
    assert one.hash.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert one.scram_sha_256.startswith("SCRAM-SHA-256$4096:")
    assert store("secret", Cost(8, 1, 4096, ())).scram_sha_1 == ""
    with pytest.raises(ValueError, match="empty"):
        hash_password("", CHEAP)


def test_application_passwords_are_random() -> None:
    made = {make_application_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password.replace("-", "")) == 24 for password in made)
    assert hash_application_password("a-b") != hash_application_password("a-b")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("alice+x@e.test", "alice@e.test"),
        ("alice+x", "alice"),
        ("+x@e.test", "+x@e.test"),
        ("a-b+c@e.test", "a@e.test"),
        ("alice@e.test", "alice@e.test"),
    ],
)
def test_extensions(name: str, wanted: str) -> None:
    assert strip_extension(name, "+-") == wanted


def test_names_are_of_one_form() -> None:
    assert fold_name("Ju\u0308RGEN@Example.TEST") == fold_name("JÜRGEN@example.test") == "jürgen@example.test"
