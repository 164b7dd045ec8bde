"""lmtpd in a real instance: replies a recipient, quotas, who may connect, and IDLE that hears of a delivery."""

import imaplib
import os
import smtplib
import socket
from collections.abc import Iterator

import pytest

from tests.fakes.instance import PATIENCE, Instance, free_port

ALICE, BOB = "alice@example.test", "bob@example.test"
PORT = free_port()
MESSAGE = b"Subject: by lmtp\r\n\r\n.dot\r\n"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap",), master=(f"127.0.0.1:{PORT} inet n n n - - lmtpd",)) as made:
        yield made


def over_unix(instance: Instance) -> smtplib.LMTP:
    return smtplib.LMTP(str(instance.spool / "public" / "lmtpd"), 0, local_hostname="peer.test")


def over_tcp(_instance: Instance) -> smtplib.LMTP:
    return smtplib.LMTP("127.0.0.1", PORT, local_hostname="peer.test", timeout=PATIENCE)


def transfer(client: smtplib.LMTP, recipients: list[str], content: bytes = MESSAGE) -> list[tuple[int, bytes]]:
    """The replies behind the content, one for each recipient."""
    assert client.mail("sender@peer.test")[0] == 250
    for recipient in recipients:
        assert client.rcpt(recipient)[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(smtplib._quote_periods(content) + b".\r\n")  # type: ignore[attr-defined]
    return [client.getreply() for _ in recipients]


@pytest.mark.parametrize("connect", [over_unix, over_tcp])
def test_each_recipient_has_a_reply_and_a_message(instance: Instance, connect: object) -> None:
    before = len(instance.messages("alice")), len(instance.messages("bob"))
    client = connect(instance)  # type: ignore[operator]
    client.ehlo()
    assert client.has_extn("pipelining") and client.has_extn("enhancedstatuscodes") and client.has_extn("chunking")
    replies = transfer(client, ["alice+lists@example.test", BOB])
    assert [code for code, _ in replies] == [250, 250]
    assert client.rcpt("x@example.test")[0] == 503
    client.mail("sender@peer.test")
    assert client.rcpt("nobody@example.test")[0] == 550
    assert client.rcpt("alice@elsewhere.test")[0] == 550
    client.quit()
    assert (len(instance.messages("alice")), len(instance.messages("bob"))) == (before[0] + 1, before[1] + 1)
    text = instance.messages("alice")[-1].read_text()
    head = "Return-Path: <sender@peer.test>\nDelivered-To: alice+lists@example.test\nReceived: from peer.test"
    assert text.startswith(head)
    assert text.endswith("\nSubject: by lmtp\n\n.dot\n")


def test_idle_hears_of_it(instance: Instance) -> None:
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE) as imap:
        imap.login(ALICE, instance.credentials[ALICE])
        count = int(imap.select()[1][0] or b"0")
        imap.send(b"a IDLE\r\n")
        assert imap.readline().startswith(b"+")
        client = over_tcp(instance)
        client.ehlo()
        assert transfer(client, [ALICE])[0][0] == 250
        client.quit()
        assert imap.readline() == b"* %d EXISTS\r\n" % (count + 1)
        imap.send(b"DONE\r\n")
        while not imap.readline().startswith(b"a OK"):
            pass


def test_starttls_and_large_content(instance: Instance) -> None:
    client = over_tcp(instance)
    client.ehlo()
    client.starttls()
    client.ehlo()
    content = b"Subject: large\r\n\r\n" + (b"." + b"x" * 70 + b"\r\n") * 20_000
    assert transfer(client, [BOB, ALICE], content)[1][0] == 250
    client.quit()
    for user in ("alice", "bob"):
        stored = instance.messages(user)[-1].read_bytes()
        assert stored.endswith(content.replace(b"\r\n", b"\n")) and b"with LMTPS id" in stored
    assert list((instance.mail / "example.test/bob/tmp").iterdir()) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing(instance: Instance) -> None:
    before = len(instance.messages("bob"))
    start = len(instance.log.lines)
    with socket.create_connection(("127.0.0.1", PORT), PATIENCE) as raw:
        raw.recv(1000)
        raw.sendall(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
        while b"354" not in raw.recv(4000):
            pass
        raw.sendall(b"x" * 500_000)
    instance.log.wait("disconnect from unknown.*: lost connection", start=start)
    assert len(instance.messages("bob")) == before
    assert list((instance.mail / "example.test/bob/tmp").iterdir()) == []


def test_a_full_mailbox(instance: Instance) -> None:
    done = instance.command("tubepost", "-c", str(instance.conf), "user", "quota", BOB, "--bytes", "1")
    assert done.returncode == 0, done.stderr
    client = over_tcp(instance)
    client.ehlo()
    replies = transfer(client, [ALICE, BOB])
    assert replies[0][0] == 250
    assert replies[1][0] == 552 and replies[1][1].startswith(b"5.2.2 <bob@example.test> mailbox full")
    client.quit()


def test_our_own_lmtp_client_delivers_to_it() -> None:
    with Instance(main={"virtual_transport": "lmtp:unix:public/lmtpd"}) as other:
        other.send([ALICE, BOB], "Subject: through\r\n\r\nx\r\n")
        other.log.wait(r"lmtp\[\d+\]: \w+: to=<alice@example\.test>, relay=.*public/lmtpd.*, dsn=2\.0\.0, status=sent")
        other.log.wait(r"lmtp\[\d+\]: \w+: to=<bob@example\.test>, relay=.*status=sent")
        assert b"with LMTP id" in other.messages("alice")[0].read_bytes()


def test_who_may_connect() -> None:
    port = free_port()
    main = {"lmtpd_authorized_clients": "192.0.2.0/24", "lmtpd_authorized_users": "nobody-of-this-name"}
    with Instance(main=main, master=(f"127.0.0.1:{port} inet n n n - - lmtpd",)) as other:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
            assert raw.recv(1000).startswith(b"521 5.7.1")
            assert raw.recv(1000) == b""
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(PATIENCE)
            raw.connect(os.fspath(other.spool / "public" / "lmtpd"))
            assert raw.recv(1000).startswith(b"521 5.7.1")
            assert raw.recv(1000) == b""
