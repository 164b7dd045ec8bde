"""Whom the client trusts with what: kept connections, plain text where TLS failed, what comes before TLS."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tubepost.common.wire.delivery import Report

from tubepost.services.smtp import policy

LOGIN = {
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "inline:{ 127.0.0.1=alice:secret }",
    "smtp_sasl_security_options": "noanonymous",
}


def test_a_kept_connection_proves_nothing_to_another_next_hop(scene: Any, tmp_path: Path) -> None:
    """Both names lead to one server, whose certificate is right for the first only."""

    async def work() -> tuple[Report, Report, int]:
        peer = await scene.peer(tls=scene.server_tls())
        client = scene.client(
            smtp_tls_security_level="secure",
            smtp_tls_secure_cert_match="nexthop",
            smtp_tls_CAfile=str(tmp_path / "ca.pem"),
            smtp_connection_cache_destinations="127.0.0.1 localhost",
            inet_protocols="ipv4",
        )
        right = await client.deliver(f"[127.0.0.1]:{peer.port}")
        wrong = await client.deliver(f"[localhost]:{peer.port}")
        return right, wrong, len(peer.messages)

    right, wrong, messages = scene.run(work)
    assert right.statuses[0].status == "sent"
    assert (wrong.statuses[0].status, wrong.statuses[0].text) == ("deferred", "Server certificate not verified")
    assert messages == 1


def test_a_kept_connection_does_serve_the_same_next_hop(scene: Any, tmp_path: Path) -> None:
    async def work() -> int:
        peer = await scene.peer(tls=scene.server_tls())
        client = scene.client(
            smtp_tls_security_level="secure",
            smtp_tls_CAfile=str(tmp_path / "ca.pem"),
            smtp_connection_cache_destinations="127.0.0.1",
        )
        for _ in range(2):
            report = await client.deliver(peer.nexthop)
            assert report.statuses[0].status == "sent"
        sessions: int = peer.sessions
        return sessions

    assert scene.run(work) == 1


def test_a_connection_to_an_ipv6_address_is_kept_as_others_are(scene: Any) -> None:
    async def work() -> int:
        peer = await scene.peer(host="::1")
        client = scene.client(
            smtp_connection_cache_on_demand="no", smtp_connection_cache_destinations="inline:{ ::1=yes }"
        )
        for _ in range(2):
            report = await client.deliver(f"[::1]:{peer.port}")
            assert report.statuses[0].status == "sent"
        sessions: int = peer.sessions
        return sessions

    assert scene.run(work) == 1


def test_a_connection_to_the_fallback_relay_is_not_the_next_hop_s(scene: Any) -> None:
    """Once the destination is back, its mail goes there again."""

    async def work() -> None:
        peer, relay = await scene.peer({"GREETING": b"421 later"}), await scene.peer()
        client = scene.client(
            smtp_fallback_relay=relay.nexthop, smtp_connection_cache_destinations="127.0.0.1", inet_protocols="ipv4"
        )
        await client.deliver(peer.nexthop)
        assert len(relay.messages) == 1
        peer.says.clear()
        await client.deliver(peer.nexthop)
        assert (len(peer.messages), len(relay.messages)) == (1, 1)

    scene.run(work)


@pytest.mark.parametrize(
    ("age", "settings", "outcome"),
    [
        # Postfix PLAINTEXT_FALLBACK_OK_AFTER_STARTTLS_FAILURE
        (0, {}, "deferred"),
        (299, {}, "deferred"),
        (301, {}, "sent"),
        (301, LOGIN, "deferred"),
        (61, {"minimal_backoff_time": "60s"}, "sent"),
    ],
)
def test_plain_text_is_for_mail_that_has_waited_and_never_for_a_password(
    scene: Any, age: int, settings: dict[str, str], outcome: str
) -> None:
    async def work() -> None:
        peer = await scene.peer({"STARTTLS": b"220 go on\r\nno TLS"}, (), tls=scene.server_tls())
        peer.keywords = ("AUTH PLAIN",)
        report = await scene.client(smtp_tls_security_level="may", **settings).deliver(peer.nexthop, age=age)
        assert report.statuses[0].status == outcome
        assert (report.statuses[0].dsn == "4.7.5") is (outcome == "deferred")
        assert len(peer.messages) == (outcome == "sent")
        assert not any(command.startswith("AUTH") for command in peer.commands)
        # Where TLS is optional, its failure does not count against the destination.
        assert report.destination == "ok"

    scene.run(work)


@pytest.mark.parametrize(("age", "outcome"), [(0, "deferred"), (301, "sent")])
@pytest.mark.parametrize("verb", ["MAIL", "EHLO"])
def test_tls_that_breaks_after_its_handshake(scene: Any, age: int, outcome: str, verb: str) -> None:
    async def work() -> None:
        peer = await scene.peer(tls=scene.server_tls())

        def breaks_once() -> bytes:
            peer.says.clear()
            return b"CLOSE"

        peer.on_tls = lambda: peer.says.update({verb: breaks_once})
        report = await scene.client(smtp_tls_security_level="may").deliver(peer.nexthop, age=age)
        assert (report.statuses[0].status, len(peer.messages)) == (outcome, outcome == "sent")
        assert peer.sessions == (2 if age else 1)

    scene.run(work)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_words_before_tls_in_wrapper_mode_are_not_heard(
    scene: Any, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]
) -> None:
    """Who answers in the server's place, in the clear and at once, learns no password."""
    heard: list[bytes] = []

    async def thief(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x ESMTP\r\n250-x\r\n250 AUTH PLAIN\r\n235 thanks\r\n")
        heard.append(await reader.read(1000))
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(thief, "127.0.0.1", 0)
        nexthop = f"[127.0.0.1]:{server.sockets[0].getsockname()[1]}"
        client = scene.client(smtp_tls_security_level="encrypt", smtp_tls_wrappermode="yes", **LOGIN)
        try:
            for _ in range(10):
                report = await client.deliver(nexthop)
                assert report.statuses[0].status == "deferred"
        finally:
            server.close()

    monkeypatch.setattr(asyncio, "run", run)
    scene.run(work)
    assert len(heard) == 10
    assert not any(b"AUTH" in data or b"EHLO" in data for data in heard), heard


def test_policies_that_differ_in_names_share_what_costs_memory(scene: Any) -> None:
    """A context with its authorities is some hundred kilobytes; a table may have a line for each destination."""

    async def work() -> None:
        keeper = scene.client(smtp_tls_security_level="secure").agent._keeper
        lines = [f"secure match=mx{n}.example servername=mx{n}.example" for n in range(20)]
        contexts = {id(keeper.context(policy.parse(line, keeper.defaults))) for line in lines}
        assert len(contexts) == 1
        assert keeper.context(policy.parse("secure ciphers=high", keeper.defaults)).verify_mode == ssl.CERT_REQUIRED
        assert keeper.context(policy.parse("encrypt", keeper.defaults)).verify_mode == ssl.CERT_NONE

    scene.run(work)
