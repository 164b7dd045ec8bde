"""Programs that speak SMTP to ``sendmail -bs`` over a pipe: swaks, and Python's own client on a socket pair."""

import os
import shutil
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.fakes.instance import PATIENCE, Instance

SENDMAIL = [sys.executable, "-I", "-m", "tubepost.commands.sendmail", "-bs"]


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance() as made:
        yield made


@pytest.mark.skipif(shutil.which("swaks") is None, reason="needs swaks")
def test_swaks_over_a_pipe(instance: Instance) -> None:
    done = subprocess.run(
        ["swaks", "--pipe", " ".join(SENDMAIL), "--from", "me@example.org", "--to", "bob@example.test", "--body", "hi"],
        env={**os.environ, "MAIL_CONFIG": str(instance.conf)},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "250 2.0.0 Ok: queued as" in done.stdout
    instance.log.wait(r"to=<bob@example\.test>, .*status=sent")


def test_smtplib_over_a_socket_pair(instance: Instance) -> None:
    """As a mail program does that has several messages, one of them large, in BDAT's and in DATA's way."""
    ours, theirs = socket.socketpair()
    start = len(instance.log.lines)
    with ours:
        with theirs:
            process = subprocess.Popen(
                SENDMAIL,
                env={**os.environ, "MAIL_CONFIG": str(instance.conf)},
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        client = smtplib.SMTP()
        client.sock = ours
        assert client.getreply()[0] == 220
        client.ehlo("me")
        large = "Subject: large\n\n" + ("x" * 70 + "\n") * 50_000
        client.sendmail("me@example.org", ["alice@example.test"], large)
        chunk = b"Subject: chunk\r\n\r\n.\r\nend\r\n"
        for command in (b"MAIL FROM:<me@example.org>", b"RCPT TO:<alice@example.test>", b"BDAT %d LAST" % len(chunk)):
            ours.sendall(command + b"\r\n")
            if command.startswith(b"BDAT"):
                ours.sendall(chunk)
            assert client.getreply()[0] == 250
        client.quit()
        assert process.wait(PATIENCE) == 0
    instance.log.wait(r"to=<alice@example\.test>, .*status=sent", 2, start=start)
    texts = sorted((path.read_text() for path in instance.messages("alice")), key=len)
    assert texts[0].endswith("\n\n.\nend\n")
    assert texts[1].endswith(large.partition("\n\n")[2])
