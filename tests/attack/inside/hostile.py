"""An instance with an attacker in each program, its accounts apart where we are root, and secrets to be taken."""

import contextlib
import json
import os
import pwd
import select
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.programs import PROGRAMS, USER, Program
from tubepost.common.system import landlock, seccomp

from tests.fakes.instance import PATIENCE, Instance

# One instance, which the tests of this folder share, is not to be started by two workers of xdist.
MEANS = [
    pytest.mark.skipif(landlock.version() < 6 or not seccomp.is_known(), reason="this kernel lacks the means"),
    pytest.mark.xdist_group("attack"),
]
ROOT = os.geteuid() == 0
LAUNCHER = Path(__file__).with_name("hostile_master.py")
SECRET = b"nobody else is to read this\n"
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt", "bounce", "defer", "trace", "flush", "saved")
PROGRAM_NAMES = tuple(name for name in PROGRAMS if name != USER)
# Service of master.cf by program, where the name differs or there are several.
SERVICES = {"error": "error", "smtp": "smtp", "authclient": "auth-client", "log": "postlog", "lmtp": "lmtp"}
_STREAMS = {"smtpd": "smtp", "imapd": "imap", "pop3d": "pop3"}
_ACCOUNTS = ("www-data", "games", "daemon", "man", "mail", "news", "backup", "list", "uucp")


def _accounts() -> list[pwd.struct_passwd]:
    found = []
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            found.append(pwd.getpwnam(name))
    return found


class Line:
    """To the attacker in one process."""

    def __init__(self, connection: socket.socket, pid: int, program: str, service: str) -> None:
        self.connection = connection
        self.pid = pid
        self.program = program
        self.service = service
        self._lock = threading.Lock()

    def order(self, name: str, timeout: float = PATIENCE, **given: Any) -> dict[str, Any]:
        """What came of it. Raises AssertionError when the process is gone or says nothing."""
        with self._lock:
            self.connection.settimeout(timeout)
            try:
                self.connection.send(json.dumps({"name": name, **given}).encode())
                data = self.connection.recv(1 << 20)
            except OSError as error:
                raise AssertionError(f"{self.program}[{self.pid}] does not answer to {name}: {error}") from None
            assert data, f"{self.program}[{self.pid}] is gone after {name}"
            answer: dict[str, Any] = json.loads(data)
            return answer

    @property
    def lives(self) -> bool:
        return os.path.exists(f"/proc/{self.pid}") and not select.select([self.connection], [], [], 0)[0]


