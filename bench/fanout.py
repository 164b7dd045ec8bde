"""One message to 1,000 recipients at 50 domains, relayed to smtp-sink: from first connection to last delivery."""

import argparse
import smtplib
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ground import file_system, median
from bench.systems import Postfix, System, Tubepost, wait_finished
from tests.fakes.instance import free_port


def _once(system: System, recipients: list[str]) -> float:
    before = system.finished()
    begun = time.monotonic()
    with smtplib.SMTP("127.0.0.1", system.port, timeout=60) as client:
        client.sendmail("sender@example.org", recipients, "Subject: to many\n\n" + "x" * 70 + "\n")
    wait_finished(system, before + 1)
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=1000)
    parser.add_argument("--domains", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    port = free_port()
    recipients = [f"user{n}@domain{n % options.domains}.example.net" for n in range(options.recipients)]
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "1000"], stdout=subprocess.DEVNULL)
    # Each domain is a destination of its own, all at the sink.
    table = ", ".join(f"domain{n}.example.net=smtp:[127.0.0.1]:{port}" for n in range(options.domains))
    routes = {"transport_maps": f"inline:{{ {table} }}"}
    try:
        with file_system() as ground:
            ours, theirs = Tubepost(ground, routes), Postfix(ground, routes)
            ours.start()
            try:
                theirs.start()
                try:
                    ratios = []
                    for number in range(options.rounds):
                        ours_took, theirs_took = _once(ours, recipients), _once(theirs, recipients)
                        ratios.append(theirs_took / ours_took)
                        pair = f"tubepost {ours_took:.2f} s, postfix {theirs_took:.2f} s"
                        print(f"pair {number + 1}: {pair}; ratio {ratios[-1]:.2f}")
                    print(f"median ratio: {median(ratios[1:]):.2f} times Postfix's speed (first pair left out)")
                finally:
                    theirs.stop()
            finally:
                ours.stop()
    finally:
        sink.terminate()


if __name__ == "__main__":
    main()
