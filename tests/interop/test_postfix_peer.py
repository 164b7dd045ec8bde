"""A real Postfix as peer in both directions: relaying, reports, refusals, UTF-8, reuse of connections, LMTP."""

import re
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message

import pytest

from tests.fakes.dns import DnsServer
from tests.fakes.instance import Instance
from tests.fakes.postfix import UNUSABLE, PostfixPeer

BY_RELAY = r"relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+"
TOO_LARGE = r"message size \d+ exceeds size limit 100000 of server"
pytestmark = pytest.mark.skipif(bool(UNUSABLE), reason=UNUSABLE)


@contextmanager
def pair(
    ours: dict[str, str] | None = None, theirs: dict[str, str] | None = None, master: tuple[str, ...] = ()
) -> Iterator[tuple[Instance, PostfixPeer]]:
    """An instance of example.test and a Postfix of peer.test, each the relayhost of the other."""
    instance = Instance(main=ours, master=master)
    settings = {"relayhost": f"[127.0.0.1]:{instance.port}", **(theirs or {})}
    with PostfixPeer(settings) as peer:
        instance.set_main({"relayhost": peer.nexthop, "disable_dns_lookups": "yes", **(ours or {})})
        with instance:
            yield instance, peer
            assert not instance.log.count(r"panic:|fatal:|Traceback")


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Instance, PostfixPeer]]:
    """For tests that need no settings of their own; each uses senders of its own."""
    with pair() as systems:
        yield systems


def parsed(content: bytes) -> Message:
    return message_from_bytes(content)


def test_mail_to_postfix_arrives_whole_and_in_one_flight(both: tuple[Instance, PostfixPeer]) -> None:
    instance, peer = both
    body = "".join(f"{'.' * (number % 3)}line {number}\r\n" for number in range(2000))
    before = len(peer.messages())
    instance.send("user@peer.test", f"Subject: whole\r\n\r\n{body}", "whole@example.test")
    instance.log.wait(rf"to=<user@peer\.test>, {BY_RELAY}, .*dsn=2\.0\.0, status=sent \(250 2")
    message = peer.wait_messages(before + 1)[-1]
    head, _, content = message.partition(b"\n\n")
    assert content.decode() == body.replace("\r\n", "\n")
    assert head.startswith(b"Return-Path: <whole@example.test>\n")
    assert head.count(b"\nReceived: ") == 2


def test_mail_from_postfix_arrives_whole(both: tuple[Instance, PostfixPeer]) -> None:
    instance, peer = both
    body = "".join(f"{'.' * (number % 3)}line {number}\n" for number in range(2000))
    start = len(instance.log.lines)
    peer.run("sendmail", "-f", "user@peer.test", "-i", "bob@example.test", text=f"Subject: s\n\n{body}".encode())
    instance.log.wait(r"to=<bob@example\.test>.*status=sent", start=start)
    peer.log.wait(rf"to=<bob@example\.test>, {BY_RELAY}, .*status=sent \(250 2\.0\.0 Ok: queued as")
    (path,) = instance.messages("bob")
    head, _, content = path.read_bytes().partition(b"\n\n")
    assert content.decode() == body
    assert b"Received: from mail.peer.test (" in head
    # Postfix sent it in one flight, with what we announce.
    greeting = instance.smtp()
    with greeting:
        greeting.ehlo()
        for keyword in ("pipelining", "size", "etrn", "enhancedstatuscodes", "8bitmime", "dsn", "smtputf8", "chunking"):
            assert greeting.has_extn(keyword), keyword


def test_eight_bit_mail_goes_both_ways_unchanged(both: tuple[Instance, PostfixPeer]) -> None:
    instance, peer = both
    head = "Subject: 8\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
    text = head + "\nGrüße\n"
    before, start = len(peer.messages("other")), len(instance.log.lines)
    with instance.smtp() as client:
        client.sendmail("eight@example.test", "other@peer.test", text.encode(), ["BODY=8BITMIME"])
    assert "Grüße\n".encode() in peer.wait_messages(before + 1, "other")[-1]
    peer.run("sendmail", "-B", "8BITMIME", "-f", "other@peer.test", "alice@example.test", text=text.encode())
    instance.log.wait(r"to=<alice@example\.test>.*status=sent", start=start)
    assert any("\n\nGrüße\n".encode() in path.read_bytes() for path in instance.messages("alice"))


