"""SMTP smuggling through the running system, in both directions.

Receiving: each variant of an end of data, to a server of each policy. Relaying: whatever was let in goes to a server of
the RFC's letter, and what it was sent is searched for all that a lax one would take for an end: no second message may
appear in any of them, whoever sent the first, by DATA, BDAT or sendmail.
"""

import re
import socket
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance, free_port
from tests.fakes.sink import Sink
from tests.fakes.smuggling import BARE, LAX_ENDS, VARIANTS

POLICIES = ("normalize", "yes", "note", "reject", "no")
# Each starts a program, so these must do.
POSTED = ("lf-dot-crlf", "cr-dot-cr", "crlf-dot-cr", "lfcr-dot-crlf")
SECOND = b"MAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nSubject: s\r\n\r\nx"


class System:
    def __init__(self, instance: Instance, ports: dict[str, int], sink: Sink, binary: Sink) -> None:
        self.instance = instance
        self.ports = ports
        self.sink = sink
        self.binary = binary


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    ports = {policy: free_port() for policy in POLICIES}
    lines = [
        f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_forbid_bare_newline={policy}"
        " -o smtpd_forbid_bare_newline_exclusions="
        for policy, port in ports.items()
    ]
    with Sink() as sink, Sink(("CHUNKING", "BINARYMIME", "8BITMIME")) as binary:
        instance = Instance(
            master=lines,
            main={
                "transport_maps": "texthash:$config_directory/transport",
                "relayhost": f"[127.0.0.1]:{sink.port}",
                "smtp_tls_security_level": "none",
                # Against receivers that drop NULs before they look for the end.
                "message_strip_characters": "\\0",
                "smtpd_forbid_unauth_pipelining": "no",
                "smtpd_error_sleep_time": "0",
                "bounce_notice_recipient": "alice@example.test",
            },
        )
        instance.write_table("transport", f"chunked.example smtp:[127.0.0.1]:{binary.port}\n")
        with instance:
            yield System(instance, ports, sink, binary)


class Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.lines = self.socket.makefile("rb")
        self.reply()
        self.say(b"EHLO client.example\r\n")

    def reply(self) -> bytes:
        """The last line of a reply; nothing when the server has hung up."""
        while (line := self.lines.readline())[3:4] == b"-":
            pass
        return line

    def say(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.reply()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def envelope(client: Client, recipient: str, parameters: str = "") -> None:
    assert client.say(f"MAIL FROM:<honest@a.example>{parameters}\r\n".encode()).startswith(b"250")
    assert client.say(f"RCPT TO:<{recipient}>\r\n".encode()).startswith(b"250")


def accepted_replies(client: Client) -> list[bytes]:
    """All replies that come until the server has said goodbye."""
    found = []
    while line := client.reply():
        found.append(line)
    return found


def attack(port: int, recipient: str, variant: bytes, pieces: int) -> list[bytes]:
    """One message with another behind a variant of its end; what the server said from there on."""
    client = Client(port)
    envelope(client, recipient)
    assert client.say(b"DATA\r\n").startswith(b"354")
    data = b"Subject: x\r\n\r\nfirst" + variant + SECOND + b"\r\n.\r\nQUIT\r\n"
    cut = len(data) if pieces == 1 else data.index(b"first") + 5 + len(variant) // 2
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.socket.sendall(data[:cut])
    if data[cut:]:
        client.socket.sendall(data[cut:])
    replies = accepted_replies(client)
    client.close()
    return replies


def search(data: bytes) -> None:
    """Nothing that anybody takes for an end is in what we sent, and no half of a line end."""
    assert BARE.search(data) is None, data
    for end in LAX_ENDS:
        found = [match for match in end.finditer(data) if match[0] != b"\r\n..\r\n"]
        assert not found, (end.pattern, data)


@pytest.mark.parametrize("policy", POLICIES)
def test_receiving_and_relaying(system: System, policy: str) -> None:
    before = len(system.sink.messages)
    taken = 0
    for number, (name, variant) in enumerate(VARIANTS.items()):
        replies = attack(system.ports[policy], "victim@far.example", variant, 1 + number % 2)
        queued = [line for line in replies if b"queued as" in line]
        if policy == "no":
            assert 1 <= len(queued) <= 2, (name, replies)
        elif policy == "reject":
            assert len(queued) <= 1, (name, replies)
            if re.search(rb"(?<!\r)\n", variant):
                assert not queued and replies[0].startswith(b"550 5.5.2"), (name, replies)
        else:
            assert len(queued) == 1, (name, replies)
        taken += len(queued)
    messages = system.sink.wait(before + taken)[before:]
    assert len(messages) == taken
    for sender, _, data in messages:
        search(data)
        assert policy == "no" or sender == "honest@a.example"


@pytest.mark.parametrize("way", ["plain", "binary", "chunks of one octet"])
@pytest.mark.parametrize("domain", ["far.example", "chunked.example"])
def test_chunks_in(system: System, way: str, domain: str) -> None:
    sink = system.binary if domain.startswith("chunked") else system.sink
    before = len(sink.messages)
    for variant in VARIANTS.values():
        client = Client(system.ports["normalize"])
        envelope(client, f"victim@{domain}", " BODY=BINARYMIME" if way == "binary" else "")
        content = b"Subject: x\r\n\r\nfirst" + variant + SECOND + b"\r\n"
        step = 1 if way == "chunks of one octet" else len(content)
        sent = b"".join(
            b"BDAT %d\r\n%b" % (len(content[place : place + step]), content[place : place + step])
            for place in range(0, len(content), step)
        )
        client.socket.sendall(sent + b"BDAT 0 LAST\r\nQUIT\r\n")
        replies = accepted_replies(client)
        assert sum(b"queued as" in line for line in replies) == 1, replies
        client.close()
    messages = sink.wait(before + len(VARIANTS))[before:]
    assert len(messages) == len(VARIANTS)
    for sender, _, data in messages:
        assert sender == "honest@a.example"
        # A server that was told the size of what comes looks for no end in it: binary content goes as it is.
        if way != "binary" or sink is system.sink:
            search(data)


def test_posted_with_sendmail(system: System) -> None:
    before = len(system.sink.messages)
    for number, name in enumerate(POSTED):
        variant = VARIANTS[name]
        content = b"Subject: x\n\nfirst" + variant + SECOND.replace(b"\r\n", b"\n" if number % 2 else b"\r\n") + b"\n"
        done = system.instance.command(
            "sendmail", "-i", "-f", "honest@a.example", "victim@far.example", input=content.decode("latin-1")
        )
        assert done.returncode == 0, done.stderr
    messages = system.sink.wait(before + len(POSTED))[before:]
    assert len(messages) == len(POSTED)
    for sender, _, data in messages:
        assert sender == "honest@a.example"
        search(data)


def test_nothing_smuggled_reached_anybody(system: System) -> None:
    """Behind all that came before: only the policy "no" has let a second message in, by its own port."""
    smuggled = [sender for sender, _, _ in system.sink.messages + system.binary.messages if "smuggled" in sender]
    assert all(sender == "smuggled@evil.example" for sender in smuggled)
    assert len(smuggled) == system.instance.log.count(r"qmgr\[\d+\]: .*from=<smuggled@evil\.example>")
