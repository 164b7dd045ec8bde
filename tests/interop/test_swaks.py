"""swaks sessions: pipelining, attachments, refusals, XCLIENT, XFORWARD's rights, time limits."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

SWAKS = shutil.which("swaks", path="/usr/bin")
pytestmark = pytest.mark.skipif(SWAKS is None, reason="needs swaks")


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    main = {
        "mynetworks": "127.0.0.1",
        "smtpd_helo_required": "yes",
        "smtpd_helo_restrictions": "reject_invalid_helo_hostname",
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
    }
    with Instance(main=main) as running:
        yield running
        assert not running.log.count(r"panic:|fatal:|Traceback")


def swaks(instance: Instance, *arguments: str, text: bytes = b"") -> tuple[int, str]:
    """The exit status (0; 24: all recipients refused …) and the transcript."""
    done = subprocess.run(
        [str(SWAKS), "--server", "127.0.0.1", "--port", str(instance.port), "--timeout", "15", *arguments],
        input=text,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def taken(transcript: str) -> str:
    """The queue id that the client was told."""
    found = re.search(r"250 2\.0\.0 Ok: queued as (\w+)", transcript)
    assert found, transcript
    return found[1]


def delivered(instance: Instance, queue_id: str, user: str) -> bytes:
    instance.log.wait(rf"{queue_id}: removed")
    (content,) = [
        path.read_bytes() for path in instance.messages(user) if f" id {queue_id}".encode() in path.read_bytes()
    ]
    return content


def test_a_plain_message(instance: Instance) -> None:
    status, text = swaks(instance, "--to", "alice@example.test", "--from", "x@s.test", "--helo", "c.test")
    assert status == 0, text
    content = delivered(instance, taken(text), "alice")
    assert content.startswith(b"Return-Path: <x@s.test>\n")
    assert b"\nReceived: from c.test (unknown [127.0.0.1])\n" in content
    assert b"This is a test mailing" in content


def test_pipelining(instance: Instance) -> None:
    recipients = ",".join(["alice@example.test", "nobody@example.test", "bob@example.test"])
    status, text = swaks(instance, "--pipeline", "--to", recipients, "--from", "x@s.test", "--helo", "c.test")
    assert status == 0, text
    assert "550 5.1.1 <nobody@example.test>: Recipient address rejected" in text
    queue_id = taken(text)
    assert delivered(instance, queue_id, "alice")
    assert delivered(instance, queue_id, "bob")


def test_pipelining_when_nobody_is_taken(instance: Instance) -> None:
    status, text = swaks(instance, "--pipeline", "--to", "no@example.test", "--from", "x@s.test", "--helo", "c.test")
    assert status != 0
    assert re.search(r"<\*\* 554 5\.5\.1 Error: no valid recipients", text), text


def test_a_large_attachment_arrives_as_it_was_sent(instance: Instance, tmp_path: Path) -> None:
    data = bytes(range(256)) * 32_000
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    arguments = ("--to", "bob@example.test", "--from", "x@s.test", "--helo", "c.test")
    status, text = swaks(instance, *arguments, "--attach-type", "application/octet-stream", "--attach", f"@{path}",
                         "--suppress-data")  # fmt: skip
    assert status == 0, text
    message = message_from_bytes(delivered(instance, taken(text), "bob"))
    (part,) = [part for part in message.walk() if part.get_content_type() == "application/octet-stream"]
    assert part.get_payload(decode=True) == data


@pytest.mark.parametrize(
    ("arguments", "reply"),
    [
        (("--to", "nobody@example.test"), "550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown"),
        (("--to", "alice@example.test", "--helo", "a..b"), "501 5.5.2 <a..b>: Helo command rejected: Invalid name"),
        (("--to", "x@elsewhere.test", "--local-interface", "127.0.0.5"), "554 5.7.1 <x@elsewhere.test>: Relay access"),
        (("--to", "alice@example.test", "--from", "a@[c"), "501 5.1.7 Bad sender address syntax"),
        (("--to", "alice@[no", "--from", "a@c.test"), "501 5.1.3 Bad recipient address syntax"),
        (("--to", "alice@example.test", "--auth", "PLAIN", "--au", "u", "--ap", "p"), ""),
    ],
)
def test_refusals_have_postfix_s_words(instance: Instance, arguments: tuple[str, ...], reply: str) -> None:
    status, text = swaks(instance, "--from", "x@s.test", "--helo", "c.test", *arguments)
    assert status != 0, text
    assert reply in text


def test_a_stage_at_a_time(instance: Instance) -> None:
    for stage in ("CONNECT", "HELO", "MAIL", "RCPT"):
        start = len(instance.log.lines)
        arguments = ("--to", "alice@example.test", "--from", "x@s.test", "--helo", "c.test")
        status, text = swaks(instance, *arguments, "--quit-after", stage)
        assert status == 0, text
        assert "221 2.0.0 Bye" in text
        instance.log.wait(r"smtpd\[\d+\]: disconnect from unknown\[127\.0\.0\.1\] .*quit=1", start=start)


def test_xclient_makes_another_client_of_it(instance: Instance) -> None:
    status, text = swaks(
        instance, "--xclient", "NAME=far.s.test ADDR=192.0.2.7 HELO=far.helo.test PROTO=ESMTP",
        "--to", "alice@example.test", "--from", "x@s.test", "--helo", "c.test",
    )  # fmt: skip
    assert status == 0, text
    queue_id = taken(text)
    instance.log.wait(rf"{queue_id}: client=far\.s\.test\[192\.0\.2\.7\]")
    assert b"far.s.test [192.0.2.7]" in delivered(instance, queue_id, "alice")
    # The borrowed address has no rights that it would not have itself.
    status, text = swaks(instance, "--xclient", "ADDR=192.0.2.7", "--to", "x@elsewhere.test", "--from", "x@s.test")
    assert "554 5.7.1 <x@elsewhere.test>: Relay access denied" in text


def test_xclient_is_for_those_who_may(instance: Instance) -> None:
    status, text = swaks(
        instance, "--local-interface", "127.0.0.6", "--xclient", "ADDR=127.0.0.1", "--to", "x@elsewhere.test"
    )
    assert status != 0
    assert "XCLIENT" not in text.partition("250-")[2].partition(" -> ")[0]
    with socket.create_connection(("127.0.0.1", instance.port), 10, ("127.0.0.6", 0)) as connection:
        stream = connection.makefile("rwb")
        stream.readline()
        stream.write(b"XCLIENT ADDR=127.0.0.1\r\n")
        stream.flush()
        assert stream.readline().startswith(b"550 5.7.0 Error: insufficient authorization")


def test_a_client_that_says_nothing_is_let_go() -> None:
    with Instance(main={"smtpd_timeout": "1s"}) as instance:
        with socket.create_connection(("127.0.0.1", instance.port), 10) as connection:
            stream = connection.makefile("rwb")
            assert stream.readline().startswith(b"220 ")
            assert stream.readline() == b"421 4.4.2 mail.example.test Error: timeout exceeded\r\n"
            assert stream.read() == b""
        instance.log.wait(r"smtpd\[\d+\]: timeout after CONNECT from unknown\[127\.0\.0\.1\]")
        # In the middle of the content: nothing is queued.
        with socket.create_connection(("127.0.0.1", instance.port), 10) as connection:
            stream = connection.makefile("rwb")
            for line in (b"", b"HELO c.test", b"MAIL FROM:<x@s.test>", b"RCPT TO:<alice@example.test>", b"DATA"):
                if line:
                    stream.write(line + b"\r\n")
                    stream.flush()
                reply = stream.readline()
            assert reply.startswith(b"354"), reply
            stream.write(b"Subject: half\r\n\r\nhalf a li")
            stream.flush()
            assert stream.readline().startswith(b"421 4.4.2 ")
        instance.log.wait(r"smtpd\[\d+\]: timeout after DATA \(\d+ bytes\) from unknown\[127\.0\.0\.1\]")
        for queue in ("incoming", "active", "deferred"):
            assert instance.queued(queue) == []
