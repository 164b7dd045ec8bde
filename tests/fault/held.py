"""What the processes of a system at rest hold open: an error path that leaks a file is seen after the first error.

*Measured*: with all at rest a process has the very same descriptors, round after round, but for indices of mailboxes
and for whom it has spoken with. So files are looked at one by one, sockets and the like are counted; a connection
counts at who made it.
"""

import contextlib
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from tubepost.common.wire.programs import row_of

from tests.fakes.instance import Instance

# Nobody who has nothing to do holds any of these: queue files, messages, what was removed or replaced.
_PASSING = re.compile(
    r"/(maildrop|incoming|active|deferred|hold|bounce|defer|trace)/|/(new|cur|tmp)(/|$)| \(deleted\)$"
)
# Held for as long as one likes, once each: indices of mailboxes, and tables until they are next asked.
_LASTING = re.compile(r"/tubepost\.db(-wal|-shm)?$|^/conf/[^/]+\.db( \(deleted\))?$")
# Sockets and the like of no line.
MORE = 2
# What a line of the bus takes: an error may be the first to have a program ask a service of which it had no need.
LINE = Counter(anon_inode=2, socket=4)
# What ss(8) tells of a connection: the name where it was accepted, its number, and that of its other end.
_CONNECTION = re.compile(r"^u_str\s+ESTAB\s+\d+\s+\d+\s+(\S+)\s+(\d+)\s+\S+\s+(\d+)", re.MULTILINE)


def accepted(pids: Iterable[int]) -> set[str]:
    """Sockets, by number, at which some process answers a caller who is still there: the caller holds as many.

    A connection belongs to the network namespace of who called.
    """
    spaces = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            spaces[os.readlink(f"/proc/{pid}/ns/net")] = pid
    script = "".join(f"nsenter -t {pid} -n ss -xH;" for pid in spaces.values())
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout
    ends = _CONNECTION.findall(said)
    there = {number for _, number, _ in ends}
    return {number for name, number, other in ends if name != "*" and other in there}


class Held:
    """``level``: the most that a process of each program has, taken when each has met everybody."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._level: dict[str, Counter[str]] = {}
        self._lines: Counter[str] = Counter()
        """Of each program, those that came after its level was taken; there is one a service that it may call."""

    def again(self, programs: Iterable[str] = ()) -> None:
        """Who is young has not met everybody yet. ``programs``: only these, all if there are none."""
        for program, _, held in self._measure():
            if not programs or program in programs:
                self._level[program] = self._level.get(program, Counter()) | held

    def _measure(self) -> Iterator[tuple[str, int, Counter[str]]]:
        """Program, process, and how often it holds what."""
        rows = [(row["program"], pid) for row in self._instance.status()["services"] for pid in row["pids"]]
        assert self._instance.process is not None
        assert self._instance.process is not None
        everybody = [self._instance.process.pid, *(pid for _, pid in rows)]
        answering = {f"socket:[{number}]" for number in accepted(everybody)}
        # The master has a socket a child.
        for program, pid, children in (
            *((program, pid, 0) for program, pid in rows),
            ("master", self._instance.process.pid, len(rows)),
        ):
            held: Counter[str] = Counter()
            try:
                for number in os.listdir(f"/proc/{pid}/fd"):
                    link = os.readlink(f"/proc/{pid}/fd/{number}")
                    if link not in answering:
                        held[self._kind(link)] += 1
            except OSError:
                continue  # it has ended, or just closes one
            held["socket"] -= children
            yield program, pid, held

    def _kind(self, link: str) -> str:
        # Each process looks at its own.
        if re.fullmatch(r"/proc/\d+/statm", link):
            return "/proc/statm"
        return link.removeprefix(str(self._instance.root)) if link.startswith("/") else link.partition(":")[0]

    def _grown(self) -> list[str]:
        found = []
        for program, pid, held in self._measure():
            level = self._level.setdefault(program, held)
            more = held - level
            lasting = {path for path, number in held.items() if number == 1 and _LASTING.search(path)}
            files = [path for path in more if path.startswith("/") and path not in lasting]
            sockets = sum(number for kind, number in more.items() if not kind.startswith("/"))
            passing = [path for path in held.keys() - lasting if _PASSING.search(path)]
            if files or passing or sockets > (0 if program == "master" else MORE):
                found.append(f"{program}[{pid}]: {dict(more)} {passing}")
        return found

    def _meet(self) -> None:
        """Who has just one line more than before, and may have it, has met somebody."""
        for program, _, held in self._measure():
            level = self._level[program]
            kinds = Counter({kind: held[kind] - level[kind] for kind in LINE})
            if kinds == LINE and self._lines[program] < len(row_of(program).calls):
                self._lines[program] += 1
                level.update(LINE)

    def check(self, timeout: float = 15.0) -> None:
        """Back at the level: no new file, no socket or the like but ``MORE`` and lines; in the master none."""
        deadline = time.monotonic() + timeout
        while grown := self._grown():
            self._meet()
            if time.monotonic() > deadline:
                raise AssertionError("held, and not before: " + "; ".join(grown))
            time.sleep(0.1)
