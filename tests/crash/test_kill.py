"""kill -9 under load: what was answered with 250 arrives, whatever dies when (common/spool/STATES.md).

A sender keeps a list of the messages that were accepted; each carries a number. After the storm, and a restart where
everything was killed, every accepted number is in the mailbox.
"""

import os
import re
import signal
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance

_NUMBER = re.compile(rb"^Subject: number (\d+)$", re.M)
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
    """Threads that send until told to stop; ``accepted`` are the numbers that were answered with 250."""

    def __init__(self, instance: Instance, threads: int = 4) -> None:
        self._instance = instance
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self.accepted: list[int] = []
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
                            self._next += 1
                            number = self._next
                        client.sendmail("a@example.org", ["alice@example.test"], f"Subject: number {number}\n\nbody\n")
                        with self._lock:
                            self.accepted.append(number)
                            self.enough.notify_all()
            except (OSError, smtplib.SMTPException):
                self._stop.wait(0.02)  # the server is being shot at: try again

    def wait(self, more: int, timeout: float = 30.0) -> None:
        """Until so many more were accepted."""
        with self._lock:
            wanted = len(self.accepted) + more
            assert self.enough.wait_for(lambda: len(self.accepted) >= wanted, timeout), "no mail is accepted any more"

    def stop(self) -> list[int]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.accepted


def _arrived(instance: Instance) -> Counter[int]:
    found: Counter[int] = Counter()
    for path in instance.messages("alice"):
        match = _NUMBER.search(path.read_bytes())
        if match is not None:  # else a notice to the postmaster, who is alice, about what we do here
            found[int(match[1])] += 1
    return found


def _settle(instance: Instance, wanted: set[int], timeout: float = 60.0) -> Counter[int]:
    """Until all have arrived; the master's log tells when something was removed from the queue."""
    import time

    deadline = time.monotonic() + timeout
    while True:
        found = _arrived(instance)
        if wanted <= found.keys() or time.monotonic() > deadline:
            return found
        seen = len(instance.log.lines)
        try:
            instance.log.wait(r": removed", timeout=2, start=seen)
        except AssertionError:
            pass


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
    killed = 0
    for _ in range(4):
        senders.wait(15)
        for pid in instance.pids(program):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    senders.wait(15)
    accepted = set(senders.stop())
    assert killed or program == "anvil", f"no process of {program} was there to be killed"
    found = _settle(instance, accepted)
    assert accepted <= found.keys(), f"lost: {sorted(accepted - found.keys())[:20]} of {len(accepted)}"


def test_no_accepted_mail_is_lost_when_the_template_is_killed(instance: Instance) -> None:
    senders = Senders(instance)
    senders.wait(10)
    os.kill(instance.status()["template"], signal.SIGKILL)
    # What the new template forks must work as what the old one did.
    for pid in (*instance.pids("virtual"), *instance.pids("cleanup")):
        os.kill(pid, signal.SIGKILL)
    senders.wait(30)
    accepted = set(senders.stop())
    assert accepted <= _settle(instance, accepted).keys()
    assert instance.status()["template"] > 0


def test_no_accepted_mail_is_lost_when_everything_is_killed_and_started_again(instance: Instance) -> None:
    accepted: set[int] = set()
    doubled = 0
    for _ in range(3):
        senders = Senders(instance)
        senders._next = 1000 * (1 + max(accepted, default=0) // 1000)
        senders.wait(40)
        instance.kill()
        accepted |= set(senders.stop())
        instance.start()
    found = _settle(instance, accepted)
    assert accepted <= found.keys(), f"lost: {sorted(accepted - found.keys())[:20]} of {len(accepted)}"
    # Only what was between a delivery and its mark may come twice: at most what was under way at each kill.
    doubled = sum(count - 1 for count in found.values())
    assert doubled <= 3 * 25, f"{doubled} messages were delivered twice"


def test_what_was_reported_delivered_is_not_delivered_again_after_a_restart(instance: Instance) -> None:
    for number in range(20):
        instance.send("alice@example.test", f"Subject: number {number}\n\nx\n")
    instance.log.wait(r": removed", count=20)
    instance.kill()
    instance.start()
    instance.send("alice@example.test", "Subject: number 99\n\nx\n")
    instance.log.wait(r": removed")
    assert _arrived(instance) == Counter({**dict.fromkeys(range(20), 1), 99: 1})
