"""A real Postfix (Debian's) as a peer: its own configuration, queue and port, its log read as ``Instance``'s is.

It uses no DNS: where its mail goes is ``relayhost`` or ``transport_maps``, with [address]:port.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fakes.instance import PATIENCE, Log, free_port
from tests.fakes.tie import Tie

POSTFIX = shutil.which("postfix", path="/usr/sbin:/usr/bin")
UNUSABLE = "" if POSTFIX is not None and os.geteuid() == 0 else "needs Debian's Postfix, and root to start it"
"""Why it cannot be used here; empty: it can."""

_MAIN = {
    "compatibility_level": "3.6",
    "queue_directory": "{root}/spool",
    "data_directory": "{root}/data",
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "myhostname": "mail.peer.test",
    "mydomain": "peer.test",
    "mydestination": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    "smtpd_peername_lookup": "no",
    "disable_dns_lookups": "yes",
    "alias_maps": "",
    "alias_database": "",
    "virtual_mailbox_domains": "peer.test",
    "virtual_mailbox_maps": "inline:{user@peer.test=user/,other@peer.test=other/,postmaster@peer.test=postmaster/}",
    "virtual_mailbox_base": "{root}/mail",
    "virtual_uid_maps": "static:65534",
    "virtual_gid_maps": "static:65534",
    "maillog_file": "/dev/stdout",
}


class PostfixPeer:
    """mail.peer.test, with mailboxes for user, other and postmaster@peer.test."""

    def __init__(self, main: Mapping[str, str] | None = None, master: Sequence[str] = ()) -> None:
        # Short: a UNIX socket path has 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="pf-", dir="/tmp"))
        self.root.chmod(0o755)
        self.port = free_port()
        for folder in ("conf", "spool", "data", "mail"):
            (self.root / folder).mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(self.root / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.root / "mail", 65534, 65534)
        settings = {**_MAIN, **(main or {})}
        text = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.root / "conf" / "main.cf").write_text(text.replace("{root}", str(self.root)))
        stock = Path("/usr/share/postfix/master.cf.dist").read_text()
        stock = re.sub(r"^smtp(\s+)inet", rf"127.0.0.1:{self.port}\1inet", stock, flags=re.M)
        # Nothing is chrooted: the queue directory has no /etc of its own.
        stock = re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", stock, flags=re.M)
        if not re.search(r"^postlog\s", stock, flags=re.M):
            stock += "postlog unix-dgram n - n - 1 postlogd\n"
        (self.root / "conf" / "master.cf").write_text(stock + "\n".join([*master, ""]))
        self.log: Log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PostfixPeer":
        assert POSTFIX is not None
        self._process = subprocess.Popen(
            [POSTFIX, "-c", str(self.root / "conf"), "start-fg"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._tie = Tie(self._process.pid, str(self.root / "spool" / "pid" / "master.pid"))
        self.log = Log(self._process.stdout)
        try:
            self._wait_open()
        except TimeoutError:
            self.__exit__()
            raise AssertionError("Postfix did not start:\n" + "\n".join(self.log.lines)) from None
        return self

    def _wait_open(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.recv(100)
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise TimeoutError

    def __exit__(self, *_: object) -> None:
        # The process that was started is a script; the master is its child, and a child of nobody without it.
        assert self._process is not None
        try:
            os.kill(int((self.root / "spool" / "pid" / "master.pid").read_text()), signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._tie.loosen()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def nexthop(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    def run(self, name: str, *arguments: str, text: bytes = b"") -> str:
        """One of its commands (sendmail, postqueue …); what it printed."""
        path = shutil.which(name, path="/usr/sbin:/usr/bin")
        assert path is not None
        done = subprocess.run(
            [path, *arguments],
            input=text,
            env={"PATH": "/usr/sbin:/usr/bin:/bin", "MAIL_CONFIG": str(self.root / "conf")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        output = done.stdout.decode()
        assert done.returncode == 0, output
        return output

    def messages(self, user: str = "user") -> list[bytes]:
        """New mail, oldest first."""
        folder = self.root / "mail" / user / "new"
        if not folder.is_dir():
            return []
        return [path.read_bytes() for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)]

    def wait_messages(self, count: int, user: str = "user") -> list[bytes]:
        """Once so many have been delivered by its log."""
        self.log.wait(rf"to=<{user}@peer\.test>, (?:orig_to=\S+ )?relay=virtual, .*status=sent", count)
        deadline = time.monotonic() + PATIENCE
        while len(found := self.messages(user)) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return found
