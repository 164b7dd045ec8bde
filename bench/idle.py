"""At rest: seconds from start to ready, and proportional memory (PSS) of all processes, also after one message."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ground import file_system, median, memory_of
from bench.systems import Tubepost, timed


def main() -> None:
    with file_system("1G") as ground:
        starts = []
        for _ in range(5):
            system = Tubepost(ground)
            begun = time.monotonic()
            system.start()
            starts.append(time.monotonic() - begun)
            time.sleep(1)
            rest = sum(memory_of(pid) for pid in system.pids())
            processes = len(system.pids())
            timed(system, 20, 2, 4096, "alice@example.test")
            used = sum(memory_of(pid) for pid in system.pids())
            after = len(system.pids())
            system.stop()
        print(f"ready in {median(starts):.2f} s (bound: 1.5)")
        print(f"at rest: {processes} processes, {rest / 1024:.0f} MiB PSS (bound: 100, aim: 60)")
        print(f"after mail went through: {after} processes, {used / 1024:.0f} MiB PSS")


if __name__ == "__main__":
    main()
