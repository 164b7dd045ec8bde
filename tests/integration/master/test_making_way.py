"""When all slots are taken: silent clients make way, before TLS and during its handshake too, or who came is told."""

import re
import select
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.fakes.instance import PATIENCE, Instance

SERVICES = ("submission", "submissions", "imap", "imaps", "pop3", "pop3s")
GREETINGS = {"smtp": b"220 ", "imap": b"* OK ", "pop3": b"+OK "}
FAREWELLS = {"smtp": b"421 4.3.2 ", "imap": b"* BYE [UNAVAILABLE] ", "pop3": b"-ERR [SYS/TEMP] "}


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def secured(client: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(client)


def last_words(client: socket.socket) -> bytes:
    """All until the end."""
    said = b""
    try:
        while data := client.recv(4096):
            said += data
    except ConnectionResetError:
        pass
    return said


def who_made_way(*clients: socket.socket) -> bytes:
    """The last words to one of them. Which one it is is chance where they came in the same millisecond."""
    readable, _, _ = select.select(clients, [], [], PATIENCE)
    assert len(readable) == 1
    return last_words(readable[0])


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        main={"client_limit": "2", "overload_grace_time": "1s", "overload_wait_time": "3s"}, services=SERVICES
    )
    path = made.conf / "master.cf"
    path.write_text(re.sub(r"(?m)^(127\.0\.0\.1:\d+\s+inet(?:\s+\S+){4}\s+)\S+", r"\g<1>1", path.read_text()))
    with made:
        yield made


@pytest.mark.parametrize("kind", ["smtp", "imap", "pop3"])
def test_the_silent_one_hears_why_and_the_new_one_is_served(instance: Instance, kind: str) -> None:
    port = instance.port if kind == "smtp" else instance.ports[kind]
    with connect(port) as first, connect(port) as second:
        for client in (first, second):
            assert client.recv(1000).startswith(GREETINGS[kind])
        # An octet now and then is no command.
        first.sendall(b"N")
        with connect(port) as third:
            assert third.recv(1000).startswith(GREETINGS[kind])
            assert FAREWELLS[kind] in who_made_way(first, second)


@pytest.mark.parametrize(("service", "kind"), [("submissions", "smtp"), ("imaps", "imap"), ("pop3s", "pop3")])
def test_who_does_not_begin_tls_makes_way(instance: Instance, service: str, kind: str) -> None:
    port = instance.ports[service]
    with connect(port) as first, connect(port) as second, secured(connect(port)) as third:
        assert third.recv(1000).startswith(GREETINGS[kind])
        assert who_made_way(first, second) == b""


@pytest.mark.parametrize(
    ("service", "words", "kind"),
    [
        ("submission", (b"EHLO x.example.org\r\n", b"STARTTLS\r\n"), "smtp"),
        ("imap", (b"a STARTTLS\r\n",), "imap"),
        ("pop3", (b"STLS\r\n",), "pop3"),
    ],
)
def test_who_stops_in_the_middle_of_starttls_makes_way(
    instance: Instance, service: str, words: tuple[bytes, ...], kind: str
) -> None:
    port = instance.ports[service]
    with connect(port) as first, connect(port) as second:
        for client in (first, second):
            client.recv(1000)
            for word in words:
                client.sendall(word)
                assert client.recv(4000)
        with connect(port) as third:
            assert third.recv(1000).startswith(GREETINGS[kind])
            assert who_made_way(first, second) == b"", "there is no way to say it between clear and TLS"


def test_who_works_stays_and_who_came_is_told(instance: Instance) -> None:
    with connect(instance.port) as first, connect(instance.port) as second:
        for client in (first, second):
            client.recv(1000)
            for word in (b"EHLO x.example.org\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<alice@example.test>\r\n"):
                client.sendall(word)
                assert client.recv(4000).startswith(b"250")
        with connect(instance.port) as third:
            assert last_words(third).startswith(FAREWELLS["smtp"])
        for client in (first, second):
            client.sendall(b"QUIT\r\n")
            assert client.recv(1000).startswith(b"221")
    bad = [line for line in instance.log.lines if re.search(r"panic|fatal|Traceback|was killed|not answer", line)]
    assert not bad, "\n".join(instance.log.lines)


def test_a_logged_in_client_stays(instance: Instance) -> None:
    name, password = next(iter(instance.credentials.items()))
    with connect(instance.ports["imap"]) as first, connect(instance.ports["imap"]) as second:
        for client in (first, second):
            client.recv(1000)
            client.sendall(f"a LOGIN {name} {password}\r\n".encode())
            assert b"a OK" in client.recv(4000)
        with connect(instance.ports["imap"]) as third:
            assert last_words(third).startswith(FAREWELLS["imap"])
        first.sendall(b"b NOOP\r\n")
        assert b"b OK" in first.recv(1000)
