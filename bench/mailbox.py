"""A mailbox read and changed over IMAP (and read over POP3), side by side with Dovecot."""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.client import Imap, Pop3
from bench.dovecot import Dovecot
from bench.ground import file_system, median
from bench.systems import Tubepost

USER = "alice@example.test"
_WORDS = (  # noqa: SIM905 - a list of 32 strings is no clearer
    "meeting report budget lunch project server release invoice holiday garden music travel energy question answer "
    "window letter summer winter market paper river stone cloud signal method table friend doctor engine"
).split()


def message(number: int, size: int, rng: random.Random) -> bytes:
    """With the headers that mail has today, and a body of words."""
    head = (
        f"Return-Path: <sender{number % 50}@example.org>\r\n"
        f"Received: from mx.example.org (mx.example.org [192.0.2.1]) by mail.example.test with ESMTPS id {number};\r\n"
        f"\tTue, 24 Nov 2026 10:{number // 60 % 60:02d}:{number % 60:02d} +0000\r\n"
        f"Date: Tue, 24 Nov 2026 10:{number // 60 % 60:02d}:{number % 60:02d} +0000\r\n"
        f'From: "Sender {number % 50}" <sender{number % 50}@example.org>\r\n'
        f"To: Alice <alice@example.test>\r\n"
        f"Subject: {rng.choice(_WORDS)} {rng.choice(_WORDS)} {number}\r\n"
        f"Message-ID: <{number}.{rng.randrange(1 << 40):x}@example.org>\r\n"
        f"References: <{max(0, number - 10)}@example.org>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
        "X-Mailer: bench\r\n\r\n"
    ).encode()
    lines = []
    length = len(head)
    while length < size:
        line = " ".join(rng.choice(_WORDS) for _ in range(10)).encode() + b"\r\n"
        lines.append(line)
        length += len(line)
    if number % 500 == 7:
        lines.append(b"the rare word is zanzibar\r\n")
    return head + b"".join(lines)


