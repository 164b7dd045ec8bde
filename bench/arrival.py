"""From SMTP to a mailbox that IMAP shows: ours, and Postfix handing to Dovecot by LMTP."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.client import Imap
from bench.dovecot import Dovecot
from bench.ground import cpu_of, file_system, median
from bench.systems import Postfix, Tubepost, source

USER = "alice@example.test"
_LMTP = """
service lmtp {{
  process_min_avail = 4
  unix_listener {socket} {{
    mode = 0666
  }}
}}
"""


class PostfixAndDovecot:
    name = "postfix and dovecot"

    def __init__(self, ground: Path) -> None:
        socket = ground / "dovecot-lmtp"
        self._mailboxes = Dovecot(ground, extra="lmtp", more=_LMTP.format(socket=socket))
        self._transport = Postfix(ground, {"virtual_transport": f"lmtp:unix:{socket}"})
        self.port = self._transport.port
        self.ports = self._mailboxes.ports
        self.credentials = self._mailboxes.credentials

    def start(self) -> None:
        self._mailboxes.start()
        self._transport.start()

    def stop(self) -> None:
        self._transport.stop()
        self._mailboxes.stop()

    def pids(self) -> list[int]:
        return self._transport.pids() + self._mailboxes.pids()


def count(client: Imap) -> int:
    answer = client.run(b"STATUS INBOX (MESSAGES UNSEEN)")
    return int(answer.split(b"MESSAGES ")[1].split()[0].rstrip(b")"))


def run(system: Tubepost | PostfixAndDovecot, messages: int, sessions: int, size: int) -> tuple[float, float]:
    """(messages a second until IMAP shows them all, CPU milliseconds each)."""
    client = Imap(system.ports["imap"], USER, system.credentials[USER])
    before = count(client)
    cpu = cpu_of(system.pids())
    begun = time.monotonic()
    source(system.port, messages, sessions, size, USER)
    while count(client) < before + messages:
        time.sleep(0.005)
    seconds = time.monotonic() - begun
    used = cpu_of(system.pids()) - cpu
    client.close()
    return messages / seconds, used / messages * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="bytes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.messages} messages of {options.size} bytes, {options.sessions} sessions, until IMAP shows them")
    with file_system() as ground:
        systems = (Tubepost(ground, services=("imap",)), PostfixAndDovecot(ground))
        for system in systems:
            system.start()
        try:
            ratios, costs = [], []
            for system in systems:
                run(system, options.messages // 10, options.sessions, options.size)
            for number in range(options.rounds):
                ours, our_cpu = run(systems[0], options.messages, options.sessions, options.size)
                theirs, their_cpu = run(systems[1], options.messages, options.sessions, options.size)
                ratios.append(ours / theirs)
                costs.append(our_cpu / their_cpu)
                print(
                    f"pair {number + 1}: tubepost {ours:.0f}/s {our_cpu:.2f} ms CPU; postfix and dovecot "
                    f"{theirs:.0f}/s {their_cpu:.2f} ms CPU; ratio {ratios[-1]:.2f}, CPU {costs[-1]:.2f}",
                    flush=True,
                )
            print(f"median ratio: {median(ratios):.2f} times the rate, {median(costs):.2f} of the CPU a message")
        finally:
            for system in systems:
                system.stop()


if __name__ == "__main__":
    main()
