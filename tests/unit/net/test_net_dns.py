"""The resolver's answers, cache and filter, with a name server that is a function."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tubepost.common.net.dns import FilterError, Outcome, Resolver, parse_servers
from tubepost.common.net.nameserver import Server
from tubepost.common.net.peer import peer_name

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Nameserver:
    """Answers from a table of (name, type) to records in text; counts what it is asked."""

    def __init__(self, zone: dict[tuple[str, str], list[str] | str]) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []
        self.ttl = 300

    async def exchange(self, query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        await asyncio.sleep(0)
        found = self.zone.get((name, kind))
        if found == "timeout":
            raise dns.exception.Timeout
        response = dns.message.make_response(query)
        if isinstance(found, str):
            response.set_rcode(dns.rcode.from_text(found))
            return dns.message.from_wire(response.to_wire())
        while found and found[0].startswith("CNAME "):
            target = found[0].split()[1]
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", f"{target}."))
            name, found = target, self.zone.get((target, kind))
        if found:
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", kind, *found))
        else:
            if not any(other == name for other, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns.example. root.example. 1 3600 600 86400 7200"
            response.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", soa))
        return dns.message.from_wire(response.to_wire())


def resolver(nameserver: Nameserver, **options: Any) -> Resolver:
    return Resolver([("192.0.2.53", 53)], exchange=nameserver.exchange, **options)


ZONE: dict[tuple[str, str], list[str] | str] = {
    ("a.example", "MX"): ["20 mx2.example.", "10 MX1.example."],
    ("null.example", "MX"): ["0 ."],
    ("mx1.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mx1.example", "AAAA"): ["2001:db8::1"],
    ("alias.example", "A"): ["CNAME mx1.example"],
    ("broken.example", "A"): "SERVFAIL",
    ("slow.example", "A"): "timeout",
    ("refusing.example", "A"): "NOTIMP",
    ("text.example", "TXT"): ['"one " "text"'],
    ("odd.example", "MX"): ["10 a\\032b.example."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mx1.example."],
    ("9.2.0.192.in-addr.arpa", "PTR"): ["mx1.example."],
    ("8.2.0.192.in-addr.arpa", "PTR"): ["gone.example."],
    ("7.2.0.192.in-addr.arpa", "PTR"): "SERVFAIL",
    ("6.2.0.192.in-addr.arpa", "PTR"): ["10.0.0.1."],
}


@pytest.mark.parametrize(
    ("name", "kind", "outcome", "values"),
    [
        ("a.example", "MX", Outcome.FOUND, {"mx1.example", "mx2.example"}),
        ("A.EXAMPLE.", "MX", Outcome.FOUND, {"mx1.example", "mx2.example"}),
        ("null.example", "MX", Outcome.FOUND, {""}),
        ("alias.example", "A", Outcome.FOUND, {"192.0.2.1", "192.0.2.2"}),
        ("text.example", "TXT", Outcome.FOUND, {"one text"}),
        ("mx1.example", "MX", Outcome.NO_RECORD, set()),
        ("nowhere.example", "A", Outcome.NO_DOMAIN, set()),
        ("broken.example", "A", Outcome.TRY_AGAIN, set()),
        ("slow.example", "A", Outcome.TRY_AGAIN, set()),
        ("refusing.example", "A", Outcome.REFUSED, set()),
        ("odd.example", "MX", Outcome.INVALID, set()),
        ("x" * 64 + ".example", "A", Outcome.INVALID, set()),
        ("a..example", "A", Outcome.INVALID, set()),
        ("", "A", Outcome.INVALID, set()),
        ("host.invalid", "A", Outcome.NO_DOMAIN, set()),
        ("localhost", "A", Outcome.FOUND, {"127.0.0.1"}),
        ("x.localhost", "AAAA", Outcome.FOUND, {"::1"}),
    ],
)
def test_outcomes(name: str, kind: str, outcome: Outcome, values: set[str]) -> None:
    answer = run(resolver(Nameserver(ZONE)).ask(name, kind))
    assert answer.outcome is outcome
    assert set(answer.values) == values


def test_mx_preferences_stand_beside_their_hosts() -> None:
    answer = run(resolver(Nameserver(ZONE)).ask("a.example", "MX"))
    assert dict(zip(answer.values, answer.preferences, strict=True)) == {"mx1.example": 10, "mx2.example": 20}


def test_words_are_postfix_words() -> None:
    answer = run(resolver(Nameserver(ZONE)).ask("nowhere.example", "MX"))
    assert answer.why == (
        "Host or domain name not found. Name service error for name=nowhere.example type=MX: Host not found"
    )


def counting(zone: dict[tuple[str, str], list[str] | str], **options: Any) -> tuple[Nameserver, Resolver, list[float]]:
    now = [1000.0]
    nameserver = Nameserver(zone)
    return nameserver, resolver(nameserver, clock=lambda: now[0], **options), now


def test_answers_are_kept_for_their_time_to_live() -> None:
    nameserver, asker, now = counting(ZONE)

    async def work() -> None:
        for _ in range(3):
            await asker.ask("mx1.example", "A")
        assert len(nameserver.asked) == 1
        now[0] += 299
        await asker.ask("mx1.example", "A")
        assert len(nameserver.asked) == 1
        now[0] += 2
        await asker.ask("mx1.example", "A")
        assert len(nameserver.asked) == 2

    run(work())


@pytest.mark.parametrize(("keep", "lifetime"), [(False, 60), (True, 3600)])
def test_negative_answers_are_kept(keep: bool, lifetime: int) -> None:
    nameserver, asker, now = counting(ZONE, keep_negative=keep)

    async def work() -> None:
        await asker.ask("nowhere.example", "A")
        now[0] += lifetime - 1
        assert (await asker.ask("nowhere.example", "A")).outcome is Outcome.NO_DOMAIN
        assert len(nameserver.asked) == 1
        now[0] += 2
        await asker.ask("nowhere.example", "A")
        assert len(nameserver.asked) == 2

    run(work())


def test_trouble_is_not_kept() -> None:
    nameserver, asker, _ = counting(ZONE)

    async def work() -> None:
        await asker.ask("broken.example", "A")
        before = len(nameserver.asked)
        nameserver.zone = {("broken.example", "A"): ["192.0.2.7"]}
        assert (await asker.ask("broken.example", "A")).found
        assert len(nameserver.asked) == before + 1

    run(work())


def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    zone: dict[tuple[str, str], list[str] | str] = {(f"h{n}.example", "A"): ["192.0.2.1"] for n in range(10)}
    nameserver, asker, _ = counting(zone, cache_size=4)

    async def work() -> None:
        for n in range(10):
            await asker.ask(f"h{n}.example", "A")
            await asker.ask("h0.example", "A")
        assert nameserver.asked.count(("h0.example", "A")) == 1
        await asker.ask("h1.example", "A")
        assert nameserver.asked.count(("h1.example", "A")) == 2

    run(work())


def test_equal_questions_at_one_time_are_asked_once() -> None:
    nameserver, asker, _ = counting(ZONE)

    async def work() -> None:
        first = asyncio.ensure_future(asker.ask("mx1.example", "A"))
        others = [asyncio.ensure_future(asker.ask("mx1.example", "A")) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        assert all(answer.found for answer in await asyncio.gather(*others))
        assert len(nameserver.asked) == 1

    run(work())


def test_the_next_server_is_asked() -> None:
    asked: list[Server] = []
    good = Nameserver(ZONE)

    async def exchange(query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
        asked.append(server)
        if server[0] == "192.0.2.53":
            raise OSError("network is down")
        return await good.exchange(query, server, patience)

    asker = Resolver([("192.0.2.53", 53), ("192.0.2.54", 53)], exchange=exchange)
    assert run(asker.ask("mx1.example", "A")).found
    assert [server[0] for server in asked] == ["192.0.2.53", "192.0.2.54"]


def test_addresses_prefer_a_passing_trouble_over_a_lasting_one() -> None:
    zone: dict[tuple[str, str], list[str] | str] = {("x.example", "A"): "SERVFAIL", ("x.example", "MX"): ["1 y."]}
    found, answer = run(resolver(Nameserver(zone)).addresses("x.example"))
    assert (found, answer.outcome) == ((), Outcome.TRY_AGAIN)
    found, answer = run(resolver(Nameserver(ZONE)).addresses("mx1.example"))
    assert set(found) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}
    found, answer = run(resolver(Nameserver(ZONE)).addresses("mx1.example", (4,)))
    assert set(found) == {"192.0.2.1", "192.0.2.2"}


def filtering(drop: Callable[[str], bool]) -> tuple[Resolver, list[str]]:
    lines: list[str] = []

    async def keep(line: str) -> str | None:
        lines.append(line)
        return "ignore" if drop(line) else None

    return resolver(Nameserver(ZONE), keep=keep), lines


def test_filter() -> None:
    asker, lines = filtering(lambda line: "192.0.2.1" in line)
    assert run(asker.ask("mx1.example", "A")).values == ("192.0.2.2",)
    assert "mx1.example. 300 IN A 192.0.2.1" in lines
    asker, lines = filtering(lambda line: True)
    assert run(asker.ask("a.example", "MX")).outcome is Outcome.FILTERED
    assert "a.example. 300 IN MX 20 mx2.example." in lines


def test_a_filter_that_cannot_tell_makes_the_answer_unsure() -> None:
    async def keep(line: str) -> str | None:
        raise FilterError("table: gone")

    assert run(resolver(Nameserver(ZONE), keep=keep).ask("a.example", "MX")).outcome is Outcome.TRY_AGAIN


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", ("mx1.example", "mx1.example", "ok", "ok")),
        ("192.0.2.9", ("unknown", "mx1.example", "other", "ok")),
        ("192.0.2.8", ("unknown", "gone.example", "perm", "ok")),
        ("192.0.2.7", ("unknown", "unknown", "temp", "temp")),
        ("192.0.2.6", ("unknown", "unknown", "perm", "perm")),
        ("192.0.2.5", ("unknown", "unknown", "perm", "perm")),
        ("127.0.0.5", ("localhost", "localhost", "ok", "ok")),
        ("::1", ("localhost", "localhost", "ok", "ok")),
    ],
)
def test_peer_names_are_believed_only_when_they_lead_back(address: str, expected: tuple[str, ...]) -> None:
    assert run(peer_name(resolver(Nameserver(ZONE)), address))[:4] == expected


def test_servers() -> None:
    texts = ["192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53", "2001:db8::2", "[2001:db8::3]"]
    assert parse_servers(texts) == (
        ("192.0.2.1", 53),
        ("192.0.2.1", 5353),
        ("2001:db8::1", 53),
        ("2001:db8::2", 53),
        ("2001:db8::3", 53),
    )
    for bad in ("dns.example", "192.0.2.1:0", "192.0.2.1:x", "[::1", "[::1]53", "192.0.2.1:70000", ""):
        with pytest.raises(ValueError, match="name server"):
            parse_servers([bad])


class Terse(Nameserver):
    """Follows no alias, and says no more than it is asked (RFC 1034 4.3.2 leaves that to it)."""

    async def exchange(self, query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        found = self.zone.get((name, kind))
        if not isinstance(found, list) or not found[0].startswith("CNAME "):
            return await super().exchange(query, server, patience)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{found[0].split()[1]}."))
        return dns.message.from_wire(response.to_wire())


def test_an_alias_that_the_server_does_not_follow_is_followed() -> None:
    zone: dict[tuple[str, str], list[str] | str] = {
        ("a.example", "A"): ["CNAME b.example"],
        ("b.example", "A"): ["CNAME c.example"],
        ("c.example", "A"): ["192.0.2.1"],
        ("round.example", "A"): ["CNAME about.example"],
        ("about.example", "A"): ["CNAME round.example"],
        ("late.example", "A"): ["CNAME slow.example"],
        ("slow.example", "A"): "timeout",
        ("nowhere.example", "A"): ["CNAME gone.example"],
    }
    nameserver = Terse(zone)
    clock = [0.0]
    asked = resolver(nameserver, clock=lambda: clock[0])
    answer = run(asked.ask("a.example", "A"))
    assert (answer.outcome, answer.values, answer.name) == (Outcome.FOUND, ("192.0.2.1",), "a.example")
    # For the least of all their times.
    clock[0] = 61.0
    run(asked.ask("a.example", "A"))
    assert nameserver.asked == [("a.example", "A"), ("b.example", "A"), ("c.example", "A")] * 2
    assert run(asked.ask("round.example", "A")).outcome is Outcome.TRY_AGAIN
    assert len(nameserver.asked) < 30
    assert run(asked.ask("late.example", "A")).outcome is Outcome.TRY_AGAIN
    answer = run(asked.ask("nowhere.example", "A"))
    assert (answer.outcome, answer.name) == (Outcome.NO_DOMAIN, "nowhere.example")


def test_a_question_and_all_its_aliases_get_the_time_of_one() -> None:
    """Each alias comes within the time that a server is waited for, the next one never: ten of them would be 50 s."""

    class Slow(Nameserver):
        async def exchange(self, query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
            await asyncio.sleep(0.8 * patience)
            name = query.question[0].name.to_text()
            self.asked.append((name, ""))
            response = dns.message.make_response(query)
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", f"more.{name}"))
            return dns.message.from_wire(response.to_wire())

    server = Slow({})
    answer = run(resolver(server, timeout=0.01).ask("a.example", "A"))
    assert answer.outcome is Outcome.TRY_AGAIN
    assert len(server.asked) <= 2


def test_an_alias_of_nothing_is_asked_for_once() -> None:
    nameserver = Nameserver({("a.example", "AAAA"): ["CNAME b.example"], ("b.example", "A"): ["192.0.2.1"]})
    assert run(resolver(nameserver).ask("a.example", "AAAA")).outcome is Outcome.NO_RECORD
    assert nameserver.asked == [("a.example", "AAAA")]


@pytest.mark.parametrize("code", ["FORMERR", "NOTIMP", "BADVERS"])
def test_a_server_of_old_is_asked_without_extensions(code: str) -> None:
    """RFC 6891 7: it does not know the OPT record; that says nothing of the name."""

    class Old(Nameserver):
        async def exchange(self, query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
            if query.edns < 0:
                return await super().exchange(query, server, patience)
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.from_text(code))
            return response

    nameserver = Old(ZONE)
    assert run(resolver(nameserver).ask("mx1.example", "AAAA")).values == ("2001:db8::1",)
    assert run(resolver(nameserver).ask("nobody.example", "AAAA")).outcome is Outcome.NO_DOMAIN
