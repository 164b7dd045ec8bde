"""Full disks: mail is refused at the door or deferred, never lost, and goes on when there is room again.

The disks are small files with an ext4 file system, mounted by a loop device: that takes root.
"""

import os
import re
import shutil
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

# smtpd looks at the disk once in so many seconds.
LOOKS = 5.2
QUICK = {"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s"}


@contextmanager
def disk(image: Path, where: Path, megabytes: int, *options: str) -> Iterator[None]:
    """A file system of its own at ``where``, which may hold something already. Skips where it cannot be made."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a small disk takes root and mkfs.ext4")
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", *options, str(image)], check=True)
    before = image.with_suffix(".before")
    if where.exists():
        subprocess.run(["cp", "-a", str(where), str(before)], check=True)
    found = where.stat()
    done = subprocess.run(["mount", "-o", "loop", str(image), str(where)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a loop device cannot be mounted here: {done.stderr.strip()}")
    try:
        os.chown(where, found.st_uid, found.st_gid)
        os.chmod(where, found.st_mode & 0o7777)
        subprocess.run(["cp", "-a", f"{before}/.", str(where)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)
        image.unlink(missing_ok=True)


def fill(where: Path, leave: int = 0) -> Path:
    """Take all the room but about ``leave`` bytes."""
    ballast = where / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12, 1):
            try:
                while _free(where) - size > leave:
                    file.write(b"\0" * size)
                    if size == 1 and not leave:
                        break
            except OSError:
                continue
    return ballast


def _free(where: Path) -> int:
    found = os.statvfs(where)
    return found.f_bavail * found.f_frsize


def subjects(instance: Instance) -> set[str]:
    texts = (path.read_text() for path in instance.messages("alice"))
    return {found[1] for text in texts if (found := re.search(r"(?m)^Subject: (.*)$", text))}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_a_full_queue_disk_refuses_new_mail_and_loses_none(stack: ExitStack) -> None:
    # message_size_limit small, so that smtpd lets mail in until cleanup meets the real thing.
    instance = Instance(main={**QUICK, "message_size_limit": "1000", "defer_transports": "virtual"})
    stack.callback(instance.remove)
    stack.enter_context(disk(instance.root / "disk", instance.spool, 12))
    with instance:
        accepted: list[str] = []

        def offer(count: int) -> list[int]:
            codes = []
            for _ in range(count):
                subject = f"number {len(accepted)}"
                try:
                    instance.send("alice@example.test", f"Subject: {subject}\n\n{'x' * 300}\n")
                    accepted.append(subject)
                    codes.append(250)
                except smtplib.SMTPResponseException as error:
                    codes.append(error.smtp_code)
                    # Postfix's words: 452 at MAIL when there is no room, 451 when writing fails.
                    said = error.smtp_error.decode() if isinstance(error.smtp_error, bytes) else error.smtp_error
                    assert said.startswith("4.3.1" if error.smtp_code == 452 else "4.3.0"), error
            return codes

        assert offer(5) == [250] * 5
        ballast = fill(instance.spool, leave=6000)
        assert offer(8)[-1] == 451
        instance.log.wait(r"cannot write the queue file: .*No space left on device")
        fill(instance.spool)
        time.sleep(LOOKS)
        assert offer(2) == [452, 452]
        instance.log.wait(r"not enough free space in mail queue")
        ballast.unlink()
        time.sleep(LOOKS)
        assert offer(5) == [250] * 5
        instance.set_main({"defer_transports": ""})
        assert instance.process is not None
        start = len(instance.log.lines)
        instance.process.send_signal(signal.SIGHUP)
        instance.log.wait(r"reload --", start=start)
        instance.command("postqueue", "-f")
        instance.log.wait(r": removed", count=len(accepted), start=start)
        assert subjects(instance) == set(accepted)
        assert instance.queued("incoming") == instance.queued("corrupt") == []
        assert not instance.log.count(r"panic|fatal|Traceback")


def test_a_full_mailbox_disk_defers_and_delivers_later(stack: ExitStack) -> None:
    instance = Instance(main=QUICK)
    stack.callback(instance.remove)
    stack.enter_context(disk(instance.root / "disk", instance.mail, 8))
    with instance:
        instance.send("alice@example.test", "Subject: first\n\nx\n")
        instance.log.wait(r": removed")
        ballast = fill(instance.mail)
        instance.send("alice@example.test", f"Subject: second\n\n{'x' * 70 + chr(10)}" * 500)
        instance.log.wait(r": to=<alice@example\.test>.*dsn=4\.(3\.1|2\.2), status=deferred \(.*full")
        assert subjects(instance) == {"first"}
        assert not list(instance.mail.rglob("tmp/*")), "no piece of it is left"
        ballast.unlink()
        instance.command("postqueue", "-f")
        instance.log.wait(r": removed", count=2)
        assert subjects(instance) == {"first", "second"}


def test_a_nearly_full_queue_disk_lowers_the_number_of_servers(stack: ExitStack) -> None:
    """Mail is refused as long as a message of the largest size could not be kept; the rest goes on."""
    main = {**QUICK, "message_size_limit": "2000000", "pressure_interval": "1s", "client_limit": "1"}
    instance = Instance(main=main)
    stack.callback(instance.remove)
    stack.enter_context(disk(instance.root / "disk", instance.spool, 16))
    with instance:
        instance.send("alice@example.test", "Subject: first\n\nx\n")
        sessions = [instance.smtp() for _ in range(4)]
        ballast = fill(instance.spool, leave=2_500_000)
        instance.log.wait(r"the file system of \S+/spool \(queue\) is nearly full")
        time.sleep(LOOKS)
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            instance.send("alice@example.test", "Subject: second\n\nx\n")
        assert refused.value.smtp_code == 452
        deadline = time.monotonic() + 20
        while len(instance.pids("smtpd")) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(instance.pids("smtpd")) == 1, "it lowers the number of its processes by itself"
        ballast.unlink()
        instance.log.wait(r"\(queue\) has room again")
        time.sleep(LOOKS)
        for session in sessions:
            session.close()
        instance.send("alice@example.test", "Subject: third\n\nx\n")
        # And a notice to the postmaster, who is alice.
        instance.log.wait(r"virtual.*to=<alice@example\.test>.*status=sent", count=3)
        assert {"first", "third"} <= subjects(instance)
        assert "second" not in subjects(instance)
        assert not [line for line in instance.log.lines if re.search(r"panic|fatal|Traceback|was killed", line)]


def test_a_queue_disk_on_which_no_file_can_be_made_is_full(stack: ExitStack) -> None:
    instance = Instance(main={**QUICK, "message_size_limit": "1000", "pressure_interval": "1s"})
    stack.callback(instance.remove)
    stack.enter_context(disk(instance.root / "disk", instance.spool, 16, "-N", "512"))
    with instance:
        instance.send("alice@example.test", "Subject: first\n\nx\n")
        ballast = instance.spool / "ballast"
        ballast.mkdir()
        number = 0
        while os.statvfs(instance.spool).f_favail > 20:
            number += 1
            (ballast / str(number)).touch()
        instance.log.wait(r"\(queue\) is nearly full: .* files can be made")
        time.sleep(LOOKS)
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            instance.send("alice@example.test", "Subject: second\n\nx\n")
        assert refused.value.smtp_code == 452
        shutil.rmtree(ballast)
        time.sleep(LOOKS)
        instance.send("alice@example.test", "Subject: third\n\nx\n")
        instance.log.wait(r"virtual.*status=sent", count=2)
        assert {"first", "third"} <= subjects(instance)


def test_a_full_data_directory_is_told_and_mail_goes_on(stack: ExitStack) -> None:
    instance = Instance(main={**QUICK, "pressure_interval": "1s"})
    stack.callback(instance.remove)
    stack.enter_context(disk(instance.root / "disk", instance.root / "data", 8))
    with instance:
        instance.send("alice@example.test", "Subject: first\n\nx\n")
        ballast = fill(instance.root / "data")
        instance.log.wait(r"the file system of \S+/data \(data\) is nearly full")
        instance.send("alice@example.test", "Subject: second\n\nx\n")
        instance.log.wait(r": removed", count=2)
        ballast.unlink()
        instance.log.wait(r"\(data\) has room again")
        assert subjects(instance) == {"first", "second"}
        assert not [line for line in instance.log.lines if re.search(r"panic|fatal|Traceback|was killed", line)]
