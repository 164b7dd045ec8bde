"""A disk whose power can be cut: what an ext4 file system has on its disk at an instant, and nothing else.

The system under test lives on an ext4 file system in a loop device with direct I/O: what the kernel has not written to
the device, because nobody synced it and its time had not come, is in memory only. The device is a file on an XFS file
system, where a clone (FICLONE) is one atomic step: it is the disk as a power failure at that instant leaves it, with a
journal to be replayed. The system runs on; so many instants of one run can be looked at afterwards, each by itself.

Takes root, loop devices, mkfs.ext4 and mkfs.xfs. ``possible()`` says why not.
"""

import ctypes
import fcntl
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

# ioctl_ficlone(2)
_FICLONE = 0x40049409
_BASE_MEGABYTES = 4096
_DISK_MEGABYTES = 256
_MNT_DETACH = 2


def possible() -> str:
    """Empty, or what is missing."""
    if os.geteuid() != 0:
        return "a disk of its own takes root"
    for program in ("mkfs.ext4", "mkfs.xfs", "losetup", "mount"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices here"
    return ""


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Disk:
    """``root``: where the file system under test is mounted. A context manager; raises OSError where it cannot be."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tp-disk-"))
        self._base = self._folder / "base"
        self._base.mkdir()
        # Short: a UNIX socket path has 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
        self._loop = ""
        self.snapshots: list[str] = []

    def __enter__(self) -> Self:
        image = self._folder / "base.img"
        try:
            with open(image, "wb") as file:
                file.truncate(_BASE_MEGABYTES << 20)
            _run("mkfs.xfs", "-q", "-m", "reflink=1", str(image))
            _run("mount", "-o", "loop", str(image), str(self._base))
            with open(self._base / "disk", "wb") as file:
                file.truncate(_DISK_MEGABYTES << 20)
            # Blocks of a page: what is cloned by blocks is written by blocks.
            _run("mkfs.ext4", "-q", "-m", "0", "-b", "4096", str(self._base / "disk"))
            self.insert("disk")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.eject()
        _unmount(self._base)
        shutil.rmtree(self._folder, ignore_errors=True)
        if not os.path.ismount(self.root):
            shutil.rmtree(self.root, ignore_errors=True)

    def insert(self, name: str) -> None:
        """Mount one of the disks: ``disk``, or a snapshot, whose journal is replayed."""
        self._loop = _run("losetup", "--find", "--show", "--direct-io=on", str(self._base / name))
        _run("mount", self._loop, str(self.root))
        os.chmod(self.root, 0o755)

    def eject(self) -> None:
        if self._loop:
            _unmount(self.root)
            subprocess.run(["losetup", "-d", self._loop], capture_output=True)
            self._loop = ""

    def cut(self) -> str:
        """The power fails now: the name of the disk as it is left. The system that runs does not notice."""
        name = f"cut{len(self.snapshots)}"
        with open(self._base / "disk", "rb") as source, open(self._base / name, "wb") as target:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        self.snapshots.append(name)
        return name


def _users_of(path: Path) -> list[int]:
    """Processes that still work in a directory below ``path``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/cwd").startswith(f"{path}/"):
                    found.append(int(name))
            except OSError:
                continue
    return found


def _unmount(path: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    for _ in range(100):
        if not os.path.ismount(path):
            return
        if library.umount2(os.fsencode(path), 0) == 0:
            continue
        for pid in _users_of(path):  # children that a kill of all came too early for
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    library.umount2(os.fsencode(path), _MNT_DETACH)


def instants(count: int, between: tuple[float, float], seed: int) -> list[float]:
    """Pauses between one cut and the next, seconds."""
    chance = random.Random(seed)
    return [chance.uniform(*between) for _ in range(count)]
