"""Clients that ask for everything and read nothing: bounded memory, and others are served."""

import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.crowd import raise_descriptor_limit
from tests.fakes.instance import Instance

CLIENTS, SIZE, MESSAGES = 100, 4 << 20, 5
# KiB for each such client: what is in the buffers of a connection, on our side.
EACH = 1024


def private_memory(pid: int) -> int:
    """KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def memory(instance: Instance, program: str) -> int:
    return sum(private_memory(pid) for pid in instance.pids(program))


def greedy(port: int, words: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.recv(1)
    client.sendall(words)
    return client


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("service", "program"), [("imap", "imapd"), ("pop3", "pop3d")])
def test_who_asks_for_all_and_reads_nothing_costs_little(service: str, program: str) -> None:
    raise_descriptor_limit()
    limits = {"imapd_user_connection_limit": "0", "client_limit": "200"}
    with Instance(services=("imap", "pop3"), main=limits) as instance, ExitStack() as stack:
        name, password = next(iter(instance.credentials.items()))
        for number in range(MESSAGES):
            instance.send(name, f"Subject: number {number}\n\n" + ("x" * 70 + "\n") * (SIZE // 71))
        instance.log.wait(r": removed", count=MESSAGES)
        port = instance.ports[service]
        if service == "imap":
            fetch = b"".join(b"f%d FETCH 1:* BODY[]\r\n" % number for number in range(20))
            words = f"a LOGIN {name} {password}\r\nb SELECT INBOX\r\n".encode() + fetch
        else:
            # A maildrop is one session's: of many only one is let in, and the others try in vain.
            words = f"USER {name}\r\nPASS {password}\r\n".encode() + b"RETR 1\r\nRETR 2\r\nRETR 3\r\n" * 20
        stack.enter_context(greedy(port, words))
        time.sleep(2)
        before = memory(instance, program)
        for _ in range(CLIENTS):
            stack.enter_context(greedy(port, words))
        sizes = []
        for _ in range(8):
            time.sleep(1)
            sizes.append(memory(instance, program) - before)
        print(f"{program}: {statistics.median(sizes)} KiB for {CLIENTS} clients, at most {max(sizes)}")
        assert max(sizes) < CLIENTS * EACH + 32 * 1024, sizes
        begun = time.monotonic()
        with greedy(port, b"a NOOP\r\n" if service == "imap" else b"CAPA\r\n") as other:
            assert other.recv(100)
        assert time.monotonic() - begun < 2
        assert not instance.log.count(r"panic|fatal|Traceback|does not answer|was killed")