def test_an_unknown_user_there_comes_back_as_a_report(both: tuple[Instance, PostfixPeer]) -> None:
    instance, _ = both
    before, start = len(instance.messages("alice")), len(instance.log.lines)
    instance.send(["nobody@peer.test"], "Subject: lost\r\n\r\nx\r\n", "alice@example.test")
    said = r"host 127\.0\.0\.1\[127\.0\.0\.1\] said: 550 5\.1\.1"
    instance.log.wait(rf"to=<nobody@peer\.test>, .*dsn=5\.1\.1, status=bounced \({said}", start=start)
    instance.log.wait(r"to=<alice@example\.test>, .*status=sent", start=start)
    report = parsed(instance.messages("alice")[before].read_bytes())
    assert report.get_content_type() == "multipart/report"
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    text = status.as_string()
    assert "Final-Recipient: rfc822; nobody@peer.test" in text
    assert "Status: 5.1.1" in text
    assert "Remote-MTA: dns; " in text
    assert "Diagnostic-Code: smtp; 550 5.1.1" in text


def test_an_unknown_user_here_is_reported_by_postfix(both: tuple[Instance, PostfixPeer]) -> None:
    _, peer = both
    before = len(peer.messages("other"))
    peer.run("sendmail", "-f", "other@peer.test", "nosuch@example.test", text=b"Subject: lost\n\nx\n")
    peer.log.wait(r"to=<nosuch@example\.test>, .*dsn=5\.1\.1, status=bounced .* said: 550 5\.1\.1 <nosuch@example")
    report = parsed(peer.wait_messages(before + 1, "other")[-1])
    assert report.get_content_type() == "multipart/report"


