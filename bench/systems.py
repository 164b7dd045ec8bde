"""The two systems under test behind one small interface: start, stop, address, messages finished, processes."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from bench.ground import cpu_of, descendants
from tests.fakes.instance import Instance, free_port


class System(Protocol):
    name: str
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def finished(self) -> int: ...
    def pids(self) -> list[int]: ...


class Tubepost:
    """The embedded instance with a log file instead of standard output, as Postfix has."""

    name = "tubepost"

    def __init__(
        self,
        ground: Path,
        main: dict[str, str] | None = None,
        master: tuple[str, ...] = (),
        services: tuple[str, ...] = (),
    ) -> None:
        self.root = ground / "tubepost"
        # One directory for every run: the log must not be on the way of the messages.
        self.instance = Instance(
            root=str(self.root),
            main={
                "maillog_file": str(self.root / "log" / "mail.log"),
                "maillog_file_prefixes": "/",
                # As in an instance that is not for trying out: the accounts alone, no tables beside them.
                "virtual_mailbox_maps": "accounts:mailboxes",
                "virtual_alias_maps": "accounts:aliases",
                **(main or {}),
            },
            master=master,
            services=services,
        )
        self.port = self.instance.port
        self.ports = self.instance.ports
        self.credentials = self.instance.credentials
        self._log = LogCounter(self.root / "log" / "mail.log")

    def start(self) -> None:
        self.instance.start()

    def stop(self) -> None:
        self.instance.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def finished(self) -> int:
        return self._log.count()

    def pids(self) -> list[int]:
        assert self.instance.process is not None
        return descendants(self.instance.process.pid)


_POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.test
mydomain = example.test
mydestination = localhost.example.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = example.test
virtual_mailbox_maps = texthash:{root}/conf/vmailbox
virtual_mailbox_base = {root}/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 52428800
recipient_delimiter = +
maillog_file = {root}/log/mail.log
maillog_file_prefixes = /
"""


class Postfix:
    """Debian's Postfix with its stock master.cf, its own queue, on a port of its own."""

    name = "postfix"

    def __init__(self, ground: Path, main: dict[str, str] | None = None) -> None:
        self.root = ground / "postfix"
        self.port = free_port()
        conf = self.root / "conf"
        for folder in ("conf", "spool", "data", "mail", "log"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.root / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.root / "mail", 65534, 65534)
        text = _POSTFIX_MAIN.format(root=self.root)
        text += "".join(f"{name} = {value}\n" for name, value in (main or {}).items())
        (conf / "main.cf").write_text(text)
        (conf / "vmailbox").write_text("alice@example.test example.test/alice/\nbob@example.test example.test/bob/\n")
        stock = Path("/usr/share/postfix/master.cf.dist").read_text()
        stock = re.sub(r"^smtp(\s+)inet", rf"127.0.0.1:{self.port}\1inet", stock, flags=re.M)
        # Nothing is chrooted: the queue directory has no /etc of its own.
        stock = re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", stock, flags=re.M)
        if not re.search(r"^postlog\s", stock, flags=re.M):
            stock += "postlog unix-dgram n - n - 1 postlogd\n"
        (conf / "master.cf").write_text(stock)
        self._log = LogCounter(self.root / "log" / "mail.log")

    def _run(self, verb: str) -> None:
        subprocess.run(["postfix", "-c", str(self.root / "conf"), verb], check=True, capture_output=True)

    def start(self) -> None:
        self._run("start")

    def stop(self) -> None:
        try:
            self._run("stop")
        except subprocess.CalledProcessError:
            os.kill(self._master(), signal.SIGTERM)
        shutil.rmtree(self.root, ignore_errors=True)

    def _master(self) -> int:
        return int((self.root / "spool" / "pid" / "master.pid").read_text())

    def finished(self) -> int:
        return self._log.count()

    def pids(self) -> list[int]:
        return descendants(self._master())


class LogCounter:
    """Counts "removed" lines of a growing log file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._count = 0
        self._rest = b""

    def count(self) -> int:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = self._rest + file.read()
                self._offset = file.tell()
        except FileNotFoundError:
            return 0
        complete, _, self._rest = data.rpartition(b"\n")
        self._count += sum(1 for line in complete.split(b"\n") if line.endswith(b": removed"))
        return self._count


def source(port: int, count: int, sessions: int, size: int, recipient: str, *options: str) -> None:
    """smtp-source: ``count`` messages of ``size`` bytes over ``sessions`` parallel sessions."""
    subprocess.run(
        [
            *("smtp-source", "-s", str(sessions), "-m", str(count), "-l", str(size), "-f", "sender@example.org"),
            *("-t", recipient, *options, f"127.0.0.1:{port}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def wait_finished(system: System, count: int, timeout: float = 300.0) -> None:
    """Until so many messages have left the queue."""
    deadline = time.monotonic() + timeout
    while system.finished() < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{system.name}: {system.finished()} of {count} messages were finished")
        time.sleep(0.005)


def settle(system: System, patience: float = 60.0) -> None:
    """Until it has nothing more to do (mail is indexed in the background): the other's turn is not to pay for that."""
    deadline = time.monotonic() + patience
    before = cpu_of(system.pids())
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        time.sleep(0.25)
        now = cpu_of(system.pids())
        quiet = quiet + 1 if now - before < 0.02 else 0
        before = now


def timed(system: System, count: int, sessions: int, size: int, recipient: str, *options: str) -> tuple[float, float]:
    """(messages a second from the first connection to the last removal, CPU milliseconds a message)."""
    before = system.finished()
    cpu = cpu_of(system.pids())
    begun = time.monotonic()
    source(system.port, count, sessions, size, recipient, *options)
    wait_finished(system, before + count)
    seconds = time.monotonic() - begun
    return count / seconds, (cpu_of(system.pids()) - cpu) / count * 1000
