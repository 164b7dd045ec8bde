"""Who lives, who is wanted, who backs off: the master's decisions. Pure: time comes in as an argument."""

from dataclasses import dataclass, field

from tubepost.common.wire.master import EXIT_CONFIG, Status

from tubepost.master.table import Service

# A child that has said nothing since its birth for this long is taken for hung at its start, seconds.
BIRTH_TIMEOUT = 30.0
# Two of them would deliver the same messages of active/: a new one waits until the one before has ended.
QUEUE_MANAGER = "qmgr"


@dataclass(slots=True)
class Child:
    """One process. ``available`` until it says otherwise, so that one demand starts one process."""

    pid: int
    generation: int
    born: float
    heard: float
    available: bool = True
    ready: bool = False
    leaving: bool = False
    stopping: bool = False
    sessions: int = 0
    served: int = 0
    crowded: bool = False
    """It was told that nobody of its service has room."""
    retired: float = 0.0
    """When it was told to go because memory or disk is short; 0.0: it was not."""
    hurried: bool = False
    babbles: bool = False
    """It has said something that cannot be read."""


@dataclass(slots=True)
class ServiceState:
    """A service and its children."""

    service: Service
    children: dict[int, Child] = field(default_factory=dict)
    pending: int = 0
    """Forks asked for and not yet answered."""
    throttled_until: float = 0.0
    used: bool = False
    next_wakeup: float = 0.0
    restarts: int = 0
    requests: int = 0
    """Served by children that have ended."""
    stressed_since: float | None = None
    limit: int = 0
    """Most processes now: maxproc, or less under memory pressure; 0: no limit."""
    base: int = 0
    """How many there were when the shortage began that ``limit`` comes from; 0: there is none."""
    frozen: bool = False
    """Memory is short: what has one process gets no more."""
    full_warned: float = -1e9

    def __post_init__(self) -> None:
        self.limit = self.service.maxproc

    @property
    def serving(self) -> int:
        """Processes that count against the limit: leaving ones do not, but for the queue manager."""
        if self.service.program == QUEUE_MANAGER:
            return self.pending + len(self.children)
        return self.pending + sum(1 for child in self.children.values() if not child.leaving and not child.stopping)

    @property
    def available(self) -> int:
        return self.pending + sum(
            1 for child in self.children.values() if child.available and not child.leaving and not child.stopping
        )

    @property
    def at_limit(self) -> bool:
        serving = self.serving
        return 0 < self.limit <= serving or (self.frozen and serving > 0)

    def surplus(self) -> list[int]:
        """Processes above the limit: of those that may go, the ones with the fewest sessions."""
        over = self.serving - self.limit
        if not self.limit or over <= 0 or self.service.program == QUEUE_MANAGER:
            return []
        staying = [child for child in self.children.values() if not child.leaving and not child.stopping]
        staying.sort(key=lambda child: child.sessions)
        return [child.pid for child in staying[:over]]

    @property
    def full(self) -> bool:
        """Nobody takes more, and nobody may be started: whoever comes now has to wait."""
        return self.available == 0 and self.at_limit

    def watching(self, now: float) -> bool:
        """True when the master itself must look at the listening socket: nobody else will answer."""
        return self.available == 0 and not self.at_limit and now >= self.throttled_until

    def missing(self, now: float) -> int:
        """Processes to start although nobody asks: process_min_avail."""
        if now < self.throttled_until:
            return 0
        wanted = self.service.min_avail - self.available
        if self.frozen and self.serving:
            return 0
        if self.limit:
            wanted = min(wanted, self.limit - self.serving)
        return max(wanted, 0)

    def heard(self, pid: int, status: Status, now: float) -> None:
        child = self.children.get(pid)
        if child is None:
            return
        child.heard = now
        child.ready = child.ready or status.ready
        child.available = status.available
        child.leaving = child.leaving or status.leaving
        child.sessions = status.sessions
        child.served = status.served

    def died(self, pid: int, status: int, now: float) -> str:
        """Take note of a death (wait status as of os.waitpid). Returns what to log, empty for a quiet end."""
        child = self.children.pop(pid, None)
        if child is None:
            return ""
        self.requests += child.served
        signal_number = status & 0x7F
        code = status >> 8
        if signal_number == 0 and code == 0:
            return ""
        name = f"{self.service.name}: process {self.service.program}[{pid}]"
        how = f"was killed by signal {signal_number}" if signal_number else f"ended with status {code}"
        if signal_number == 9:
            how += " (out of memory, or by hand?)"
        elif signal_number == 6:
            how += " (it, or a library of its, gave up: process_memory_limit reached?)"
        if child.stopping:
            return ""
        self.restarts += 1
        if child.served == 0 and not (child.ready and signal_number):
            # It never worked: trying again at once would be a busy loop (Postfix: bad command startup).
            self.throttled_until = now + self.service.throttle_time
            why = "its configuration is wrong" if code == EXIT_CONFIG else "bad command startup"
            return f"{name} {how}: {why}; no new one for {self.service.throttle_time:.0f}s"
        return f"{name} {how}"

    def overdue(self, now: float, heartbeat_timeout: float) -> list[int]:
        """Processes that have been silent for too long."""
        return [
            pid
            for pid, child in self.children.items()
            if now - child.heard > (heartbeat_timeout if child.ready else max(BIRTH_TIMEOUT, heartbeat_timeout))
        ]

    def excuse(self, seconds: float) -> None:
        """For so long the master itself did not listen."""
        for child in self.children.values():
            child.heard += seconds

    def wakeup_due(self, now: float) -> bool:
        service = self.service
        if not service.wakeup or now < self.next_wakeup:
            return False
        self.next_wakeup = now + service.wakeup
        return self.used or not service.wakeup_if_used
