"""IDLE: a client hears of what others do, in the same process, in another one, and by another program at the files."""

import os
import smtplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

USER = "alice@example.test"


class Client:
    """Bare: lines in, lines out."""

    def __init__(self, instance: Instance) -> None:
        self.socket = socket.create_connection(("127.0.0.1", instance.ports["imap"]), 20)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.run(f"LOGIN {USER} {instance.credentials[USER]}".encode())
        self.run(b"SELECT INBOX")

    def run(self, command: bytes) -> list[bytes]:
        self.socket.sendall(b"a " + command + b"\r\n")
        lines = []
        while not (line := self.file.readline()).startswith(b"a "):
            assert line, "hung up"
            lines.append(line)
        assert line.startswith(b"a OK"), line
        return lines

    def idle(self) -> None:
        self.socket.sendall(b"i IDLE\r\n")
        assert self.file.readline().startswith(b"+ ")

    def hear(self, what: bytes) -> float:
        """Seconds until a line with this came."""
        begun = time.monotonic()
        while what not in (line := self.file.readline()):
            assert line, "hung up"
        return time.monotonic() - begun

    def done(self) -> None:
        self.socket.sendall(b"DONE\r\n")
        while not (line := self.file.readline()).startswith(b"i OK"):
            assert line, "hung up"

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module", params=["one process", "two processes"])
def instance(request: pytest.FixtureRequest) -> Iterator[Instance]:
    made = Instance(services=("imap",))
    if request.param == "two processes":
        # One session a process.
        path = made.conf / "master.cf"
        lines = path.read_text().splitlines(keepends=True)
        place = next(n for n, line in enumerate(lines) if line.split()[-1:] == ["imapd"] and not line.startswith("#"))
        lines.insert(place + 1, "    -o client_limit=1\n")
        path.write_text("".join(lines))
    with made:
        yield made


@pytest.fixture
def pair(instance: Instance) -> Iterator[tuple[Client, Client]]:
    first, second = Client(instance), Client(instance)
    yield first, second
    first.close()
    second.close()


def count(client: Client) -> int:
    (line,) = client.run(b"STATUS INBOX (MESSAGES)")
    return int(line.split(b"MESSAGES ")[1].rstrip(b")\r\n"))


def test_a_delivery_wakes(instance: Instance, pair: tuple[Client, Client]) -> None:
    client, _ = pair
    before = count(client)
    client.idle()
    with smtplib.SMTP("127.0.0.1", instance.port) as smtp:
        smtp.sendmail("a@b.example", [USER], "Subject: x\r\n\r\nx\r\n")
    client.hear(b"* %d EXISTS" % (before + 1))
    client.done()


def test_another_client_wakes(pair: tuple[Client, Client]) -> None:
    client, other = pair
    before = count(client)
    client.idle()
    other.run(b"APPEND INBOX {12+}\r\nSubject: x\r\n")
    assert client.hear(b"* %d EXISTS" % (before + 1)) < 2
    other.run(b"STORE %d +FLAGS (\\Flagged)" % (before + 1))
    assert client.hear(b"FLAGS (\\Flagged") < 2
    other.run(b"STORE %d +FLAGS.SILENT (\\Deleted)" % (before + 1))
    other.run(b"EXPUNGE")
    assert client.hear(b"* %d EXPUNGE" % (before + 1)) < 2
    client.done()
    assert count(client) == before


def test_a_file_of_another_program_wakes(instance: Instance, pair: tuple[Client, Client]) -> None:
    client, _ = pair
    before = count(client)
    client.idle()
    home = Path(instance.mail) / "example.test" / "alice"
    path = home / "tmp" / f"{int(time.time())}.stranger{before}.host"
    path.write_text("Subject: from elsewhere\n\nx\n")
    owner = home.stat()
    os.chown(path, owner.st_uid, owner.st_gid)
    os.rename(path, home / "new" / path.name)
    assert client.hear(b"* %d EXISTS" % (before + 1)) < 5
    client.done()


def test_an_idle_client_that_says_something_else_is_told_so(pair: tuple[Client, Client]) -> None:
    client, _ = pair
    client.idle()
    client.socket.sendall(b"b NOOP\r\n")
    while not (line := client.file.readline()).startswith((b"i ", b"b ")):
        assert line
    assert b" BAD " in line
    client.run(b"NOOP")
