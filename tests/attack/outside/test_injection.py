"""Header injection: line ends and other control characters, plain and in every coding, in each argument of a command.

Wherever it goes on to - Received:, Return-Path:, reports, log lines, the queue file, replies - it begins no line there.
A line that an attacker made would begin with the marker; control characters have no place in a header at all. The same
from the name server: in the name of a client's address.
"""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import dns.name
import pytest

from tubepost.common.net.dns import Resolver
from tubepost.common.net.peer import PeerName

from tests.fakes.dns import DnsServer
from tests.fakes.injection import MARK, PAYLOADS, fill, log_is_ours, no_line_of_theirs
from tests.fakes.instance import Instance, free_port
from tubepost.services.smtpd.resolver import DnsResolver

COMMANDS = (
    b"EHLO x%b", b"HELO x%b", b"EHLO [192.0.2.1%b]", b"EHLO x.example %b", b"VRFY x%b", b"EXPN x%b", b"HELP x%b",
    b"NOOP x%b",
    b"ETRN x%b", b"ETRN @x%b", b"AUTH x%b", b"AUTH PLAIN x%b", b"AUTH LOGIN x%b", b"X%b", b"%b", b"STARTTLS x%b",
    b"RSET x%b",
    b"XCLIENT NAME=x%b", b"XCLIENT HELO=x%b", b"XCLIENT LOGIN=x%b", b"XCLIENT REVERSE_NAME=x%b",
    b"XCLIENT ADDR=192.0.2.1%b",
    b"XCLIENT PROTO=ESMTP%b", b"XCLIENT PORT=1%b", b"XFORWARD NAME=x%b", b"XFORWARD HELO=x%b", b"XFORWARD IDENT=x%b",
    b"XFORWARD PROTO=x%b", b"XFORWARD ADDR=192.0.2.1%b", b"XFORWARD PORT=1%b", b"XFORWARD SOURCE=LOCAL%b",
    b"XCLIENT DESTADDR=192.0.2.1%b", b"XCLIENT DESTPORT=1%b", b"BDAT x%b", b"BDAT 0 %b", b"BDAT 0 LAST%b", b"DATA x%b",
    b"TURN x%b", b"QUIT x%b",
)  # fmt: skip
LMTP_COMMANDS = (
    b"LHLO x%b", b"VRFY x%b", b"X%b", b"HELP x%b", b"NOOP x%b", b"RSET x%b", b"BDAT x%b", b"BDAT 0 LAST%b", b"DATA x%b",
    b"STARTTLS x%b", b"QUIT x%b",
)  # fmt: skip
# Within the coding, where any octet may stand; each line has one reply. The last ones know the password.
LOGINS = (
    b"AUTH PLAIN {base64:x%b\0alice\0pw}", b"AUTH PLAIN {base64:\0x%b@example.test\0pw}",
    b"AUTH PLAIN {base64:\0alice\0%b}", b"AUTH LOGIN {base64:x%b}\r\n{base64:pw}",
    b"AUTH LOGIN\r\n{base64:x%b}\r\n{base64:pw}", b"AUTH LOGIN {base64:alice}\r\n{base64:%b}",
    b"AUTH XOAUTH2 {base64:user=x%b\x01auth=Bearer y\x01\x01}",
    b"AUTH XOAUTH2 {base64:user=alice\x01auth=Bearer y%b\x01\x01}",
    b"AUTH OAUTHBEARER {base64:n,a=x%b,\x01auth=Bearer y\x01\x01}",
    b"AUTH SCRAM-SHA-256 {base64:n,,n=x%b,r=abcdefgh}",
    b"AUTH PLAIN {base64:\0alice+x%b@example.test\0PASSWORD}", b"AUTH PLAIN {base64:\0alice@example.test%b\0PASSWORD}",
    b"AUTH PLAIN {base64:alice@example.test%b\0alice@example.test\0PASSWORD}",
    b"AUTH LOGIN {base64:alice%b@example.test}\r\n{base64:PASSWORD}",
)  # fmt: skip
SENDERS = (
    b"MAIL FROM:<x%b@far.example>", b'MAIL FROM:<"x%b"@far.example>', b"MAIL FROM:<x@far.example%b>", b"MAIL FROM:<%b>",
    b"MAIL FROM:<x@[192.0.2.1%b]>", b"MAIL FROM:<x@far.example> %b", b"MAIL FROM:<x@far.example> SIZE=1%b",
    b"MAIL FROM:<x@far.example> BODY=8BITMIME%b", b"MAIL FROM:<alice@example.test> ENVID=x%b",
    b"MAIL FROM:<alice@example.test> RET=FULL%b", b"MAIL FROM:<alice@example.test> AUTH=x%b",
    b"MAIL FROM:<x@far.example> SMTPUTF8=%b", b"MAIL FROM:<@a%b:x@far.example>", b"MAIL FROM:<x@far.example> XVERP=%b",
    b"MAIL FROM:<x%b@far.example> SMTPUTF8", b'MAIL FROM:<"x%b"@far.example> SMTPUTF8',
    b"MAIL FROM:<x@far.example> LIMITS=%b",
)  # fmt: skip
RECIPIENTS = (
    b"RCPT TO:<alice+x%b@example.test>", b'RCPT TO:<"alice+x%b"@example.test>', b"RCPT TO:<alice@example.test%b>",
    b"RCPT TO:<@a%b:alice@example.test>", b"RCPT TO:<alice@example.test> %b",
    b"RCPT TO:<alice@example.test> NOTIFY=SUCCESS%b",
    b"RCPT TO:<alice@example.test> NOTIFY=SUCCESS ORCPT=rfc822;x%b",
    b"RCPT TO:<alice@example.test> NOTIFY=SUCCESS ORCPT=utf-8;x%b",
    b"RCPT TO:<bob@fail.example> ORCPT=rfc822;x%b", b"RCPT TO:<bob@fail.example> ORCPT=utf-8;x%b",
    b"RCPT TO:<bob@fail.example> ORCPT=x%b;y", b"RCPT TO:<bob+x%b@fail.example>", b'RCPT TO:<"bob%b"@fail.example>',
    b"RCPT TO:<bob@x%b.fail.example>",
)  # fmt: skip
_REPLY = re.compile(rb"[2345][0-9]{2}[- ][^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class Client:
    def __init__(self, port: int, hello: bytes = b"EHLO c.example\r\n") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.lines = self.socket.makefile("rb")
        self.hello = hello
        self.reply()
        self.say(hello)

    def reply(self) -> bytes:
        """Its last line; nothing when the server has hung up. Each line must be one of a reply."""
        while line := self._line():
            assert _REPLY.fullmatch(line), f"not a reply: {line!r}"
            assert not line[4:].startswith(MARK), line
            if line[3:4] == b" ":
                return line
        return b""

    def _line(self) -> bytes:
        try:
            return self.lines.readline()
        except ConnectionError:
            return b""

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass  # the next reply tells

    def say(self, data: bytes) -> bytes:
        self.send(data)
        return self.reply()

    def settle(self, sent: bytes = b"") -> bytes:
        """The last of all replies: a command with a line end in it is several commands.

        Up to one that is told from them, which must not be that to what was ``sent``.
        """
        mark, answer = (b"NOOP\r\n", b"250 2.0.0 Ok\r\n")
        if sent.startswith(b"NOOP"):
            mark, answer = (b"RSET x\r\n", b"501 5.5.4 Syntax: RSET\r\n")
        self.send(mark)
        last = b""
        while (line := self.reply()) and line != answer:
            last = line
            if line.startswith(b"334"):
                self.send(b"*\r\n")
        return last if line else b""

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture(scope="module")
def lmtp() -> int:
    return free_port()


@pytest.fixture(scope="module")
def instance(lmtp: int) -> Iterator[Instance]:
    made = Instance(
        services=("imap", "pop3"),
        master=[f"127.0.0.1:{lmtp} inet n n n - - lmtpd"],
        main={
            "transport_maps": "inline:{ { fail.example = error:5.1.1 no such user } }",
            "relayhost": "error:5.1.1 no way there",
            "smtpd_error_sleep_time": "0",
            "smtpd_hard_error_limit": "100000",
            "smtpd_junk_command_limit": "100000",
            "smtpd_forbid_unauth_pipelining": "no",
            "smtpd_forbidden_commands": "",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_authenticated_header": "yes",
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_authorized_xforward_hosts": "127.0.0.1",
            "smtpd_authorized_verp_clients": "127.0.0.1",
            "disable_vrfy_command": "no",
            "auth_failure_delay": "0",
            # So that tokens are offered: they are asked about, and nobody answers.
            "oauth_introspection_url": "http://127.0.0.1:9/",
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
        },
    )
    with made:
        yield made


def finish(client: Client, sender: bytes = b"", recipient: bytes = b"") -> bool:
    """One message with what came before on this connection; whether it was taken."""
    client.say(b"RSET\r\n")
    client.send(sender or b"MAIL FROM:<x@far.example>\r\n")
    client.settle()
    client.send(recipient or b"RCPT TO:<alice@example.test>\r\n")
    client.settle()
    answer = client.say(b"DATA\r\n")
    if not answer.startswith(b"354"):
        return False
    return client.say(b"Subject: x\r\n\r\nBody\r\n.\r\n").startswith(b"250")


def fresh(client: Client, port: int) -> Client:
    """The connection, or another where the server has had enough of this one."""
    if client.say(b"NOOP\r\n").startswith(b"250"):
        return client
    client.close()
    return Client(port)


def messages(instance: Instance) -> set[Path]:
    return {path for user in ("alice", "bob") for path in instance.messages(user)}


def look_through(instance: Instance, start: int, before: set[Path]) -> None:
    """Mail that was delivered since, and the log."""
    for path in messages(instance) - before:
        no_line_of_theirs(path.read_bytes(), of=path)
    log_is_ours(instance.log.lines[start:])


def settled(instance: Instance, start: int, taken: int) -> None:
    """Everything that was taken has been dealt with, its reports too."""
    instance.log.wait(r"qmgr\[\d+\]: \S+: removed", count=taken, start=start, timeout=90)
    while any(instance.queued(queue) for queue in ("incoming", "active", "maildrop")):
        time.sleep(0.01)


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_smtp(instance: Instance, name: str) -> None:
    payload = PAYLOADS[name]
    start, before = len(instance.log.lines), messages(instance)
    password = instance.credentials["alice@example.test"].encode()
    taken = 0
    client = Client(instance.port)
    for form in COMMANDS:
        client = fresh(client, instance.port)
        client.send(fill(form, payload) + b"\r\n")
        client.settle(form)
        client = fresh(client, instance.port)
        # What a greeting, a login, XCLIENT or XFORWARD said goes into the header of the next message.
        if form[:1] in b"EHX":
            taken += finish(client)
            client.close()
            client = Client(instance.port)
    for form in LOGINS:
        client = fresh(client, instance.port)
        for line in fill(form.replace(b"PASSWORD", password), payload).split(b"\r\n"):
            answer = client.say(line + b"\r\n")
        if answer.startswith(b"334"):
            answer = client.say(b"*\r\n")
        assert answer[:1] in (b"2", b"4", b"5"), (form, answer)
        if answer.startswith(b"2"):
            taken += finish(client)
    client = fresh(client, instance.port)
    clean = fill(b"AUTH PLAIN {base64:\0alice@example.test\0%b}", password)
    assert client.say(clean + b"\r\n").startswith(b"235"), "the password is right, and would be heard"
    for form in SENDERS:
        client = fresh(client, instance.port)
        taken += finish(client, form % payload + b"\r\n", b"RCPT TO:<bob@fail.example>\r\n")
    for form in RECIPIENTS:
        client = fresh(client, instance.port)
        taken += finish(client, b"MAIL FROM:<alice@example.test>\r\n", form % payload + b"\r\n")
    client.say(b"QUIT\r\n")
    client.close()
    assert taken > 10
    settled(instance, start, taken)
    look_through(instance, start, before)


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_lmtp(instance: Instance, lmtp: int, name: str) -> None:
    """Each is followed by a message, to who was named in it and to bob."""
    payload = PAYLOADS[name]
    start, before = len(instance.log.lines), messages(instance)
    client = Client(lmtp, b"LHLO c.example\r\n")
    for form in (*LMTP_COMMANDS, *SENDERS, *RECIPIENTS):
        if not client.say(b"NOOP\r\n").startswith(b"250"):
            client.close()
            client = Client(lmtp, b"LHLO c.example\r\n")
        line = fill(form, payload) + b"\r\n"
        client.say(b"RSET\r\n")
        if not form.startswith((b"MAIL", b"RCPT")):
            client.send(line)
            client.settle(form)
        for command in (
            line if form.startswith(b"MAIL") else b"MAIL FROM:<x@far.example>\r\n",
            line if form.startswith(b"RCPT") else b"",
            b"RCPT TO:<bob@example.test>\r\n",
        ):
            if not command:
                continue
            client.send(command)
            client.settle()
        if client.say(b"DATA\r\n").startswith(b"354"):
            client.send(b"Subject: x\r\n\r\nBody\r\n.\r\n")
            client.settle()
    client.close()
    assert len(messages(instance) - before) > len(RECIPIENTS), "what was accepted was stored"
    look_through(instance, start, before)


def test_names_of_clients() -> None:
    """By a name server that says what it likes, in both directions: what is no host name is nobody's name.

    Asked as smtpd asks: a client on loopback is localhost, whatever a server says.
    """
    with DnsServer() as server:
        clients = {}
        for number, payload in enumerate((b"", *PAYLOADS.values()), 1):
            label = "".join(f"\\{octet:03d}" for octet in b"x" + payload[:60])
            clients[f"192.0.2.{number}"] = payload
            server.add(f"{number}.2.0.192.in-addr.arpa", "PTR", f"{label}.far.example.")
            server.add(
                dns.name.from_text(f"{label}.far.example").to_text(omit_final_dot=True), "A", f"192.0.2.{number}"
            )

        async def ask() -> dict[bytes, PeerName]:
            resolver = DnsResolver(Resolver([(server.host, server.port)]))
            return {payload: await resolver.peer_name(address) for address, payload in clients.items()}

        names = asyncio.run(ask())
    assert names.pop(b"") == ("x.far.example", "x.far.example", "ok", "ok", ""), "the name server is believed"
    for payload, name in names.items():
        assert name.name == "unknown" and re.fullmatch(r"unknown|[a-z0-9._-]+", name.reverse_name), (payload, name)
        assert re.fullmatch(r"[ -~]*", name.detail), (payload, name)
