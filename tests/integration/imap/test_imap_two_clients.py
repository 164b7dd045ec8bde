"""Two clients at one mailbox, with random commands: what each was told must add up to what is there.

Each client keeps the mailbox as it understands it from untagged responses alone (RFC 9051 7.5.1: message numbers shift
only by EXPUNGE, and never while FETCH, STORE or SEARCH is in progress). At any time a client's picture must be one that
was true; after NOOP it must be the mailbox as a third client sees it.
"""

import random
import re
import socket
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance

USER = "alice@example.test"
_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\r\n")
_COUNT = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE)\r\n")
_UID = re.compile(rb"UID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_FLAG_NAMES = (b"\\Seen", b"\\Flagged", b"\\Answered", b"\\Deleted", b"blue", b"Green")


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap",)) as made:
        yield made


class Client:
    """``messages``: a list of [uid or None, flags or None] by message number, as the client was told."""

    def __init__(self, instance: Instance, box: bytes | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", instance.ports["imap"]), 20)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.number = 0
        self.messages: list[list[object]] = []
        self.run(f"LOGIN {USER} {instance.credentials[USER]}".encode())
        if box is not None:
            self.run(b"SELECT " + box)
            self.learn()

    def learn(self) -> None:
        if self.messages:
            self.run(b"FETCH 1:* (UID FLAGS)")

    def run(self, command: bytes, *, expunges: bool = True, may_fail: bool = False) -> list[bytes] | None:
        """Untagged lines, None when it failed and may. ``expunges``: may numbers be removed during this command?"""
        self.number += 1
        tag = b"c%d" % self.number
        self.socket.sendall(tag + b" " + command + b"\r\n")
        lines: list[bytes] = []
        while True:
            line = self.file.readline()
            assert line, "hung up"
            while match := _LITERAL.search(line):
                line += self.file.read(int(match[1])) + self.file.readline()
            if line.startswith(tag + b" "):
                assert may_fail or line.startswith(tag + b" OK"), (command, line)
                return lines if line.startswith(tag + b" OK") else None
            assert line.startswith((b"* ", b"+ ")), line
            self.take(line, expunges)
            lines.append(line)

    def take(self, line: bytes, expunges: bool) -> None:
        if match := _COUNT.fullmatch(line):
            number = int(match[1])
            if match[2] == b"EXPUNGE":
                assert expunges, "a number was removed during FETCH or STORE"
                assert 1 <= number <= len(self.messages), (number, len(self.messages))
                del self.messages[number - 1]
            else:
                assert number >= len(self.messages), "EXISTS may not shrink the mailbox"
                self.messages += [[None, None] for _ in range(number - len(self.messages))]
        elif match := _FETCH.fullmatch(line):
            number = int(match[1])
            assert 1 <= number <= len(self.messages), "FETCH of a message that was not announced"
            known = self.messages[number - 1]
            if uid := _UID.search(match[2]):
                assert known[0] in (None, int(uid[1])), "a number has changed its UID"
                known[0] = int(uid[1])
            if flags := _FLAGS.search(match[2]):
                known[1] = frozenset(flags[1].split()) - {b"\\Recent"}

    def picture(self) -> list[tuple[object, object]]:
        return [(uid, flags) for uid, flags in self.messages]

    def close(self) -> None:
        self.socket.close()


@pytest.mark.parametrize("seed", range(6))
def test_two_clients_and_a_third_agree(instance: Instance, seed: int) -> None:
    rng = random.Random(seed)
    box = b"Box%d" % seed
    third = Client(instance, None)
    third.run(b"CREATE " + box)
    third.run(b"CREATE Other%d" % seed)
    clients = [Client(instance, box), Client(instance, box)]
    for step in range(120):
        client = rng.choice(clients)
        count = len(client.messages)
        some = b",".join(b"%d" % rng.randint(1, count) for _ in range(rng.randint(1, 3))) if count else b"1"
        kind = rng.randrange(10)
        if kind <= 1 or not count:
            message = b"Subject: %d\r\n\r\nbody %d\r\n" % (step, step)
            flags = b" ".join(rng.sample(_FLAG_NAMES, rng.randint(0, 2)))
            client.run(b"APPEND %b (%b) {%d+}\r\n%b" % (box, flags, len(message), message))
        elif kind == 2:
            client.run(b"FETCH %b (FLAGS)" % some, expunges=False)
        elif kind <= 4:
            mode = rng.choice((b"", b"+", b"-"))
            silent = rng.choice((b"", b".SILENT"))
            flags = b" ".join(rng.sample(_FLAG_NAMES, rng.randint(1, 2)))
            numbers = sorted({int(word) for word in some.split(b",")})
            before = [client.messages[number - 1] for number in numbers]
            line = b"STORE %b %bFLAGS%b (%b)" % (some, mode, silent, flags)
            done = client.run(line, expunges=False, may_fail=True)
            if silent and done is not None:
                # RFC 9051 6.4.6: the client is to assume that it did what it asked for.
                for known in before:
                    if isinstance(known[1], frozenset):
                        given = frozenset(flags.split())
                        known[1] = known[1] | given if mode == b"+" else known[1] - given if mode == b"-" else given
        elif kind == 5:
            client.run(b"FETCH %b (BODY[])" % some, expunges=False, may_fail=True)
        elif kind == 6:
            client.run(b"EXPUNGE")
        elif kind == 7:
            client.run(b"MOVE %b Other%d" % (some, seed))
        elif kind == 8:
            client.run(b"COPY %b %b" % (some, box))
        else:
            client.run(b"NOOP")
        if step % 10 == 9:
            for each in clients:
                each.run(b"NOOP")
                if any(uid is None or flags is None for uid, flags in each.messages):
                    each.learn()
            seen = Client(instance, box)
            for each in clients:
                assert each.picture() == seen.picture(), f"seed {seed} step {step}"
            seen.close()
    for each in (*clients, third):
        each.close()
