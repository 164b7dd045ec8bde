"""mutt reads what virtual and local wrote, and sends through our sendmail."""

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

MUTT = shutil.which("mutt", path="/usr/bin")
pytestmark = pytest.mark.skipif(MUTT is None, reason="needs mutt")


def mutt(home: Path, commands: str, *arguments: str, text: str | None = None) -> str:
    """One run with these lines of configuration; what it printed. Without ``text`` on a terminal."""
    home.mkdir(exist_ok=True)
    (home / "rc").write_text(commands)
    line = [str(MUTT), "-n", "-F", str(home / "rc"), *arguments]
    done = subprocess.run(
        line if text is not None else ["script", "-qec", shlex.join(line), "/dev/null"],
        input=text or "",
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "vt100", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(home: Path, mailbox: Path, kind: str, count: int) -> list[str]:
    """The first messages of a mailbox as mutt shows them to a pipe, decoded, oldest first."""
    home.mkdir(exist_ok=True)
    keys = "".join(f"{number + 1}<enter><pipe-message>cat > {home}/{number}<enter>" for number in range(count))
    commands = f"""
set mbox_type={kind}
set pipe_decode=yes wait_key=no quit=yes delete=no move=no mark_old=no
set sort=mailbox-order
push '{keys}<exit>'
"""
    mutt(home, commands, "-R", "-f", str(mailbox))
    return [(home / str(number)).read_text() for number in range(count)]


def sendmail_of(instance: Instance) -> str:
    # The command itself: mutt starts it by its last name only, which would hide from Python where it lives.
    return f"{Path(sys.executable).parent / 'sendmail'} -C {instance.conf} -oem -oi"


def test_a_maildir_of_virtual_is_read(tmp_path: Path) -> None:
    with Instance() as instance:
        instance.send(
            "alice@example.test", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nfirst\r\nFrom here\r\n.dot\r\n..\r\n"
        )
        instance.send("alice@example.test", "Subject: two\r\n\r\nsecond\r\n")
        instance.log.wait(r": removed$", 2)
        found = read(tmp_path, instance.mail / "example.test" / "alice", "Maildir", 2)
        assert "Subject: Grüße\n" in found[0] + found[1]
        whole = next(text for text in found if "Grüße" in text)
        assert whole.partition("\n\n")[2] == "first\nFrom here\n.dot\n..\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to deliver as another user")
def test_an_mbox_of_local_is_read_and_locked(tmp_path: Path) -> None:
    instance = Instance()
    spool = instance.root / "var-mail"
    spool.mkdir()
    spool.chmod(0o1777)
    instance.set_main({"mail_spool_directory": str(spool)})
    with instance:
        for number in range(3):
            text = f"Subject: number {number}\r\n\r\nFrom the first line\r\n>From quoted\r\nlast {number}\r\n"
            instance.send("bin@localhost.example.test", text)
            # Two deliveries at a time would be in any order.
            instance.log.wait(r"to=<bin@localhost\.example\.test>, .*status=sent \(delivered to mailbox\)", number + 1)
        assert (spool / "bin").stat().st_uid == pwd.getpwnam("bin").pw_uid
        found = read(tmp_path, spool / "bin", "mbox", 3)
        for number, text in enumerate(found):
            assert f"Subject: number {number}\n" in text
            # Quoted so that it begins no message; what was quoted before is not quoted again, as in Postfix.
            assert text.endswith(f"\n\n>From the first line\n>From quoted\nlast {number}\n")
        # It marks and deletes one while more mail comes.
        commands = (
            "set mbox_type=mbox wait_key=no delete=yes move=no quit=yes\npush '<delete-message><sync-mailbox><exit>'\n"
        )
        mutt(tmp_path, commands, "-f", str(spool / "bin"))
        instance.send("bin@localhost.example.test", "Subject: number 4\r\n\r\nx\r\n")
        instance.log.wait(r"status=sent \(delivered to mailbox\)", 4)
        text = (spool / "bin").read_text()
        assert [line for line in text.splitlines() if line.startswith("Subject:")] == [
            "Subject: number 1", "Subject: number 2", "Subject: number 4",
        ]  # fmt: skip


def test_it_sends_through_our_sendmail(tmp_path: Path) -> None:
    with Instance() as instance:
        attachment = tmp_path / "data.bin"
        attachment.write_bytes(bytes(range(256)) * 100)
        commands = (
            f"set sendmail='{sendmail_of(instance)}'\n"
            "set from='alice@example.test' realname='Alice Ä' use_from=yes use_envelope_from=yes\n"
            "set copy=no charset=utf-8 send_charset=utf-8 allow_8bit=yes\n"
        )
        mutt(tmp_path, commands, "-s", "Grüße", "-a", str(attachment), "-b", "alice@example.test", "--",
             "bob@example.test", text="Hallo\n.\nnoch da\n")  # fmt: skip
        instance.log.wait(r": removed$")
        (path,) = instance.messages("bob")
        content = path.read_bytes()
        assert content.startswith(b"Return-Path: <alice@example.test>\n")
        assert b"Hallo\n.\nnoch da\n" in content
        assert b"\nBcc:" not in content
        (copy,) = instance.messages("alice")
        assert b"noch da" in copy.read_bytes()
        seen = read(tmp_path / "reader", instance.mail / "example.test" / "bob", "Maildir", 1)
        assert "Subject: Grüße\n" in seen[0]


def test_it_hears_that_sendmail_refused(tmp_path: Path) -> None:
    with Instance(main={"message_size_limit": "2000", "virtual_mailbox_limit": "0"}) as instance:
        commands = f"set sendmail='{sendmail_of(instance)}'\nset from='alice@example.test' copy=no\n"
        with pytest.raises(AssertionError):
            mutt(tmp_path, commands, "-s", "x", "--", "bob@example.test", text="x" * 70 + "\n" + "y\n" * 3000)
        assert instance.queued("maildrop") == []
