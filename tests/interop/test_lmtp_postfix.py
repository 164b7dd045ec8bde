"""A real Postfix hands mail to our lmtpd, over a UNIX socket and over TCP, in the clear and with TLS."""

import smtplib
from collections.abc import Iterator

import pytest

from tests.fakes.instance import PATIENCE, Instance, free_port
from tests.fakes.postfix import UNUSABLE, PostfixPeer

pytestmark = pytest.mark.skipif(bool(UNUSABLE), reason=UNUSABLE)
PORT = free_port()


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(master=(f"127.0.0.1:{PORT} inet n n n - - lmtpd",)) as made:
        yield made


def _peer(transport: str, **more: str) -> PostfixPeer:
    return PostfixPeer(
        {
            "virtual_mailbox_domains": "example.test",
            "virtual_mailbox_maps": "",
            "virtual_transport": transport,
            "smtputf8_enable": "yes",
            **more,
        }
    )


def _send(peer: PostfixPeer, recipients: list[str], content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", peer.port, timeout=PATIENCE) as client:
        client.sendmail("sender@peer.test", recipients, content)


@pytest.mark.parametrize("way", ["unix", "inet"])
def test_postfix_delivers(instance: Instance, way: str) -> None:
    where = f"unix:{instance.spool}/public/lmtpd" if way == "unix" else f"inet:[127.0.0.1]:{PORT}"
    content = b"Subject: %b\r\n\r\n.\xc3\xbc dot\r\n" % way.encode()
    with _peer(f"lmtp:{where}") as peer:
        _send(peer, ["alice@example.test", "bob+x@example.test", "nobody@example.test"], content)
        peer.log.wait(
            r"to=<alice@example\.test>, relay=.*dsn=2\.0\.0, status=sent \(250 2\.0\.0 <alice@example\.test> "
        )
        peer.log.wait(r"to=<bob\+x@example\.test>, relay=.*status=sent")
        peer.log.wait(r"to=<nobody@example\.test>, relay=.*dsn=5\.1\.1, status=bounced .*there is no such user")
    for user in ("alice", "bob"):
        assert instance.messages(user)[-1].read_bytes().endswith(b"\n\n.\xc3\xbc dot\n")


def test_postfix_uses_tls_where_it_is_told_to(instance: Instance) -> None:
    where = f"inet:[127.0.0.1]:{PORT}"
    with _peer(f"lmtp:{where}", lmtp_tls_security_level="encrypt", lmtp_tls_loglevel="1") as peer:
        _send(peer, ["alice@example.test"], b"Subject: secret\r\n\r\n" + b"x" * 70 + b"\r\n" * 100_000)
        peer.log.wait(r"Untrusted TLS connection established to 127\.0\.0\.1\[127\.0\.0\.1\]")
        peer.log.wait(r"to=<alice@example\.test>, relay=.*status=sent")
    assert b"with LMTPS id" in instance.messages("alice")[-1].read_bytes()


def test_many_messages_over_one_connection(instance: Instance) -> None:
    before = len(instance.messages("bob"))
    with _peer(f"lmtp:inet:[127.0.0.1]:{PORT}") as peer:
        with smtplib.SMTP("127.0.0.1", peer.port, timeout=PATIENCE) as client:
            for number in range(30):
                client.sendmail("sender@peer.test", ["bob@example.test"], b"Subject: %d\r\n\r\nx\r\n" % number)
        peer.log.wait(r"to=<bob@example\.test>, relay=.*status=sent", 30)
    assert len(instance.messages("bob")) == before + 30
