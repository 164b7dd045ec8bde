"""Who is delivered next: transports, destinations, jobs, entries (Postfix: SCHEDULER_README). Pure.

A *message* with recipients for a *transport* makes a *job*. A job's recipients for one *destination* are cut into
*entries*: what one delivery request carries. A destination has a concurrency window that follows success and failure;
one that fails too often in a row is dead for a while. Within a transport jobs wait in order of arrival, but a small job
may overtake a big one that has had its turns (preemption), so that a mailing list does not hold up single mails.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.qmgr import QueuedRecipient


@dataclass(frozen=True, slots=True)
class Feedback:
    """How much of one delivery counts: ``number`` or ``number/concurrency`` or ``number/sqrt_concurrency``."""

    number: float
    per: str = ""

    def of(self, window: float) -> float:
        if self.per == "concurrency":
            return self.number / max(window, 1.0)
        if self.per == "sqrt_concurrency":
            return float(self.number / max(window, 1.0) ** 0.5)
        return self.number


def parse_feedback(text: str) -> Feedback:
    """``1``, ``0.5``, ``1/4``, ``1/concurrency``, ``1/sqrt_concurrency``. Raises ValueError."""
    number, slash, per = (part.strip() for part in text.partition("/"))
    value = float(number)
    if slash and per not in ("concurrency", "sqrt_concurrency"):
        value, per = value / float(per), ""
    if not 0 <= value <= 1:
        raise ValueError("feedback is a number from 0 to 1, or number/concurrency, or number/sqrt_concurrency")
    return Feedback(value, per)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one transport: Postfix's ``<transport>_…`` parameters. Times in seconds; 0: no limit where a limit."""

    initial_concurrency: int = 5
    concurrency: int = 20
    recipients: int = 50
    positive: Feedback = Feedback(1.0)
    negative: Feedback = Feedback(1.0)
    failed_cohorts: int = 1
    destination_rate_delay: float = 0.0
    transport_rate_delay: float = 0.0
    slot_cost: int = 5
    slot_loan: int = 3
    slot_discount: int = 50
    minimum_slots: int = 3
    dead_time: float = 300.0


@dataclass(eq=False, slots=True)
class Entry:
    """One delivery request: recipients of one job for one destination."""

    job: "Job"
    destination: "Destination"
    recipients: list[QueuedRecipient]


@dataclass(eq=False, slots=True)
class Destination:
    """One next hop of a transport, or one recipient where the transport takes one recipient a delivery."""

    transport: "Transport"
    name: str
    window: float
    nexthop: str
    busy: int = 0
    waiting: int = 0
    """Entries not yet handed out."""
    success: float = 0.0
    failure: float = 0.0
    fail_cohorts: float = 0.0
    dead_until: float = 0.0
    why: RecipientStatus | None = None
    not_before: float = 0.0
    """destination_rate_delay."""

    def ready(self, now: float) -> bool:
        if self.dead_until > now or self.not_before > now:
            return False
        return self.busy < self.window

    def succeeded(self) -> None:
        """Positive feedback: hysteresis as Postfix's qmgr_queue_unthrottle."""
        limits = self.transport.limits
        self.fail_cohorts = 0.0
        self.failure = 0.0
        self.dead_until = 0.0
        self.why = None
        # The window grows no further than what is in use: unused width would say nothing about the peer.
        if self.window < self.busy + limits.initial_concurrency and (
            limits.concurrency == 0 or self.window < limits.concurrency
        ):
            self.success += limits.positive.of(self.window)
            while self.success >= 1.0:
                self.success -= 1.0
                self.window += 1.0
            if limits.concurrency and self.window > limits.concurrency:
                self.window = float(limits.concurrency)

    def failed(self, now: float, why: RecipientStatus | None) -> bool:
        """Negative feedback: the peer could not be reached. True when the destination is dead now."""
        limits = self.transport.limits
        if self.dead_until > now:
            return True
        if limits.failed_cohorts > 0:
            self.fail_cohorts += 1.0 / max(self.window, 1.0)
        self.success = 0.0
        self.failure -= limits.negative.of(self.window)
        while self.failure < 0:
            self.failure += 1.0
            self.window -= 1.0
        self.window = max(self.window, 1.0)
        # Rounding: twenty twentieths are one.
        if 0 < limits.failed_cohorts <= self.fail_cohorts + 1e-6:
            self.dead_until = now + limits.dead_time
            self.why = why
            self.window = float(min(limits.initial_concurrency, limits.concurrency or limits.initial_concurrency))
            self.fail_cohorts = 0.0
            return True
        return False