def test_a_report_travels_through_us_with_the_null_sender(both: tuple[Instance, PostfixPeer]) -> None:
    instance, peer = both
    before, start = len(instance.messages("bob")), len(instance.log.lines)
    # Postfix accepts it from its own user, and fails it later: its report comes to us.
    peer.run("sendmail", "-f", "bob@example.test", "ghost@peer.test", text=b"Subject: will fail\n\nx\n")
    instance.log.wait(r"qmgr\[\d+\]: \w+: from=<>, size=\d+, nrcpt=1 \(queue active\)", start=start)
    instance.log.wait(r"to=<bob@example\.test>, .*status=sent", start=start)
    content = instance.messages("bob")[before].read_bytes()
    assert content.startswith(b"Return-Path: <>\n")
    assert parsed(content).get_content_type() == "multipart/report"


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_too_large_for_the_peer_is_refused_before_it_is_sent(size: int) -> None:
    with pair(theirs={"message_size_limit": "100000"}) as (instance, _):
        instance.send("user@peer.test", b"Subject: big\r\n\r\n" + b"y\r\n" * (size // 3), "alice@example.test")
        instance.log.wait(rf"to=<user@peer\.test>, .*status=bounced \({TOO_LARGE} 127\.0\.0\.1")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent")


def test_too_large_for_us_is_refused_at_mail_from() -> None:
    with pair(ours={"message_size_limit": "100000", "virtual_mailbox_limit": "0"}) as (instance, peer):
        large = b"Subject: big\n\n" + b"y\n" * 100_000
        peer.run("sendmail", "-f", "other@peer.test", "alice@example.test", text=large)
        peer.log.wait(rf"to=<alice@example\.test>, .*status=bounced \({TOO_LARGE}")
        peer.wait_messages(1, "other")
        # Who does not care for SIZE is told at MAIL FROM or after the data.
        with instance.smtp() as client, pytest.raises(smtplib.SMTPResponseException) as refusal:
            client.ehlo()
            code, text = client.mail("a@example.org", ["SIZE=200000"])
            assert (code, text[:5]) == (552, b"5.3.4")
            client.rset()
            client.mail("a@example.org")
            client.rcpt("alice@example.test")
            raise smtplib.SMTPDataError(*client.data(b"y\r\n" * 100_000))
        assert refusal.value.smtp_code == 552


def test_requests_for_reports_are_passed_on(both: tuple[Instance, PostfixPeer]) -> None:
    instance, _ = both
    before, start = len(instance.messages("alice")), len(instance.log.lines)
    with instance.smtp() as client:
        client.ehlo()
        assert client.mail("alice@example.test", ["RET=HDRS", "ENVID=QQ314159"])[0] == 250
        assert client.rcpt("user@peer.test", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Carol+2Bx@peer.test"])[0] == 250
        assert client.data(b"Subject: asked\r\n\r\nbody of mine\r\n")[0] == 250
    # Delivered there, reported from there: through us to alice.
    instance.log.wait(r"to=<alice@example\.test>, .*status=sent", start=start)
    report = parsed(instance.messages("alice")[before].read_bytes())
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status").as_string()
    assert "Original-Envelope-Id: QQ314159" in status
    assert re.search(r"Original-Recipient: rfc822; ?Carol(\+2B|\+)x@peer\.test", status)
    assert "Action: delivered" in status
    assert "Reporting-MTA: dns; mail.peer.test" in status
    assert b"body of mine" not in report.as_bytes()


def test_postfix_asks_us_for_a_report_of_success(both: tuple[Instance, PostfixPeer]) -> None:
    _, peer = both
    before = len(peer.messages("user"))
    asked = ("-N", "success", "-V", "ENV77")
    peer.run("sendmail", "-f", "user@peer.test", *asked, "bob@example.test", text=b"Subject: q\n\nx\n")
    report = parsed(peer.wait_messages(before + 1, "user")[-1])
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status").as_string()
    assert "Reporting-MTA: dns; mail.example.test" in status
    assert "Original-Envelope-Id: ENV77" in status
    assert "Action: delivered" in status


def test_addresses_in_utf_8_go_both_ways() -> None:
    theirs = {"virtual_mailbox_maps": "inline:{üser@peer.test=user/,other@peer.test=other/}"}
    with pair(theirs=theirs) as (instance, peer):
        with instance.smtp() as client:
            client.ehlo()
            assert client.mail("älice@example.test", ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
            client.command_encoding = "utf-8"
            assert client.rcpt("üser@peer.test")[0] == 250
            assert client.data("Subject: Grüße\r\n\r\nx\r\n".encode())[0] == 250
        instance.log.wait(r"to=<üser@peer\.test>, .*status=sent")
        peer.log.wait(r"to=<üser@peer\.test>, .*status=sent")
        assert "Subject: Grüße".encode() in peer.messages("user")[0]
        instance.write_table("vmailbox", "jürgen@example.test example.test/bob/\n")
        assert instance.command("tubepost", "-c", str(instance.conf), "reload").returncode == 0
        text = "Subject: ü\n\nx\n".encode()
        peer.run("sendmail", "-O", "SMTPUTF8=yes", "-f", "other@peer.test", "jürgen@example.test", text=text)
        instance.log.wait(r"to=<jürgen@example\.test>, .*status=sent")


def test_a_connection_carries_many_messages(both: tuple[Instance, PostfixPeer]) -> None:
    instance, peer = both
    start = len(peer.log.lines)
    with instance.smtp() as client:
        for number in range(60):
            client.sendmail("many@example.test", "user@peer.test", f"Subject: {number}\r\n\r\nx\r\n")
    peer.log.wait(r"qmgr\[\d+\]: \w+: from=<many@example\.test>", 60, start=start)
    connects = sum(": connect from" in line for line in peer.log.lines[start:])
    assert connects < 32, connects


def test_postfix_keeps_its_connection_to_us() -> None:
    theirs = {"default_destination_concurrency_limit": "1", "initial_destination_concurrency": "1"}
    with pair(theirs=theirs) as (instance, peer):
        with smtplib.SMTP("127.0.0.1", peer.port) as client:
            for number in range(20):
                client.sendmail("a@peer.test", "alice@example.test", f"Subject: {number}\r\n\r\nx\r\n")
        peer.log.wait(r"to=<alice@example\.test>, .*status=sent", 20)
        peer.log.wait(r"relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, conn_use=\d+, ")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent", 20)
        assert instance.log.count(r"smtpd\[\d+\]: connect from") < 20
        assert len(instance.messages("alice")) == 20


def test_postfix_is_found_by_its_mx_record() -> None:
    with DnsServer() as dns, PostfixPeer() as peer:
        dns.add("peer.test", "MX", "10 down.peer.test.", "20 mail.peer.test.")
        dns.add("down.peer.test", "A", "127.0.0.9")
        dns.add("mail.peer.test", "A", "127.0.0.1")
        with Instance(
            main={
                "dns_nameservers": dns.address,
                "smtp_tcp_port": str(peer.port),
                "inet_interfaces": "127.0.0.8",
                "smtp_bind_address": "127.0.0.1",
            }
        ) as instance:
            instance.send("user@peer.test", sender="mx@example.test")
            instance.log.wait(rf"to=<user@peer\.test>, relay=mail\.peer\.test\[127\.0\.0\.1\]:{peer.port}, ")
            peer.wait_messages(1)


def test_mail_waits_while_the_peer_is_down_and_goes_when_it_is_back() -> None:
    with PostfixPeer() as peer:
        nexthop, port = peer.nexthop, peer.port
    instance = Instance(main={"transport_maps": f"inline:{{peer.test=relay:{nexthop}}}", "relay_domains": "peer.test"})
    with instance:
        instance.send("user@peer.test", sender="late@example.test")
        instance.log.wait(r"relay/smtp\[\d+\]: connect to 127\.0\.0\.1\[127\.0\.0\.1\]:\d+: Connection refused")
        instance.log.wait(r"to=<user@peer\.test>, relay=none, .*dsn=4\.4\.1, status=deferred \(connect to 127\.0\.0\.1")
        again = PostfixPeer()
        again.port = port
        conf = again.root / "conf" / "master.cf"
        conf.write_text(re.sub(r"^127\.0\.0\.1:\d+", f"127.0.0.1:{port}", conf.read_text(), flags=re.M))
        with again:
            assert instance.command("postqueue", "-f").returncode == 0
            instance.log.wait(r"to=<user@peer\.test>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, .*status=sent")
            again.wait_messages(1)
            assert instance.queued("deferred") == []


def test_two_systems_that_send_to_each_other_stop_at_the_hop_limit() -> None:
    ours = {"relay_domains": "loop.test", "hopcount_limit": "12"}
    with pair(ours=ours, theirs={"relay_domains": "loop.test", "hopcount_limit": "12"}) as (instance, peer):
        instance.send("x@loop.test", sender="alice@example.test")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent")
        content = instance.messages("alice")[0].read_bytes()
        assert b"5.4.0" in content and b"too many hops" in content
        assert len(instance.log.lines) + len(peer.log.lines) < 400


def test_postfix_believes_our_xforward() -> None:
    theirs = {"smtpd_authorized_xforward_hosts": "127.0.0.0/8"}
    with pair(ours={"smtp_send_xforward_command": "yes"}, theirs=theirs) as (instance, peer):
        with instance.smtp() as client:
            client.ehlo("laptop.example.org")
            client.sendmail("f@example.test", "user@peer.test", "Subject: x\r\n\r\nx\r\n")
        queue_id = instance.log.wait(r"smtpd\[\d+\]: (\w+): client=")[0][1]
        peer.log.wait(rf"client=unknown\[127\.0\.0\.1\], orig_queue_id={queue_id}, orig_client=\S+\[127\.0\.0\.1\]")


def test_xforward_from_postfix_is_believed_and_logged() -> None:
    ours = {"smtpd_authorized_xforward_hosts": "127.0.0.0/8"}
    with pair(ours=ours, theirs={"smtp_send_xforward_command": "yes"}) as (instance, peer):
        with smtplib.SMTP("127.0.0.1", peer.port) as client:
            client.ehlo("laptop.example.org")
            client.sendmail("f@peer.test", "alice@example.test", "Subject: x\r\n\r\nx\r\n")
        queue_id = peer.log.wait(r"smtpd\[\d+\]: (\w+): client=")[0][1]
        instance.log.wait(rf"client=unknown\[127\.0\.0\.1\], orig_queue_id={queue_id}, orig_client=\S+\[127\.0\.0\.1\]")
