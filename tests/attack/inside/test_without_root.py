"""The same as another account, where the tests run as root: one account for all, and no capability.

In a user namespace our files are that account's and root is nobody of ours, so that the interpreter may stand below
root's home. The kernel gives a process there the rights of an account like any other.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.inside.hostile import MEANS, ROOT
from tests.fakes.instance import PATIENCE

pytestmark = [*MEANS, pytest.mark.skipif(not ROOT, reason="the whole folder runs so")]
HERE = Path(__file__).parent
# One that passwd knows, and one that owns nothing and stands for root.
ACCOUNT, NOBODY = 1, 65534
# One of each kind of account, and who is bound by least; the longer form is the folder itself, run by such an account.
PROGRAMS = ("smtpd", "smtp", "cleanup", "qmgr", "proxymap", "auth", "imapd", "virtual", "local")
CORE = (
    "test_each_attempt_is_refused_and_the_program_goes_on",
    "test_each_message_is_refused_that_the_table_does_not_allow",
)
TESTS = [
    *(f"test_attack.py::{test}[{program}]" for test in CORE for program in PROGRAMS),
    "test_attack.py::test_no_program_holds_a_file_of_others",
    *(f"test_questions.py::test_no_answer_has_a_secret[{program}]" for program in ("smtpd", "imapd", "cleanup")),
    "test_person.py",
    "test_in_force.py",
]
COMMAND = [
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *(str(HERE / test) for test in TESTS),
]


@pytest.fixture
def account() -> Iterator["subprocess.Popen[str]"]:
    """A shell in a namespace of its own, which becomes what is said to it once it is known who it is there."""
    process = subprocess.Popen(
        ["unshare", "--user", "--", "sh", "-c", 'read go && exec "$@"', "sh", *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=HERE.parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_as_another_account(account: "subprocess.Popen[str]") -> None:
    own, end = os.readlink("/proc/self/ns/user"), time.monotonic() + PATIENCE
    while account.poll() is None and os.readlink(f"/proc/{account.pid}/ns/user") == own:
        assert time.monotonic() < end
        time.sleep(0.01)
    if account.poll() is not None:
        pytest.skip(f"no user namespace is to be had here: {account.communicate()[0]}")
    for kind in "uid", "gid":
        Path(f"/proc/{account.pid}/{kind}_map").write_text(f"{ACCOUNT} 0 1\n0 {NOBODY} 1\n")
    text, _ = account.communicate("go\n", timeout=110)
    assert account.returncode == 0, text
    passed = re.search(r"(\d+) passed", text)
    assert passed and int(passed[1]) >= 2 * len(PROGRAMS) + 10, text
