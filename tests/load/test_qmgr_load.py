"""A list of 100,000 and a burst of 5,000 beyond the active limit: all is delivered, and qmgr's memory is bounded."""

import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

RECIPIENTS = 100_000
# MiB that qmgr may grow by. The addresses alone of 100,000 recipients, held as objects, take more.
GROWTH = 64


def memory(pid: int, what: str = "VmHWM") -> int:
    """MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) // 1024
    raise AssertionError(what)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("transport", ["discard", "retry", "error"])
def test_a_list_of_a_hundred_thousand(transport: str) -> None:
    main = {
        "relay_domains": "list.test",
        "transport_maps": f"inline:{{ {{ list.test = {transport}:4.5.0 for now }} }}",
        "smtpd_recipient_limit": str(RECIPIENTS),
        "qmgr_message_recipient_limit": "5000",
        "notify_classes": "",
        "smtpd_reject_unlisted_recipient": "no",
        "bounce_size_limit": "1000",
    }
    with Instance(main=main) as instance:
        (pid,) = instance.pids("qmgr")
        before = memory(pid, "VmRSS")
        instance.send([f"recipient{number}@list.test" for number in range(RECIPIENTS)], sender="")
        if transport == "retry":
            instance.log.wait(r"status=deferred", RECIPIENTS, timeout=300)
            while len(instance.queued("deferred")) != 1:
                threading.Event().wait(0.5)
            (log,) = [path for path in (instance.spool / "defer").rglob("*") if path.is_file()]
            assert log.read_bytes().count(b"\n") == RECIPIENTS
        else:
            instance.log.wait(r": removed", timeout=300)
            wanted = "sent" if transport == "discard" else "bounced"
            assert instance.log.count(f"status={wanted}") == RECIPIENTS
        grown = memory(pid) - before
        print(f"{transport}: qmgr grew by {grown} MiB")
        assert grown < GROWTH


@pytest.mark.timeout(600)
def test_a_burst_of_five_thousand() -> None:
    count, senders = 5000, 4
    with Instance(main={"qmgr_message_active_limit": "50"}) as instance:

        def burst(_: int) -> None:
            with smtplib.SMTP("127.0.0.1", instance.port, timeout=60) as client:
                for _ in range(count // senders):
                    client.sendmail("a@example.org", ["alice@example.test"], "Subject: x\n\nbody\n")

        with ThreadPoolExecutor(senders) as pool:
            list(pool.map(burst, range(senders)))
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent", count, timeout=60)
        assert len(instance.messages("alice")) == count
