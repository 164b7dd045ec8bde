"""Clients that fall silent at each stage of SMTP, LMTP, IMAP and POP3.

Each is told goodbye after its time, as its protocol has it, and everybody else is served meanwhile.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.fakes.instance import Instance, free_port
from tests.fault import traffic
from tests.fault.invariants import Levels, check_all, drain
from tests.fault.others import ALICE, Others

# Seconds that each of our servers waits for its client.
TIME = 3
TIMES = (
    "smtpd_timeout",
    "smtpd_starttls_timeout",
    "lmtpd_timeout",
    "imapd_timeout",
    "imapd_login_timeout",
    "pop3d_timeout",
    "pop3d_login_timeout",
)
# And for all else that is done meanwhile.
ELSE = 3
BOB, CAROL = "bob@example.test", "carol@example.test"
"""In a stage: the commands that log this one in. A maildrop of POP3 is for one session at a time (RFC 1939 4)."""
ENVELOPE = ("MAIL FROM:<a@b.test>", f"RCPT TO:<{ALICE}>")
# What a client says before it hangs, a line after each reply; the last may be without an end: "" nothing, "…" half.
STAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "smtp": (
        (),
        ("EHL…",),
        ("EHLO x",),
        ("EHLO x", "STARTTLS"),
        ("EHLO x", "AUTH PLAIN"),
        ("EHLO x", "AUTH LOGIN", "YWxpY2U="),
        ("EHLO x", ENVELOPE[0]),
        ("EHLO x", *ENVELOPE),
        ("EHLO x", *ENVELOPE, "DATA"),
        ("EHLO x", *ENVELOPE, "DATA", "Subject: x\r\n…"),
        ("EHLO x", *ENVELOPE, "BDAT 100\r\nabc…"),
        ("EHLO x", *ENVELOPE, "BDAT 3\r\nabc…"),
        ("EHLO x", *ENVELOPE, "RSET"),
    ),
    "lmtp": (
        (),
        ("LH…",),
        ("LHLO x",),
        ("LHLO x", "STARTTLS"),
        ("LHLO x", *ENVELOPE),
        ("LHLO x", *ENVELOPE, "DATA"),
        ("LHLO x", *ENVELOPE, "DATA", "Subject: x\r\n…"),
        ("LHLO x", *ENVELOPE, "BDAT 100\r\nabc…"),
    ),
    "imap": (
        (),
        ("a LOG…",),
        ("a LOGIN {5}",),
        ("a AUTHENTICATE PLAIN",),
        ("a STARTTLS",),
        (BOB,),
        (BOB, "b SELECT IN…"),
        (BOB, "b SELECT INBOX"),
        (BOB, "b IDLE"),
        (BOB, "b APPEND INBOX {100}"),
        (BOB, "b APPEND INBOX {100}", "Subject: x\r\n…"),
    ),
    "pop3": (
        (),
        ("US…",),
        ("USER alice",),
        ("AUTH PLAIN",),
        ("STLS",),
        (BOB,),
        (CAROL, "RE…"),
    ),
}
# What the last words begin with. RFC 1939 3: a POP3 server that gives up says nothing. Within a handshake nobody can.
GOODBYES = {"smtp": b"421 4.4.2 ", "lmtp": b"421 4.4.2 ", "imap": b"* BYE "}
HANDSHAKES = (("STARTTLS",), ("a STARTTLS",), ("STLS",))
# What the log says, and how often: pop3d of sessions that got somewhere.
LOGGED = {
    r"smtpd\[\d+\]: timeout after \w+ .*from ": len(STAGES["smtp"]) - 1,
    r"lmtpd\[\d+\]: disconnect from \S+: timeout": len(STAGES["lmtp"]) - 1,
    r"imapd\[\d+\]: .*: disconnected for inactivity": len(STAGES["imap"]) - 1,
    r"pop3d\[\d+\]: (bob|carol)@\S+ \S+: disconnected \(timeout\)": 2,
    **dict.fromkeys(
        (rf"{name}d\[\d+\]: SSL_accept error from .*timed out" for name in ("smtp", "lmtp", "imap", "pop3")), 1
    ),
}


class Ended(NamedTuple):
    took: float
    """From the last word that the client said."""
    said: bytes
    """To that, and after it."""


def _hang(port: int, stage: Sequence[str], logins: Mapping[str, Sequence[str]]) -> Ended:
    with socket.create_connection(("127.0.0.1", port), 20) as one:
        for line in stage:
            for word in logins.get(line, (line,)):
                one.recv(65_536)
                one.sendall(word.removesuffix("…").encode() + (b"" if word.endswith("…") else b"\r\n"))
        begun, said = time.monotonic(), b""
        one.settimeout(TIME + 20)
        try:
            while part := one.recv(65_536):
                said += part
        except ConnectionResetError:
            pass
        return Ended(time.monotonic() - begun, said)


@pytest.mark.timeout(90)
def test_clients_that_hang_at_each_stage() -> None:
    lmtp = free_port()
    instance = Instance(
        main={
            **traffic.QUICK,
            **dict.fromkeys(TIMES, f"{TIME}s"),
            "smtpd_sasl_auth_enable": "yes",
            "auth_failure_delay": "0",
        },
        services=("imap", "pop3"),
        master=(f"127.0.0.1:{lmtp} inet n n n - - lmtpd",),
    )
    for name in TIMES:
        assert instance.command("postconf", "-h", name).stdout.strip() == f"{TIME}s", f"{name} is no parameter"
    instance.ports["lmtp"] = lmtp
    with instance:
        done = instance.command("tubepost", "user", "add", CAROL, "--stdin", input="secret\n")
        assert done.returncode == 0, done.stderr
        passwords = {BOB: instance.credentials[BOB], CAROL: "secret"}
        logins: dict[str, dict[str, tuple[str, ...]]] = {
            "imap": {name: (f"l LOGIN {name} {word}",) for name, word in passwords.items()},
            "pop3": {name: (f"USER {name}", f"PASS {word}") for name, word in passwords.items()},
        }
        others = Others(instance)
        for _ in range(3):
            others.call()
        drain(instance, others.accepted)
        level = Levels(instance)
        ports = {"smtp": instance.port, **instance.ports}
        held: dict[tuple[str, tuple[str, ...]], Future[Ended]] = {}
        with ThreadPoolExecutor(sum(map(len, STAGES.values()))) as pool:
            for service, stages in STAGES.items():
                for stage in stages:
                    held[service, stage] = pool.submit(_hang, ports[service], stage, logins.get(service, {}))
            while not all(one.done() for one in held.values()):
                others.call()
        for (service, stage), one in held.items():
            where = f"{service} {stage}: {one.result()}"
            assert TIME - 0.5 < one.result().took < TIME + ELSE, f"not after its time: {where}"
            said = one.result().said.splitlines(keepends=True)
            if stage[-1:] in HANDSHAKES:
                assert len(said) == 1, f"the handshake was not begun, or is spoken into: {where}"
            elif service == "pop3":
                assert all(line.startswith(b"+") for line in said), where
            else:
                assert said[-1].startswith(GOODBYES[service]), f"no goodbye: {where}"
        for pattern, count in LOGGED.items():
            instance.log.wait(pattern, count=count, timeout=5)
        drain(instance, others.accepted)
        check_all(instance, others.accepted, level, descriptors=12)
