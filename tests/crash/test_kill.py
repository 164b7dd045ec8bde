"""kill -9 under load: what was answered with 250 arrives, whatever dies when (common/spool/STATES.md).

A sender keeps a list of the messages that were accepted; each carries a mark. After the storm, and a restart where
everything was killed, all that must hold after a fault does (tests/fault/invariants.py): every accepted mark is in the
mailbox, and twice only where a kill came between a delivery and its mark in the queue file.
"""

import os
import signal
import smtplib
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance
from tests.fault.invariants import Kill, Mark, check_all, drain, in_mailboxes

# Short pauses, so that what was interrupted is tried again while the test runs.
_QUICK = {
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
    "queue_run_delay": "1s",
    "transport_retry_time": "1s",
    "service_throttle_time": "1s",
    "in_flow_delay": "0s",
}


class Senders:
    """Threads that send until told to stop; ``accepted`` are the marks that were answered with 250."""

    def __init__(self, instance: Instance, threads: int = 4, *, first: int = 1) -> None:
        self._instance = instance
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = first
        self.accepted: list[Mark] = []
        self.enough = threading.Condition(self._lock)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self._instance.port, timeout=20) as client:
                    for _ in range(5):
                        with self._lock:
                            number, self._next = self._next, self._next + 1
                        client.sendmail("a@example.org", ["alice@example.test"], _text(number))
                        with self._lock:
                            self.accepted.append(("smtp", number))
                            self.enough.notify_all()
            except (OSError, smtplib.SMTPException):
                self._stop.wait(0.02)  # the server is being shot at: try again

    def wait(self, more: int, timeout: float = 30.0) -> None:
        """Until so many more were accepted."""
        with self._lock:
            wanted = len(self.accepted) + more
            assert self.enough.wait_for(lambda: len(self.accepted) >= wanted, timeout), "no mail is accepted any more"

    def stop(self) -> set[Mark]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return set(self.accepted)


def _text(number: int) -> str:
    return f"Subject: number {number}\n\nmark-smtp-{number}-\nbody\nend\n"


def _kill(program: str, *pids: int) -> list[Kill]:
    """Those that were still there."""
    kills = []
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it had nothing to do any more and ended by itself
        kills.append(Kill(time.time(), program, pid))
    return kills


@pytest.fixture
def instance() -> Iterator[Instance]:
    made = Instance(main=_QUICK)
    made.start()
    yield made
    if made.process is not None:
        made.stop()
    made.remove()


@pytest.mark.parametrize("program", ["smtpd", "cleanup", "qmgr", "virtual", "rewrite", "log", "anvil"])
def test_no_accepted_mail_is_lost_when_one_program_is_killed(instance: Instance, program: str) -> None:
    senders = Senders(instance)
    kills: list[Kill] = []
    for _ in range(4):
        senders.wait(15)
        kills += _kill(program, *instance.pids(program))
    senders.wait(15)
    accepted = senders.stop()
    assert kills or program == "anvil", f"no process of {program} was there to be killed"
    drain(instance, accepted)
    check_all(instance, accepted, kills=kills)


def test_no_accepted_mail_is_lost_when_the_template_is_killed(instance: Instance) -> None:
    senders = Senders(instance)
    senders.wait(10)
    kills = _kill("template", instance.status()["template"])
    # What the new template forks must work as what the old one did.
    for program in ("virtual", "cleanup"):
        kills += _kill(program, *instance.pids(program))
    senders.wait(30)
    accepted = senders.stop()
    drain(instance, accepted)
    check_all(instance, accepted, kills=kills)
    assert instance.status()["template"] > 0


def test_no_accepted_mail_is_lost_when_everything_is_killed_and_started_again(instance: Instance) -> None:
    accepted: set[Mark] = set()
    kills: list[Kill] = []
    for round_ in range(3):
        senders = Senders(instance, first=1 + 10_000 * round_)
        senders.wait(40)
        instance.kill()
        kills.append(Kill(time.time(), "master"))
        accepted |= senders.stop()
        instance.start()
    drain(instance, accepted)
    check_all(instance, accepted, kills=kills, wanted_log=[r"the master before this one did not end in order"])


def test_what_was_reported_delivered_is_not_delivered_again_after_a_restart(instance: Instance) -> None:
    for number in range(20):
        instance.send("alice@example.test", _text(number))
    instance.log.wait(r": removed", count=20)
    instance.kill()
    instance.start()
    instance.send("alice@example.test", _text(99))
    instance.log.wait(r": removed")
    marks = {("smtp", number) for number in (*range(20), 99)}
    # The kill explains none that is there twice.
    check_all(instance, marks)
    assert in_mailboxes(instance.mail).keys() == marks
