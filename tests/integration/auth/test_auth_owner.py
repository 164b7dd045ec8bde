"""auth as an account of its own (auth_owner): the passwords are its alone, and it gets along with the others."""

import imaplib
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import PATIENCE, Instance
from tests.integration.auth.test_auth_socket import Asker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OWNER = "daemon"
ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    # The instance was made, with passwords, before anybody thought of auth_owner.
    with Instance(main={"auth_owner": OWNER, "auth_failure_delay": "0"}, services=("imap", "submission")) as made:
        yield made


def _mail_owner(instance: Instance) -> str:
    return instance.command("postconf", "-h", "mail_owner").stdout.strip()


def _ids(pid: int) -> tuple[list[str], int]:
    """The four user ids of a process, and its capabilities."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return lines["Uid"].split(), int(lines["CapEff"], 16)


def _check_files(folder: Path, name: str) -> None:
    uid = pwd.getpwnam(name).pw_uid
    for path, mode in ((folder, 0o700), (folder / "passwords.db", 0o600), (folder / "secret", 0o600)):
        found = path.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (uid, mode), path


def test_users_log_in(instance: Instance) -> None:
    password = instance.credentials[ALICE]
    asker = Asker(instance)
    assert asker.plain(1, ALICE, password, "secured") == ["OK", "1", f"user={ALICE}"]
    assert asker.plain(2, ALICE, "wrong", "secured") == ["FAIL", "2"]
    client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
    client.login(ALICE, password)
    assert client.select()[0] == "OK"
    client.logout()
    instance.send([ALICE])
    instance.log.wait(rf"to=<{ALICE}>.*status=sent")


def test_it_runs_as_its_own_account_and_so_do_the_others(instance: Instance) -> None:
    assert Asker(instance).plain(1, ALICE, "wrong", "secured") == ["FAIL", "1"]
    with instance.smtp() as client:
        client.ehlo()
        (pid,) = instance.pids("auth")
        own = str(pwd.getpwnam(OWNER).pw_uid)
        ids, capabilities = _ids(pid)
        assert ids == [own] * 4
        # It may look through directories, and override no right to write.
        assert capabilities in (1 << 2, 1 << 1)
        other = str(pwd.getpwnam(_mail_owner(instance)).pw_uid)
        assert other != own
        for program in ("smtpd", "authclient"):
            (pid, *_) = instance.pids(program)
            assert _ids(pid) == ([other] * 4, 0), program


def test_nobody_else_reads_the_passwords(instance: Instance) -> None:
    folder = instance.root / "auth"
    Asker(instance).plain(1, ALICE, "wrong", "secured")
    _check_files(folder, OWNER)
    for name in ("passwords.db", "secret"):
        words = ["cat", str(folder / name)]
        done = subprocess.run(words, user=_mail_owner(instance), extra_groups=[], capture_output=True, timeout=20)
        assert done.returncode != 0 and b"ermission denied" in done.stderr


def test_commands_and_auth_write_side_by_side(instance: Instance) -> None:
    asker = Asker(instance)
    made = instance.command("tubepost", "user", "add", "zoe@example.test", "--stdin", input="zoe's\n")
    assert made.returncode == 0, made.stderr
    assert asker.plain(1, "zoe@example.test", "zoe's", "secured")[0] == "OK"
    made = instance.command("tubepost", "user", "app-password", "add", "zoe@example.test", "phone")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.split()[-1]
    assert asker.plain(2, "zoe@example.test", secret, "secured")[0] == "OK"
    # auth has written down the use of it: the database, and its journal, are where it may write.
    assert not instance.log.count("is not written down|cannot be written|readonly|read-only")
    listed = instance.command("tubepost", "user", "app-password", "list", "zoe@example.test").stdout
    assert "192.0.2.1" in listed
    _check_files(instance.root / "auth", OWNER)


def test_another_owner_at_a_reload(instance: Instance) -> None:
    owner = _mail_owner(instance)
    instance.set_main({"auth_owner": owner})
    try:
        instance.command("tubepost", "reload")
        instance.log.wait("reload -- ")
        assert Asker(instance).plain(1, ALICE, instance.credentials[ALICE], "secured")[0] == "OK"
        _check_files(instance.root / "auth", owner)
    finally:
        instance.set_main({"auth_owner": OWNER})
        instance.command("tubepost", "reload")
        instance.log.wait("reload -- ", count=2)
    assert Asker(instance).plain(1, ALICE, instance.credentials[ALICE], "secured")[0] == "OK"
    _check_files(instance.root / "auth", OWNER)
