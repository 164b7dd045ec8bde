"""The ground that both systems stand on: a journaled file system of its own, and a clock for processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# One a run: what a killed run left mounted is in nobody's way.
MOUNT = Path(f"/mnt/tubepost-bench-{os.getpid()}")
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def file_system(size: str = "6G") -> Iterator[Path]:
    """An ext4 with a journal in an image file, mounted while the block runs."""
    image = Path(f"/var/tmp/tubepost-bench-{os.getpid()}.img")
    MOUNT.mkdir(parents=True, exist_ok=True)
    subprocess.run(["truncate", "-s", size, str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(MOUNT)], check=True)
    os.chmod(MOUNT, 0o755)
    try:
        yield MOUNT
    finally:
        subprocess.run(["umount", "-l", str(MOUNT)], check=False)
        image.unlink(missing_ok=True)
        MOUNT.rmdir()


def cpu_of(pids: list[int]) -> float:
    """Seconds of CPU that these processes, and their children that ended, have used."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS


def memory_of(pid: int, field: str = "Pss") -> int:
    """KiB, from smaps_rollup; 0 when the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
    return found


def median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
