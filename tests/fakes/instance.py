"""A real instance in a temporary directory: real master, real programs, loopback, ports found free.

Everything it does can be awaited by its log: ``wait_log`` returns when a line matches, without polling.
"""

import os
import re
import secrets
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tubepost.common.system import control
from tubepost.common.accounts.hashing import Cost
from tubepost.common.config import edit, load
from tubepost.common.config.instance import read_credentials, write_instance
from tubepost.common.tables.compile import rebuild_alias_databases

# Signals and starts on a loaded machine of two cores take this long at most, seconds.
PATIENCE = 20.0
CHEAP = Cost(memory=64, time=1, iterations=4096)
_CHEAP_MAIN = {"auth_argon2_memory": "64", "auth_argon2_time": "1", "auth_scram_iterations": "4096"}


# Below the ports that the kernel gives to connections: what is free now is then still free when the master listens.
_FIRST_PORT, _LAST_PORT = 10_000, 32_000
_given: set[int] = set()
# Test processes side by side each give ports of their own.
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_SHARES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free, and was not given to anybody in this test run before."""
    while True:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port in _given or port % _SHARES != _SHARE % _SHARES:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


class Log:
    """The lines of a process, as they come."""

    def __init__(self, stream: Any, echo: bool = False) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._echo = echo
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if self._echo:
                print(line)
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, pattern: str, count: int = 1, timeout: float = PATIENCE, start: int = 0) -> list[re.Match[str]]:
        """Return once ``count`` lines match, from line ``start`` on. Raises AssertionError with the log."""
        wanted = re.compile(pattern)
        found: list[re.Match[str]] = []
        seen = start
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if match := wanted.search(line):
                        found.append(match)
                seen = len(self.lines)
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    tail = "\n".join(self.lines[-60:])
                    raise AssertionError(f"{len(found)} of {count} lines match {pattern!r}; the log:\n{tail}")
                self._changed.wait(left)

    def count(self, pattern: str) -> int:
        wanted = re.compile(pattern)
        with self._changed:
            return sum(1 for line in self.lines if wanted.search(line))


class Instance:
    """An embedded instance of example.test. ``main`` and ``master`` change its configuration."""

    def __init__(
        self,
        *,
        main: dict[str, str] | None = None,
        master: Sequence[str] = (),
        root: str | None = None,
        services: Sequence[str] = (),
        echo: bool = False,
    ) -> None:
        # Short: a UNIX socket path has 107 bytes.
        self.root = Path(root or tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
        if root is None:
            os.chmod(self.root, 0o755)
        self._keep = root is not None
        self.port = free_port()
        self._echo = echo
        # Others of the shipped servers (submission, submissions, …), each on a port of its own.
        self.ports = {service: free_port() for service in services}
        # The credentials are those of every test: hashing them is not to take longer than the test.
        write_instance(str(self.root), smtp_port=self.port, ports=self.ports, cost=CHEAP)
        self.conf = self.root / "conf"
        self.spool = self.root / "spool"
        self.mail = self.root / "mail"
        self.set_main({"queue_minfree": "0", "smtpd_peername_lookup": "no", **_CHEAP_MAIN, **(main or {})})
        if master:
            with open(self.conf / "master.cf", "a") as file:
                file.write("\n" + "\n".join(master) + "\n")
        self.credentials = read_credentials(str(self.root / "credentials.txt"))
        self.rebuild_aliases()
        self.process: subprocess.Popen[bytes] | None = None
        self.master = [sys.executable, "-I", "-m", "tubepost.master"]
        self.log: Log

    def set_main(self, changes: dict[str, str]) -> None:
        path = self.conf / "main.cf"
        path.write_text(edit.set_values(path.read_text(), changes)[0])

    def rebuild_aliases(self) -> None:
        rebuild_alias_databases(load(str(self.conf)))

    def write_table(self, name: str, text: str) -> Path:
        path = self.conf / name
        path.write_text(text)
        return path

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> "Instance":
        read, write = os.pipe()
        # However the tests end, be it by kill -9: with our end of this one the system stops.
        theirs, self._tie = os.pipe()
        self.process = subprocess.Popen(
            [*self.master, "-c", str(self.conf), "--ready-fd", str(write), "--parent-fd", str(theirs)],
            pass_fds=(write, theirs),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(write)
        os.close(theirs)
        self.log = Log(self.process.stdout, self._echo)
        with os.fdopen(read, "rb") as ready:
            if not ready.read(1):
                self.process.wait(PATIENCE)
                raise AssertionError("the master did not start:\n" + "\n".join(self.log.lines))
        return self

    def stop(self) -> int:
        """An orderly stop. Returns the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._ended()
        return status

    def _ended(self) -> None:
        self.process = None
        os.close(self._tie)

    def pids(self, program: str = "") -> list[int]:
        """Of the children, as the master knows them."""
        rows = self.status()["services"]
        return [pid for row in rows if not program or row["program"] == program for pid in row["pids"]]

    def kill(self) -> None:
        """kill -9 of everything: master, template, children."""
        assert self.process is not None
        try:
            status = self.status()
            pids = [status["template"], *(pid for row in status["services"] for pid in row["pids"])]
        except (OSError, ValueError):
            pids = []
        for pid in (self.process.pid, *pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(PATIENCE)
        for pid in pids:
            _wait_gone(pid)
        self._ended()

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = control.ask(str(self.spool / "pid"), "status")
        return answer

    def remove(self) -> None:
        if not self._keep:
            shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> "Instance":
        return self.start()

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.remove()

    # -- use ---------------------------------------------------------------------------------------------------------

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE)

    def send(
        self,
        recipients: str | Sequence[str],
        content: str | bytes = "Subject: test\n\nbody\n",
        sender: str = "a@example.org",
    ) -> None:
        """One message over SMTP; raises smtplib's exceptions."""
        with self.smtp() as client:
            client.sendmail(sender, recipients, content)

    def messages(self, user: str = "alice", domain: str = "example.test") -> list[Path]:
        """Files of new mail, oldest first."""
        folder = self.mail / domain / user / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def queued(self, queue: str) -> list[str]:
        """Queue ids in a queue directory."""
        return sorted(path.name for path in (self.spool / queue).rglob("*") if path.is_file())

    def command(self, name: str, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """One of the commands, for this instance."""
        return subprocess.run(
            [sys.executable, "-I", "-m", f"tubepost.commands.{name}", *arguments],
            env={**os.environ, "MAIL_CONFIG": str(self.conf)},
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )


def _wait_gone(pid: int) -> None:
    """Until a process that is not our child has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        select.select([fd], [], [], PATIENCE)
    finally:
        os.close(fd)


def instances() -> Iterator[Instance]:
    """For fixtures."""
    instance = Instance()
    with instance:
        yield instance
