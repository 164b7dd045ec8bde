"""Load to limits: when memory or disk runs short the process limits go down step by step, and up again after. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """stall: percent of time that some task waited for memory (PSI avg10). used: percent of the memory limit."""

    stall: float
    used: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    stall_high: float
    stall_low: float
    used_high: float
    used_low: float

    def is_high(self, load: Load) -> bool:
        return load.stall >= self.stall_high or load.used >= self.used_high

    def is_low(self, load: Load) -> bool:
        return load.stall <= self.stall_low and load.used <= self.used_low


STEPS = (100, 75, 50, 25, 10)
"""Percent of the processes that there were when the shortage began, one a level."""
# A disk that was short is no longer so once a tenth more is free than is needed: nobody swings to and fro.
_DISK_RELIEF = 10


def next_level(level: int, load: Load, thresholds: Thresholds) -> int:
    """The level for the next interval: one step down the table under pressure, one back when both are low."""
    if thresholds.is_high(load):
        return lower(level)
    return higher(level) if thresholds.is_low(load) else level


def next_disk_level(level: int, free: int, needed: int) -> int:
    """The same for a file system with ``free`` octets, of which ``needed`` are wanted."""
    if free < needed:
        return lower(level)
    return higher(level) if free >= needed + needed // _DISK_RELIEF else level


def lower(level: int) -> int:
    return min(level + 1, len(STEPS) - 1)


def higher(level: int) -> int:
    return max(level - 1, 0)


def limit_at(level: int, maxproc: int, base: int) -> int:
    """Most processes of a service at this level. ``base``: how many there were when the shortage began; a limit that
    is counted from maxproc would, in a system that is far below it, change nothing. Services of one process, and level
    0, keep their own.
    """
    if level == 0 or maxproc == 1:
        return maxproc
    return max(1, base * STEPS[level] // 100)


def parse_stall(text: str) -> float:
    """``some avg10=…`` of /proc/pressure/memory; 0.0 for anything else."""
    for line in text.splitlines():
        if line.startswith("some "):
            for word in line.split():
                if word.startswith("avg10="):
                    try:
                        return float(word[6:])
                    except ValueError:
                        return 0.0
    return 0.0


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo (man 5 proc_pid_mountinfo): what of the file system (``root``) is where."""

    root: str
    point: str
    kind: str
    options: str


def parse_mounts(text: str) -> list[Mount]:
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) >= 5 and len(rest) >= 3:
            found.append(Mount(_unescape(fields[3]), _unescape(fields[4]), rest[0], rest[2]))
    return found


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def memory_groups(groups: str, mounts: list[Mount]) -> tuple[int, list[str]]:
    """The version (2, 1; 0: there is none) and the directories of our memory cgroup and all above it, ours first.

    ``groups``: /proc/self/cgroup. In a container the mount shows only its own part of the tree: the limit that counts
    is then the one at the mount's root.
    """
    paths: dict[int, str] = {}
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            paths[1] = path
        elif number == "0" and not controllers:
            paths[2] = path
    for version in (1, 2):
        if version not in paths:
            continue
        for mount in mounts:
            if version == 1 and not (mount.kind == "cgroup" and "memory" in mount.options.split(",")):
                continue
            if version == 2 and mount.kind != "cgroup2":
                continue
            return version, _up(mount, paths[version])
    return 0, []


def _up(mount: Mount, path: str) -> list[str]:
    root = mount.root.rstrip("/")
    inside = path[len(root) :] if path == root or path.startswith(f"{root}/") else ""
    parts = [part for part in inside.split("/") if part and part != ".."]
    return ["/".join([mount.point.rstrip("/"), *parts[:count]]) for count in range(len(parts), -1, -1)]


# Who asks these how much is free may wait for another host for ever.
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "9p", "afs", "ocfs2", "gfs2", "fuse")


def is_remote(path: str, mounts: list[Mount]) -> bool:
    """Is the file system of this absolute path on another host, as far as the table of mounts tells?"""
    best = ""
    kind = ""
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (path == point or path.startswith(f"{point}/")) and len(point) >= len(best):
            best, kind = point, mount.kind
    return kind.partition(".")[0] in _REMOTE
