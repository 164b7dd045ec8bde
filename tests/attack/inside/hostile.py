"""An instance with an attacker in each program, its accounts apart where we are root, and secrets to be taken."""

import contextlib
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.programs import PROGRAMS, USER, Program
from tubepost.common.system import landlock, seccomp

from tests.fakes.instance import PATIENCE, Instance
from tubepost.commands.privileges import read_status

# One instance, which the tests of this folder share, is not to be started by two workers of xdist. What Landlock alone
# refuses is left out case by case where the kernel has none.
MEANS = [
    pytest.mark.skipif(not seccomp.is_known(), reason="no filter of system calls for this machine"),
    pytest.mark.xdist_group("attack"),
]
ROOT = os.geteuid() == 0
LANDLOCK = landlock.version()
DENIED = {"EACCES", "EPERM"}
LAUNCHER = Path(__file__).with_name("hostile_master.py")
PERSON = Path(__file__).with_name("person.py")
# As a table it has a key, nobody.
SECRET = b"nobody else-is-to-read-this-7e2c41d9\n"
LETTER = "only-alice-is-to-read-this-5b90e3a7"
QUEUED = "4XYZ1234567890"
"""The id of a queue file, of SECRET, in hold."""
UNLISTED = "in-a-table-that-may-not-be-asked"
LISTED = "in-a-table-that-may-be-asked"
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
        self.apart = len(accounts) >= 5
        assert self.apart or not ROOT, "there are not the accounts here to have the programs apart"
        main = {
            "max_idle": "1h",
            "authorized_auth_users": "static:all",
            "lmtpd_authorized_users": "static:all",
            "auth_failure_delay": "0",
            "hash_queue_depth": "1",
            **(settings or {}),
        }
        if self.apart:
            protocol, mailboxes, auth, self.stranger, self.person_account = accounts[:5]
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
        table = self.instance.write_table("listed", f"nobody {LISTED}\n")
        # proxymap could read it, and is not to for anybody.
        self.instance.write_table("unlisted", f"nobody {UNLISTED}\n")
        self.instance.set_main({"proxy_read_maps": f"proxy:texthash:{table}"})
        os.environ["TUBEPOST_ATTACK"] = f"{self.place}/lines"
        self.instance.master = [sys.executable, "-I", str(LAUNCHER)]
        self._open: list[socket.socket] = []
        self._people: list[subprocess.Popen[bytes]] = []
        self._settled = 0

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

    def fresh(self, program: str) -> Line:
        """To a process of which nobody has heard yet, in place of those that there are."""
        for line in self.lines(program):
            os.kill(line.pid, signal.SIGKILL)
            deadline = time.monotonic() + PATIENCE
            while line.lives:
                assert time.monotonic() < deadline, f"{program}[{line.pid}] was killed and lives"
                time.sleep(0.01)
        return self.line(program)

    def person(self) -> Line:
        """To a new process that no master started: of an account that has nothing here, or without root of ours."""
        account = (self.person_account.pw_uid, self.person_account.pw_gid) if self.apart else (-1, -1)
        command = [sys.executable, "-I", str(PERSON), f"{self.place}/lines", *map(str, account)]
        process = subprocess.Popen(command)
        self._people.append(process)
        deadline = time.monotonic() + PATIENCE
        while not (found := [line for line in self.lines(USER) if line.pid == process.pid]):
            assert time.monotonic() < deadline and process.poll() is None, "the person does not come"
            time.sleep(0.01)
        return found[0]

    def settle(self, programs: Iterable[str]) -> None:
        """Until all that their processes have said is in the log."""
        first = self._settled
        for line in [line for program in programs for line in self.lines(program)]:
            self._settled += 1
            assert line.order("say", text=f"settled: {self._settled}.")["outcome"] == "done"
        for number in range(first, self._settled):
            self.instance.log.wait(f"settled: {number + 1}\\.")

    def refusals(self, callee: str, caller: Line, start: int = 0) -> list[str]:
        """Lines of the log, from ``start``, in which a process of ``callee`` tells that it refused ``caller``; the
        process's number each. What is in the log after ``settle``.
        """
        uid = read_status(caller.pid)["Uid"].split()[1]
        told = re.compile(rf"/{callee}\[(\d+)\]: warning: request refused: .* \(process {caller.pid}, uid {uid}\)$")
        return [match[1] for line in self.instance.log.lines[start:] if (match := told.search(line))]

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
        """Sockets of its running processes: at least one."""
        knock = self.socket_of(program)
        found = sorted(knock.parent.glob(f"{knock.name}.*"))
        assert found, f"no process of {program} listens"
        return found

    def is_closed_to(self, row: Program, callee: str) -> bool:
        """Private is entered by mail_owner, protocol_owner and root; auth_owner is in protocol_owner's group. A table
        that lmtpd is to ask is asked where master.cf has proxymap public.
        """
        return self.apart and row.account == "mailboxes" and self.socket_of(callee).parent.name == "private"

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> "Hostile":
        self.instance.start()
        self.home = self.instance.root / "home"
        self.home.mkdir(mode=0o700)
        (self.home / "secret").write_bytes(SECRET)
        if self.apart:
            for path in (self.home, self.home / "secret"):
                os.chown(path, self.stranger.pw_uid, self.stranger.pw_gid)
        self.instance.send(["alice@example.test"], f"Subject: the first\n\n{LETTER}\n")
        self.instance.log.wait(r": removed")
        # It has made its secret when it answers.
        assert self.line("auth").order("nothing")["outcome"] == "done"
        return self

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        for process in self._people:
            process.kill()
            process.wait()
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

    def plant_queued(self) -> None:
        """The same as QUEUED in hold, which nobody looks through."""
        os.replace(self.plant("hold"), self.instance.spool / "hold" / QUEUED)
        self.plant("hold")

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