@dataclass(eq=False, slots=True)
class Job:
    """One message on one transport."""

    message: Any
    transport: "Transport"
    arrived: float
    recipients: int = 0
    """Recipients not yet handed out."""
    total: int = 0
    selected: int = 0
    """Entries handed out."""
    slots_used: int = 0
    parent: "Job | None" = None
    """The job that this one overtook."""
    peers: dict[str, deque[Entry]] = field(default_factory=dict)
    """Entries by destination; the first destination in the dict is next (round robin)."""

    @property
    def waiting_entries(self) -> int:
        return sum(map(len, self.peers.values()))

    def slots(self) -> int:
        """What it has earned for others to overtake it."""
        cost = self.transport.limits.slot_cost
        return self.selected // cost - self.slots_used if cost else 0

    def take(self, now: float) -> Entry | None:
        """The next entry whose destination is ready."""
        peers = self.peers
        for name in peers if len(peers) == 1 else list(peers):
            entries = peers[name]
            if entries[0].destination.ready(now):
                entry = entries.popleft()
                del peers[name]
                if entries:
                    peers[name] = entries  # to the end of the round
                self.selected += 1
                self.recipients -= len(entry.recipients)
                return entry
        return None


class Transport:
    """One delivery service and what waits for it."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.destinations: dict[str, Destination] = {}
        self.jobs: list[Job] = []
        self.busy = 0
        self.blocked_until = 0.0
        self.why: RecipientStatus | None = None
        self.not_before = 0.0
        """transport_rate_delay."""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def destination(self, nexthop: str, recipient: str) -> Destination:
        """Find or make it. With one recipient a delivery, each recipient is a destination (Postfix: qmgr_message.c)."""
        name = recipient if self.limits.recipients == 1 else nexthop
        found = self.destinations.get(name)
        if found is None:
            limits = self.limits
            window = limits.initial_concurrency
            if limits.concurrency:
                window = min(window, limits.concurrency)
            if limits.destination_rate_delay:
                window = 1
            found = self.destinations[name] = Destination(self, name, float(window), nexthop)
        return found

    def job(self, message: Any, now: float) -> Job:
        """The message's job here; a new one waits behind the others."""
        for job in reversed(self.jobs):
            if job.message is message:
                return job
        job = Job(message, self, now)
        self.jobs.append(job)
        return job

    def add(self, job: Job, destination: Destination, recipient: QueuedRecipient) -> None:
        """One more recipient: into the job's last entry for the destination while that has room."""
        entries = job.peers.get(destination.name)
        if entries is None:
            entries = job.peers[destination.name] = deque()
        most = self.limits.recipients
        if entries and (most == 0 or len(entries[-1].recipients) < most):
            entries[-1].recipients.append(recipient)
        else:
            entries.append(Entry(job, destination, [recipient]))
            destination.waiting += 1
        job.recipients += 1
        job.total += 1

    # -- what goes out -----------------------------------------------------------------------------------------------

    def select(self, now: float) -> Entry | None:
        """The next delivery, or None when nothing may start now."""
        if not self.jobs or self.blocked_until > now or self.not_before > now:
            return None
        limits = self.limits
        if limits.transport_rate_delay and self.busy:
            return None
        index = 0
        while index < len(self.jobs):
            job = self.jobs[index]
            if not job.peers:
                del self.jobs[index]
                continue
            if limits.slot_cost and len(self.jobs) > 1 and (better := self._preempting(index, now)) is not None:
                job = better
            entry = job.take(now)
            if entry is None:
                index += 1
                continue
            if not job.peers:
                self.jobs.remove(job)
            destination = entry.destination
            destination.waiting -= 1
            destination.busy += 1
            self.busy += 1
            if limits.destination_rate_delay:
                # Until the delivery is over; then the pause runs from its end.
                destination.not_before = float("inf")
            return entry
        return None

    def _preempting(self, index: int, now: float) -> Job | None:
        """A job behind this one that may overtake it now (SCHEDULER_README, "Preemption"): moved before it."""
        current = self.jobs[index]
        limits = self.limits
        most = limits.recipients or 1
        if current.parent is not None or -(-current.total // most) // limits.slot_cost < limits.minimum_slots:
            return None
        available = current.slots()
        best: Job | None = None
        best_score = 0.0
        for job in self.jobs[index + 1 : index + 101]:  # a bounded look ahead
            if job.parent is not None or job.selected or not job.peers:
                continue
            needed = job.waiting_entries
            # The loan is granted at once, the discount on what is needed.
            if available + limits.slot_loan < needed * (100 - limits.slot_discount) / 100:
                continue
            if (
                available * 1 + limits.slot_loan <= 0
                or current.slots_used + needed > current.selected + limits.slot_loan
            ):
                continue
            score = (now - job.arrived + 1.0) / needed
            if best is None or score > best_score:
                best, best_score = job, score
        if best is None:
            return None
        self.jobs.remove(best)
        self.jobs.insert(self.jobs.index(current), best)
        best.parent = current
        current.slots_used += best.waiting_entries
        return best

    def finished(self, entry: Entry, now: float) -> None:
        """A delivery is over, however it ended."""
        destination = entry.destination
        destination.busy -= 1
        self.busy -= 1
        limits = self.limits
        if limits.destination_rate_delay:
            destination.not_before = now + limits.destination_rate_delay
        if limits.transport_rate_delay:
            self.not_before = now + limits.transport_rate_delay
        self._drop_idle(destination, now)

    def _drop_idle(self, destination: Destination, now: float) -> None:
        # What was learned about a destination lives while it is in use, or is a reason to wait.
        idle = not destination.busy and not destination.waiting
        if idle and destination.dead_until <= now and destination.not_before <= now:
            self.destinations.pop(destination.name, None)

    def block(self, until: float, why: RecipientStatus) -> None:
        """The transport itself does not work."""
        self.blocked_until = until
        self.why = why

    # -- what cannot go out ------------------------------------------------------------------------------------------

    def withdraw(self, wanted: Callable[[Destination], bool]) -> Iterator[Entry]:
        """Take back waiting entries of destinations (dead ones, or all of a blocked transport)."""
        for job in list(self.jobs):
            for name, entries in list(job.peers.items()):
                if not wanted(entries[0].destination):
                    continue
                del job.peers[name]
                for entry in entries:
                    job.recipients -= len(entry.recipients)
                    entry.destination.waiting -= 1
                    yield entry
            if not job.peers and job in self.jobs:
                self.jobs.remove(job)

    def next_time(self, now: float) -> float | None:
        """When something that waits may start, if that is a matter of time alone."""
        if not self.jobs:
            return None
        times = [at for at in (self.blocked_until, self.not_before) if at > now]
        for destination in self.destinations.values():
            if destination.waiting:
                times += [at for at in (destination.dead_until, destination.not_before) if now < at < float("inf")]
        return min(times, default=None)

    def clean(self, now: float) -> None:
        """Forget destinations whose time of waiting is over."""
        for destination in list(self.destinations.values()):
            self._drop_idle(destination, now)

    @property
    def waiting(self) -> int:
        return sum(job.recipients for job in self.jobs)
