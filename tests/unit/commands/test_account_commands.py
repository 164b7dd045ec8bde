"""tubepost user, domain and alias, without a running system."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tubepost.common.accounts import Directory, Passwords
from tubepost.common.accounts.hashing import Cost
from tubepost.common.config import edit, load
from tubepost.common.config.instance import write_instance

from tubepost.commands.accounts import parse_size, print_size
from tubepost.commands.tubepost import main
from tubepost.services.auth import schemes


class Operator:
    def __init__(self, root: Path) -> None:
        made = write_instance(str(root), cost=Cost(memory=8, time=1, iterations=4096))
        self.conf = made.config_directory
        path = Path(self.conf) / "main.cf"
        cheap = {"auth_argon2_memory": "8", "auth_argon2_time": "1", "auth_scram_iterations": "4096"}
        path.write_text(edit.set_values(path.read_text(), cheap)[0])
        self.config = load(self.conf)
        self.mail = Path(made.mail_directory)

    def __call__(self, *words: str, stdin: str = "", status: int = 0) -> str:
        result: Result = CliRunner().invoke(main, ["-c", self.conf, *words], input=stdin)
        assert result.exit_code == status, result.output
        return result.output

    def is_password(self, name: str, password: str) -> bool:
        with Passwords(self.config.auth_directory) as passwords:
            stored = passwords.password(name)
        return stored is not None and schemes.check(stored.hash, password)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_init_made_alice_and_bob(operator: Operator) -> None:
    listed = json.loads(operator("user", "list", "--json"))
    assert [item["name"] for item in listed] == ["alice@example.test", "bob@example.test"]
    credentials = dict(line.split() for line in (operator.mail.parent / "credentials.txt").read_text().splitlines())
    assert operator.is_password("alice@example.test", credentials["alice@example.test"])
    assert "postmaster@example.test" in operator("alias", "list")


def test_the_life_of_a_user(operator: Operator) -> None:
    assert "added" in operator("domain", "add", "example.com")
    operator("user", "add", "carol@example.com", "--stdin", "--quota", "2G", stdin="secret\n")
    assert operator.is_password("carol@example.com", "secret")
    operator("user", "add", "carol@example.com", "--stdin", stdin="x\n", status=65)
    facts = json.loads(operator("user", "show", "Carol@example.com", "--json"))
    assert (facts["quota_bytes"], facts["password"][0]) == (2 << 30, "argon2id")
    assert "hash" not in facts
    operator("user", "passwd", "carol@example.com", "--stdin", stdin="other\n")
    assert operator.is_password("carol@example.com", "other")
    operator("user", "passwd", "carol@example.com", "--hashed", stdin="{PLAIN}taken over\n")
    assert operator.is_password("carol@example.com", "taken over")
    operator("user", "disable", "*@example.com")
    assert "disabled" in operator("user", "list", "carol*")
    operator("user", "enable", "carol@example.com")
    operator("user", "quota", "*", "--bytes", "500M", "--messages", "7")
    assert "500M" in operator("user", "list", "bob*")
    operator("alias", "add", "sales@example.com", "carol@example.com", "bob@example.test")
    operator("domain", "delete", "example.com", status=65)
    mailbox = operator.mail / "example.com" / "carol"
    (mailbox / "cur").mkdir(parents=True)
    assert "still goes to" in operator("user", "delete", "carol@example.com", "--yes", "--keep-mail")
    assert mailbox.exists()
    operator("user", "add", "carol@example.com", "--no-password")
    assert not operator.is_password("carol@example.com", "taken over")
    operator("user", "delete", "carol@example.com", "--yes", "--remove-mail")
    assert not mailbox.exists()
    operator("alias", "delete", "sales@example.com")
    operator("domain", "delete", "example.com")
    operator("user", "show", "carol@example.com", status=67)


def test_application_passwords(operator: Operator) -> None:
    made = operator("user", "app-password", "add", "alice@example.test", "phone", "--scope", "imap").strip()
    with Passwords(operator.config.auth_directory) as passwords:
        (phone,) = passwords.application_passwords("alice@example.test")
    assert schemes.check(phone.hash, made)
    assert phone.scopes == ("imap",)
    operator("user", "app-password", "add", "alice@example.test", "phone", status=65)
    listed = operator("user", "app-password", "list", "alice@example.test", "--json")
    assert json.loads(listed)[0]["label"] == "phone"
    assert phone.hash not in listed
    operator("user", "app-password", "delete", "alice@example.test", "phone")
    operator("user", "app-password", "delete", "alice@example.test", "phone", status=67)


def test_master_users(operator: Operator) -> None:
    assert "password of admin" in operator("user", "master", "add", "admin", "--random")
    assert json.loads(operator("user", "master", "list", "--json"))[0]["name"] == "admin"
    operator("user", "master", "add", "a*b", "--random", status=65)
    operator("user", "master", "delete", "admin")
    operator("user", "master", "delete", "admin", status=67)


def test_a_password_is_never_taken_from_the_command_line(operator: Operator) -> None:
    for words in (("user", "add", "x@example.test", "secret"), ("user", "passwd", "alice@example.test", "secret")):
        operator(*words, status=2)
    operator("user", "add", "x@example.test", status=65)
    with Directory(operator.config.accounts_directory) as accounts:
        assert accounts.user("x@example.test") is None


def test_mail_is_not_removed_through_a_link(operator: Operator, tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    (operator.mail / "example.test").mkdir(exist_ok=True)
    (operator.mail / "example.test" / "alice").symlink_to(elsewhere)
    assert "link" in operator("user", "delete", "alice@example.test", "--yes", "--remove-mail", status=65)
    assert elsewhere.exists()


def test_mistakes_are_told_in_one_line(operator: Operator) -> None:
    assert "tubepost domain add" in operator("user", "add", "x@nowhere.test", "--random", status=65)
    assert "not a size" in operator("user", "quota", "alice*", "--bytes", "lots", status=65)
    assert "no user matches" in operator("user", "disable", "zzz*", status=67)
    assert "not an address" in operator("alias", "add", "x@example.test", "nonsense", status=65)
    assert "mydestination" in operator("domain", "add", "localhost", status=65)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("none", 0), ("1024", 1024), ("2G", 2 << 30), ("1.5m", 3 << 19), ("10 KiB", 10240)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert print_size(2 << 30) == "2G"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
@pytest.mark.parametrize("where", ["example.test/dora", "example.test"])
def test_nothing_is_given_away_through_a_link(operator: Operator, tmp_path: Path, where: str) -> None:
    precious = tmp_path / "precious"
    (precious / "dora").mkdir(0o700, parents=True)
    precious.chmod(0o700)
    link = operator.mail / where
    link.parent.mkdir(exist_ok=True)
    if link.is_dir():
        link.rmdir()
    link.symlink_to(precious)
    said = operator("user", "add", "dora@example.test", "--random", "--uid", "4711", "--gid", "4711")
    assert "cannot make" in said
    for path in (precious, precious / "dora"):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (os.geteuid(), 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_user_with_ids_of_his_own_has_a_directory_of_his_own(operator: Operator) -> None:
    words = ("--random", "--uid", "4711", "--gid", "4712", "--mailbox", "deep/er/dora")
    operator("user", "add", "dora@example.test", *words)
    made = operator.mail / "deep" / "er" / "dora"
    assert (made.stat().st_uid, made.stat().st_gid, made.stat().st_mode & 0o777) == (4711, 4712, 0o700)
    for above in (made.parent, made.parent.parent):
        assert above.stat().st_uid == operator.mail.stat().st_uid
        assert above.stat().st_mode & 0o011 == 0o011
    operator("user", "delete", "dora@example.test", "--yes", "--remove-mail")
    assert not made.exists()
    assert made.parent.exists()


@pytest.mark.parametrize("stored", ["rqXexS6ZhobKA", "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "{PLAIN}rqXexS6Z", "rqXexS6Z}"])
def test_no_kind_of_stored_password_is_shown(operator: Operator, stored: str) -> None:
    operator("user", "passwd", "alice@example.test", "--hashed", stdin=f"{stored}\n")
    for words in ((), ("--json",)):
        said = operator("user", "show", "alice@example.test", *words)
        assert not any(part in said for part in ("qXexS6Z", "qJH7"))
