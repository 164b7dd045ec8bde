"""1,000 IMAP clients that wait in IDLE: the memory they cost, and how soon they hear of a delivery."""

import argparse
import select
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.client import Imap
from bench.ground import file_system, median, memory_of
from bench.systems import Tubepost, source

USER = "alice@example.test"


def total(system: Tubepost) -> int:
    """KiB, proportional."""
    return sum(memory_of(pid) for pid in system.pids())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    options = parser.parse_args()
    with file_system("1G") as ground:
        system = Tubepost(ground, {"imapd_user_connection_limit": "0"}, services=("imap",))
        system.start()
        try:
            first = Imap(system.ports["imap"], USER, system.credentials[USER])
            first.run(b"SELECT INBOX")
            time.sleep(2)
            before = total(system)
            clients = [Imap(system.ports["imap"], USER, system.credentials[USER]) for _ in range(options.connections)]
            for client in clients:
                client.run(b"SELECT INBOX")
                client.socket.sendall(b"i IDLE\r\n")
                assert client.socket.recv(100).startswith(b"+")
            time.sleep(2)
            after = total(system)
            print(f"{options.connections} connections in IDLE: {(after - before) / 1024:.0f} MiB more than none")
            delays = []
            for _ in range(10):
                poll = select.poll()
                poll.register(clients[-1].socket, select.POLLIN)
                log = system.root / "log" / "mail.log"
                seen = log.read_text().count("status=sent")
                source(system.port, 1, 1, 1000, USER)
                while log.read_text().count("status=sent") <= seen:
                    time.sleep(0.001)
                begun = time.monotonic()
                poll.poll(5000)
                delays.append((time.monotonic() - begun) * 1000)
                clients[-1].socket.recv(65536)
                for client in clients[:-1]:
                    client.socket.recv(65536)
            print(f"heard of a delivery {median(delays):.1f} ms after it was logged (worst {max(delays):.1f})")
        finally:
            system.stop()


if __name__ == "__main__":
    main()
