"""The resolver against a real socket: UDP, TCP after truncation, servers that do not answer."""

import asyncio
from collections.abc import Iterator

import pytest

from tubepost.common.net.dns import Outcome, Resolver

from tests.fakes.dns import DnsServer


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as running:
        yield running


def resolver(*servers: DnsServer, timeout: float = 0.3) -> Resolver:
    return Resolver([(server.host, server.port) for server in servers], timeout=timeout)


def test_answers(server: DnsServer) -> None:
    server.add("example.test", "MX", "10 mx.example.test.", "20 mx2.example.test.")
    answer = asyncio.run(resolver(server).ask("example.test", "MX"))
    assert sorted(answer.values) == ["mx.example.test", "mx2.example.test"]
    assert asyncio.run(resolver(server).ask("example.test", "A")).outcome is Outcome.NO_RECORD
    assert asyncio.run(resolver(server).ask("other.test", "A")).outcome is Outcome.NO_DOMAIN


def test_a_truncated_answer_is_asked_for_over_tcp(server: DnsServer) -> None:
    server.add("big.test", "A", *(f"192.0.2.{n}" for n in range(1, 60)))
    server.fail("big.test", "TRUNCATED")
    answer = asyncio.run(resolver(server).ask("big.test", "A"))
    assert len(answer.values) == 59
    assert server.asked == [("big.test", "A"), ("big.test", "A")]


def test_an_alias_circle_is_trouble_not_a_hang(server: DnsServer) -> None:
    server.add("a.test", "CNAME", "b.test.")
    server.add("b.test", "CNAME", "a.test.")
    assert asyncio.run(resolver(server).ask("a.test", "A")).outcome in (Outcome.TRY_AGAIN, Outcome.NO_RECORD)


def test_a_silent_server_gives_way_to_the_next(server: DnsServer) -> None:
    with DnsServer() as silent:
        silent.fail("x.test", "TIMEOUT")
        server.add("x.test", "A", "192.0.2.1")
        assert asyncio.run(resolver(silent, server).ask("x.test", "A")).values == ("192.0.2.1",)
        alone = asyncio.run(resolver(silent, timeout=0.05).ask("x.test", "A"))
        assert alone.outcome is Outcome.TRY_AGAIN
