"""auth with users in a real PostgreSQL: queries, hashes, encryption, and a server that is gone, slow, or silent."""

import asyncio
import base64
import contextlib
import hashlib
import imaplib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tubepost.common.sasl.scram import ScramClient
from tubepost.common.wire import auth
from tubepost.common.accounts.hashing import hash_password, store
from tubepost.common.bus import Bus
from tubepost.common.net import selfsigned

from tests.fakes.instance import CHEAP, PATIENCE, Instance, free_port
from tests.fakes.tie import Tie
from tests.integration.auth.test_auth_socket import Asker

_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
BIN = _FOLDERS[-1].parent if _FOLDERS else None
ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(
    BIN is None or not ROOT or find_spec("psycopg") is None, reason="needs Debian's postgresql, psycopg, and root"
)

ALICE = "alice@example.test"
SECRET = "geheim, with ünïcode"
_SCRAM = store(SECRET, CHEAP)
HASHES = {
    "argon": hash_password(SECRET, CHEAP),
    "plain": f"{{PLAIN}}{SECRET}",
    "ssha": "{SSHA}" + base64.b64encode(hashlib.sha1(SECRET.encode() + b"salt").digest() + b"salt").decode(),
    "scram": "{SCRAM-SHA-256}" + _SCRAM.scram_sha_256,
}
_QUERY = "SELECT password, nologin FROM users WHERE name = '%n' AND domain = '%d'"
_USER_QUERY = (
    "SELECT '/srv/%d/' || name || '/' AS mailbox, home, uid, gid, quota_bytes, quota_messages, nologin"
    " FROM users WHERE name || '@' || domain = %u"
)


class Server:
    """A cluster in a folder of its own, on a port of loopback and a socket in that folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
        self.folder.chmod(0o755)
        shutil.chown(self.folder, "postgres", "postgres")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        data = self.folder / "data"
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        key, certificate = selfsigned.make(["localhost"], ["127.0.0.1"])
        for name, text in (("server.key", key), ("server.crt", certificate)):
            (data / name).write_bytes(text)
            (data / name).chmod(0o600)
            shutil.chown(data / name, "postgres", "postgres")
        # The program may read, by password and with encryption only.
        (data / "pg_hba.conf").write_text(
            "local all postgres trust\nhostssl mail tubepost 127.0.0.1/32 scram-sha-256\n"
            "local mail tubepost scram-sha-256\nhost all all all reject\n"
        )

    def _run(self, program: str, *words: str, text: str = "") -> str:
        assert BIN is not None
        done = subprocess.run(
            [str(BIN / program), *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            user="postgres",
            group="postgres",
            extra_groups=[],
            cwd=self.folder,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def psql(self, text: str, database: str = "mail") -> str:
        words = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database, "-AtXq"]
        return self._run("psql", *words, "-v", "ON_ERROR_STOP=1", text=text).strip()

    def start(self) -> None:
        assert BIN is not None
        words = [str(BIN / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder)]
        words += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "ssl=on", "-c", "shared_buffers=1MB"]
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user="postgres",
            group="postgres",
            extra_groups=[],
            cwd=self.folder,
            start_new_session=True,
        )
        self._tie = Tie(self.process.pid)
        deadline = time.monotonic() + PATIENCE
        pid_file = self.folder / "data" / "postmaster.pid"
        # Its eighth line tells how far it is.
        while not (pid_file.exists() and pid_file.read_text().split("\n")[7:8] == ["ready   "]):
            assert self.process.poll() is None and time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE)
            self.process = None
            self._tie.loosen()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It takes connections and says nothing, as a host that has lost its disk does."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pids = [pid, *(int(word) for word in children)]
        try:
            for each in pids:
                os.kill(each, signal.SIGSTOP)
            yield
        finally:
            for each in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    try:
        made.start()
        made.psql("CREATE DATABASE mail", "postgres")
        rows = [f"('{name}', 'example.test', '{text}', 'f')" for name, text in HASHES.items()]
        rows += [f"('{name}', 'example.test', '{{PLAIN}}{SECRET}', 'f')" for name in ("alice", "müller", "o''brien")]
        rows += [f"('barred', 'example.test', '{{PLAIN}}{SECRET}', 'Y')", "('empty', 'example.test', NULL, NULL)"]
        rows += [f"('twice', 'example.test', '{{PLAIN}}{SECRET}', 'f')"] * 2
        made.psql(
            "CREATE TABLE users (name text, domain text, password text, nologin char(1), home text, uid int, gid int,"
            " quota_bytes numeric, quota_messages int);\n"
            f"INSERT INTO users (name, domain, password, nologin) VALUES {', '.join(rows)};\n"
            "UPDATE users SET home = '/home/alice', uid = 4711, gid = 4712, quota_bytes = 1048576, quota_messages = 10"
            " WHERE name = 'alice';\n"
            "CREATE ROLE tubepost LOGIN PASSWORD 'of the program';\nGRANT SELECT ON users TO tubepost;\n"
        )
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)


def _settings(server: Server, number: int, *lines: str, query: str = _QUERY, hosts: str = "") -> dict[str, str]:
    """main.cf's, for a configuration file with these lines."""
    path = server.folder / f"users{number}.cf"
    path.write_text(
        f"hosts = {hosts or f'127.0.0.1:{server.port}'}\ndbname = mail\nuser = tubepost\npassword = of the program\n"
        f"password_query = {query}\n" + "".join(f"{line}\n" for line in lines)
    )
    path.chmod(0o644)
    return {
        "auth_backends": f"pgsql:{path}",
        "auth_failure_delay": "0",
        "auth_cache_time": "0",
        "auth_mechanisms": "PLAIN, LOGIN, SCRAM-SHA-256",
    }


