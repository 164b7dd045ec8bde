"""The same by sendmail's command line, and in the arguments of IMAP and POP3: no line of a header, an answer or the log
begins with what somebody else made up.
"""

import re
import socket
from collections.abc import Iterator, Sequence

import pytest

from tests.fakes.injection import MARK, PAYLOADS, fill, log_is_ours, no_line_of_theirs
from tests.fakes.instance import Instance
from tests.fakes.posting import post

ALICE, BOB = "alice@example.test", "bob@example.test"
LINE_OF_THEIRS = re.compile(r"^[ \t]*Injected", re.MULTILINE)


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        services=("imap", "pop3"),
        main={
            "auth_failure_delay": "0",
            # So that tokens are offered: they are asked about, and nobody answers.
            "oauth_introspection_url": "http://127.0.0.1:9/",
            "transport_maps": "inline:{ { fail.example = error:5.1.1 no such user } }",
            "smtpd_hard_error_limit": "1000",
        },
    )
    with made:
        yield made


def test_options_of_sendmail(instance: Instance) -> None:
    """Each payload in each: taken and harmless, or refused with a word."""
    forms: dict[str, tuple[bytes, ...]] = {
        "full name": (b"-F", b"Somebody%b", b"-f", ALICE.encode()),
        "sender": (b"-f", b"x%b@example.test"),
        "quoted sender": (b"-f", b'"x%b"@example.test'),
        "envelope id": (b"-f", ALICE.encode(), b"-V", b"x%b"),
        "both": (b"-f", b"%b", b"-F", b"x%b"),
        "recipient": (b"-f", ALICE.encode(), b"alice+x%b@example.test"),
        "report": (b"-f", ALICE.encode(), b"-N", b"never", b"-R", b"hdrs%b"),
    }
    postings: dict[tuple[str, str], tuple[Sequence[bytes | str], bytes]] = {
        (name, form): ([b"-i", *(fill(word, payload) for word in words), ALICE], b"Subject: x\n\nBody\n")
        for name, payload in PAYLOADS.items()
        for form, words in forms.items()
        # Nobody can write it in an argument.
        if b"\0" not in payload
    }
    start, before, bobs = len(instance.log.lines), set(instance.messages("alice")), instance.messages("bob")
    done = dict(zip(postings, post(instance, list(postings.values())), strict=True))
    for key, (status, errors) in done.items():
        assert status in (0, 64, 65), (key, status, errors)
        assert status == 0 or errors, (key, "refused without a word")
        assert not LINE_OF_THEIRS.search(errors), (key, errors)
    accepted = sum(status == 0 for status, _ in done.values())
    assert accepted > len(PAYLOADS), "most is harmless, and some of it is said in every option"
    instance.log.wait(r"qmgr\[\d+\]: \S+: removed", start=start, count=accepted, timeout=60)
    for path in set(instance.messages("alice")) - before:
        no_line_of_theirs(path.read_bytes(), of=path)
    log_is_ours(instance.log.lines[start:])
    assert instance.messages("bob") == bobs, "a recipient was brought in"


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


BEFORE_LOGIN = (
    "LOGIN {} {}", "AUTHENTICATE {}", "AUTHENTICATE PLAIN {}", 'ID ("name" {})', "ENABLE {}", "{}", "CAPABILITY {}",
)  # fmt: skip
IMAP = (
    *BEFORE_LOGIN, "CREATE {}", "SELECT {}", "EXAMINE {}", "STATUS {} (MESSAGES)", "LIST {} *", 'LIST "" {}',
    "LIST (SUBSCRIBED) {} *", "LSUB {} *", 'LSUB "" {}', "SUBSCRIBE {}", "UNSUBSCRIBE {}", "DELETE {}", "RENAME {} x",
    "RENAME x {}", "APPEND {} {{1+}}\r\nx", "APPEND INBOX ({}) {{1+}}\r\nx", "REPLACE 1 {} {{1+}}\r\nx",
    "MYRIGHTS {}", "GETACL {}", "SETACL {} bob lr", "SETACL INBOX {} lr", "SETACL INBOX bob {}", "DELETEACL {} bob",
    "DELETEACL INBOX {}", "LISTRIGHTS {} bob", "LISTRIGHTS INBOX {}", "GETQUOTAROOT {}", "GETQUOTA {}",
    "SETQUOTA {} (STORAGE 1)", "GETMETADATA {} /private/comment", "GETMETADATA INBOX {}",
    "SETMETADATA INBOX (/private/comment {})", "GETMETADATA INBOX /private/comment", "SETMETADATA INBOX ({} NIL)",
    "SEARCH SUBJECT {}", "SEARCH CHARSET {} ALL", "SEARCH HEADER {} x", "SORT ({}) UTF-8 ALL", "SORT (DATE) {} ALL",
    "SORT (DATE) UTF-8 SUBJECT {}", "THREAD {} UTF-8 ALL", "THREAD REFERENCES {} ALL",
    "THREAD REFERENCES UTF-8 TEXT {}", "ESEARCH IN (mailboxes {}) ALL", "ESEARCH IN (personal) SUBJECT {}",
    "NOTIFY SET (mailboxes {} (MessageNew MessageExpunge))", "NOTIFY {}", "GENURLAUTH {} INTERNAL",
    'GENURLAUTH "imap://alice@example.test/INBOX/;uid=1;urlauth=anonymous" {}', "URLFETCH {}", "RESETKEY {}",
    "RESETKEY INBOX {}", "COMPRESS {}", "FETCH 1 BODY[HEADER.FIELDS ({})]", "FETCH {} FLAGS", "STORE 1 +FLAGS ({})",
    "COPY 1 {}", "MOVE 1 {}",
)  # fmt: skip
# What an exchange is answered with, within the coding and beside it.
CONTINUATIONS = (
    b"PLAIN\r\n%b", b"PLAIN\r\n{base64:\0x%b\0pw}", b"PLAIN {base64:\0x%b\0pw}", b"PLAIN {base64:x%b\0alice\0pw}",
    b"LOGIN\r\n{base64:x%b}\r\n{base64:pw}", b"LOGIN\r\n{base64:alice}\r\n{base64:%b}",
    b"SCRAM-SHA-256\r\n{base64:n,,n=x%b,r=abcdefgh}\r\n{base64:c=biws,r=%b}",
    b"XOAUTH2 {base64:user=x%b\x01auth=Bearer y\x01\x01}\r\n%b",
    b"OAUTHBEARER {base64:n,a=x%b,\x01auth=Bearer y\x01\x01}\r\n%b",
)  # fmt: skip
_IMAP_LINE = re.compile(rb"(?:\{[0-9]+\}\r\n|[^\r\n\0])*\r\n")


