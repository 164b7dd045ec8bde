"""smtpd with TLS and AUTH on loopback: STARTTLS, wrapper mode, injection, mechanisms, renewed certificates."""

import base64
import os
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tubepost.common.net import selfsigned

from tests.fakes.instance import Instance

ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        services=("submission", "submissions"),
        main={
            "smtpd_tls_loglevel": "1",
            "smtpd_tls_received_header": "yes",
            "smtpd_sasl_authenticated_header": "yes",
            "smtpd_error_sleep_time": "0",
            "auth_failure_delay": "0",
        },
    )
    with made:
        yield made


def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Raw:
    """A socket, with replies by line."""

    def __init__(self, port: int) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rb")
        self.reply()

    def reply(self) -> str:
        lines = []
        while True:
            line = self.file.readline().decode()
            lines.append(line)
            if line[3:4] != "-":
                return "".join(lines)

    def say(self, text: str) -> str:
        self.socket.sendall(text.encode() + b"\r\n")
        return self.reply()

    def secure(self) -> None:
        self.socket = context().wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_starttls_and_what_it_forgets(instance: Instance) -> None:
    raw = Raw(instance.port)
    offered = raw.say("EHLO client.example")
    assert "250-STARTTLS" in offered and "AUTH" not in offered
    assert raw.say("STARTTLS now").startswith("501 5.5.4")
    raw.say("MAIL FROM:<a@example.org>")
    assert raw.say("STARTTLS").startswith("220 2.0.0")
    raw.secure()
    # RFC 3207 4.2: the transaction is gone, and so is HELO.
    assert raw.say("RCPT TO:<alice@example.test>").startswith("503")
    assert "STARTTLS" not in raw.say("EHLO client.example")
    assert raw.say("STARTTLS").startswith("554 5.5.1")
    assert raw.say("QUIT").startswith("221")
    raw.close()
    instance.log.wait(r"Anonymous TLS connection established from \S+\[127\.0\.0\.1\]: TLSv1\.3 with cipher")
    instance.log.wait(r"disconnect from \S+ ehlo=2 starttls=1/3 mail=1 rcpt=0/1 quit=1")


