"""200 messages of 20 MiB: the most memory that any process of tubepost has more than at rest."""

import argparse
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ground import file_system, memory_of
from bench.systems import Tubepost, timed


def _name(pid: int, names: dict[int, str]) -> str:
    return f"{names.get(pid, 'process')}[{pid}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--size", type=int, default=20 * 1024 * 1024, help="bytes")
    parser.add_argument("--sessions", type=int, default=10)
    options = parser.parse_args()
    with file_system("24G") as ground:
        system = Tubepost(ground)
        system.start()
        try:
            timed(system, 5, 1, 4096, "alice@example.test")
            rest = {pid: memory_of(pid, "Rss") for pid in system.pids()}
            peak: dict[int, int] = {}
            over = threading.Event()

            def watch() -> None:
                while not over.wait(0.05):
                    for pid in system.pids():
                        peak[pid] = max(peak.get(pid, 0), memory_of(pid, "Rss"))

            watcher = threading.Thread(target=watch)
            watcher.start()
            begun = time.monotonic()
            rate, cpu = timed(system, options.messages, options.sessions, options.size, "alice@example.test")
            over.set()
            watcher.join()
            names = {pid: row["program"] for row in system.instance.status()["services"] for pid in row["pids"]}
            growth = {pid: peak[pid] - rest.get(pid, min(rest.values())) for pid in peak}
            print(
                f"{options.messages} messages of {options.size >> 20} MiB in {time.monotonic() - begun:.0f} s: "
                f"{rate * options.size / 1e6:.0f} MB/s, {cpu:.0f} ms CPU each"
            )
            for pid, kib in sorted(growth.items(), key=lambda item: -item[1])[:5]:
                print(f"  {_name(pid, names)}: {kib / 1024:.1f} MiB more than at rest")
            print(f"largest growth: {max(growth.values()) / 1024:.1f} MiB (bound: 60)")
        finally:
            system.stop()


if __name__ == "__main__":
    main()
