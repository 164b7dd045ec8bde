"""sendmail, postqueue, postcat and postsuper here and Debian's, on the same mail, both systems down."""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.config import layout

POSTQUEUE = shutil.which("postqueue", path="/usr/sbin:/usr/bin:/sbin")
pytestmark = pytest.mark.skipif(POSTQUEUE is None or os.geteuid() != 0, reason="needs Postfix, and root to ask it")

_ID = re.compile(r"\b[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10}z[0-9A-Za-z]+\b")
_POSTFIX = """compatibility_level = 3.6
enable_long_queue_ids = {long_ids}
queue_directory = {root}/theirs
data_directory = {root}/data
"""
_OURS = """enable_long_queue_ids = {long_ids}
queue_directory = {root}/ours
data_directory = {root}/data
maillog_file = {root}/our.log
mail_owner = root
"""


class Pair:
    """Two queues, two configurations."""

    def __init__(self, root: Path, *, long_ids: bool) -> None:
        self.root = root
        for name, text in (("postfix", _POSTFIX), ("tubepost", _OURS)):
            conf = root / name
            conf.mkdir()
            (conf / "main.cf").write_text(text.format(root=root, long_ids="yes" if long_ids else "no"))
            (conf / "master.cf").write_text("")
            # Postfix waits for a configuration that was just written to cool down.
            os.utime(conf / "main.cf", (1, 1))
        owner = pwd.getpwnam("postfix")
        group = os.stat("/usr/sbin/postdrop").st_gid
        for name, uid, gid in (("theirs", owner.pw_uid, owner.pw_gid), ("ours", 0, 0)):
            (root / name).mkdir()
            layout.create(str(root / name), uid, gid, group)
        (root / "data").mkdir()
        os.chown(root / "data", owner.pw_uid, owner.pw_gid)

    def theirs(self, name: str, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        return self._run([f"/usr/sbin/{name}"], "postfix", arguments, text)

    def ours(self, name: str, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        return self._run([sys.executable, "-I", "-m", f"tubepost.commands.{name}"], "tubepost", arguments, text)

    def _run(
        self, program: list[str], conf: str, arguments: tuple[str, ...], text: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*program, *arguments],
            input=text,
            env={"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(self.root / conf), "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def both(self, name: str, *arguments: str, text: str = "") -> None:
        """The same output, words and success.

        Not the same status: Postfix 3.7 makes 75 of every failure of sendmail and 69 of every one of postqueue, where
        its own manual has more of sysexits(3).
        """
        theirs, ours = self.theirs(name, *arguments, text=text), self.ours(name, *arguments, text=text)
        assert (ours.returncode == 0) == (theirs.returncode == 0)
        assert (_same(ours.stdout), _last(ours.stderr)) == (_same(theirs.stdout), _last(theirs.stderr))


def _last(text: str) -> str:
    """The line that says why."""
    lines = text.replace("/usr/sbin/", "").replace(" Postfix ", " tubepost ").splitlines()
    return lines[-1] if lines else ""


def _same(text: str) -> str:
    """Without what must differ: ids, times, sizes."""
    text = _ID.sub("ID", text)
    text = re.sub(r"^(ID) +\d+ \w{3} \w{3} [ \d]\d [\d:]{8}( ?)", r"\1 SIZE TIME\2", text, flags=re.M)
    return re.sub(r"\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}", "TIME", text)


@pytest.fixture
def pair() -> Iterator[Pair]:
    root = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
    os.chmod(root, 0o755)
    try:
        yield Pair(root, long_ids=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


MAIL = 'To: alice@example.test, "odd user"@example.test\nSubject: x\n\nbody\n.\nafter\n'


def test_the_listing_has_the_same_shape(pair: Pair) -> None:
    pair.both("postqueue", "-p")
    for sender in ("me@here.example", ""):
        for program in (pair.theirs, pair.ours):
            assert program("sendmail", "-f", sender, "-t", text=MAIL).returncode == 0
    theirs, ours = (program("postqueue", "-p").stdout for program in (pair.theirs, pair.ours))
    # In which order a directory is read is nobody's promise.
    assert sorted(_same(ours).splitlines()) == sorted(_same(theirs).splitlines())
    columns = [line.index(" me@here.example") for line in (*theirs.splitlines(), *ours.splitlines()) if "me@" in line]
    assert len(set(columns)) == 1


def test_json_has_the_same_names(pair: Pair) -> None:
    for program in (pair.theirs, pair.ours):
        assert program("sendmail", "-f", "me@here.example", "-t", text=MAIL).returncode == 0
    theirs, ours = (json.loads(program("postqueue", "-j").stdout) for program in (pair.theirs, pair.ours))
    assert list(ours) == list(theirs)
    for name in ("queue_name", "sender", "forced_expire"):
        assert ours[name] == theirs[name]
    assert [one["address"] for one in ours["recipients"]] == [one["address"] for one in theirs["recipients"]]


def test_postcat_shows_the_same_mail(pair: Pair) -> None:
    found = []
    for program in (pair.theirs, pair.ours):
        assert program("sendmail", "-f", "me@here.example", "-F", "F N", "-t", text=MAIL).returncode == 0
        queue_id = program("postqueue", "-p").stdout.splitlines()[1].split()[0]
        whole = program("postcat", "-q", queue_id).stdout
        records = [line for line in whole.splitlines() if line.startswith(("recipient", "sender", "***"))]
        found.append((program("postcat", "-bhq", queue_id).stdout, sorted(map(_same, records))))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("-t",), ("-Z",), ("-bz",), ("-qSx",), ("-B", "x", "a@b"), ("-bp", "x"), ("-q", "x"), ("-t", "-bp"),
        ("-f",), ("-bh",), ("-q1h",), ("-XV()", "a@b"), ("-f", "", "-XV", "a@b"), ("-bv", "-t", "a@b"), ("-oA", "x"),
    ],
)  # fmt: skip
def test_sendmail_says_no_in_the_same_words(pair: Pair, arguments: tuple[str, ...]) -> None:
    pair.both("sendmail", *arguments, text="Subject: x\n\n")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("postqueue", ()), ("postqueue", ("-p", "-f")), ("postqueue", ("-p", "x")), ("postqueue", ("-z",)),
        ("postqueue", ("-f",)), ("postqueue", ("-i", "not/an/id")), ("postqueue", ("-s", "-bad-")),
        ("postqueue", ("-s", "[1.2.3]")), ("postsuper", ("-d", "ALL", "nonsense")),
        ("postsuper", ("-c", "relative")), ("postcat", ("/nonexistent",)), ("postcat", ("-Z",)),
    ],
)  # fmt: skip
def test_the_others_too(pair: Pair, name: str, arguments: tuple[str, ...]) -> None:
    pair.both(name, *arguments)


def test_postsuper_counts_in_the_same_words(pair: Pair) -> None:
    for orders in (("-d", "ALL"), ("-h", "ALL", "-H", "ALL"), ("-r", "ALL", "-e", "ALL"), ("-f", "ALL"), ("-d", "?")):
        theirs, ours = pair.theirs("postsuper", *orders), pair.ours("postsuper", *orders)
        lines = [line for line in theirs.stderr.splitlines() if "logfile" not in line]
        assert ours.stderr.splitlines() == lines
    for program in (pair.theirs, pair.ours):
        for _ in range(2):
            assert program("sendmail", "a@b.example", text="Subject: x\n\n").returncode == 0
        assert "postsuper: Deleted: 2 messages\n" in program("postsuper", "-d", "ALL").stderr
        assert program("postqueue", "-p").stdout == "Mail queue is empty\n"
