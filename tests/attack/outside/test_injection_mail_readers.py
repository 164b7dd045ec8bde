"""The same by sendmail's command line, and in the arguments of IMAP and POP3: no line of a header, an answer or the log
begins with what somebody else made up.
"""

import re
import socket
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance

ALICE = "alice@example.test"
PAYLOADS = {
    "lf": "\nInjected: yes",
    "crlf": "\r\nInjected: yes",
    "fold": "\r\n Injected: yes",
    "blank line": "\n\nInjected: yes",
    "cr": "\rInjected: yes",
    "nul": "\0Injected: yes",
    "vertical-tab": "\vInjected: yes",
    "next-line": "\u0085Injected: yes",
    "line-separator": "\u2028Injected: yes",
    "recipient": "\nBcc: bob@example.test\nInjected: yes",
    "encoded": "=0AInjected: yes",
}


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        services=("imap", "pop3"),
        main={
            "auth_failure_delay": "0",
            "transport_maps": "inline:{ { fail.example = error:5.1.1 no such user } }",
            "smtpd_hard_error_limit": "1000",
        },
    )
    with made:
        yield made


def no_line_of_theirs(instance: Instance, start: int) -> None:
    for text in instance.log.lines[start:]:
        assert re.match(r"\w{3} [ \d]\d [\d:.]+ \S+ postfix/\S+\[\d+\]: ", text), text
    for path in [*instance.messages("alice"), *instance.messages("bob")]:
        data = path.read_bytes()
        for line in re.split(rb"\r|\n|\x0b|\xc2\x85|\xe2\x80\xa8", data):
            assert not line.startswith((b"Injected", b"Bcc: bob")), (path, data)


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name != "nul"])
@pytest.mark.parametrize(
    "form",
    [("-F", "Somebody{}", "-f", ALICE), ("-f", "x{}@example.test"), ("-f", ALICE, "-V", "x{}"),
     ("-f", "{}", "-F", "x{}")],
    ids=["full name", "sender", "envelope id", "both"],
)  # fmt: skip
def test_options_of_sendmail(instance: Instance, form: tuple[str, ...], name: str) -> None:
    start = len(instance.log.lines)
    words = [word.format(PAYLOADS[name]) for word in form]
    done = instance.command("sendmail", "-i", *words, ALICE, input="Subject: x\n\nBody\n")
    if done.returncode == 0:
        instance.log.wait(r"qmgr\[\d+\]: \S+: removed", start=start)
    else:
        assert done.stderr, "refused without a word"
    no_line_of_theirs(instance, start)
    assert not instance.messages("bob"), "a recipient was brought in"


class Mailbox:
    """A line protocol, its answers kept."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()

    def ask(self, data: bytes, end: bytes) -> list[bytes]:
        """Lines up to the one that begins with ``end``; fewer when the server hangs up."""
        found = []
        try:
            self.socket.sendall(data)
            while line := self.lines.readline():
                # What stands in a literal is data, whatever it looks like (RFC 9051 4.3).
                while literal := re.search(rb"\{([0-9]+)\}\r\n\Z", line):
                    self.lines.read(int(literal[1]))
                    line += self.lines.readline()
                found.append(line)
                if line.startswith(end):
                    break
        except ConnectionError:
            pass
        return found

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


IMAP = (
    "CREATE {}", "SELECT {}", "STATUS {} (MESSAGES)", "LIST {} *", 'LIST "" {}', "SUBSCRIBE {}", "DELETE {}",
    "RENAME {} x",
    "RENAME x {}", "APPEND {} {{1+}}\r\nx", "GETQUOTAROOT {}", "MYRIGHTS {}", "SETACL {} bob lr", "SETACL INBOX {} lr",
    "GETMETADATA {} /private/comment", "SETMETADATA INBOX (/private/comment {})", "GETMETADATA INBOX /private/comment",
    'ID ("name" {})', "SEARCH SUBJECT {}", "SEARCH CHARSET {} ALL", "LOGIN {} {}", "AUTHENTICATE {}", "ENABLE {}", "{}",
    "FETCH 1 BODY[HEADER.FIELDS ({})]", "STORE 1 +FLAGS ({})", "COPY 1 {}", "MOVE 1 {}", "LIST (SUBSCRIBED) {} *",
)  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_imap(instance: Instance, name: str) -> None:
    """As literals, where any octet may stand, and as they are; answers are to our commands and to nothing else."""
    start = len(instance.log.lines)
    raw = ("x" + PAYLOADS[name].replace("Injected", "* BYE Injected")).encode()
    client = Mailbox(instance.ports["imap"])
    for attempt in (False, True):
        for form in IMAP:
            if not attempt and not form.startswith(("LOGIN", "AUTHENTICATE", "ID", "{")):
                continue
            if attempt and client.ask(b"z NOOP\r\n", b"z ")[-1:] != [b"z OK NOOP completed\r\n"]:
                client.close()
                client = Mailbox(instance.ports["imap"])
            if attempt:
                client.ask(f"l LOGIN {ALICE} {instance.credentials[ALICE]}\r\n".encode(), b"l ")
                client.ask(b"s SELECT INBOX\r\n", b"s ")
            for value in (b"{%d+}\r\n%b" % (len(raw), raw), b'"' + raw + b'"', raw):
                command = b"t " + value.join(form.replace("{{", "{").replace("}}", "}").encode().split(b"{}")) + b"\r\n"
                answers = client.ask(command + b"u NOOP\r\n", b"u ")
                for line in answers:
                    assert not line.startswith(b"* BYE Injected"), (form, answers)
                    assert b"\0" not in line, (form, answers)
                if not answers or not answers[-1].startswith(b"u "):
                    client.close()
                    client = Mailbox(instance.ports["imap"])
    client.close()
    no_line_of_theirs(instance, start)


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_pop3(instance: Instance, name: str) -> None:
    start = len(instance.log.lines)
    raw = ("x" + PAYLOADS[name].replace("Injected", "-ERR Injected")).encode()
    for form in ("USER %b", "USER x\r\nPASS %b", "APOP %b 0123456789abcdef0123456789abcdef", "AUTH %b", "AUTH PLAIN %b",
                 "%b",
                 "CAPA %b", "STLS %b", "LANG %b", "UIDL %b", "TOP 1 %b", "RETR %b", "NOOP %b"):  # fmt: skip
        client = Mailbox(instance.ports["pop3"])
        answers = client.ask(form.encode() % raw + b"\r\n*\r\nQUIT\r\n", b"+OK Bye")
        for line in answers:
            assert re.fullmatch(rb"[^\r\n\0\x0b]*\r\n", line), (form, answers)
            assert not line.startswith(b"-ERR Injected"), (form, answers)
        client.close()
    no_line_of_theirs(instance, start)
