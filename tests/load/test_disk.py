"""Disks that fill up while everybody works: refused for now, never lost, fewer processes, and well again by itself.

Each disk is a small file with an ext4 file system, mounted by a loop device: that takes root.
"""

import imaplib
import itertools
import random
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.fakes.instance import Instance
from tests.fault.invariants import Mark, check_all, drain
from tests.integration.disk.test_disk_full import disk, fill

SENDERS = 20
ALICE, BOB = "alice@example.test", "bob@example.test"
SIZE_LIMIT = 100_000
# What may be said to a client of SMTP meanwhile (RFC 5321 4.2.3), and how sendmail may end (EX_TEMPFAIL).
SMTP_LATER = {"421", "451", "452"}
SENDMAIL_LATER = {"75"}


class Load:
    """SMTP, sendmail and APPEND. ``outcomes``: since ``fresh``, of each kind how often what was said."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.accepted: set[Mark] = set()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        works = (*[self._smtp] * SENDERS, self._sendmail, self._append)
        self._threads = [threading.Thread(target=self._repeat, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "somebody waits for ever"

    def fresh(self) -> "Counter[tuple[str, str]]":
        before, self.outcomes = self.outcomes, Counter()
        return before

    def wait(self, kind: str, what: str, count: int = 1, timeout: float = 40) -> None:
        deadline = time.monotonic() + timeout
        while self.outcomes[kind, what] < count:
            assert time.monotonic() < deadline, f"{kind}: never {what}: {dict(self.outcomes)}"
            time.sleep(0.1)

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(0.05):
            work()

    def _note(self, kind: str, what: str, mark: Mark | None = None) -> None:
        if mark is not None:
            self.accepted.add(mark)
        self.outcomes[kind, what] += 1

    def _message(self, kind: str) -> tuple[Mark, str]:
        mark = kind, next(self._numbers)
        body = ("x" * 70 + "\n") * random.choice((5, 100, 500))
        return mark, f"Subject: {kind}\n\nmark-{kind}-{mark[1]}-\n{body}end\n"

    def _smtp(self) -> None:
        mark, text = self._message("smtp")
        try:
            with smtplib.SMTP("127.0.0.1", self.instance.port, timeout=60) as client:
                client.sendmail("a@example.org", [ALICE], text)
                self._note("smtp", "250", mark)
        except smtplib.SMTPRecipientsRefused as error:
            self._note("smtp", str(error.recipients[ALICE][0]))
        except smtplib.SMTPResponseException as error:
            self._note("smtp", str(error.smtp_code))
        except (smtplib.SMTPException, OSError) as error:
            # After the yes it is nobody's trouble.
            if mark not in self.accepted:
                self._note("smtp", f"{type(error).__name__}: {error}")

    def _sendmail(self) -> None:
        mark, text = self._message("sendmail")
        done = self.instance.command("sendmail", ALICE, input=text)
        self._note("sendmail", str(done.returncode), mark if done.returncode == 0 else None)

    def _append(self) -> None:
        mark, text = self._message("append")
        try:
            with imaplib.IMAP4("127.0.0.1", self.instance.ports["imap"], timeout=60) as client:
                client.login(BOB, self.instance.credentials[BOB])
                status, answer = client.append("INBOX", "", "", text.replace("\n", "\r\n").encode())
                if status == "OK":
                    self._note("append", "OK", mark)
                else:
                    self._note("append", f"{status} {answer[0].decode()}")
        except (imaplib.IMAP4.error, OSError) as error:
            if mark not in self.accepted:
                self._note("append", f"{type(error).__name__}: {error}")


def check_polite(outcomes: "Counter[tuple[str, str]]") -> None:
    """Yes, or later: never no, and never without a word."""
    rude = {
        (kind, what): count
        for (kind, what), count in outcomes.items()
        if not {
            "smtp": what in {"250"} | SMTP_LATER,
            "sendmail": what in {"0"} | SENDMAIL_LATER,
            # RFC 5530 3: for now; RFC 9208 5.2: there is no room.
            "append": what == "OK" or any(code in what for code in ("[UNAVAILABLE]", "[OVERQUOTA]", "[LIMIT]")),
        }[kind]
    }
    assert not rude, rude


@pytest.mark.timeout(300)
def test_disks_fill_up_while_everybody_works() -> None:
    main = {
        "message_size_limit": str(SIZE_LIMIT),
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "2s",
        "queue_run_delay": "1s",
        "pressure_interval": "1s",
        # A process for each session: their number can be seen to fall.
        "client_limit": "1",
        "smtpd_client_connection_count_limit": "0",
        "notify_classes": "",
    }
    instance = Instance(main=main, services=("imap",))
    with ExitStack() as stack:
        stack.callback(instance.remove)
        stack.enter_context(disk(instance.root / "queue.img", instance.spool, 48))
        stack.enter_context(disk(instance.root / "mail.img", instance.mail, 96))
        stack.enter_context(instance)
        load = Load(instance)
        stack.callback(load._stop.set)
        load.wait("smtp", "250", 50)
        load.wait("sendmail", "0")
        load.wait("append", "OK")
        most = least = len(instance.pids("smtpd"))
        check_polite(load.fresh())

        # Nearly full: nobody is let in for whom there might be no room, and fewer do it.
        deadline = time.monotonic() + 40
        while not load.outcomes["smtp", "452"] or (least := len(instance.pids("smtpd"))) > most // 2:
            assert time.monotonic() < deadline, f"{most} processes became {least} only: {dict(load.outcomes)}"
            # What is delivered makes room.
            ballast = fill(instance.spool, leave=SIZE_LIMIT)
            time.sleep(0.2)
        assert instance.log.count(r"\(queue\) is nearly full")
        check_polite(load.fresh())

        # Full, both: not one octet can be written.
        ends = time.monotonic() + 6
        while time.monotonic() < ends:
            fill(instance.spool)
            mailballast = fill(instance.mail)
            time.sleep(0.2)
        load.fresh()
        time.sleep(3)
        found = load.fresh()
        print("full:", dict(found), f"{most} processes became {len(instance.pids('smtpd'))}")
        check_polite(found)
        assert found and not found["append", "OK"] and not found["smtp", "250"], "there is no room"

        # Room again: without anybody's help all is as before.
        ballast.unlink()
        mailballast.unlink()
        instance.log.wait(r"\(queue\) has room again")
        load.wait("smtp", "250", 50)
        load.wait("sendmail", "0")
        load.wait("append", "OK")
        deadline = time.monotonic() + 60
        while instance.status()["pressure_level"] or len(instance.pids("smtpd")) < most // 2 + 1:
            assert time.monotonic() < deadline, "the processes do not come back"
            time.sleep(0.2)
        load.stop()
        check_polite(load.fresh())
        drain(instance, load.accepted)
        check_all(instance, load.accepted)
        # sendmail says itself that it could not post, and ends.
        lines = [line for line in instance.log.lines if "/sendmail[" not in line]
        bad = [line for line in lines if re.search(r"panic|fatal|Traceback|does not answer|was killed", line)]
        assert not bad, bad[:10]
