"""sendmail in a real system, and while there is none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tubepost.common.system.ids import is_queue_id

from tests.fakes.instance import PATIENCE, Instance

GONE = r"qmgr\[\d+\]: \w+: removed"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(main={"message_size_limit": "400000", "hopcount_limit": "5"})
    with made:
        yield made


def post(instance: Instance, *arguments: str, text: str = "Subject: x\n\nbody\n") -> "subprocess.CompletedProcess[str]":
    return instance.command("sendmail", *arguments, input=text)


def newest(instance: Instance, user: str) -> str:
    return max(instance.messages(user), key=lambda path: path.stat().st_mtime_ns).read_text()


def delivered(instance: Instance, start: int, count: int = 1) -> None:
    instance.log.wait(GONE, count, start=start)


def test_a_posted_message_arrives_with_what_it_lacked(instance: Instance) -> None:
    start = len(instance.log.lines)
    done = post(instance, "-F", "Jo Doe", "-f", "jo@example.org", "alice@example.test")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    delivered(instance, start)
    message = newest(instance, "alice")
    assert "Return-Path: <jo@example.org>\n" in message
    assert f"(tubepost, from userid {os.getuid()})\n\tid " in message
    assert "From: Jo Doe <jo@example.org>\n" in message
    assert "\nMessage-Id: <" in message and "\nDate: " in message
    assert message.endswith("\n\nbody\n")
    queue_id = instance.log.wait(r"pickup\[\d+\]: (\w+): uid=\d+ from=<jo@example\.org>", start=start)[0][1]
    assert is_queue_id(queue_id)
    instance.log.wait(rf"qmgr\[\d+\]: {queue_id}: from=<jo@example\.org>", start=start)
    assert instance.queued("maildrop") == []


def test_recipients_of_the_header_and_bcc_is_not_shown(instance: Instance) -> None:
    start = len(instance.log.lines)
    text = "To: Alice <alice@example.test>\nBcc: bob@example.test\nSubject: secret\n\nhello\n.\nafter\n"
    assert post(instance, "-t", text=text).returncode == 0
    delivered(instance, start)
    for user in ("alice", "bob"):
        message = newest(instance, user)
        assert "Subject: secret\n" in message and message.endswith("\nhello\n")
        assert "bob" not in message.partition("\nReceived:")[2].lower()


def test_what_is_not_ascii_arrives_unchanged(instance: Instance) -> None:
    start = len(instance.log.lines)
    assert post(instance, "-i", "alice@example.test", text="Subject: x\n\nüöä\n.\nend\n").returncode == 0
    delivered(instance, start)
    assert newest(instance, "alice").endswith("\n\nüöä\n.\nend\n")


def test_a_message_of_half_the_limit_is_streamed(instance: Instance) -> None:
    start = len(instance.log.lines)
    body = "0123456789" * 7 + "\n"
    assert post(instance, "alice@example.test", text="Subject: big\n\n" + body * 4500).returncode == 0
    delivered(instance, start)
    assert newest(instance, "alice").endswith("\n\n" + body * 4500)


def test_too_large_is_refused_before_it_is_posted(instance: Instance) -> None:
    done = post(instance, "alice@example.test", text="Subject: x\n\n" + "x" * 500_000 + "\n")
    assert done.returncode == 69
    assert "message file too big" in done.stderr
    assert instance.queued("maildrop") == []


def test_what_cleanup_refuses_comes_back(instance: Instance) -> None:
    start = len(instance.log.lines)
    text = "Received: x\n" * 6 + "Subject: loop\n\nbody\n"
    assert post(instance, "-f", "bob@example.test", "nobody@example.org", text=text).returncode == 0
    instance.log.wait(r"pickup\[\d+\]: warning: .*too many hops; returned to its sender", start=start)
    delivered(instance, start)
    report = newest(instance, "bob")
    assert "Return-Path: <>\n" in report
    assert "Content-Type: multipart/report" in report
    assert "nobody@example.org" in report
    assert "Subject: loop" in report
    assert instance.queued("maildrop") == []


def test_a_writer_that_dies_leaves_nothing(instance: Instance) -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "tubepost.commands.sendmail", "alice@example.test"],
        env={**os.environ, "MAIL_CONFIG": str(instance.conf)},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(b"Subject: never\n\n" + b"x\n" * 100_000)
    process.stdin.flush()
    deadline = time.monotonic() + PATIENCE
    while not instance.queued("maildrop"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    process.stdin.close()
    assert instance.queued("maildrop") == []


def test_posting_while_the_system_is_down() -> None:
    instance = Instance()
    try:
        done = post(instance, "alice@example.test")
        assert done.returncode == 69
        assert "there is no queue" in done.stderr
        with instance:
            instance.stop()
            for number in range(3):
                assert post(instance, "alice@example.test", text=f"Subject: {number}\n\n").returncode == 0
            names = instance.queued("maildrop")
            assert len(names) == 3
            listed = instance.command("postqueue", "-p")
            assert "Mail system is down -- accessing queue directly" in listed.stderr
            assert all(name in listed.stdout for name in names)
            assert instance.command("postqueue", "-f").returncode == 69
            instance.start()
            delivered(instance, 0, 3)
            assert len(instance.messages("alice")) == 3
    finally:
        instance.remove()


def test_who_may_post_is_configured(instance: Instance) -> None:
    conf = instance.root / "conf2"
    conf.mkdir(exist_ok=True)
    for name in ("main.cf", "master.cf"):
        (conf / name).write_bytes((instance.conf / name).read_bytes())
    with open(conf / "main.cf", "a") as file:
        file.write("authorized_submit_users = !static:all\n")
    done = post(instance, "-C", str(conf), "alice@example.test")
    assert done.returncode == 77
    assert "is not allowed to submit mail" in done.stderr


def test_newaliases_builds_what_the_configuration_names(instance: Instance) -> None:
    with open(instance.conf / "aliases", "a") as file:
        file.write("fresh: alice@example.test\n")
    assert instance.command("sendmail", "-bi").returncode == 0
    asked = instance.command("postalias", "-q", "fresh", f"hash:{instance.conf}/aliases")
    assert asked.stdout.strip() == "alice@example.test"


def test_postdrop_takes_what_sendmail_would_write(instance: Instance) -> None:
    start = len(instance.log.lines)
    envelope = '{"sender": "p@example.org", "arrival_time": 1}'
    posting = f'{{"envelope": {envelope}, "recipients": [{{"address": "alice@example.test"}}]}}'
    content = "Subject: raw\n\nthrough postdrop\n"
    done = instance.command("postdrop", "-r", input=f"{len(content)}\n{content}0\n{posting}\n")
    assert (done.returncode, done.stderr) == (0, "") and is_queue_id(done.stdout.removesuffix("\n"))
    delivered(instance, start)
    assert newest(instance, "alice").endswith("\nthrough postdrop\n")
    cut = instance.command("postdrop", "-r", input=f"{len(content)}\n{content}0\n{posting}")
    assert (cut.returncode, instance.queued("maildrop")) == (0, [])
