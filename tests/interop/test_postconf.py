"""postconf against Postfix's own on the same files: the same output, the same edits, the same warnings."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tubepost.commands import postconf

REAL = shutil.which("postconf", path="/usr/sbin:/sbin:/usr/local/sbin")

MAIN = """\
# settings
myhostname = mail.example.org
mydomain = example.org
mydestination = $myhostname,   localhost.$mydomain
   localhost
# aside
   other.example,
mynetworks=127.0.0.0/8,[::1]/128
relayhost = ${chosen?[$chosen]:25}
chosen = smtp.example.net
smtpd_restriction_classes = strict
strict = reject_unknown_sender_domain, reject_non_fqdn_sender
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination,
  check_sender_access inline:{a=strict, b=OK}, permit_auth_destination,
  reject_rbl_client zen.example.net=127.0.0.[2..11], reject_rhsbl_sender dbl.example.net
smtpd_banner = $myhostname ${{$two} == {2} ? {two} : {other}} $$5
two = 2
smtpd_timout = 4
slow_destination_rate_delay = 1s
default_rbl_reply = $rbl_code blocked $rbl_domain
maximal_queue_lifetime =
queue_run_delay = 100s
queue_run_delay = 200s
message_size_limit = ${nothing_here?1}${two}000000
"""

MASTER = """\
# services
smtp      inet  n       -       n       -       -       smtpd
127.0.0.1:submission inet n - n - - smtpd -v
  -o syslog_name=postfix/submission
# aside
  -o { smtpd_recipient_restrictions = permit_mynetworks, reject } -o smtpd_banner=$myhostname
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
slow unix - - n - 2 smtp -o slow_destination_concurrency_limit=1 -o unused_one=x
maildrop  unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient} {one argument} and many more words that make it long
a-very-long-service-name unix - - n - - error
postlog   unix-dgram n  -       n       -       1       log
"""

pytestmark = pytest.mark.skipif(REAL is None, reason="Postfix's postconf is not installed")


def make(directory: Path) -> Path:
    directory.mkdir()
    (directory / "main.cf").write_text(MAIN)
    (directory / "master.cf").write_text(MASTER)
    # Postfix waits until a file is a second old, lest an editor is still writing it.
    for name in ("main.cf", "master.cf"):
        os.utime(directory / name, (1_000_000_000, 1_000_000_000))
    return directory


Result = tuple[int, str, list[str]]


def result(status: int, out: str, err: str) -> Result:
    """The warnings without our hint at the nearest name, in no order (Postfix's order varies)."""
    return status, out, sorted(line.split("; did you mean")[0].split(" (line ")[0] for line in err.splitlines())


def run_theirs(directory: Path, arguments: list[str]) -> Result:
    assert REAL is not None
    done = subprocess.run(
        ["postconf", "-c", ".", *arguments],
        executable=REAL,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return result(done.returncode, done.stdout, done.stderr)


def run_ours(directory: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Result:
    with contextlib.chdir(directory):
        status = postconf.main(["-c", ".", *arguments])
    return result(status, *capsys.readouterr())


@pytest.mark.parametrize(
    "arguments",
    [
        "-n",
        "-nf",
        "-nx",
        "-nxf",
        "-nh",
        "-nH",
        "-n -C user",
        "-n -C service",
        "-n -C builtin",
        "-n -o queue_run_delay=5s -o two=3 -x",
        "-x mydestination relayhost smtpd_banner message_size_limit",
        "slow_destination_rate_delay slow_destination_concurrency_limit local_destination_concurrency_limit",
        "maildrop_time_limit smtpd_timout chosen",
        "-d queue_run_delay smtpd_timeout qmgr_message_active_limit smtp_data_done_timeout chosen",
        "-dx smtpd_timeout",
        "-M",
        "-Mf",
        "-Mx",
        "-M smtp/inet",
        "-M smtp slow/unix pickup",
        "-Mf maildrop 127.0.0.1:submission",
        "-M none",
        "-F",
        "-Ff",
        "-F slow/unix */inet/command smtp",
        "-Fh slow",
        "-FH slow",
        "-Fx 127.0.0.1:submission/inet/command",
        "-P",
        "-Px",
        "-Ph slow",
        "-PH",
        "-P 127.0.0.1:submission/inet/smtpd_banner slow/unix/none",
        "-h -H",
        "-M -h",
        "-F smtp/inet/none",
        "-M a/b/c",
        "-e",
        "-X",
        "-e x",
    ],
)
def test_the_same_is_printed(tmp_path: Path, arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory = make(tmp_path / "etc")
    theirs = run_theirs(directory, arguments.split())
    ours = run_ours(directory, arguments.split(), capsys)
    assert ours == theirs


@pytest.mark.parametrize(
    "arguments",
    [
        ["myhostname = new.example.org"],
        # One new name each: the order of several is random before Postfix 3.10.
        ["-e", "mydestination=a,b  c", "new_one = $two"],
        ["a_new_one="],
        ["queue_run_delay=3s"],
        ["-X", "mydestination", "two", "none"],
        ["-#", "mydestination", "two"],
        ["-M", "slow/unix=slow unix - - n - 5 smtp -o { a = b c } -v"],
        ["-M", "other/unix=other unix - - n - - error"],
        ["-M", "smtp/inet=2525 inet n - n - - smtpd"],
        ["-M", "*/inet=25 inet n - n - - smtpd"],
        ["-MX", "127.0.0.1:submission/inet"],
        ["-MX", "*/unix"],
        ["-M#", "127.0.0.1:submission/inet", "slow/unix"],
        ["-F", "slow/unix/process_limit=7", "pickup/unix/wakeup=30?"],
        ["-F", "*/unix/chroot=y"],
        ["-F", "slow/unix/command=lmtp -o {x = y z}"],
        ["-F", "127.0.0.1:submission/inet/service=587"],
        ["-F", "none/unix/chroot=y"],
        ["-P", "slow/unix/unused_one=2", "slow/unix/another=3"],
        ["-P", "maildrop/unix/maildrop_time_limit=5s"],
        ["-P", "*/inet/smtpd_timeout=5s"],
        ["-PX", "slow/unix/unused_one", "127.0.0.1:submission/inet/syslog_name"],
    ],
)
def test_the_same_is_edited(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    theirs, ours = make(tmp_path / "theirs"), make(tmp_path / "ours")
    real = run_theirs(theirs, arguments)
    own = run_ours(ours, arguments, capsys)
    assert own == real
    for name in ("main.cf", "master.cf"):
        assert (ours / name).read_text() == (theirs / name).read_text()
    assert (theirs / "main.cf").read_text() != MAIN or (theirs / "master.cf").read_text() != MASTER or real[2]
