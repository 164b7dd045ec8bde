"""lmtpd killed again and again under load: what was answered with 250 is in the mailbox, and nothing only in part."""

import os
import signal
import smtplib
import threading
import time

from tests.fakes.instance import Instance, free_port
from tests.fault.invariants import Kill, Mark, check_all, check_twice


def _send(port: int, stop: threading.Event, numbers: "range", accepted: list[Mark]) -> None:
    queue = iter(numbers)
    while not stop.is_set():
        try:
            with smtplib.LMTP("127.0.0.1", port, timeout=20) as client:
                for _ in range(20):
                    number = next(queue)
                    text = f"Subject: number {number}\n\nmark-lmtp-{number}-\n{'x' * 70}\n" + "body\n" * 50 + "end\n"
                    client.sendmail("a@example.org", ["alice@example.test"], text)
                    accepted.append(("lmtp", number))
        except (OSError, smtplib.SMTPException):
            stop.wait(0.02)


def test_what_was_accepted_is_there() -> None:
    port = free_port()
    with Instance(main={"service_throttle_time": "1s"}, master=(f"127.0.0.1:{port} inet n n n - - lmtpd",)) as instance:
        stop = threading.Event()
        lists: list[list[Mark]] = [[] for _ in range(3)]
        threads = [
            threading.Thread(target=_send, args=(port, stop, range(start, 10**9, 3), accepted), daemon=True)
            for start, accepted in enumerate(lists)
        ]
        for thread in threads:
            thread.start()
        kills: list[Kill] = []
        for round_ in range(1, 5):
            goal = 60 * round_
            while sum(map(len, lists)) < goal:
                stop.wait(0.01)
            mark = len(instance.log.lines)
            for pid in instance.pids("lmtpd"):
                os.kill(pid, signal.SIGKILL)
                kills.append(Kill(time.time(), "lmtpd", pid))
            instance.log.wait(r"process lmtpd\[\d+\] was killed by signal 9", start=mark)
        stop.set()
        for thread in threads:
            thread.join()
        accepted = {mark for one in lists for mark in one}
        delivered = check_all(instance, accepted, kills=kills)
        # Who heard no yes has sent another: nothing is there twice, whatever was killed when.
        assert not check_twice(instance, delivered)