@pytest.fixture(scope="module")
def instance(server: Server) -> Iterator[Instance]:
    with Instance(main=_settings(server, 1, f"user_query = {_USER_QUERY}")) as made:
        yield made


def test_the_hashes_of_its_users_are_understood(instance: Instance) -> None:
    asker = Asker(instance)
    for number, name in enumerate((*HASHES, "alice", "müller", "o'brien"), 1):
        login = f"{name}@example.test"
        assert asker.plain(number, login, SECRET, "secured") == ["OK", str(number), f"user={login}"], name
        assert asker.plain(number + 50, login, "wrong", "secured") == ["FAIL", str(number + 50)], name
    # Names are folded before they are asked for.
    assert asker.plain(90, "Alice@EXAMPLE.test", SECRET, "secured") == ["OK", "90", f"user={ALICE}"]


def test_scram_by_a_stored_key(instance: Instance) -> None:
    asker = Asker(instance)
    client = ScramClient("SCRAM-SHA-256", "scram@example.test", SECRET, "abc")
    first = base64.b64encode(client.start()).decode()
    answer = asker.ask("AUTH", "1", "SCRAM-SHA-256", "service=imap", "final-resp-ok", f"resp={first}")
    assert answer[0] == "CONT"
    proof = base64.b64encode(client.respond(base64.b64decode(answer[2]))).decode()
    assert asker.ask("CONT", "1", proof)[:3] == ["OK", "1", "user=scram@example.test"]


def test_who_may_not_log_in(instance: Instance) -> None:
    asker = Asker(instance)
    assert asker.plain(1, "barred@example.test", SECRET, "secured")[:2] == ["FAIL", "1"]
    instance.log.wait("user=<barred@example.test>.*the account is disabled")
    assert asker.plain(2, "empty@example.test", "", "secured")[:2] == ["FAIL", "2"]
    assert asker.plain(3, "empty@example.test", "None", "secured") == ["FAIL", "3"]
    # It cannot be told whose password it is.
    assert asker.plain(4, "twice@example.test", SECRET, "secured")[:3] == ["FAIL", "4", "temp"]
    instance.log.wait("more than one row for twice@example.test")


def test_what_a_client_says_is_no_part_of_a_query(instance: Instance) -> None:
    asker = Asker(instance)
    evil = ("x' OR '1'='1", "alice@example.test' --", "x%@%", "%(u)s", "%s%%n", "$1", "\\", "';SELECT pg_sleep(9)--@b")
    for number, name in enumerate(evil, 1):
        assert asker.plain(number, name, SECRET, "secured") == ["FAIL", str(number)], name
    # No text of PostgreSQL's has it, so nobody is called so; that is an answer, not a failure of ours.
    words = ["AUTH", "50", "LOGIN", "service=smtp", "rip=192.0.2.1", "secured"]
    assert asker.ask(*words)[0] == "CONT"
    assert asker.ask("CONT", "50", base64.b64encode(b"al\0ice@example.test").decode())[:2] in (
        ["CONT", "50"],
        ["FAIL", "50"],
    )
    assert asker.plain(99, ALICE, SECRET, "secured") == ["OK", "99", f"user={ALICE}"]
    assert not instance.log.count("Traceback|syntax error")


