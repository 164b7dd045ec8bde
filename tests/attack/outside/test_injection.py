"""Header injection: line ends and other control characters, plain and in every coding, in each argument of a command.

Wherever it goes on to - Received:, Return-Path:, reports, log lines, the queue file, replies - it begins no line there.
A line that an attacker made would begin with the marker; control characters have no place in a header at all.
"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance, free_port

MARK = b"Injected"
PAYLOADS = {
    "cr": b"\rInjected: yes",
    "nul": b"\0Injected: yes",
    "nul-crlf": b"\0\r\nInjected: yes",
    "lf": b"\nInjected: yes",
    "crlf": b"\r\nInjected: yes",
    "crlf-fold": b"\r\n Injected: yes",
    "crcrlf": b"\r\r\nInjected: yes",
    "vertical-tab": b"\x0bInjected: yes",
    "form-feed": b"\x0cInjected: yes",
    "escape": b"\x1b[2J\x1b[1;1HInjected: yes",
    "separators": b"\x1c\x1d\x1eInjected: yes",
    "delete": b"\x7f\x08\x08Injected: yes",
    "next-line": b"\x85Injected: yes",
    "next-line-utf8": "\u0085Injected: yes".encode(),
    "line-separator": "\u2028Injected: yes".encode(),
    "paragraph-separator": "\u2029Injected: yes".encode(),
    "right-to-left": "\u202eInjected: yes".encode(),
    "overlong-lf": b"\xc0\x8aInjected: yes",
    "overlong-crlf": b"\xc0\x8d\xc0\x8aInjected: yes",
    "overlong-3": b"\xe0\x80\x8aInjected: yes",
    "surrogate": b"\xed\xa0\x80Injected: yes",
    "beyond": b"\xf4\x90\x80\x80Injected: yes",
    "high-lf": b"\x8d\x8aInjected: yes",
    "no-utf8": b"\xff\xfeInjected: yes",
    "xtext-crlf": b"+0D+0AInjected:+20yes",
    "xtext-lf": b"+0AInjected:+20yes",
    "xtext-cr": b"+0DInjected:+20yes",
    "xtext-nul": b"+00Injected:+20yes",
    "xtext-next-line": b"+C2+85Injected:+20yes",
    "xtext-overlong": b"+C0+8AInjected:+20yes",
    "xtext-twice": b"+2B0AInjected",
    "embedded": b"\\x{0D}\\x{0A}Injected:\\x{20}yes",
    "embedded-next-line": b"\\x{85}Injected",
    "embedded-separator": b"\\x{2028}Injected",
    "percent": b"%0D%0AInjected:%20yes",
    "quoted-printable": b"=0D=0AInjected: yes",
    "encoded-word": b"=?utf-8?Q?=0D=0AInjected:_yes?=",
    "backslash-cr": b"\\\rInjected: yes",
    "backslash-nul": b"\\\0Injected: yes",
    "backslash-n": b"\\nInjected: yes",
    "comment": b"(\rInjected: yes)",
    "entity": b"&#13;&#10;Injected: yes",
}
COMMANDS = (
    b"EHLO x%b", b"HELO x%b", b"EHLO [192.0.2.1%b]", b"EHLO x.example %b", b"VRFY x%b", b"EXPN x%b", b"HELP x%b",
    b"NOOP x%b",
    b"ETRN x%b", b"ETRN @x%b", b"AUTH x%b", b"AUTH PLAIN x%b", b"AUTH LOGIN x%b", b"X%b", b"%b", b"STARTTLS x%b",
    b"RSET x%b",
    b"XCLIENT NAME=x%b", b"XCLIENT HELO=x%b", b"XCLIENT LOGIN=x%b", b"XCLIENT REVERSE_NAME=x%b",
    b"XCLIENT ADDR=192.0.2.1%b",
    b"XCLIENT PROTO=ESMTP%b", b"XCLIENT PORT=1%b", b"XFORWARD NAME=x%b", b"XFORWARD HELO=x%b", b"XFORWARD IDENT=x%b",
    b"XFORWARD PROTO=x%b", b"XFORWARD ADDR=192.0.2.1%b",
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

    def settle(self) -> bytes:
        """All replies up to one that is told from them: a command with a line end in it is several commands."""
        self.send(b"NOOP\r\n")
        last = b""
        # Nothing else of ours is answered so.
        while (line := self.reply()) and line != b"250 2.0.0 Ok\r\n":
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


def messages(instance: Instance) -> list[Path]:
    return [path for user in ("alice", "bob") for path in instance.messages(user)]


def look_through(instance: Instance, start: int) -> None:
    """Mail that was delivered, and the log."""
    for path in messages(instance):
        data = path.read_bytes()
        head = data.partition(b"\n\n")[0]
        for line in re.split(rb"\r|\n|\x0b|\x0c|\x85|\xc2\x85|\xe2\x80\xa8|\xe2\x80\xa9", data):
            # In the report's copy of the headers it would stand there as well.
            assert not line.lstrip(b" \t").startswith(MARK), (path, data)
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", head), (path, head)
    for text in instance.log.lines[start:]:
        assert re.match(r"\w{3} [ \d]\d [\d:.]+ \S+ postfix/\S+\[\d+\]: ", text), text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]", text), text


def settled(instance: Instance, start: int, taken: int) -> None:
    """Everything that was taken has been dealt with, its reports too."""
    instance.log.wait(r"qmgr\[\d+\]: \S+: removed", count=taken, start=start, timeout=90)
    while any(instance.queued(queue) for queue in ("incoming", "active", "maildrop")):
        time.sleep(0.01)


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_smtp(instance: Instance, name: str) -> None:
    payload = PAYLOADS[name]
    start = len(instance.log.lines)
    taken = 0
    client = Client(instance.port)
    for form in COMMANDS:
        client = fresh(client, instance.port)
        client.send(form % payload + b"\r\n")
        client.settle()
        client = fresh(client, instance.port)
        # What a greeting, XCLIENT or XFORWARD said goes into the header of the next message.
        if form[:1] in b"EHX":
            taken += finish(client)
            client.close()
            client = Client(instance.port)
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
    look_through(instance, start)


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_lmtp(instance: Instance, lmtp: int, name: str) -> None:
    payload = PAYLOADS[name]
    start = len(instance.log.lines)
    client = Client(lmtp, b"LHLO c.example\r\n")
    for form in (b"LHLO x%b", b"VRFY x%b", b"X%b", *SENDERS, *RECIPIENTS):
        if not client.say(b"NOOP\r\n").startswith(b"250"):
            client.close()
            client = Client(lmtp, b"LHLO c.example\r\n")
        client.say(b"RSET\r\n")
        if form.startswith(b"RCPT"):
            client.say(b"MAIL FROM:<x@far.example>\r\n")
        client.send(form % payload + b"\r\n")
        client.settle()
        if form.startswith((b"MAIL", b"LHLO")):
            finish(client, form % payload + b"\r\n" if form.startswith(b"MAIL") else b"")
    client.close()
    look_through(instance, start)
