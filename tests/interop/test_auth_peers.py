"""auth with strangers: Postfix authenticating against us; saslauthd, Dovecot and Courier as our backends."""

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tubepost.common.config.instance import read_credentials

from tests.fakes.instance import PATIENCE, Instance, free_port
from tests.fakes.postfix import UNUSABLE, PostfixPeer
from tests.fakes.tie import Tie
from tests.integration.auth.test_auth_socket import Asker

ALICE = "alice@example.test"
SASLAUTHD = shutil.which("saslauthd", path="/usr/sbin")
DOVECOT = shutil.which("dovecot", path="/usr/sbin")
SLAPD = shutil.which("slapd", path="/usr/sbin")
COURIER = "/usr/lib/courier/courier-authlib/authdaemond"
ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def daemon(words: Sequence[str], socket: Path) -> Iterator[None]:
    """Until the socket is there; ended by its process group."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    tie = Tie(process.pid)
    try:
        deadline = time.monotonic() + PATIENCE
        while not socket.exists():
            assert process.poll() is None, (process.stdout.read() if process.stdout else b"").decode()
            assert time.monotonic() < deadline, "the daemon makes no socket"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
        tie.loosen()


@pytest.mark.skipif(bool(UNUSABLE) or shutil.which("swaks") is None, reason=UNUSABLE or "needs swaks")
def test_a_postfix_authenticates_its_users_against_us() -> None:
    with Instance(main={"auth_failure_delay": "0"}) as instance:
        password = read_credentials(str(instance.root / "credentials.txt"))[ALICE]
        settings = {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(instance.spool / "public" / "auth-client"),
            "mynetworks": "",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        }
        with PostfixPeer(settings) as postfix:

            def swaks(mechanism: str, secret: str) -> "subprocess.CompletedProcess[str]":
                words = ["swaks", "-s", "127.0.0.1", "-p", str(postfix.port), "-t", "user@peer.test"]
                words += ["-a", mechanism, "-au", ALICE, "-ap", secret]
                return subprocess.run(words, capture_output=True, text=True, timeout=60)

            for mechanism in ("PLAIN", "LOGIN"):
                done = swaks(mechanism, password)
                assert done.returncode == 0, done.stdout
                postfix.log.wait(rf"sasl_method={mechanism}, sasl_username={ALICE}")
            assert "535 5.7.8" in swaks("PLAIN", "wrong").stdout
            instance.log.wait("authentication failed: .*reason=wrong password")


def _try(instance: Instance, right: str, wrong: str, login: str = ALICE) -> None:
    asker = Asker(instance)
    assert asker.plain(1, login, right, "secured") == ["OK", "1", f"user={login}"]
    assert asker.plain(2, login, wrong, "secured") == ["FAIL", "2"]
    assert asker.plain(3, "nobody@example.test", right, "secured") == ["FAIL", "3"]


@pytest.mark.skipif(SASLAUTHD is None or not ROOT, reason="needs Debian's sasl2-bin, and root")
def test_saslauthd_is_asked(folder: Path) -> None:
    # Its mechanism "sasldb" reads one file of this system: a user is put into it, and taken out again.
    socket = folder / "mux"
    subprocess.run(["saslpasswd2", "-p", "-c", "-u", "example.test", "alice"], input=b"secret", check=True, timeout=20)
    try:
        assert SASLAUTHD is not None
        settings = {"auth_backends": f"saslauthd:{socket}", "auth_failure_delay": "0"}
        words = [SASLAUTHD, "-d", "-a", "sasldb", "-m", str(folder), "-n", "1"]
        with daemon(words, socket), Instance(main=settings) as instance:
            _try(instance, "secret", "wrong")
        with Instance(main=settings) as instance:
            assert Asker(instance).plain(1, ALICE, "secret", "secured")[:3] == ["FAIL", "1", "temp"]
    finally:
        subprocess.run(["saslpasswd2", "-d", "-u", "example.test", "alice"], timeout=20)


@pytest.mark.skipif(DOVECOT is None or not ROOT, reason="needs Debian's dovecot-core, and root")
def test_dovecot_is_asked(folder: Path) -> None:
    (folder / "users").write_text(f"{ALICE}:{{PLAIN}}secret\n")
    (folder / "users").chmod(0o644)
    (folder / "dovecot.conf").write_text(
        f"base_dir = {folder}/run\nprotocols =\nlog_path = {folder}/log\nssl = no\nauth_failure_delay = 0 secs\n"
        f"auth_mechanisms = plain\npassdb {{\n driver = passwd-file\n args = {folder}/users\n}}\n"
        f"userdb {{\n driver = static\n args = uid=65534 gid=65534 home=/tmp\n}}\n"
        f"service auth {{\n unix_listener {folder}/auth {{\n mode = 0666\n }}\n}}\n"
        "default_internal_user = nobody\ndefault_login_user = nobody\ndefault_internal_group = nogroup\n"
    )
    assert DOVECOT is not None
    settings = {"auth_backends": f"dovecot:{folder}/auth", "auth_failure_delay": "0"}
    words = [DOVECOT, "-F", "-c", str(folder / "dovecot.conf")]
    with daemon(words, folder / "auth"), Instance(main=settings) as instance:
        _try(instance, "secret", "wrong")


@pytest.mark.skipif(SLAPD is None or not ROOT or find_spec("ldap3") is None, reason="needs slapd, ldap3, and root")
@pytest.mark.parametrize("bind", ["yes", "no"])
def test_ldap_is_asked(folder: Path, bind: str) -> None:
    port = free_port()
    (folder / "db").mkdir()
    (folder / "slapd.conf").write_text(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n"
        "include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        f"pidfile {folder}/pid\ndatabase mdb\nsuffix dc=test\nrootdn cn=admin,dc=test\nrootpw admin\n"
        f"directory {folder}/db\n"
    )
    (folder / "users.ldif").write_text(
        "dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: test\n\n"
        "dn: cn=alice,dc=test\nobjectClass: inetOrgPerson\ncn: alice\nsn: A\n"
        f"mail: {ALICE}\nuserPassword: {{SSHA}}{_ssha('secret')}\ndescription: /var/mail/alice/\n"
    )
    words = ["/usr/sbin/slapadd", "-f", str(folder / "slapd.conf"), "-l", str(folder / "users.ldif")]
    subprocess.run(words, check=True, timeout=30, capture_output=True)
    (folder / "ldap.cf").write_text(
        f"server_host = ldap://127.0.0.1:{port}\nsearch_base = dc=test\nquery_filter = (mail=%u)\n"
        f"bind_dn = cn=admin,dc=test\nbind_pw = admin\nauth_bind = {bind}\nmailbox_attribute = description\n"
    )
    (folder / "ldap.cf").chmod(0o644)
    assert SLAPD is not None
    words = [SLAPD, "-d", "0", "-f", str(folder / "slapd.conf"), "-h", f"ldap://127.0.0.1:{port}"]
    settings = {"auth_backends": f"ldap:{folder}/ldap.cf", "auth_failure_delay": "0"}
    with daemon(words, folder / "pid"), Instance(main=settings) as instance:
        _try(instance, "secret", "wrong")
        # What a client says is no part of the filter, and no password is no password.
        asker = Asker(instance)
        assert asker.plain(1, "*", "secret", "secured") == ["FAIL", "1"]
        assert asker.plain(2, "al*ce@example.test)(mail=*", "secret", "secured") == ["FAIL", "2"]


def _ssha(password: str) -> str:
    return base64.b64encode(hashlib.sha1(password.encode() + b"salt").digest() + b"salt").decode()


@pytest.mark.skipif(not os.path.exists(COURIER) or not ROOT, reason="needs Debian's courier-authdaemon, and root")
def test_courier_is_asked(folder: Path) -> None:
    """Its modules read this system's own files: who is no user there is none here, and nothing is put into them."""
    name = "tubepost-test"
    # Its place is compiled in.
    socket = Path("/run/courier/authdaemon/socket")
    mode = socket.parent.stat().st_mode & 0o777
    socket.unlink(missing_ok=True)
    subprocess.run(["useradd", "-M", "-d", str(folder / "home"), name], check=True, timeout=20)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:secret\n".encode(), check=True, timeout=20)
        socket.parent.chmod(0o755)
        settings = {"auth_backends": f"authdaemond:{socket}", "auth_failure_delay": "0"}
        with daemon([COURIER], socket), Instance(main=settings) as instance:
            _try(instance, "secret", "wrong", name)
    finally:
        socket.parent.chmod(mode)
        subprocess.run(["userdel", name], timeout=20)