def test_what_it_knows_of_a_user(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(instance.spool)

    async def go() -> auth.User:
        bus = Bus()
        try:
            client = bus.client("public/auth", deadline=20)
            return await client.call(auth.Lookup(name="alice+list@example.test", scope="lmtp"), reply=auth.User)
        finally:
            bus.close()

    assert asyncio.run(go()) == auth.User(
        name=ALICE,
        home="/home/alice",
        mailbox="/srv/example.test/alice/",
        uid=4711,
        gid=4712,
        quota_bytes=1048576,
        quota_messages=10,
    )


def test_a_server_that_is_gone_and_comes_back(server: Server, instance: Instance) -> None:
    asker = Asker(instance)
    assert asker.plain(1, ALICE, SECRET, "secured")[0] == "OK"
    server.stop()
    try:
        for number in (2, 3):
            assert asker.plain(number, ALICE, SECRET, "secured")[:3] == ["FAIL", str(number), "temp"]
            assert asker.plain(number + 10, ALICE, "wrong", "secured")[:3] == ["FAIL", str(number + 10), "temp"]
    finally:
        server.start()
    assert asker.plain(4, ALICE, SECRET, "secured")[0] == "OK"
    # A restart between two logins is noticed by nobody.
    server.stop()
    server.start()
    assert asker.plain(5, ALICE, SECRET, "secured")[0] == "OK"


_SLOW = (
    "SELECT password FROM users, (SELECT CASE WHEN '%n' LIKE 'slow%%' THEN pg_sleep(60) END) AS pause"
    " WHERE name || '@' || domain = '%n@%d'"
)


def test_slow_questions_are_given_up_and_hold_up_nobody(server: Server) -> None:
    with Instance(main=_settings(server, 2, "timeout = 1", "connections = 2", query=_SLOW)) as instance:
        asker, other = Asker(instance), Asker(instance)
        began = time.monotonic()
        response = base64.b64encode(f"\0slow@example.test\0{SECRET}".encode()).decode()
        more = ["PLAIN", "service=smtp", "rip=192.0.2.1", "secured", f"resp={response}"]
        asker.socket.sendall(("\t".join(["AUTH", "1", *more]) + "\n").encode())
        # One of two connections waits: the other answers.
        assert other.plain(1, ALICE, SECRET, "secured") == ["OK", "1", f"user={ALICE}"]
        assert time.monotonic() - began < 1
        assert asker.read()[:3] == ["FAIL", "1", "temp"]
        assert 1 <= time.monotonic() - began < 4
        instance.log.wait("does not answer within 1 s")
        active = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'tubepost' AND state = 'active'"
        assert server.psql(active) == "0"
        # More of them than there are connections: each has its answer after the same time, none waits for the others.
        for number in range(2, 8):
            asker.socket.sendall(("\t".join(["AUTH", str(number), *more]) + "\n").encode())
        began = time.monotonic()
        answers = [asker.read()[:3] for _ in range(2, 8)]
        assert sorted(answers) == [["FAIL", str(number), "temp"] for number in range(2, 8)]
        assert time.monotonic() - began < 6
        assert asker.plain(9, ALICE, SECRET, "secured")[0] == "OK"


def test_a_silent_server_is_left(server: Server) -> None:
    with Instance(main=_settings(server, 3, "timeout = 1")) as instance:
        asker = Asker(instance)
        assert asker.plain(1, ALICE, SECRET, "secured")[0] == "OK"
        with server.silent():
            for number in (2, 3):
                # By the connection that there is, and by a new one.
                began = time.monotonic()
                assert asker.plain(number, ALICE, SECRET, "secured")[:3] == ["FAIL", str(number), "temp"]
                assert time.monotonic() - began < 6
        assert asker.plain(4, ALICE, SECRET, "secured")[0] == "OK"


def test_by_socket_and_to_a_mailbox(server: Server) -> None:
    hosts = f"unix:{server.folder}:{server.port}"
    settings = _settings(server, 4, f"conninfo = port={server.port}", hosts=hosts.rpartition(":")[0])
    with Instance(main=settings, services=("imap",)) as instance:
        client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            client.login(ALICE, "wrong")
        client.authenticate("PLAIN", lambda _: f"\0{ALICE}\0{SECRET}".encode())
        assert client.select()[0] == "OK"
        client.append("INBOX", "", "", b"Subject: x\r\n\r\nbody\r\n")
        assert client.fetch("1", "(RFC822.SIZE)")[0] == "OK"
        client.logout()
        assert len(list((instance.mail / "example.test" / "alice").glob("cur/*"))) == 1
        server.stop()
        try:
            client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
            # RFC 5530 3: not AUTHENTICATIONFAILED, after which programs ask people for another password.
            with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
                client.login(ALICE, "any")
            client.shutdown()
        finally:
            server.start()


def test_the_second_server_is_asked_when_the_first_says_nothing(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [closed.getsockname()[1], silent.getsockname()[1], server.port]
        closed.close()
        hosts = ", ".join(f"127.0.0.1:{port}" for port in ports)
        with Instance(main=_settings(server, 6, "timeout = 8", hosts=hosts)) as instance:
            asker = Asker(instance)
            assert asker.plain(1, ALICE, SECRET, "secured") == ["OK", "1", f"user={ALICE}"]
            assert asker.plain(2, ALICE, "wrong", "secured") == ["FAIL", "2"]
