"""What the master looks at to know the load: PSI, the cgroup's memory limit, the machine's memory."""

from tubepost.master.pressure import Load, parse_stall


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""


def _cgroup_used() -> float:
    """Percent of the cgroup's own limit; 0.0 without one. Reclaimable page cache does not count."""
    for limit_path, use_path, stat_path in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
            "/sys/fs/cgroup/memory/memory.stat",
        ),
    ):
        limit, use = _read(limit_path).strip(), _read(use_path).strip()
        if limit.isdigit() and use.isdigit() and 0 < int(limit) < 1 << 60:
            cache = next(
                (
                    int(line.split()[1])
                    for line in _read(stat_path).splitlines()
                    if line.startswith(("inactive_file ", "total_inactive_file "))
                ),
                0,
            )
            return 100.0 * max(int(use) - cache, 0) / int(limit)
    return 0.0


def _machine_used() -> float:
    values = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[name] = int(words[0])
    total = values.get("MemTotal", 0)
    return 100.0 * (1 - values.get("MemAvailable", total) / total) if total else 0.0


def load() -> Load:
    """The load now."""
    stall = parse_stall(_read("/sys/fs/cgroup/memory.pressure") or _read("/proc/pressure/memory"))
    return Load(stall, max(_cgroup_used(), _machine_used()))


def memory_of(pid: int) -> int:
    """Proportional set size of a process in KiB; 0 when it cannot be read."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
