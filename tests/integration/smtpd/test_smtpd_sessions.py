"""What one command leaves to the next, in sessions with real programs: refused greetings, clients by proxy, AUTH."""

import base64
import socket
import time
from collections.abc import Iterator

import pytest

from tubepost.common.wire.verify import probe_sender

from tests.fakes.instance import PATIENCE, Instance

STRANGER = "XCLIENT NAME=c.far.test ADDR=198.51.100.7 PORT=2525"
HALF = b"Subject: half\r\n\r\n" + b"x" * 78 + b"\r\n"
# More than smtpd keeps: it is on its way to cleanup when the client says something else.
HALF += (b"y" * 78 + b"\r\n") * 8000


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        main={
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_authorized_xforward_hosts": "127.0.0.1",
            "mynetworks": "[::1]/128",
            "smtpd_delay_reject": "no",
            "smtpd_client_restrictions": "check_client_access inline:{{198.51.100.66=REJECT}}",
            "smtpd_helo_restrictions": "check_helo_access inline:{{bad.test=REJECT}}",
            "smtpd_tls_auth_only": "no",
            "smtpd_sasl_auth_enable": "yes",
            "local_header_rewrite_clients": "permit_sasl_authenticated",
        },
    )
    with made:
        yield made


class Client:
    def __init__(self, instance: Instance) -> None:
        self.socket = socket.create_connection(("127.0.0.1", instance.port), PATIENCE)
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def reply(self) -> str:
        lines = []
        while line := self.file.readline().decode():
            lines.append(line)
            if line[3:4] != "-":
                break
        return "".join(lines)

    def say(self, *lines: str) -> str:
        """The reply to the last one."""
        reply = ""
        for line in lines:
            self.socket.sendall(line.encode() + b"\r\n")
            reply = self.reply()
        return reply

    def chunk(self, data: bytes, last: str = "") -> str:
        self.socket.sendall(f"BDAT {len(data)}{last}\r\n".encode() + data)
        return self.reply()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()


MESSAGE = "Subject: x\r\n\r\nx\r\n."
BEGIN = ("MAIL FROM:<x@far.test>", "RCPT TO:<alice@example.test>")


def test_a_refused_greeting_leaves_the_message_as_it_was(instance: Instance) -> None:
    with Client(instance) as client:
        client.say("EHLO good.test", *BEGIN)
        assert client.say("EHLO bad.test").startswith("554 5.7.1 <bad.test>: Helo command rejected")
        assert client.say("DATA").startswith("354")
        assert client.say("Subject: refused greeting\r\n\r\nx\r\n.").startswith("250 2.0.0 Ok: queued")
    assert instance.log.count("panic") == 0


def incoming(instance: Instance, wanted: int) -> int:
    """How many files of messages that are coming in there are, once it is so many or time is up."""
    deadline = time.monotonic() + 5
    while (found := len(instance.queued("incoming"))) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("next_command", ["EHLO again.test", "RSET"])
def test_a_message_given_up_between_two_chunks_leaves_nothing_behind(instance: Instance, next_command: str) -> None:
    with Client(instance) as client:
        assert client.say("EHLO good.test", *BEGIN).startswith("250")
        assert client.chunk(HALF).startswith("250")
        assert incoming(instance, 1) == 1
        assert client.say(next_command).startswith("250")
        assert incoming(instance, 0) == 0


def test_a_login_by_proxy_ends_with_the_next_client(instance: Instance) -> None:
    with Client(instance) as client:
        assert client.say("EHLO p", "XCLIENT NAME=c.far.test LOGIN=alice@example.test").startswith("220")
        assert client.say("EHLO c", "MAIL FROM:<x@far.test>", "RCPT TO:<y@far.test>").startswith("250")
        client.say("RSET")
        # The proxy has another client now.
        assert client.say("XCLIENT NAME=d.far.test").startswith("220")
        client.say("EHLO d", "MAIL FROM:<x@far.test>")
        assert "Relay access denied" in client.say("RCPT TO:<y@far.test>")


def test_a_client_by_proxy_is_judged_as_one_that_connects(instance: Instance) -> None:
    with Client(instance) as client:
        client.say("EHLO p")
        assert client.say("XCLIENT ADDR=198.51.100.66").startswith(
            "554 5.7.1 <unknown[198.51.100.66]>: Client host rejected: Access denied"
        )
        assert client.say("EHLO c").startswith("503 5.7.0 Error: access denied for unknown[198.51.100.66]")
        assert client.say("QUIT").startswith("221")


def test_a_client_by_proxy_is_counted_as_itself(instance: Instance) -> None:
    own = Instance(
        main={
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_client_message_rate_limit": "2",
            "smtpd_client_connection_count_limit": "1",
        }
    )
    client_line = "XCLIENT ADDR=198.51.100.99"
    with own, Client(own) as first, Client(own) as second:
        assert first.say("EHLO p", client_line).startswith("220")
        assert second.say("EHLO p", client_line).startswith(
            "421 4.7.0 mail.example.test Error: too many connections from 198.51.100.99"
        )
        first.say("EHLO c")
        assert first.say("MAIL FROM:<x@far.test>", "RSET", "MAIL FROM:<x@far.test>").startswith("250")
        assert first.say("RSET", "MAIL FROM:<x@far.test>").startswith(
            "450 4.7.1 Error: too much mail from 198.51.100.99"
        )


