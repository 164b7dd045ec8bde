"""From the first connection to the mailbox: SMTP in, Maildir out."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ground import file_system
from bench.paired import pairs
from bench.systems import Postfix, Tubepost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="bytes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.messages} messages of {options.size} bytes, {options.sessions} sessions, into Maildir")
    with file_system() as ground:
        ours, theirs = Tubepost(ground), Postfix(ground)
        ours.start()
        try:
            theirs.start()
            try:
                pairs(
                    ours, theirs, options.rounds, options.messages, options.sessions, options.size, "alice@example.test"
                )
            finally:
                theirs.stop()
        finally:
            ours.stop()


if __name__ == "__main__":
    main()
