"""Debian's Dovecot as the other mailbox server: Maildir, IMAP and POP3 on loopback, its own directories."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from bench.ground import descendants
from tests.fakes.instance import free_port

PASSWORD = "secret"
USERS = ("alice@example.test", "bob@example.test")
# nobody: what Maildirs belong to in both systems.
_UID = 65534

_CONF = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
protocols = imap pop3 {extra}
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:{root}/mail/%d/%n
first_valid_uid = 100
mail_uid = {uid}
mail_gid = {uid}
default_login_user = dovenull
default_internal_user = dovecot
maildir_stat_dirs = no
mail_max_userip_connections = 5000
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {root}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={root}/mail/%d/%n
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  process_limit = 4096
}}
protocol lda {{
  postmaster_address = postmaster@example.test
}}
{more}
"""


class Dovecot:
    """``ports``: imap and pop3. Start it as root."""

    name = "dovecot"

    def __init__(self, ground: Path, *, extra: str = "", more: str = "") -> None:
        self.root = ground / "dovecot"
        for folder in ("run", "state", "mail"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        os.chown(self.root / "mail", _UID, _UID)
        os.chmod(self.root, 0o755)
        self.ports = {"imap": free_port(), "pop3": free_port()}
        (self.root / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in USERS))
        os.chmod(self.root / "users", 0o644)
        self._conf = self.root / "dovecot.conf"
        self._conf.write_text(_CONF.format(root=self.root, uid=_UID, extra=extra, more=more, **self.ports))
        self.credentials = dict.fromkeys(USERS, PASSWORD)
        self._process: subprocess.Popen[bytes] | None = None

    def mailbox(self, user: str) -> Path:
        """The Maildir."""
        local, _, domain = user.partition("@")
        return self.root / "mail" / domain / local

    def start(self) -> None:
        self._process = subprocess.Popen(["dovecot", "-F", "-c", str(self._conf)], start_new_session=True)
        wait_for_port(self.ports["imap"])

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self.root, ignore_errors=True)

    def pids(self) -> list[int]:
        assert self._process is not None
        return descendants(self._process.pid)


def wait_for_port(port: int, timeout: float = 20.0) -> None:
    """Until somebody accepts connections. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody listens on port {port}") from None
            time.sleep(0.02)
