"""Strangers that hang or lie: servers at each stage of SMTP, name servers in each way that smtp asks.

What waits for one of them is given up after its own time, the mail is deferred, and nobody else notices.
"""

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.dns import LIES, DnsServer
from tests.fakes.hanging import LMTP_STAGES, STAGES, Sink
from tests.fakes.instance import Instance, free_port
from tests.fault import traffic
from tests.fault.invariants import Levels, Mark, check_all, drain, marks_in
from tests.fault.others import Others

_PARTS = ("connect", "starttls", "mail", "rcpt", "rset", "quit", "data_init", "data_xfer", "data_done")
TIMES = (
    "smtp_helo_timeout",
    "lmtp_lhlo_timeout",
    *(f"{name}_{part}_timeout" for name in ("smtp", "lmtp") for part in _PARTS),
)
# Of what each is deferred, in the words of the log.
WORDS = {
    "CONNECT": r"connect to 127\.0\.0\.1\[127\.0\.0\.1\]:\d+: Connection timed out",
    "BANNER": "timed out while receiving the initial server greeting",
    "EHLO": "timed out while performing the EHLO handshake",
    "STARTTLS": "timed out while sending STARTTLS",
    "HANDSHAKE": "TLS",
    "AUTH": "timed out while sending AUTH",
    "CHALLENGE": "timed out while sending AUTH",
    "MAIL": "timed out while sending MAIL FROM",
    "RCPT": "timed out while sending RCPT TO",
    "DATA": "timed out while sending DATA command",
    "CONTENT": "timed out while sending message body",
    "DOT": "timed out while sending end of data -- message may be sent more than once",
    "LHLO": "timed out while performing the LHLO handshake",
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def _size(name: str) -> int:
    """Of a message that the sockets' buffers cannot hold, where the content hangs."""
    return 12_000_000 if name == "content.smtp" else 100


def _text(number: int, size: int = 100) -> str:
    line = "x" * 70 + "\n"
    return f"Subject: x\n\nmark-peer-{number}-\n{line * (size // 71)}end\n"


@pytest.mark.timeout(150)
def test_servers_that_hang_at_each_stage(stack: ExitStack) -> None:
    """All of them at once, and one good one beside them."""
    sinks = {f"{stage.lower()}.smtp": stack.enter_context(Sink(stage)) for stage in STAGES}
    sinks |= {f"{stage.lower()}.lmtp": stack.enter_context(Sink(stage)) for stage in LMTP_STAGES}
    sinks["good.smtp"] = good = stack.enter_context(Sink())
    lmtp = free_port()
    instance = Instance(
        main={
            **traffic.QUICK,
            **dict.fromkeys(TIMES, "2s"),
            "maximal_backoff_time": "1h",
            "minimal_backoff_time": "1h",
            "transport_maps": "texthash:$config_directory/transport",
            "smtp_tls_security_level": "may",
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_security_options": "noanonymous",
            "smtp_sasl_password_maps": "texthash:$config_directory/passwords",
            "smtp_connection_cache_destinations": "rset.smtp",
            "smtp_connection_cache_time_limit": "30s",
        },
        services=("imap", "pop3"),
        master=(f"127.0.0.1:{lmtp} inet n n n - - lmtpd",),
    )
    for name in TIMES:
        assert instance.command("postconf", "-h", name).stdout.strip() == "2s", f"{name} is no parameter"
    instance.ports["lmtp"] = lmtp
    routes = {name: f"{name.partition('.')[2]}:[127.0.0.1]:{sink.port}" for name, sink in sinks.items()}
    instance.write_table("transport", "".join(f"{name} {route}\n" for name, route in routes.items()))
    instance.write_table(
        "passwords",
        "".join(f"[127.0.0.1]:{sinks[name].port} alice:secret\n" for name in ("auth.smtp", "challenge.smtp")),
    )
    with instance:
        others = Others(instance)
        for _ in range(3):
            others.call()
        instance.send("x@good.smtp", _text(1000))
        instance.send("x@rset.smtp", _text(1001))
        instance.log.wait(r"to=<x@(good|rset)\.smtp>.*status=sent", count=2)
        drain(instance, others.accepted)
        level = Levels(instance)
        numbers = itertools.count(1)
        sent: dict[str, list[int]] = {name: [] for name in sinks}
        # With the crowd a second smtp process comes, which has kept no connection: what is to be sent RSET goes first.
        for name in sorted(sinks, key=lambda name: name != "rset.smtp"):
            for _ in range(3):
                sent[name].append(next(numbers))
                instance.send(f"x@{name}", _text(sent[name][-1], _size(name)))
        for _ in range(3):
            begun, count = time.monotonic(), len(good.messages)
            sent["good.smtp"].append(next(numbers))
            instance.send("x@good.smtp", _text(sent["good.smtp"][-1]))
            while len(good.messages) == count:
                assert time.monotonic() - begun < 2.0, "who hangs holds up others"
                time.sleep(0.01)
            others.call()
        accepted = list(others.accepted)
        for name, sink in sinks.items():
            word = WORDS.get(name.partition(".")[0].upper(), "")
            status = rf"to=<x@{re.escape(name)}>.*status="
            if word:
                instance.log.wait(rf"{status}deferred \(.*{word}", timeout=40)
            # A kept connection that hangs at RSET is given up for a new one. One message went there before.
            once = name in ("rset.smtp", "good.smtp")
            instance.log.wait(status + ("deferred" if word else "sent"), count=len(sent[name]) + once, timeout=40)
            # QUIT is said when a connection is kept no longer: smtp_connection_cache_time_limit.
            assert name in ("connect.smtp", "good.smtp") or sink.hung.wait(40), f"nobody came as far as {name}"
            marks = [("peer", number) for number in sent[name]]
            if word:
                # It waits, and is nowhere else.
                accepted += marks
                assert not sink.messages
            else:
                got = [mark for content in sink.messages for mark in sorted(marks_in(content))]
                assert sorted(mark for mark in got if mark[1] < 1000) == marks, f"{name} got {got}"
        drain(instance, others.accepted, but=["deferred"])
        check_all(instance, accepted, level, descriptors=12)


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
        numbers = itertools.count(1)
        marks: dict[str, list[Mark]] = {"good": []}

        def send(name: str) -> None:
            number = next(numbers)
            marks.setdefault(name, []).append(("peer", number))
            # What is returned goes to alice.
            instance.send(f"x@{name}.test", _text(number), sender="alice@example.test")

        for _ in range(3):
            send("good")
        instance.log.wait(r"to=<x@good\.test>.*status=sent", count=3)
        level = Levels(instance)
        before = _peak(instance, "smtp")
        for name in everyone:
            send(name)
        for _ in range(5):
            begun, count = time.monotonic(), instance.log.count(r"to=<x@good\.test>.*status=sent")
            send("good")
            instance.log.wait(r"to=<x@good\.test>.*status=sent", count=count + 1, timeout=2)
            assert time.monotonic() - begun < 2.0, "who asks a liar holds up others"
        accepted: list[Mark] = []
        arrived = {"good"}
        for name in everyone:
            # A huge time to live and many records are true all the same.
            (told, *_) = instance.log.wait(rf"to=<x@{name}\.test>.*status=(deferred|sent|bounced)", timeout=40)
            if told[1] == "sent":
                arrived.add(name)
            else:
                # It waits, or was returned.
                accepted += marks[name]
        for name in ("huge-ttl", "many"):
            assert instance.log.count(rf"to=<x@{name}\.test>.*status=(sent|deferred)")
        assert server.dripped > 1, "it was not asked by TCP"
        # Nothing that a liar said is believed, and none of it makes mail come back.
        for name in ("wrong-id", "wrong-question", "other-name", "rubbish", *trouble, "loop-a"):
            assert not instance.log.count(rf"to=<x@{name}\.test>.*status=sent"), name
        for name in ("wrong-id", "rubbish", *trouble):
            assert not instance.log.count(rf"to=<x@{name}\.test>.*status=bounced"), name
        got = sorted(mark for content in good.messages for mark in marks_in(content))
        assert got == sorted(mark for name in arrived for mark in marks[name])
        drain(instance, (), but=["deferred"])
        check_all(instance, accepted, level, descriptors=12)
        assert _peak(instance, "smtp") < before + 40_000, "an answer of 64 kB takes no more than so many kB"