class Runner:
    """The steps, for one system."""

    def __init__(self, system: Any, count: int, size: int) -> None:
        self.system = system
        self.count = count
        self.size = size
        self.times: dict[str, list[float]] = {}

    def connect(self) -> Imap:
        return Imap(self.system.ports["imap"], USER, self.system.credentials[USER])

    def timed(self, name: str, work: Callable[[], object], divide: int = 1) -> None:
        begun = time.perf_counter()
        work()
        self.times.setdefault(name, []).append((time.perf_counter() - begun) * 1000 / divide)

    def fill(self, name: str) -> None:
        """Messages by APPEND, each its own command."""
        rng = random.Random(1)
        messages = [message(number, self.size, rng) for number in range(self.count)]
        client = self.connect()
        if name != "INBOX":
            client.run(b"CREATE " + name.encode())

        def work() -> None:
            for text in messages:
                client.append(name.encode(), text)

        self.timed("APPEND each", work, self.count)
        client.close()

    def read(self, name: str) -> None:
        """Everything that reads."""
        box = name.encode()
        client = self.connect()
        timed = self.timed
        timed("SELECT cold", lambda: client.run(b"SELECT " + box))
        client.run(b"UNSELECT")
        timed("SELECT warm", lambda: client.run(b"SELECT " + box))
        timed("FETCH flags", lambda: client.run(b"FETCH 1:* (UID FLAGS)"))
        timed("ENVELOPE cold", lambda: client.run(b"FETCH 1:* (UID ENVELOPE)"))
        timed("ENVELOPE again", lambda: client.run(b"FETCH 1:* (UID ENVELOPE)"))
        client.run(b"FETCH 1:* (BODYSTRUCTURE)")
        timed("BODYSTRUCTURE", lambda: client.run(b"FETCH 1:* (BODYSTRUCTURE)"))
        fields = b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])"
        client.run(fields)
        timed("header fields", lambda: client.run(fields))
        timed("all bodies", lambda: client.run(b"FETCH 1:* (BODY.PEEK[])"))

        def singles() -> None:
            for number in range(1, 201):
                client.run(b"FETCH %d (BODY.PEEK[])" % (number * 7 % self.count + 1))

        timed("one body", singles, 200)
        client.run(b"SEARCH SUBJECT budget")
        timed("SEARCH SUBJECT", lambda: client.run(b"SEARCH SUBJECT budget"))
        client.run(b"SEARCH TEXT zanzibar")
        timed("SEARCH TEXT", lambda: client.run(b"SEARCH TEXT zanzibar"))

        def many(command: bytes) -> Callable[[], object]:
            return lambda: [client.run(command) for _ in range(200)]

        timed("NOOP", many(b"NOOP"), 200)
        timed("STATUS", many(b"STATUS INBOX (MESSAGES UIDNEXT UNSEEN)"), 200)
        timed("LIST", many(b'LIST "" *'), 200)
        client.close()

        def session() -> None:
            for _ in range(20):
                other = self.connect()
                other.run(b"SELECT " + box)
                other.close()

        timed("login, select, logout", session, 20)

    def change(self, name: str) -> None:
        """Everything that changes."""
        client = self.connect()
        client.run(b"SELECT " + name.encode())
        self.timed("STORE all", lambda: client.run(b"STORE 1:* +FLAGS.SILENT (\\Flagged)"))
        client.run(b"CREATE Copy")
        self.timed("COPY all", lambda: client.run(b"COPY 1:* Copy"))
        client.run(b"SELECT Copy")

        def remove() -> None:
            client.run(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
            client.run(b"EXPUNGE")

        self.timed("delete and expunge all", remove)
        client.run(b"SELECT " + name.encode())
        client.run(b"DELETE Copy")
        client.run(b"STORE 1:* -FLAGS.SILENT (\\Flagged)")
        client.close()

    def pop3(self) -> None:
        """RETR of all of INBOX."""
        client = Pop3(self.system.ports["pop3"], USER, self.system.credentials[USER])
        count = int(client.run(b"STAT").split()[1])

        def work() -> None:
            for number in range(1, count + 1):
                client.retrieve(number)

        self.timed("POP3 RETR all", work)
        client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--size", type=int, default=3072, help="bytes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pop3", action="store_true", help="POP3 too")
    options = parser.parse_args()
    print(f"a mailbox of {options.messages} messages of {options.size} bytes; ms, medians of {options.rounds}")
    with file_system() as ground:
        services = ("imap", "pop3") if options.pop3 else ("imap",)
        systems = (Tubepost(ground, services=services), Dovecot(ground))
        runners = [Runner(system, options.messages, options.size) for system in systems]
        for system in systems:
            system.start()
        try:
            for runner in runners:
                runner.fill("INBOX" if options.pop3 else "Box")
            for _ in range(options.rounds):
                for runner in runners:
                    runner.read("INBOX" if options.pop3 else "Box")
                for runner in runners:
                    runner.change("INBOX" if options.pop3 else "Box")
                for runner in runners:
                    if options.pop3:
                        runner.pop3()
        finally:
            for system in systems:
                system.stop()
    report(runners[0], runners[1])


# The first of a run is what the name says; later ones are warm.
_ONCE = frozenset({"SELECT cold", "ENVELOPE cold", "APPEND each"})


def report(ours: Runner, theirs: Runner) -> None:
    """A line a step, and the geometric mean of the ratios."""
    ratios = []
    print(f"{'step':24} {'tubepost':>10} {'dovecot':>10} {'ratio':>7}")
    for name in ours.times:
        pick = (lambda values: values[0]) if name in _ONCE else median
        mine, other = pick(ours.times[name]), pick(theirs.times[name])
        ratios.append(mine / other)
        print(f"{name:24} {mine:10.3f} {other:10.3f} {ratios[-1]:7.2f}")
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    print(f"geometric mean of the ratios {mean:.2f}, worst {max(ratios):.2f}")


if __name__ == "__main__":
    main()
