"""Next hops taken apart, servers put in order, connections kept, addresses written."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.wire.envelope import Envelope, Origin, Recipient

from tubepost.services.smtp import envelope
from tubepost.services.smtp.pool import Demand, Pool
from tubepost.services.smtp.routing import (
    Candidate,
    RoutingError,
    Target,
    before_self,
    known_ports,
    order,
    parse_target,
)
from tubepost.services.smtp.server import Server

PORTS = known_ports(["lmtp=24", "smtp=25", "smtps=submissions=465", "broken"])


def service(name: str) -> int:
    if name == "other":
        return 99
    raise OSError(name)


@pytest.mark.parametrize(
    ("text", "host", "port", "literal"),
    [
        ("example.com", "example.com", 25, False),
        ("example.com:587", "example.com", 587, False),
        ("example.com:submissions", "example.com", 465, False),
        ("example.com:other", "example.com", 99, False),
        ("[example.com]", "example.com", 25, True),
        ("[example.com]:2525", "example.com", 2525, True),
        ("[192.0.2.1]", "192.0.2.1", 25, True),
        ("[ipv6:2001:db8::1]:26", "2001:db8::1", 26, True),
        ("[2001:db8::1]", "2001:db8::1", 25, True),
        ("2001:db8::1", "2001:db8::1", 25, False),
    ],
)
def test_targets(text: str, host: str, port: int, literal: bool) -> None:
    assert parse_target(text, "smtp", PORTS, service) == Target(text, host, port, literal)


@pytest.mark.parametrize("text", ["[example.com", "[x]y", ":25", "[]:25", "x:0", "x:65536", "x:nothing", ""])
def test_bad_targets(text: str) -> None:
    with pytest.raises(RoutingError):
        parse_target(text, "smtp", PORTS, service)


def test_lmtp_targets() -> None:
    assert parse_target("unix:private/x", "24", PORTS, service, lmtp=True).path == "private/x"
    assert parse_target("inet:[h]:26", "24", PORTS, service, lmtp=True)[1:4] == ("h", 26, True)
    assert parse_target("h", "24", PORTS, service, lmtp=True).port == 24
    # For SMTP these are host names like any other (Postfix).
    assert parse_target("inet:26", "24", PORTS, service).host == "inet"
    with pytest.raises(RoutingError):
        parse_target("unix:", "24", PORTS, service, lmtp=True)


def some(*rows: tuple[int, str]) -> list[Candidate]:
    return [Candidate(preference, address, address, 25) for preference, address in rows]


def test_hosts_as_near_as_this_one_are_left_out() -> None:
    found = some((20, "192.0.2.2"), (10, "192.0.2.1"), (20, "192.0.2.9"), (30, "192.0.2.3"))
    nearer, myself = before_self(found, frozenset({"192.0.2.9"}))
    assert [candidate.address for candidate in nearer] == ["192.0.2.1"]
    assert myself
    assert before_self(found, frozenset()) == (sorted(found, key=lambda candidate: candidate.preference), False)


def test_equal_ones_are_shuffled_and_preference_is_kept() -> None:
    found = some((20, "c"), (10, "a"), (10, "b"), (20, "d"))
    seen = {
        tuple(candidate.address for candidate in order(found, shuffle=True, rng=random.Random(n))) for n in range(50)
    }
    assert seen == {("a", "b", "c", "d"), ("a", "b", "d", "c"), ("b", "a", "c", "d"), ("b", "a", "d", "c")}
    assert [candidate.address for candidate in order(found, shuffle=False)] == ["a", "b", "c", "d"]


def test_family_preference() -> None:
    found = some((10, "192.0.2.1"), (10, "2001:db8::1"), (20, "2001:db8::2"))
    assert order(found, shuffle=False, prefer="ipv6")[0].version == 6
    assert [candidate.version for candidate in order(found, shuffle=False, prefer="ipv4")] == [4, 6, 6]


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8), st.booleans())
def test_balance(fours: int, sixes: int, limit: int, six_first: bool) -> None:
    four = some(*((10, f"192.0.2.{n}") for n in range(fours)))
    six = some(*((10, f"2001:db8::{n}") for n in range(sixes)))
    found = order(six + four if six_first else four + six, shuffle=False, limit=limit)
    kept = {version: sum(candidate.version == version for candidate in found) for version in (4, 6)}
    if not fours or not sixes or fours + sixes <= limit:
        assert len(found) == fours + sixes
        return
    assert len(found) == limit
    half = limit // 2
    for version, had in ((4, fours), (6, sixes)):
        assert kept[version] >= min(had, half)


class FakeConnection:
    def __init__(self, usable: bool = True) -> None:
        self.usable = usable


def test_pool() -> None:
    pool: Pool[FakeConnection] = Pool()
    one, two, dead = FakeConnection(), FakeConnection(), FakeConnection(False)
    pool.put(one, "hop", "end1")
    pool.put(two, "hop", "end2")
    pool.put(dead, "hop")
    assert pool.take("other") is None
    # The dead one is thrown away, the one used last comes first.
    assert pool.take("hop") is two
    assert pool.take("end2") is None
    assert len(pool) == 1
    assert pool.take("end1") is one
    assert pool.take("hop") is None
    assert not pool.remove(one)
    assert pool.all() == []


def test_demand() -> None:
    demand = Demand(2.0, limit=3)
    demand.begin("a", 0.0)
    assert not demand.likely("a", 0.1), "one message is no crowd"
    demand.end("a")
    demand.begin("a", 1.0)
    assert demand.likely("a", 1.1), "the second one within the span"
    assert not demand.likely("a", 2.5), "it took so long that the first one says nothing any more"
    demand.begin("a", 3.0)
    demand.end("a")
    assert demand.likely("a", 2.9)
    assert not demand.likely("b", 3.0)
    demand.begin("a", 50.0)
    assert demand.likely("a", 50.0), "another one is under way"
    for name in "bcdefg":
        demand.begin(name, 50.0)
        demand.end(name)
    assert len(demand._last) <= 3
    assert set(demand._running) == {"a"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", ""),
        ("a@b", "a@b"),
        ('"a b"@c', '"a b"@c'),
        ('"plain"@c', "plain@c"),
        ("a..b@c", '"a..b"@c'),
        ("a>\r\nRCPT TO:<x@c", '"a>??RCPT TO:<x"@c'),
        ("postmaster", "postmaster"),
    ],
)
def test_paths(address: str, expected: str) -> None:
    found = envelope.path(address, True)
    assert found == expected or (address.startswith("a>") and "\r" not in found and "\n" not in found)


@given(st.text(max_size=30), st.booleans())
def test_no_address_ends_a_command(address: str, quote: bool) -> None:
    found = envelope.path(address, quote)
    assert not set(found) & {"\r", "\n", "\0"}


def test_mail_parameters_need_their_keyword() -> None:
    wrapped = Envelope(sender="a@b", arrival_time=0, encoding="8bit", ret="FULL", envid="x y", smtputf8=True)
    bare = Server("h", "a")
    able = Server("h", "a", keywords={"SIZE": (), "DSN": (), "8BITMIME": (), "SMTPUTF8": ()})
    options = {"converting": False, "binary": False, "quote": True}
    assert envelope.mail_command(wrapped, "a@b", 5, bare, **options) == "MAIL FROM:<a@b>"
    assert envelope.mail_command(wrapped, "a@b", 5, able, **options) == (
        "MAIL FROM:<a@b> SIZE=5 BODY=8BITMIME ENVID=x+20y RET=FULL SMTPUTF8"
    )


def test_xforward_says_nothing_for_local_mail() -> None:
    assert envelope.xforward_commands(Origin(log_ident="Q"), ("NAME", "ADDR", "IDENT")) == ("", "")


def test_utf8_orcpt_is_escaped_where_the_server_lacks_smtputf8() -> None:
    person = Recipient(address="x@y", orcpt="utf-8;ö@d")
    server = Server("h", "a", keywords={"DSN": ()})
    command = envelope.rcpt_command(person, "x@y", server, smtputf8=True, quote=True)
    assert command == "RCPT TO:<x@y> ORCPT=utf-8;\\x{F6}@d"
