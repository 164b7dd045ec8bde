"""Mail that comes faster than a slow queue manager takes it up is slowed down (in_flow_delay). Takes a C compiler."""

import smtplib
import threading
import time

import pytest

from tests.fakes.instance import Instance
from tests.fault import shim

SENDERS, SECONDS = 10, 8.0
# Seconds for each message that it takes up: twenty a second, where the senders alone bring far more.
SLOW = 0.05
# As many find a token each, from when incoming was empty (qmgr/intake.py).
READY = 100


def burst(in_flow_delay: str) -> tuple[int, int, int, float]:
    """Messages accepted, taken up by qmgr, the most that were in incoming; in so many seconds."""
    main = {
        "in_flow_delay": in_flow_delay,
        "smtpd_client_connection_count_limit": "0",
        # The senders are to be slowed by nothing else.
        "hash_queue_names": "deferred, defer",
    }
    with shim.Shim() as faults:
        instance = Instance(main=main)
        try:
            faults.start(instance)
            instance.send("alice@example.test")
            instance.log.wait(r": removed")
            accepted, stop = [0] * SENDERS, threading.Event()

            def send(place: int) -> None:
                with smtplib.SMTP("127.0.0.1", instance.port, timeout=60) as client:
                    while not stop.is_set():
                        client.sendmail("a@example.org", ["alice@example.test"], "Subject: x\n\nbody\n")
                        accepted[place] += 1

            threads = [threading.Thread(target=send, args=(place,), daemon=True) for place in range(SENDERS)]
            most = 0
            # While it is slow its hand is at each file of incoming; what others do there is not slowed.
            with faults.fault("rename", path="incoming/", delay=SLOW, pids=instance.pids("qmgr")) as fault:
                for thread in threads:
                    thread.start()
                begun = time.monotonic()
                while time.monotonic() < begun + SECONDS:
                    most = max(most, len(instance.queued("incoming")))
                    time.sleep(0.1)
                stop.set()
                for thread in threads:
                    thread.join(60)
                    assert not thread.is_alive()
                taken, seconds = fault.hits, time.monotonic() - begun
            # It is quick again: all that was accepted arrives.
            instance.log.wait(r": removed", sum(accepted) + 1, timeout=60)
            assert len(instance.messages("alice")) == sum(accepted) + 1
            assert not instance.log.count(r"panic|fatal|Traceback|does not answer|was killed")
            return sum(accepted), taken, most, seconds
        finally:
            instance.stop()
            instance.remove()


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(shim.possible()), reason=shim.possible())
def test_senders_are_slowed_to_what_a_slow_queue_manager_takes_up() -> None:
    accepted, taken, most, seconds = burst("1s")
    unbridled, unbridled_taken, unbridled_most, _ = burst("0")
    print(f"{accepted} accepted, {taken} taken up, {most} waited; without: {unbridled}, {unbridled_most} waited")
    assert taken > 0 and unbridled_taken > 0, "qmgr was not slowed"
    # A token for each message that was taken up, and else one message a sender and second; and one that is under way.
    more = READY + SENDERS * (seconds / 1.0 + 1)
    assert accepted <= taken + more, (accepted, taken, more)
    assert most <= more, (most, more)
    # That it is this which slows them, and nothing else.
    assert unbridled > 2 * accepted, (unbridled, accepted)
    assert unbridled_most > 2 * most, (unbridled_most, most)
