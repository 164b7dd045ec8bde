"""The clock is set an hour forward, or back, while mail waits and people read (tests/fault/shim.py): nothing expires or
is returned early, retries go on, queue ids and UIDs never repeat, UIDVALIDITY and modification sequences never go back,
and no process spins.
"""

import imaplib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import Levels, Mark, check_all, drain
from tests.fault.shim import Shim, possible

HOUR = 3600


@pytest.fixture
def shim() -> Iterator[Shim]:
    if why := possible():
        pytest.skip(why)
    with Shim() as made:
        yield made


def _ticks(pid: int) -> int:
    """Processor time used, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _look(instance: Instance) -> tuple[int, int, int]:
    """UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ of carol's INBOX, after a change."""
    address = "carol@example.test"
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=20) as client:
        client.login(address, instance.credentials[address])
        client.append("INBOX", "", "", b"Subject: x\r\n\r\nx\r\n")
        client.select("INBOX")
        client.store("1", "+FLAGS", r"(\Flagged)")
        client.store("1", "-FLAGS", r"(\Flagged)")
        answer = client.status("INBOX", "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")[1][0]
    found = dict(re.findall(rb"([A-Z]+) (\d+)", answer))
    return int(found[b"UIDVALIDITY"]), int(found[b"UIDNEXT"]), int(found[b"HIGHESTMODSEQ"])


def _send(instance: Instance, number: int) -> Mark:
    instance.send("alice@example.test", f"Subject: x\n\nmark-clock-{number}-\nend\n")
    return "clock", number


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["forward", "back"])
def test_an_hour(shim: Shim, seconds: int) -> None:
    # Half an hour is the life of a message: an hour more would end it, were the clock believed.
    main = {"maximal_queue_lifetime": "30m", "bounce_queue_lifetime": "30m", "delay_warning_time": "20m"}
    instance = traffic.instance(main={**main, "maximal_backoff_time": "2s", "minimal_backoff_time": "1s"})
    shim.start(instance)
    accepted: set[Mark] = {("waits", 1)}
    try:
        instance.send(f"x@{traffic.DOWN}", "Subject: waits\n\nmark-waits-1-\nend\n", "bob@example.test")
        instance.log.wait(r"to=<x@down\.test>.*status=deferred")
        before = _look(instance)
        accepted.add(_send(instance, 1))
        instance.log.wait(r"to=<alice@example\.test>.*status=sent")
        level = Levels(instance)
        start = len(instance.log.lines)
        shim.clock(seconds)
        # Tried again within its seconds, not after an hour, and not given up.
        instance.log.wait(r"to=<x@down\.test>.*status=deferred", count=3, start=start, timeout=20)
        instance.log.wait(r"qmgr\[\d+\]: warning: the clock was set (forward|back) by 3600 s", start=start)
        after = _look(instance)
        assert after[0] == before[0] and after[1] > before[1] and after[2] > before[2]
        accepted.add(_send(instance, 2))
        instance.log.wait(r"to=<alice@example\.test>.*status=sent", start=start, timeout=5)
        # Nobody is busy with nothing: a second of rest costs less than half of one.
        pids = instance.pids()
        used = {pid: _ticks(pid) for pid in pids}
        time.sleep(1.0)
        spinning = [pid for pid in pids if os.path.exists(f"/proc/{pid}") and _ticks(pid) - used[pid] > 50]
        assert not spinning
        # And to the right time again.
        again = len(instance.log.lines)
        shim.clock(0)
        instance.log.wait(r"to=<x@down\.test>.*status=deferred", count=3, start=again, timeout=20)
        last = _look(instance)
        assert last[0] == before[0] and last[1] > after[1] and last[2] > after[2]
        assert not instance.log.count(r"status=expired|status=bounced|returned to sender")
        assert not [path for path in instance.messages("bob") if b"waits" in path.read_bytes()], "warned or returned"
        ids = re.findall(r"qmgr\[\d+\]: (\w+): removed", "\n".join(instance.log.lines))
        assert len(ids) == len(set(ids))
        # What waited goes out when there is somebody to take it.
        with traffic.Receiver(instance, traffic.DOWN):
            drain(instance, accepted)
        wanted = [r"qmgr\[\d+\]: warning: the clock was set back by 3600 s", r"was set forward by 3600 s"]
        check_all(instance, accepted, level, wanted_log=wanted)
    finally:
        instance.stop()
        instance.remove()
