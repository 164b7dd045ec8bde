"""Another account that can run our code: for what must work without root.

The interpreter of the tests is often below a home directory that others may not enter. Then the system's own Python of
the same version serves, in a virtual environment that borrows the packages of ours.
"""

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

NAMES = ("daemon", "games", "mail")
"""Not nobody, who may be the mail_owner of an instance that root starts."""


class Account:
    def __init__(self, name: str, python: str) -> None:
        self.name = name
        self.python = python
        self.uid = pwd.getpwnam(name).pw_uid
        self.gid = pwd.getpwnam(name).pw_gid

    def line(self, module: str, *arguments: str) -> list[str]:
        """The command line of one of our modules."""
        return [self.python, "-I", "-m", module, *arguments]

    def run(
        self, module: str, *arguments: str, text: str = "", environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.line(module, *arguments),
            input=text,
            env={"PATH": "/usr/bin:/bin", "HOME": "/", **(environment or {})},
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )


@functools.cache
def find() -> Account | None:
    """None: nobody else can run Python here, or we are not root."""
    if os.geteuid() != 0:
        return None
    for name in NAMES:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        for python in (sys.executable, _borrowing()):
            account = Account(name, python)
            try:
                if _imports(account):
                    return account
            except OSError:
                continue
    return None


def _imports(account: Account) -> bool:
    line = [account.python, "-I", "-c", "import tubepost.master, tubepost.services.smtpd, zmq, pydantic_core"]
    done = subprocess.run(line, user=account.uid, group=account.gid, extra_groups=[], capture_output=True)
    return done.returncode == 0


@functools.cache
def _borrowing() -> str:
    """Path of a Python in an environment of its own that finds our packages."""
    system = shutil.which("python3", path="/usr/bin:/bin")
    if system is None:
        return sys.executable
    root = Path(tempfile.mkdtemp(prefix="tp-py-", dir="/tmp"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    root.chmod(0o755)
    subprocess.run([system, "-m", "venv", "--without-pip", str(root)], check=True, capture_output=True)
    (folder,) = root.glob("lib/python*/site-packages")
    packages = sysconfig.get_path("purelib")
    (folder / "borrowed.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    return str(root / "bin" / "python")
