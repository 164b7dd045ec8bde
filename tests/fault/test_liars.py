"""smtpd asks name servers that lie, are silent, drip, or say as much as a message can hold.

Who comes from such a place is greeted and answered within the time that the question may take, everybody else within
2 s, and the log says what could not be learned.
"""

import re
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.fakes.dns import LIES, DnsServer
from tests.fakes.instance import Instance
from tests.fakes.network import in_own_network
from tests.fault import traffic
from tests.fault.invariants import Levels, Mark, check_all, drain

# resolv.conf(5): one server is waited for 5 s, twice; a question and all its aliases get no more than that together.
QUESTION = 10.0
# For all else that is done meanwhile.
ELSE = 2.0
# What is to be made of each: the truth, that there is nothing, or that one cannot tell; the last as soon as it is said,
# or after all the time.
FOUND, NOTHING, TOLD, UNSURE = "found", "nothing", "told", "unsure"
LIARS = {
    "WRONG_ID": UNSURE,
    "WRONG_QUESTION": UNSURE,
    "RUBBISH": UNSURE,
    "TIMEOUT": UNSURE,
    "DRIP": UNSURE,
    "SLOW": UNSURE,
    "SERVFAIL": TOLD,
    "REFUSED": TOLD,
    "WRONG_SECTION": NOTHING,
    "OTHER_NAME": NOTHING,
    "HUGE_TTL": FOUND,
    "MANY": FOUND,
    "TANGLE": FOUND,
}
# Who is lied about: the client's address, the name that it leads to, the domain of the sender, the client in a list.
PLACES = ("address", "name", "sender", "list")


class Guest(NamedTuple):
    """One client. ``took``: of the greeting, and the longest of the replies; ``said``: to RCPT."""

    took: tuple[float, float]
    said: str


def _call(port: int, address: str, sender: str, content: str = "") -> Guest:
    with socket.create_connection(("127.0.0.1", port), 60, (address, 0)) as one:
        begun = time.monotonic()
        lines = one.makefile("rb")
        assert lines.readline().startswith(b"220 ")
        greeted = time.monotonic() - begun
        longest, said = 0.0, b""
        commands = ["HELO guest.test", f"MAIL FROM:<{sender}>", "RCPT TO:<alice@example.test>"]
        for command in (*commands, *(("DATA", content) if content else ()), "QUIT"):
            begun = time.monotonic()
            one.sendall(command.encode() + b"\r\n")
            reply = lines.readline()
            longest = max(longest, time.monotonic() - begun)
            if command.startswith("RCPT") or command == content:
                said = reply
        return Guest((greeted, longest), said.decode().rstrip())


def _address(place: int, liar: int) -> str:
    return f"192.0.2.{1 + 50 * place + liar}"


def _pointer(address: str, zone: str) -> str:
    return ".".join(reversed(address.split("."))) + zone


def _spread(server: DnsServer, long: bool) -> None:
    """Everybody has an address with a name, and a domain; one thing of each is lied about."""
    for place, what in enumerate(PLACES):
        for liar, (how, outcome) in enumerate(LIARS.items()):
            address, host = _address(place, liar), f"host.{what}-{liar}.test"
            pointer, listed = _pointer(address, ".in-addr.arpa"), _pointer(address, ".list.test")
            server.add(pointer, "PTR", f"{host}.")
            server.add(host, "A", address)
            server.add(f"{what}-{liar}.test", "MX", f"10 {host}.")
            server.add(f"{what}-{liar}.test", "A", address)
            subject = {"address": pointer, "name": host, "sender": f"{what}-{liar}.test", "list": listed}[what]
            if what == "list":
                server.add(listed, "A", "127.0.0.2")
            # Where no MX record is seen the domain's address is asked for, which would take as long again.
            kind = "MX" if what == "sender" and outcome == UNSURE and not long else ""
            (server.lie if how in LIES else server.fail)(subject, how, kind)
    for address, host in (("192.0.2.250", "good.test"), ("192.0.2.251", "listed.test")):
        server.add(_pointer(address, ".in-addr.arpa"), "PTR", f"{host}.")
        server.add(host, "A", address)
        server.add(host, "MX", f"10 {host}.")
    server.add(_pointer("192.0.2.251", ".list.test"), "A", "127.0.0.2")