class Hostile:
    def __init__(self, settings: dict[str, str] | None = None) -> None:
        """``settings``: of main.cf, besides its own."""
        self.place = tempfile.mkdtemp(prefix="tp-a-", dir="/tmp")
        os.chmod(self.place, 0o755)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"{self.place}/lines")
        self._listener.listen(200)
        self._lines: list[Line] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()
        accounts = _accounts() if ROOT else []
        self.apart = len(accounts) >= 4
        main = {
            "max_idle": "1h",
            "authorized_auth_users": "static:all",
            "lmtpd_authorized_users": "static:all",
            "auth_failure_delay": "0",
            "hash_queue_depth": "1",
            **(settings or {}),
        }
        if self.apart:
            protocol, mailboxes, auth, self.stranger = accounts[:4]
            main |= {
                "protocol_owner": protocol.pw_name,
                "auth_owner": auth.pw_name,
                "virtual_uid_maps": f"static:{mailboxes.pw_uid}",
                "virtual_gid_maps": f"static:{mailboxes.pw_gid}",
                "virtual_minimum_uid": "1",
                "default_privs": self.stranger.pw_name,
            }
            self.mailboxes = mailboxes
        pipe = (
            "attacked unix - n n - - pipe\n    flags=q user="
            + (self.stranger.pw_name if self.apart else pwd.getpwuid(os.geteuid()).pw_name)
            + " argv=/bin/true"
        )
        self.instance = Instance(main=main, master=[pipe], services=("submission", "imap", "pop3"))
        if self.apart:
            for path in (self.instance.mail, *self.instance.mail.rglob("*")):
                os.chown(path, self.mailboxes.pw_uid, self.mailboxes.pw_gid)
        os.environ["TUBEPOST_ATTACK"] = f"{self.place}/lines"
        self.instance.master = [sys.executable, "-I", str(LAUNCHER)]
        self._open: list[socket.socket] = []

    # -- lines -------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            hello = json.loads(connection.recv(4096))
            with self._changed:
                self._lines.append(Line(connection, hello["pid"], hello["program"], hello["service"]))
                self._changed.notify_all()

    def lines(self, program: str) -> list[Line]:
        with self._changed:
            return [line for line in self._lines if line.program == program and line.lives]

    def line(self, program: str) -> Line:
        """To a process of the program, which is started if there is none."""
        if found := self.lines(program):
            return found[-1]
        self._want(program)
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for line in reversed(self._lines):
                    if line.program == program and line.lives:
                        return line
                left = deadline - time.monotonic()
                assert left > 0, f"{program} was not started\n" + "\n".join(self.instance.log.lines[-30:])
                self._changed.wait(left)

    def _want(self, program: str) -> None:
        if program in _STREAMS:
            port = self.instance.port if program == "smtpd" else self.instance.ports[_STREAMS[program]]
            self._open.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
            return
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(PATIENCE)
        line.connect(str(self.socket_of(program)))
        self._open.append(line)

    def socket_of(self, program: str) -> Path:
        """Where callers of the program knock."""
        name = "attacked" if program == "pipe" else SERVICES.get(program, program)
        return next(path for folder in ("private", "public") if (path := self.instance.spool / folder / name).exists())

    def workers_of(self, program: str) -> list[Path]:
        """Sockets of its running processes."""
        knock = self.socket_of(program)
        return sorted(knock.parent.glob(f"{knock.name}.*"))

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> "Hostile":
        self.instance.start()
        self.home = self.instance.root / "home"
        self.home.mkdir(mode=0o700)
        (self.home / "secret").write_bytes(SECRET)
        if self.apart:
            for path in (self.home, self.home / "secret"):
                os.chown(path, self.stranger.pw_uid, self.stranger.pw_gid)
        self.instance.send(["alice@example.test"], "Subject: the first\n\nhello\n")
        self.instance.log.wait(r": removed")
        self.line("auth")
        return self

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        try:
            self.instance.stop()
        finally:
            self._listener.close()
            self.instance.remove()
            shutil.rmtree(self.place, ignore_errors=True)

    # -- secrets -----------------------------------------------------------------------------------------------------

    def plant(self, queue: str) -> Path:
        """A file of mail_owner in a queue directory, as mail is; its name is no queue id."""
        path = self.instance.spool / queue / "secret-mail"
        path.write_bytes(SECRET)
        path.chmod(0o640)
        owner = os.stat(self.instance.spool / queue)
        if ROOT:
            os.chown(path, owner.st_uid, os.stat(self.instance.spool / "incoming").st_gid)
        return path

    @property
    def letter(self) -> Path:
        return self.instance.messages()[0]

    @property
    def passwords(self) -> Path:
        return self.instance.root / "auth" / "passwords.db"

    def is_whole(self) -> bool:
        """Are the databases what they were?"""
        with sqlite3.connect(f"file:{self.passwords}?mode=ro", uri=True) as database:
            return bool(database.execute("pragma integrity_check").fetchone()[0] == "ok")

    def is_root(self, row: Program) -> bool:
        """Keeps root's name and a few of its powers, in this instance."""
        return ROOT and row.account == "recipient"

    def own_directory(self, row: Program) -> str:
        """One that the program may write, or else one that it may not: then the first step of a trick is refused."""
        for name in reversed(row.writes):
            if name == "$virtual_mailbox_base":
                return str(self.instance.mail / "example.test" / "alice")
            if name in ("$data_directory", "$auth_directory", "$accounts_directory"):
                folder = {"$data_directory": "data", "$auth_directory": "auth", "$accounts_directory": "data/accounts"}
                return str(self.instance.root / folder[name])
            if not name.startswith("$"):
                return str(self.instance.spool / name)
        return str(self.instance.spool / "incoming")
