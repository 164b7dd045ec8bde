"""A mailbox of 200,000 messages: how long it takes to index it, to select it, and to fetch all flags."""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.client import Imap
from bench.ground import file_system, median, memory_of
from bench.mailbox import message
from bench.systems import Tubepost

USER = "alice@example.test"


def timed(work: Callable[[], object], times: int = 5) -> float:
    """Milliseconds, the median."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1000)
    return median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    options = parser.parse_args()
    with file_system() as ground:
        system = Tubepost(ground, services=("imap",))
        home = Path(system.instance.mail) / "example.test" / "alice"
        for part in ("tmp", "new", "cur"):
            (home / part).mkdir(parents=True, exist_ok=True)
        rng = random.Random(1)
        for number in range(options.messages):
            text = message(number, 1000, rng).replace(b"\r\n", b"\n")
            (home / "cur" / f"{1_700_000_000 + number}.M{number}.host:2,{'S' if number % 3 else ''}").write_bytes(text)
        for path in (home.parent, home, home / "tmp", home / "new", home / "cur"):
            os.chown(path, 65534, 65534)
        for entry in os.scandir(home / "cur"):
            os.chown(entry.path, 65534, 65534)
        system.start()
        try:
            client = Imap(system.ports["imap"], USER, system.credentials[USER])
            print(f"first SELECT, the index is built: {timed(lambda: client.run(b'SELECT INBOX'), 1) / 1000:.1f} s")
            print(f"SELECT: {timed(lambda: client.run(b'SELECT INBOX')):.1f} ms")
            print(f"flags of all: {timed(lambda: client.run(b'FETCH 1:* (UID FLAGS)')):.0f} ms")
            print(f"the same after a new SELECT: {timed(lambda: again(client), 3):.0f} ms")
            print(f"SEARCH UNSEEN: {timed(lambda: client.run(b'SEARCH UNSEEN'), 3):.0f} ms")
            largest = max(memory_of(pid) for pid in system.pids())
            print(f"largest process: {largest / 1024:.0f} MiB")
        finally:
            system.stop()


def again(client: Imap) -> None:
    client.run(b"SELECT INBOX")
    client.run(b"FETCH 1:* (UID FLAGS)")


if __name__ == "__main__":
    main()
