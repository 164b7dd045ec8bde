"""What backends say between them: who has the last word, what a file that was replaced means, names that are traps."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import ldap3
import pytest

from tubepost.common.accounts import Directory, Passwords
from tubepost.common.accounts.hashing import Cost, hash_application_password, store
from tubepost.common.config import Config
from tubepost.common.tables import TableEnvironment

from tubepost.services.auth import schemes
from tubepost.services.auth.backends import registry
from tubepost.services.auth.backends.base import Account, Backend, Context, Unavailable, Verdict
from tubepost.services.auth.backends.ldap import Ldap
from tubepost.services.auth.chain import Chain
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.users import Users

CHEAP = Cost(memory=8, time=1, iterations=4096)
ALICE = "alice@example.test"
T = TypeVar("T")


class House:
    def __init__(self, folder: Path, backends: str, **main: str) -> None:
        texts = {
            "mail_owner": "root",
            "accounts_directory": str(folder / "accounts"),
            "auth_directory": str(folder / "auth"),
            "virtual_mailbox_base": "/mail",
            "auth_backends": backends,
            **main,
        }
        self.folder = folder
        self.config = Config(str(folder), texts)
        self.hasher = Hasher(1, CHEAP, 0)
        made = registry.make(self.config.auth_backends, self.config, self.hasher, "auth_backends")
        self.chain = Chain(made, (), self.hasher, default_domain="")
        self.make("auth", "secret")

    def make(self, auth: str, password: str) -> None:
        with Directory(str(self.folder / "accounts"), write=True) as accounts:
            accounts.add_domain("example.test", 1)
            if accounts.user(ALICE) is None:
                accounts.add_user(ALICE, 1)
        with Passwords(str(self.folder / auth)) as passwords:
            passwords.set_password(ALICE, store(password, CHEAP), 1)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def verdict(self, password: str, client: str = "192.0.2.1") -> Verdict:
        return self.run(self.chain.verify(ALICE, password, Context("imap", client=client))).verdict

    def keys(self) -> str | None:
        return self.run(self.chain.keys(ALICE, "SCRAM-SHA-256"))


def test_a_database_of_passwords_that_was_replaced_is_the_one_that_counts(tmp_path: Path) -> None:
    house = House(tmp_path, "accounts")
    assert house.verdict("secret") is Verdict.RIGHT
    house.make("restored", "other")
    os.replace(tmp_path / "restored" / "passwords.db", tmp_path / "auth" / "passwords.db")
    assert house.verdict("secret") is Verdict.WRONG
    assert house.verdict("other") is Verdict.RIGHT


def test_a_damaged_application_password_is_no_password_and_keeps_nobody_out(tmp_path: Path) -> None:
    house = House(tmp_path, "accounts")
    with Passwords(str(tmp_path / "auth")) as passwords:
        passwords.add_application_password(ALICE, "broken", "{SSHA256}!", (), 1)
        passwords.add_application_password(ALICE, "phone", hash_application_password("abc-def"), (), 1)
    assert house.verdict("secret") is Verdict.RIGHT
    assert house.verdict("abcdef") is Verdict.RIGHT
    assert house.verdict("!") is Verdict.WRONG


@pytest.mark.parametrize(
    "line", ["{PLAIN}x::::::nologin", "$6$salt$hash::::::", "{PLAIN}x::::::allow_nets=192.0.2.0/24"]
)
def test_who_has_the_last_word_on_a_password_has_it_on_keys(tmp_path: Path, line: str) -> None:
    (tmp_path / "users").write_text(f"{ALICE}:{line}\n")
    house = House(tmp_path, f"passwd-file:{tmp_path}/users, accounts")
    assert house.verdict("secret") is not Verdict.RIGHT
    assert house.keys() is None
    (tmp_path / "users").write_text("bob@example.test:{PLAIN}x\n")
    assert house.verdict("secret") is Verdict.RIGHT
    assert house.keys() is not None


def test_behind_a_backend_that_never_passes_on_there_is_no_scram(tmp_path: Path) -> None:
    house = House(tmp_path, "saslauthd:/nowhere, accounts")
    assert not house.chain.has_scram
    assert house.keys() is None
    assert House(tmp_path, "accounts, saslauthd:/nowhere").chain.has_scram


def test_nologin_keeps_out_who_shows_no_password_too(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"{ALICE}:{{PLAIN}}x::::::nologin\n")
    house = House(tmp_path, f"passwd-file:{tmp_path}/users")
    found = house.run(house.chain.user(ALICE))
    assert found is not None
    assert not found.enabled
    assert house.verdict("x") is Verdict.DISABLED


@pytest.mark.parametrize(
    ("networks", "client", "allowed"),
    [
        ("local,198.51.100.0/24", "198.51.100.7", True),
        ("local,198.51.100.0/24", "", True),
        ("local,198.51.100.0/24", "192.0.2.1", False),
        ("198.51.100.0/24", "", False),
        ("local", "127.0.0.1", False),
        ("", "192.0.2.1", False),
        (",", "192.0.2.1", False),
    ],
)
def test_allow_nets(tmp_path: Path, networks: str, client: str, allowed: bool) -> None:
    (tmp_path / "users").write_text(f"{ALICE}:{{PLAIN}}x::::::allow_nets={networks}\n")
    house = House(tmp_path, f"passwd-file:{tmp_path}/users")
    assert house.verdict("x", client) is (Verdict.RIGHT if allowed else Verdict.WRONG)


@pytest.mark.parametrize("name", ["alice@..", "alice@.", "alice@.hidden", "..@example.test", "alice@", "a/b@c", "@x@y"])
def test_no_name_leads_out_of_the_place_of_mailboxes(tmp_path: Path, name: str) -> None:
    house = House(tmp_path, "accounts", auth_default_mailbox="/var/mail/%d/%n/")
    users = Users(house.config, TableEnvironment(accounts_directory=house.config.accounts_directory))
    with pytest.raises(Unavailable):
        house.run(users.complete(Account(name)))
    assert house.run(users.complete(Account(ALICE))).mailbox == "/var/mail/example.test/alice/"


def test_a_password_that_is_too_long_for_crypt_is_wrong_and_no_fault() -> None:
    stored = "$6$saltsalt$" + "a" * 86
    assert schemes.check(stored, "x" * 5000) is False


class Connection:
    """What ldap3 is asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, _servers: Any, **arguments: Any) -> None:
        self.asked.append(arguments)
        self.result = {"result": 0}
        self.response: list[dict[str, Any]] = [
            {"type": "searchResEntry", "dn": "uid=alice", "raw_attributes": {"userPassword": []}}
        ]
        self.closed = False

    def open(self) -> None: ...
    def bind(self) -> bool:
        return True

    def unbind(self) -> None: ...
    def search(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture
def ldap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ldap:
    path = tmp_path / "ldap.cf"
    path.write_text("search_base = dc=test\nauth_bind = no\nquery_filter = (uid=%n)\n")
    path.chmod(0o600)
    Connection.asked = []
    monkeypatch.setattr(ldap3, "Connection", Connection)
    return Ldap(str(path), Hasher(1, CHEAP, 0))


@pytest.mark.parametrize("name", [" alice", "alice ", "alice @example.test", "alice@ example.test", "a  lice"])
def test_a_name_that_the_directory_would_take_for_another_is_none(ldap: Ldap, name: str) -> None:
    assert asyncio.run(ldap.user(name)) is None
    assert asyncio.run(ldap.user("alice@example.test")) is not None


def test_a_referral_is_given_no_password(ldap: Ldap) -> None:
    asyncio.run(ldap.user("alice"))
    assert Connection.asked[0]["auto_referrals"] is False


def test_who_has_no_password_in_the_directory_costs_a_hash(ldap: Ldap) -> None:
    backend: Backend = ldap
    hasher: Hasher = ldap._hasher
    assert asyncio.run(backend.verify("alice", "x", Context("imap"))).verdict is Verdict.WRONG
    assert hasher.hashed == 1
