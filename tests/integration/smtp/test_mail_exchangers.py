"""Which server is tried next: MX, addresses, loops, limits. The hosts are 127.0.0.x, all on one port."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tubepost.common.net.dns import Resolver

from tests.fakes.dns import DnsServer

LATER = b"450 4.7.0 later"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        server.add("example.test", "MX", "10 mx1.test.", "20 mx2.test.")
        server.add("mx1.test", "A", "127.0.0.2")
        server.add("mx2.test", "A", "127.0.0.3")
        yield server


def client(scene: Any, dns: DnsServer, **settings: str) -> Any:
    resolver = Resolver([(dns.host, dns.port)], timeout=0.2)
    return scene.client(resolver=resolver, **{"disable_dns_lookups": "no", **settings})


async def exchangers(scene: Any, first: Any = None, second: Any = None) -> tuple[Any, Any]:
    one = await scene.peer(first, host="127.0.0.2")
    two = await scene.peer(second, host="127.0.0.3", port=one.port)
    return one, two


def test_the_best_one_takes_it(scene: Any, dns: DnsServer) -> None:
    async def work() -> None:
        one, two = await exchangers(scene)
        report = await client(scene, dns).deliver(f"example.test:{one.port}")
        assert report.statuses[0].relay == f"mx1.test[127.0.0.2]:{one.port}"
        assert (one.sessions, two.sessions) == (1, 0)

    scene.run(work)


@pytest.mark.parametrize(
    "says", [{"GREETING": b"421 no"}, {"GREETING": b"554 no"}, {"MAIL": LATER}, {"RCPT": LATER}, {"DOT": LATER},
             {"GREETING": b"CLOSE"}, {"DATA": b"CLOSE"}]
)  # fmt: skip
def test_the_next_one_is_tried(scene: Any, dns: DnsServer, says: dict[str, bytes]) -> None:
    async def work() -> None:
        one, two = await exchangers(scene, says)
        report = await client(scene, dns).deliver(f"example.test:{one.port}")
        assert report.statuses[0].status == "sent"
        assert report.statuses[0].relay.startswith("mx2.test[127.0.0.3]")
        assert report.destination == "ok"
        assert (one.sessions, two.sessions) == (1, 1)

    scene.run(work)


def test_a_no_is_final(scene: Any, dns: DnsServer) -> None:
    async def work() -> None:
        one, two = await exchangers(scene, {"RCPT": b"550 5.1.1 no"})
        report = await client(scene, dns).deliver(f"example.test:{one.port}")
        assert report.statuses[0].status == "bounced"
        assert two.sessions == 0

    scene.run(work)


def test_a_host_that_is_down_is_passed_over(scene: Any, dns: DnsServer, logged: Callable[[], str]) -> None:
    async def work() -> None:
        one, _ = await exchangers(scene)
        await one.stop()
        report = await client(scene, dns).deliver(f"example.test:{one.port}")
        assert report.statuses[0].status == "sent"

    scene.run(work)
    assert "connect to mx1.test[127.0.0.2]:" in logged()


@pytest.mark.parametrize(("limit", "sessions"), [("1", (1, 0)), ("2", (1, 1)), ("0", (1, 1))])
def test_session_limit(scene: Any, dns: DnsServer, limit: str, sessions: tuple[int, int]) -> None:
    async def work() -> None:
        one, two = await exchangers(scene, {"MAIL": LATER}, {"MAIL": LATER})
        report = await client(scene, dns, smtp_mx_session_limit=limit).deliver(f"example.test:{one.port}")
        assert report.statuses[0].status == "deferred"
        # The destination is well: it was the message that it did not want.
        assert report.destination == "ok"
        assert (one.sessions, two.sessions) == sessions

    scene.run(work)


def test_address_limit(scene: Any, dns: DnsServer) -> None:
    async def work() -> None:
        one, two = await exchangers(scene, {"GREETING": b"421 no"})
        report = await client(scene, dns, smtp_mx_address_limit="1").deliver(f"example.test:{one.port}")
        assert report.statuses[0].status == "deferred"
        assert two.sessions == 0

    scene.run(work)


def test_brackets_and_missing_mx_go_by_address(scene: Any, dns: DnsServer) -> None:
    dns.add("host.test", "A", "127.0.0.3")

    async def work() -> None:
        _, two = await exchangers(scene)
        program = client(scene, dns)
        for nexthop in ("[mx2.test]", "host.test", "[host.test]", "[127.0.0.3]"):
            report = await program.deliver(f"{nexthop}:{two.port}")
            assert report.statuses[0].status == "sent"
        assert len(two.messages) == 4

    scene.run(work)


@pytest.mark.parametrize(
    ("name", "status", "dsn", "words"),
    [
        ("null.test", "bounced", "5.1.10", "Domain null.test does not accept mail (nullMX)"),
        ("nowhere.test", "bounced", "5.4.4", "Name service error for name=nowhere.test type=AAAA: Host not found"),
        ("broken.test", "deferred", "4.4.3", "Name service error for name=broken.test type=MX: Host not found, try"),
        ("lame.test", "bounced", "5.4.4", "Name service error for name=gone.test"),
        ("half.test", "deferred", "4.4.3", "Name service error for name=broken.test"),
        ("self.test", "bounced", "5.4.6", "mail for self.test loops back to myself"),
        ("selfaddress.test", "bounced", "5.4.6", "mail for selfaddress.test loops back to myself"),
        ("backup.test", "deferred", "4.4.4", "unable to find primary relay for backup.test"),
    ],
)
def test_nobody_to_talk_to(scene: Any, dns: DnsServer, name: str, status: str, dsn: str, words: str) -> None:
    dns.add("null.test", "MX", "0 .")
    dns.fail("broken.test", "SERVFAIL")
    dns.add("lame.test", "MX", "10 gone.test.")
    dns.add("half.test", "MX", "10 gone.test.", "20 broken.test.")
    dns.add("self.test", "MX", "10 me.test.", "20 mx1.test.")
    dns.add("backup.test", "MX", "10 gone.test.", "20 me.test.")
    dns.add("me.test", "A", "127.0.0.1")
    dns.add("selfaddress.test", "A", "127.0.0.1")

    async def work() -> None:
        report = await client(scene, dns, inet_protocols="all").deliver(name)
        (found,) = report.statuses
        assert (found.status, found.dsn) == (status, dsn), found
        assert words in found.text
        assert (report.destination == "unreachable") is (status == "deferred")

    scene.run(work)


def test_mail_of_a_relayhost_is_never_returned_for_a_mistake_of_ours(scene: Any, dns: DnsServer) -> None:
    async def work() -> None:
        report = await client(scene, dns, relayhost="nowhere.test").deliver("nowhere.test")
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("deferred", "4.3.5")
        report = await client(scene, dns, smtp_fallback_relay="nowhere.test").deliver("elsewhere.test")
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("deferred", "4.3.5")
        report = await client(scene, dns).deliver("[half:bracket")
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("deferred", "4.3.5")

    scene.run(work)


def test_the_fallback_relay_is_no_way_out_of_a_loop(scene: Any, dns: DnsServer) -> None:
    dns.add("self.test", "MX", "10 me.test.")
    dns.add("me.test", "A", "127.0.0.1")

    async def work() -> None:
        fallback = await scene.peer()
        report = await client(scene, dns, smtp_fallback_relay=fallback.nexthop).deliver("self.test")
        assert report.statuses[0].dsn == "5.4.6"
        assert fallback.sessions == 0

    scene.run(work)


def test_best_mx_transport_takes_what_would_loop(scene: Any, dns: DnsServer) -> None:
    dns.add("self.test", "MX", "10 me.test.")
    dns.add("me.test", "A", "127.0.0.1")

    async def work() -> None:
        program = client(scene, dns, best_mx_transport="local")
        await program.deliver("self.test")
        ((service, job),) = program.calls
        assert (service, job.transport) == ("local", "local")

    scene.run(work)


def test_ignore_mx_lookup_error(scene: Any, dns: DnsServer) -> None:
    async def work() -> None:
        _, two = await exchangers(scene)
        dns.fail("odd.test", "NOTIMP", "MX")
        dns.add("odd.test", "A", "127.0.0.3")
        report = await client(scene, dns).deliver(f"odd.test:{two.port}")
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("bounced", "5.4.3")
        report = await client(scene, dns, ignore_mx_lookup_error="yes").deliver(f"odd.test:{two.port}")
        assert report.statuses[0].status == "sent"

    scene.run(work)


def test_dns_reply_filter(scene: Any, dns: DnsServer, tmp_path: Any) -> None:
    (tmp_path / "filter").write_text("/ MX 10 /i IGNORE\n")

    async def work() -> None:
        one, two = await exchangers(scene)
        program = scene.client(
            disable_dns_lookups="no",
            dns_nameservers=dns.address,
            smtp_dns_reply_filter=f"regexp:{tmp_path}/filter",
        )
        report = await program.deliver(f"example.test:{one.port}")
        assert report.statuses[0].status == "sent"
        assert (one.sessions, two.sessions) == (0, 1)

    scene.run(work)