def test_a_client_without_an_address(instance: Instance) -> None:
    """What looks at addresses must bear that there is none."""
    own = Instance(
        main={
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_client_message_rate_limit": "100",
            "smtpd_client_restrictions": "check_client_access cidr:{{10.0.0.0/8 REJECT}}, reject_rbl_client bad.test, "
            "permit_inet_interfaces",
        }
    )
    with own, Client(own) as client:
        assert client.say("EHLO p", "XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]").startswith("220")
        assert client.say("EHLO c", *BEGIN, "DATA").startswith("354")
        assert client.say("Subject: x\r\n\r\nx\r\n.").startswith("250")
        assert own.log.count("panic|Traceback") == 0


@pytest.mark.parametrize("words", ["PROTO=FOO", "PROTO=[UNAVAILABLE]", "LOGIN="])
def test_what_xclient_does_not_take(instance: Instance, words: str) -> None:
    with Client(instance) as client:
        assert client.say("EHLO p", f"XCLIENT {words}").startswith("501 5.5.4")


def test_what_is_not_forwarded_is_not_known(instance: Instance) -> None:
    """XFORWARD: what the filter does not say of the client is not true of the filter either."""
    with Client(instance) as client:
        start = len(instance.log.lines)
        client.say("EHLO filter.test", "XFORWARD NAME=c.far.test ADDR=198.51.100.7", *BEGIN, "DATA")
        assert client.say("Subject: forwarded\r\n\r\nx\r\n.").startswith("250")
        instance.log.wait(r"orig_client=c.far.test\[198.51.100.7\]", start=start)


def test_header_addresses_of_those_who_have_authenticated_are_completed(instance: Instance) -> None:
    """local_header_rewrite_clients = permit_sasl_authenticated"""
    login = f"{STRANGER} LOGIN=alice@example.test"
    for xclient, completed in ((login, True), (STRANGER, False)):
        with Client(instance) as client:
            assert client.say("EHLO p", xclient, "EHLO c", *BEGIN, "DATA").startswith("354")
            told = client.say("From: bob\r\nSubject: local\r\n\r\nx\r\n.")
        queue_id = told.split()[-1]
        # What was sent before this may still be under way.
        instance.log.wait(f"{queue_id}: .*status=sent")
        (text,) = (text for path in instance.messages() if queue_id in (text := path.read_text()))
        assert ("\nFrom: bob@" in text) is completed


def test_a_client_that_is_turned_away_is_not_greeted() -> None:
    own = Instance(main={"smtpd_client_event_limit_exceptions": "", "smtpd_client_connection_count_limit": "1"})
    with own, Client(own), Client(own) as second:
        assert second.greeting == "421 4.7.0 mail.example.test Error: too many connections from 127.0.0.1\r\n"
        assert second.file.read() == b""


def test_no_mechanism_is_used_that_was_not_offered() -> None:
    """Also where none was offered."""
    own = Instance(
        main={
            "smtpd_tls_auth_only": "no",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_mechanism_filter": "gssapi",
            "auth_failure_delay": "0",
        }
    )
    password = own.credentials["alice@example.test"]
    secret = base64.b64encode(f"\0alice@example.test\0{password}".encode()).decode()
    with own, Client(own) as client:
        assert "AUTH" not in client.say("EHLO c")
        assert client.say(f"AUTH PLAIN {secret}").startswith("504 5.5.4")


def test_senders_of_our_probes_are_recipients() -> None:
    """Who is asked by us whether an address works asks back; the answer is yes, for the sender of this hour only."""
    ttl = 3600.0
    own = Instance(main={"address_verify_sender": "probe@example.test", "address_verify_sender_ttl": f"{ttl:.0f}s"})
    now = time.time()
    address = probe_sender("probe@example.test", ttl, now, "")
    old = probe_sender("probe@example.test", ttl, now - 3 * ttl, "")
    with own, Client(own) as client:
        client.say("EHLO peer.test", "MAIL FROM:<>")
        assert client.say(f"RCPT TO:<{address}>").startswith("250")
        assert client.say(f"RCPT TO:<{old}>").startswith("550 5.1.1")
        assert client.say("RCPT TO:<probe@example.test>").startswith("550 5.1.1")
        # The time is no part of what mail to it is sent to.
        assert client.say("DATA", MESSAGE).startswith("250")
        own.log.wait("to=<probe@example.test>")


def test_a_long_transcript_is_told_while_the_session_goes_on() -> None:
    own = Instance(
        main={
            "notify_classes": "protocol",
            "error_notice_recipient": "alice@example.test",
            "smtpd_history_flush_threshold": "10",
        }
    )
    with own, Client(own) as client:
        client.say("EHLO c.test", "NONSENSE", *["HELP"] * 10)
        own.log.wait("status=sent")
        text = own.messages()[0].read_text()
        assert "In:  NONSENSE" in text and "500 5.5.2 Error: command not recognized" in text
        assert client.say(*BEGIN).startswith("250")
