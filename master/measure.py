"""What the master looks at to know the load: PSI, the cgroup's memory limit, the machine's memory, file systems."""

import os

from tubepost.master.pressure import Load, Mount, memory_groups, parse_mounts, parse_stall

# A cgroup's limit that is larger than this is none.
_NO_LIMIT = 1 << 60
_CACHE = {2: "inactive_file ", 1: "total_inactive_file "}


def _read(path: str, limit: int = 4096) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(limit)
    except OSError:
        return ""


class Gauge:
    """Reads the memory of this process's cgroup, of those above it, and of the machine."""

    def __init__(self) -> None:
        self.mounts: list[Mount] = parse_mounts(_read("/proc/self/mountinfo", 1 << 20))
        self._version, self._groups = memory_groups(_read("/proc/self/cgroup"), self.mounts)

    def load(self, coming: int = 0) -> Load:
        """The load now: of the cgroups, the one that is nearest to its limit. ``coming``: octets that what was started
        will use soon.
        """
        stall = ""
        if self._version == 2:
            stall = next((text for group in self._groups if (text := _read(f"{group}/memory.pressure"))), "")
        used = max((self._used(group, coming) for group in self._groups), default=0.0)
        return Load(parse_stall(stall or _read("/proc/pressure/memory")), max(used, _machine_used(coming)))

    def _used(self, group: str, coming: int) -> float:
        """Percent of this cgroup's own limit; 0.0 without one. Page cache that can be taken back does not count."""
        if self._version == 2:
            # memory.high slows down before memory.max kills: both are limits.
            limits = [_read(f"{group}/memory.max"), _read(f"{group}/memory.high")]
            use = _read(f"{group}/memory.current").strip()
        else:
            limits = [_read(f"{group}/memory.limit_in_bytes")]
            use = _read(f"{group}/memory.usage_in_bytes").strip()
        limit = min((int(text) for text in limits if text.strip().isdigit() and int(text)), default=_NO_LIMIT)
        if limit >= _NO_LIMIT or not use.isdigit():
            return 0.0
        name = _CACHE[self._version]
        lines = _read(f"{group}/memory.stat", 1 << 16).splitlines()
        cache = next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
        return 100.0 * max(int(use) - cache + coming, 0) / limit


def _machine_used(coming: int) -> float:
    values = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[name] = int(words[0])
    total = values.get("MemTotal", 0)
    return 100.0 * (1 - (values.get("MemAvailable", total) - coming / 1024) / total) if total else 0.0


def free_space(path: str) -> tuple[int, int] | None:
    """Octets and inodes that are free where ``path`` is; inodes -1 where the file system does not count them. None:
    it cannot be told.
    """
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else -1


def memory_of(pid: int) -> int:
    """Proportional set size of a process in KiB; 0 when it cannot be read."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