def _judge(instance: Instance, what: str, address: str, outcome: str, guest: Guest, long: bool) -> None:
    where = f"{what} {address} {outcome} {guest}"
    questions = 2 if what == "sender" and long else 1
    # No guest is promised that his own questions are answered sooner; that others are is seen of the good one.
    assert guest.took[0] < QUESTION + ELSE, f"the greeting took too long: {where}"
    assert guest.took[1] < questions * QUESTION + ELSE, f"a reply took too long: {where}"
    refused = {"sender": "450 4.1.8 ", "list": "554 5.7.1 "}.get(what, "250 ")
    if what == "sender":
        wrong = outcome in (NOTHING, TOLD) or (outcome == UNSURE and long)
    else:
        wrong = what == "list" and outcome == FOUND
    assert guest.said.startswith(refused if wrong else "250 "), where
    dots = re.escape(address)
    if wrong:
        instance.log.wait(rf"NOQUEUE: reject: RCPT from \S+\[{dots}\]: {refused}", timeout=5)
    if what in ("address", "name") and outcome != FOUND:
        instance.log.wait(rf"connect from unknown\[{dots}\]", timeout=5)
    if what == "name" and outcome != FOUND:
        instance.log.wait(rf"warning: hostname \S+ does not resolve to address {dots}: ", timeout=5)
    if what == "list" and outcome in (TOLD, UNSURE):
        instance.log.wait(rf"warning: {dots}: DNS list lookup error for list\.test: ", timeout=5)


@pytest.mark.timeout(120)
def test_smtpd_asks_liars(long: bool) -> None:
    in_own_network(lambda: _ask_liars(long))


def _ask_liars(long: bool) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(DnsServer())
        _spread(server, long)
        instance = Instance(
            main={
                **traffic.QUICK,
                "dns_nameservers": server.address,
                "smtpd_peername_lookup": "yes",
                "smtpd_client_restrictions": "reject_rbl_client list.test",
                "smtpd_sender_restrictions": "reject_unknown_sender_domain",
            }
        )
        stack.enter_context(instance)
        accepted: list[Mark] = []

        def good() -> None:
            number = len(accepted) + 1
            begun = time.monotonic()
            content = f"Subject: x\r\n\r\nmark-liars-{number}-\r\nend\r\n."
            guest = _call(instance.port, "192.0.2.250", "a@good.test", content)
            assert guest.said.startswith("250 "), guest
            assert time.monotonic() - begun < 2.0, f"who asks liars holds up others: {guest}"
            accepted.append(("liars", number))

        good()
        instance.log.wait(r"connect from good\.test\[192\.0\.2\.250\]")
        refused = _call(instance.port, "192.0.2.251", "a@listed.test")
        assert refused.said.startswith("554 5.7.1 "), "what is listed is not refused"
        for _ in range(10):
            good()
        drain(instance, accepted)
        level = Levels(instance)
        guests: dict[tuple[str, str, str], Future[Guest]] = {}
        pool = stack.enter_context(ThreadPoolExecutor(len(PLACES) * len(LIARS)))
        for place, what in enumerate(PLACES):
            for liar, outcome in enumerate(LIARS.values()):
                address = _address(place, liar)
                done = pool.submit(_call, instance.port, address, f"a@{what}-{liar}.test")
                guests[what, address, outcome] = done
        pause = threading.Event()
        while not all(done.done() for done in guests.values()):
            good()
            pause.wait(0.3)
        for (what, address, outcome), done in guests.items():
            _judge(instance, what, address, outcome, done.result(), long)
        assert len(accepted) > 10, "the good client was hardly there"
        assert server.dripped > 1, "it was not asked by TCP"
        drain(instance, accepted)
        check_all(instance, accepted, level, descriptors=12)
