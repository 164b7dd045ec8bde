"""A message of 100 MiB goes in and comes out, and the server never holds it; a client that never reads costs little."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

USER = "alice@example.test"
_SIZE = 100 * 1024 * 1024
_LINE = b"0123456789" * 7 + b"abcdefgh\r\n"
_HEAD = b"Subject: large\r\nContent-Type: text/plain\r\n\r\n"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap",), main={"imapd_append_limit": "0"}) as made:
        yield made


def connect(instance: Instance) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", instance.ports["imap"]), 60)
    made.recv(4096)
    command(made, f"LOGIN {USER} {instance.credentials[USER]}".encode())
    return made


def command(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(b"t " + text + b"\r\n")
    return answer(connection)


def answer(connection: socket.socket) -> bytes:
    """Up to the tagged line; of much only the end."""
    said = b""
    while not re.search(rb"(?:\A|\r\n)t (?:OK|NO|BAD)[^\r\n]*\r\n\Z", said):
        data = connection.recv(1 << 20)
        assert data, "hung up"
        said = (said + data)[-1_000_000:]
    assert b"\r\nt OK" in b"\r\n" + said, said[-300:]
    return said


def resident(instance: Instance) -> int:
    """MiB of the imapd process: its highest so far."""
    pid = instance.log.wait(r"imapd\[(\d+)\]")[-1][1]
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def test_a_hundred_megabytes(instance: Instance) -> None:
    connection = connect(instance)
    before = resident(instance)
    body = _LINE * ((_SIZE - len(_HEAD)) // len(_LINE))
    size = len(_HEAD) + len(body)
    connection.sendall(b"t APPEND INBOX {%d}\r\n" % size)
    assert connection.recv(100).startswith(b"+")
    connection.sendall(_HEAD)
    connection.sendall(body)
    connection.sendall(b"\r\n")
    assert b"APPENDUID" in answer(connection)
    command(connection, b"SELECT INBOX")
    assert b"RFC822.SIZE %d" % size in command(connection, b"FETCH 1 (RFC822.SIZE)")
    connection.sendall(b"t FETCH 1 (BODY.PEEK[])\r\n")
    head = connection.recv(64)
    expected = b"* 1 FETCH (BODY[] {%d}\r\n" % size
    while len(head) < len(expected):
        head += connection.recv(64)
    assert head.startswith(expected)
    got = len(head) - len(expected)
    tail = b""
    while got < size:
        data = connection.recv(min(1 << 20, size - got))
        got += len(data)
        tail = (tail + data)[-len(_LINE) :]
    assert tail == _LINE
    rest = b""
    while b"t OK" not in rest:
        rest += connection.recv(100)
    # In the middle, by a partial fetch: it begins where the lines say it does.
    place = len(_HEAD) + 500_000 * len(_LINE)
    part = command(connection, b"FETCH 1 (BODY.PEEK[]<%d.160>)" % place)
    assert _LINE + _LINE in part
    # The mapped file may count as resident: what was allocated may not grow by it.
    pid = instance.log.wait(r"imapd\[(\d+)\]")[-1][1]
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None and int(found[1]) // 1024 < before + 40
    connection.close()


def test_a_client_that_never_reads(instance: Instance) -> None:
    """It asks for the large message twenty times; others are served meanwhile, and memory stays."""
    silent = connect(instance)
    body = _LINE * (30 * 1024 * 1024 // len(_LINE))
    silent.sendall(b"t APPEND INBOX {%d+}\r\n" % (len(_HEAD) + len(body)))
    silent.sendall(_HEAD)
    silent.sendall(body + b"\r\n")
    answer(silent)
    command(silent, b"SELECT INBOX")
    pid = instance.log.wait(r"imapd\[(\d+)\]")[-1][1]

    def anonymous() -> int:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        assert found is not None
        return int(found[1]) // 1024

    before = anonymous()
    silent.sendall(b"t FETCH * (BODY.PEEK[])\r\n" * 20)
    other = connect(instance)
    for _ in range(20):
        begun = time.monotonic()
        command(other, b"SELECT INBOX")
        command(other, b"FETCH * (FLAGS ENVELOPE)")
        assert time.monotonic() - begun < 2
    assert anonymous() < before + 16
    silent.close()
    command(other, b"NOOP")
    other.close()
