"""sendmail -bs: SMTP on standard input and output, with the system up, down, and for another user."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import account
from tests.fakes.instance import PATIENCE, Instance

MESSAGE = "MAIL FROM:<me@example.org>\r\nRCPT TO:<{}>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\nend\r\n.\r\n"


@pytest.fixture(scope="module")
def made() -> Iterator[Instance]:
    """It has run, and so has its directories."""
    instance = Instance()
    try:
        instance.start()
        instance.stop()
        yield instance
    finally:
        instance.remove()


@pytest.fixture
def stopped(made: Instance) -> Iterator[Instance]:
    """An instance that does not run, with nothing in maildrop."""
    main = (made.conf / "main.cf").read_text()
    try:
        yield made
    finally:
        made.stop()
        (made.conf / "main.cf").write_text(main)
        for path in (made.spool / "maildrop").iterdir():
            path.unlink()


def start_session(instance: Instance) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "tubepost.commands.sendmail", "-bs"],
        env={**os.environ, "MAIL_CONFIG": str(instance.conf)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def codes(text: str) -> list[str]:
    return [line[:3] for line in text.splitlines() if line[3:4] == " "]


def test_what_is_said_while_the_system_is_down_is_delivered_later(stopped: Instance) -> None:
    # Whatever the server's own rules are: tables that are not there, clients that are refused.
    stopped.set_main(
        {
            "smtpd_client_restrictions": "reject",
            "virtual_mailbox_maps": "hash:/nonexistent/table, proxy:hash:/nonexistent/other",
            "smtpd_tls_security_level": "encrypt",
        }
    )
    session = "EHLO me\r\n" + MESSAGE.format("alice@example.test") + MESSAGE.format("far@example.net") + "QUIT\r\n"
    done = stopped.command("sendmail", "-bs", input=session)
    assert (done.returncode, done.stderr) == (0, "")
    assert codes(done.stdout) == ["220", "250", *["250", "250", "354", "250"] * 2, "221"], done.stdout
    keywords = [line[4:].split()[0] for line in done.stdout.splitlines() if line.startswith("250-")]
    assert "PIPELINING" in keywords and not {"STARTTLS", "AUTH", "XCLIENT", "BINARYMIME"} & set(keywords)
    ids = stopped.queued("maildrop")
    assert len(ids) == 2 and all(f"queued as {queue_id}" in done.stdout for queue_id in ids)
    stopped.set_main(
        {"virtual_mailbox_maps": "accounts:mailboxes", "smtpd_tls_security_level": "none", "defer_transports": "smtp"}
    )
    stopped.start()
    stopped.log.wait(r"to=<far@example\.net>, .*status=deferred")
    stopped.log.wait(r"to=<alice@example\.test>, .*status=sent")
    (path,) = stopped.messages("alice")
    text = path.read_text()
    assert text.endswith("\n\n.dot\nend\n")
    assert "Received: from me (localhost [127.0.0.1])\n" in text


def test_a_plain_file_with_plain_line_ends(stopped: Instance, tmp_path: Path) -> None:
    (tmp_path / "session").write_text("HELO me\n" + MESSAGE.format("alice@example.test").replace("\r", "") + "QUIT\n")
    with open(tmp_path / "session", "rb") as file:
        done = stopped.command("sendmail", "-bs", stdin=file)
    assert codes(done.stdout) == ["220", "250", "250", "250", "354", "250", "221"], done.stdout
    with open(os.devnull, "rb") as nothing:
        done = stopped.command("sendmail", "-bs", stdin=nothing)
    assert (done.returncode, codes(done.stdout)) == (0, ["220"])
    assert len(stopped.queued("maildrop")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, 0])
def test_half_a_message_is_none(stopped: Instance, number: int) -> None:
    with start_session(stopped) as process:
        assert process.stdin is not None and process.stdout is not None
        half, _, _ = MESSAGE.format("alice@example.test").partition("end")
        process.stdin.write(b"HELO me\r\n" + half.encode())
        process.stdin.flush()
        while not process.stdout.readline().startswith(b"354"):
            pass
        if number:
            process.send_signal(number)
        else:
            process.stdin.close()
        assert process.wait(PATIENCE) == 0
        process.stdout.read()
    assert stopped.queued("maildrop") == []


def test_a_message_too_large_and_a_client_that_does_not_read(stopped: Instance) -> None:
    stopped.set_main({"message_size_limit": "20000", "smtpd_timeout": "1", "smtpd_junk_command_limit": "9999"})
    large = MESSAGE.format("alice@example.test").replace("end", "x" * 900 + ("\r\n" + "x" * 900) * 30)
    done = stopped.command("sendmail", "-bs", input=f"HELO me\r\n{large}QUIT\r\n")
    assert codes(done.stdout)[-2:] == ["552", "221"], done.stdout
    assert stopped.queued("maildrop") == []
    for number in (0, signal.SIGTERM):
        if number:
            stopped.set_main({"smtpd_timeout": "300"})
        with start_session(stopped) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline().startswith(b"220 ")
            try:
                # The replies are more than a pipe holds.
                process.stdin.write(b"EHLO me\r\n" * 2000)
                process.stdin.flush()
            except BrokenPipeError:
                pass
            if number:
                process.send_signal(number)
            assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(account.find() is None, reason="needs root, and another account that can run Python")
def test_anybody_may(stopped: Instance) -> None:
    person = account.find()
    assert person is not None
    environment = {"MAIL_CONFIG": str(stopped.conf)}
    session = "HELO me\r\n" + MESSAGE.format("alice@example.test") + "QUIT\r\n"
    done = person.run("tubepost.commands.sendmail", "-bs", text=session, environment=environment)
    assert codes(done.stdout) == ["220", "250", "250", "250", "354", "250", "221"], done.stdout + done.stderr
    stopped.set_main({"authorized_submit_users": "root"})
    refused = person.run("tubepost.commands.sendmail", "-bs", text=session, environment=environment)
    assert (refused.returncode, refused.stdout) == (77, "")
    assert "is not allowed to submit mail" in refused.stderr
    stopped.start()
    stopped.log.wait(rf"pickup\[\d+\]: \w+: uid={person.uid} from=<me@example\.org>")
    stopped.log.wait(r"to=<alice@example\.test>, .*status=sent")
