"""Strangers that hang or lie: servers at each stage of SMTP, name servers in each way that smtp asks.

What waits for one of them is given up after its own time, the mail is deferred, and nobody else notices.
"""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.dns import LIES, DnsServer
from tests.fakes.hanging import STAGES, Sink
from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import Levels, check_log

TIMES = tuple(
    f"smtp_{stage}_timeout"
    for stage in ("connect", "helo", "starttls", "mail", "rcpt", "quit", "data_init", "data_xfer", "data_done")
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def _size(stage: str) -> int:
    """Of a message that the sockets' buffers cannot hold, where the content hangs."""
    return 12_000_000 if stage == "CONTENT" else 100


@pytest.mark.timeout(90)
def test_servers_that_hang_at_each_stage(stack: ExitStack) -> None:
    """All of them at once, and one good one beside them."""
    sinks = {stage: stack.enter_context(Sink(stage)) for stage in STAGES}
    good = stack.enter_context(Sink())
    instance = Instance(main={**traffic.QUICK, **dict.fromkeys(TIMES, "2s"), "maximal_backoff_time": "1h"})
    routes = "".join(f"{stage.lower()}.test smtp:[127.0.0.1]:{sink.port}\n" for stage, sink in sinks.items())
    instance.write_table("transport", f"{routes}good.test smtp:[127.0.0.1]:{good.port}\n")
    instance.set_main({"transport_maps": "texthash:$config_directory/transport", "minimal_backoff_time": "1h"})
    with instance:
        instance.send("x@good.test")
        instance.log.wait(r"to=<x@good\.test>.*status=sent")
        level = Levels(instance)
        for stage in STAGES:
            for number in range(3):
                line = "x" * 70 + "\n"
                instance.send(f"{number}@{stage.lower()}.test", f"Subject: x\n\n{line * (_size(stage) // 71)}")
        for _ in range(5):
            begun, count = time.monotonic(), len(good.messages)
            instance.send("x@good.test")
            while len(good.messages) == count:
                assert time.monotonic() - begun < 2.0, "who hangs holds up others"
                time.sleep(0.01)
            time.sleep(0.2)
        for stage in STAGES:
            word = "sent" if stage == "QUIT" else "deferred"
            instance.log.wait(rf"to=<\d@{stage.lower()}\.test>.*status={word}", count=3, timeout=40)
        check_log(instance)
        level.check(descriptors=12)


def _peak(instance: Instance, program: str) -> int:
    """The most memory that one of its processes ever had, kB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in instance.pids(program)]
    return max(int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) for text in texts)


@pytest.mark.timeout(90)
def test_name_servers_that_lie_or_are_silent(stack: ExitStack) -> None:
    good = stack.enter_context(Sink(host="127.0.0.2"))
    server = stack.enter_context(DnsServer())
    instance = Instance(main={**traffic.QUICK, "dns_nameservers": server.address, "smtp_connect_timeout": "2s"})
    domains = [lie.lower().replace("_", "-") for lie in LIES]
    trouble = {"silent": "TIMEOUT", "servfail": "SERVFAIL", "refused": "REFUSED", "dripping": "DRIP"}
    for name in ("good", *domains, *trouble):
        server.add(f"{name}.test", "MX", f"10 mx.{name}.test.")
        server.add(f"mx.{name}.test", "A", "127.0.0.2")
    for name, lie in zip(domains, LIES, strict=True):
        server.lie(f"{name}.test", lie)
        server.lie(f"mx.{name}.test", lie)
    for name, how in trouble.items():
        server.fail(f"{name}.test", how)
        server.fail(f"mx.{name}.test", how)
    for name, other in (("loop-a", "loop-b"), ("loop-b", "loop-a")):
        server.add(f"{name}.test", "CNAME", f"{other}.test.")
    everyone = [*domains, *trouble, "loop-a"]
    routes = "".join(f"{name}.test smtp:{name}.test:{good.port}\n" for name in ("good", *everyone))
    instance.write_table("transport", routes)
    instance.set_main({"transport_maps": "texthash:$config_directory/transport", "smtp_tls_security_level": "none"})
    with instance:
        instance.send("x@good.test")
        instance.log.wait(r"to=<x@good\.test>.*status=sent")
        level = Levels(instance)
        before = _peak(instance, "smtp")
        for name in everyone:
            instance.send(f"x@{name}.test")
        for _ in range(5):
            begun, count = time.monotonic(), instance.log.count(r"to=<x@good\.test>.*status=sent")
            instance.send("x@good.test")
            instance.log.wait(r"to=<x@good\.test>.*status=sent", count=count + 1, timeout=2)
            assert time.monotonic() - begun < 2.0, "who asks a liar holds up others"
        for name in everyone:
            # A huge time to live and many records are true all the same.
            instance.log.wait(rf"to=<x@{name}\.test>.*status=(deferred|sent|bounced)", timeout=40)
        for name in ("huge-ttl", "many"):
            assert instance.log.count(rf"to=<x@{name}\.test>.*status=(sent|deferred)")
        assert server.dripped > 1, "it was not asked by TCP"
        # Nothing that a liar said is believed, and none of it makes mail come back.
        for name in ("wrong-id", "wrong-question", "other-name", "rubbish", *trouble, "loop-a"):
            assert not instance.log.count(rf"to=<x@{name}\.test>.*status=sent"), name
        for name in ("wrong-id", "rubbish", *trouble):
            assert not instance.log.count(rf"to=<x@{name}\.test>.*status=bounced"), name
        check_log(instance)
        level.check(descriptors=12)
        assert _peak(instance, "smtp") < before + 40_000, "an answer of 64 kB takes no more than so many kB"