def imap_answers(client: Mailbox, commands: bytes, said: object) -> bool:
    """Whether the server goes on. Nothing that it says begins with what was made up, nor has half of a line end."""
    answers = client.ask(commands + b"\r\nu NOOP\r\n", b"u ")
    for line in answers:
        assert not line.startswith(b"* BYE Injected"), (said, answers)
        assert _IMAP_LINE.fullmatch(line), (said, answers)
    return bool(answers) and answers[-1].startswith(b"u OK")


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_imap(instance: Instance, name: str) -> None:
    """As literals, where any octet may stand, and as they are; answers are to our commands and to nothing else."""
    start = len(instance.log.lines)
    raw = b"x" + PAYLOADS[name].replace(MARK, b"* BYE Injected")
    port, login = instance.ports["imap"], f"l LOGIN {BOB} {instance.credentials[BOB]}\r\n".encode()
    values = (b"{%d+}\r\n%b" % (len(raw), raw), b'"' + raw + b'"', raw)
    known = [(form, value) for form in IMAP for value in values]
    unknown = [(form, value) for form in BEFORE_LOGIN for value in values]
    client = Mailbox(port)
    for exchange in CONTINUATIONS:
        if not imap_answers(client, b"t AUTHENTICATE " + fill(exchange, raw) + b"\r\n*", exchange):
            client.close()
            client = Mailbox(port)
    for cases, greeting, before in (
        (unknown, b"g NOOP\r\n", b""),
        # A message to speak of; and what came before may have left the mailbox.
        (known, login + b"g APPEND INBOX {1+}\r\nx\r\n", b"s SELECT INBOX\r\n"),
    ):
        goes_on = False
        for form, value in cases:
            if not goes_on:
                client.close()
                client = Mailbox(port)
                assert client.ask(greeting, b"g ")[-1].startswith(b"g OK")
            goes_on = imap_answers(
                client,
                before + b"t " + value.join(form.replace("{{", "{").replace("}}", "}").encode().split(b"{}")),
                form,
            )
    client.close()
    log_is_ours(instance.log.lines[start:])


@pytest.mark.parametrize("name", PAYLOADS)
def test_arguments_of_pop3(instance: Instance, name: str) -> None:
    start = len(instance.log.lines)
    raw = b"x" + PAYLOADS[name].replace(MARK, b"-ERR Injected")
    forms = [
        b"USER %b", b"USER x\r\nPASS %b", b"USER x%b\r\nPASS y",
        b"APOP %b 0123456789abcdef0123456789abcdef", b"AUTH %b",
        *(b"AUTH " + form for form in CONTINUATIONS), b"%b", b"CAPA %b", b"STLS %b", b"LANG %b", b"UTF8 %b",
    ]  # fmt: skip
    within = [b"UIDL %b", b"TOP 1 %b", b"TOP %b 1", b"RETR %b", b"LIST %b", b"DELE %b", b"NOOP %b", b"LANG %b", b"%b"]
    login = f"USER {ALICE}\r\nPASS {instance.credentials[ALICE]}\r\n".encode()
    for prologue, form in [*((b"", form) for form in forms), *((login, form) for form in within)]:
        client = Mailbox(instance.ports["pop3"])
        answers = client.ask(prologue + fill(form, raw) + b"\r\n*\r\nQUIT\r\n", b"+OK Bye")
        assert answers and (not prologue or answers[1].startswith(b"+OK")), (form, answers)
        for line in answers:
            assert re.fullmatch(rb"[^\r\n\0\x0b]*\r\n", line), (form, answers)
            assert not line.startswith(b"-ERR Injected"), (form, answers)
        client.close()
    log_is_ours(instance.log.lines[start:])