@pytest.mark.parametrize("policy", ["one packet", "two packets"])
def test_commands_behind_starttls_are_never_run(instance: Instance, policy: str) -> None:
    raw = Raw(instance.port)
    raw.say("EHLO client.example")
    before = len(instance.log.lines)
    if policy == "one packet":
        raw.socket.sendall(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
        assert raw.reply().startswith("554 5.5.0")
        instance.log.wait("improper command pipelining after STARTTLS", start=before)
    else:
        # What follows the reply in the clear is taken for a handshake, and is none.
        assert raw.say("STARTTLS").startswith("220")
        raw.socket.sendall(b"MAIL FROM:<evil@example.org>\r\n" * 20)
        instance.log.wait(r"SSL_accept error from \S+: -1", start=before)
        instance.log.wait("lost connection after STARTTLS", start=before)
    assert not any("evil@example.org" in line and "from=" in line for line in instance.log.lines[before:])
    raw.close()


def test_submission_wants_tls_then_a_user(instance: Instance) -> None:
    with smtplib.SMTP("127.0.0.1", instance.ports["submission"], timeout=20) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.mail("a@example.org")[0] == 530
        assert client.docmd("AUTH", "PLAIN AAAA")[0] == 530
        assert client.starttls(context=context())[0] == 220
        client.ehlo()
        assert {"PLAIN", "LOGIN"} <= set(client.esmtp_features["auth"].split())
        client.mail("alice@example.test")
        assert client.rcpt("bob@example.test")[0] == 554
        client.rset()
        client.login(ALICE, instance.credentials[ALICE])
        client.sendmail(ALICE, ["bob@example.test"], "Subject: sent\n\nhello\n")
    line = instance.log.wait(r"client=\S+, sasl_method=(\S+), sasl_username=(\S+)$")[0]
    assert line[2] == ALICE
    instance.log.wait(r"to=<bob@example\.test>.*status=sent")
    text = instance.messages("bob")[-1].read_text()
    assert "with ESMTPSA id" in text
    assert "(using TLSv1.3 with cipher" in text
    assert f"(Authenticated sender: {ALICE})" in text


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_mechanisms_in_wrapper_mode(instance: Instance, mechanism: str) -> None:
    port = instance.ports["submissions"]
    with smtplib.SMTP_SSL("127.0.0.1", port, context=context(), timeout=20) as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        client.user, client.password = ALICE, instance.credentials[ALICE]
        authenticate = client.auth_plain if mechanism == "PLAIN" else client.auth_login
        assert client.auth(mechanism, authenticate)[0] == 235
        assert client.docmd("AUTH", "PLAIN")[0] == 503
    with smtplib.SMTP_SSL("127.0.0.1", port, context=context(), timeout=20) as client:
        client.ehlo()
        client.user, client.password = ALICE, "wrong"
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.auth(mechanism, authenticate_with(client, mechanism))
        assert caught.value.smtp_code == 535
        assert "5.7.8" in str(caught.value.smtp_error)
        client.mail(ALICE)
        assert client.rcpt("x@example.org")[0] == 554
    instance.log.wait(rf"warning: \S+\[127\.0\.0\.1\]: SASL {mechanism} authentication failed")


def authenticate_with(client: smtplib.SMTP, mechanism: str) -> "smtplib._AuthObject":
    return client.auth_plain if mechanism == "PLAIN" else client.auth_login


def test_an_exchange_in_all_its_ways(instance: Instance) -> None:
    raw = Raw(instance.ports["submission"])
    raw.say("EHLO x")
    raw.say("STARTTLS")
    raw.secure()
    raw.say("EHLO x")
    assert raw.say("AUTH").startswith("501 5.5.4")
    assert raw.say("AUTH NOSUCH").startswith("504 5.5.4")
    assert raw.say("AUTH PLAIN !!!").startswith("501 5.5.2")
    assert raw.say("AUTH PLAIN") == "334 \r\n"
    assert raw.say("*").startswith("501 5.7.0")
    assert raw.say("AUTH PLAIN").startswith("334 ")
    assert raw.say("not base64").startswith("501 5.5.2")
    assert raw.say("AUTH PLAIN").startswith("334 ")
    assert raw.say("A" * 12300).startswith("500 5.5.6")
    # A response that looks like a command is a response.
    assert raw.say("AUTH LOGIN").startswith("334 ")
    assert raw.say("QUIT").startswith("334 ")
    assert raw.say("*").startswith("501")
    long = base64.b64encode(b"\0" + b"x" * 3000 + b"\0y").decode()
    assert raw.say(f"AUTH PLAIN {long}")[:3] in ("501", "535")
    assert raw.say("AUTH PLAIN =")[:3] in ("501", "535")
    token = base64.b64encode(f"\0{ALICE}\0{instance.credentials[ALICE]}".encode()).decode()
    assert raw.say("AUTH PLAIN").startswith("334 ")
    assert raw.say(token).startswith("235 2.7.0")
    assert raw.say("MAIL FROM:<alice@example.test> AUTH=alice+40example.test").startswith("250")
    assert raw.say("AUTH PLAIN").startswith("503")
    assert raw.say("RSET").startswith("250")
    assert raw.say("MAIL FROM:<alice@example.test> AUTH=bad+ZZ").startswith("501 5.5.4")
    raw.close()


@pytest.mark.parametrize("what", [b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n", b"", b"\x16\x03\x01\xff\xff" + b"x" * 2000])
def test_no_tls_where_it_must_begin_at_once(instance: Instance, what: bytes) -> None:
    start = len(instance.log.lines)
    with socket.create_connection(("127.0.0.1", instance.ports["submissions"]), 20) as client:
        client.sendall(what)
        if not what:
            client.shutdown(socket.SHUT_WR)
        # An alert of TLS at most, and never a word of SMTP.
        try:
            answer = client.recv(1000)
        except ConnectionResetError:
            answer = b""
        assert b"220" not in answer and b"250" not in answer
    instance.log.wait(r"SSL_accept error from \S+: ", start=start)
    instance.log.wait("lost connection after CONNECT from", start=start)
    instance.log.wait(r"disconnect from \S+ commands=0/0", start=start)


def test_a_login_by_xclient() -> None:
    other = Instance(
        main={
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_sender_login_maps": "inline:{ { alice@example.test = alice } }",
            "smtpd_sender_restrictions": "reject_sender_login_mismatch",
        }
    )
    with other:
        raw = Raw(other.port)
        assert "LOGIN" in raw.say("EHLO x")
        assert raw.say("XCLIENT LOGIN=alice").startswith("220")
        raw.say("EHLO x")
        raw.say("MAIL FROM:<alice@example.test>")
        assert raw.say("RCPT TO:<bob@example.test>").startswith("250")
        raw.say("RSET")
        raw.say("MAIL FROM:<bob@example.test>")
        assert raw.say("RCPT TO:<bob@example.test>").startswith("553 5.7.1")
        raw.say("RSET")
        assert raw.say("XCLIENT LOGIN=[UNAVAILABLE]").startswith("220")
        raw.say("EHLO x")
        raw.say("MAIL FROM:<alice@example.test>")
        assert "not logged in" in raw.say("RCPT TO:<bob@example.test>")
        raw.close()


def test_a_renewed_certificate_is_shown_without_a_restart(instance: Instance) -> None:
    def shown() -> bytes | None:
        raw = Raw(instance.ports["submission"])
        raw.say("EHLO x")
        raw.say("STARTTLS")
        raw.secure()
        assert isinstance(raw.socket, ssl.SSLSocket)
        found = raw.socket.getpeercert(binary_form=True)
        raw.say("QUIT")
        raw.close()
        return found

    first = shown()
    key, certificate = selfsigned.make(["mail.example.test"])
    path = instance.conf / "tls.pem"
    path.write_bytes(key + certificate)
    os.utime(path, ns=(1, 1))
    # The files are looked at every few seconds.
    end = time.monotonic() + 20
    while shown() == first:
        assert time.monotonic() < end
        time.sleep(0.5)
