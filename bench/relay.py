"""Relaying: SMTP in, SMTP out to smtp-sink by relayhost."""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ground import file_system
from bench.paired import pairs
from bench.systems import Postfix, Tubepost
from tests.fakes.instance import free_port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="bytes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    port = free_port()
    print(f"{options.messages} messages of {options.size} bytes, {options.sessions} sessions, relayed to smtp-sink")
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "1000"], stdout=subprocess.DEVNULL)
    relay = {"relayhost": f"[127.0.0.1]:{port}"}
    try:
        with file_system() as ground:
            ours, theirs = Tubepost(ground, relay), Postfix(ground, relay)
            ours.start()
            try:
                theirs.start()
                try:
                    pairs(
                        ours, theirs, options.rounds, options.messages, options.sessions, options.size, "x@example.net"
                    )
                finally:
                    theirs.stop()
            finally:
                ours.stop()
    finally:
        sink.terminate()


if __name__ == "__main__":
    main()
