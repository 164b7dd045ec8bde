"""Who is delivered next: transports, destinations, jobs, entries (Postfix: SCHEDULER_README). Pure.

A *message* with recipients for a *transport* makes a *job*. A job's recipients for one *destination* are cut into
*entries*: what one delivery request carries. A destination has a concurrency window that follows success and failure;
one that fails too often in a row is dead for a while. Within a transport jobs wait in order of arrival, but a small job
may overtake a big one that has had its turns (preemption), so that a mailing list does not hold up single mails.

Nothing here looks at all jobs or all destinations to find the next delivery: a destination that has work and room
stands in a heap, ordered by the *rank* of its first job; one that must wait for a time stands in another. What has
changed since something was put in a heap is found out when it comes to the top.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.qmgr import QueuedRecipient

_NEVER = float("inf")
# A job's own place among those that have overtaken it: they come first.
_LAST = 1 << 60
# Twenty twentieths are one.
_ROUNDING = 1e-6
# How many jobs behind a big one are looked at for one that may overtake it.
_LOOK_AHEAD = 100

Rank = tuple[int, int]


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
        divisor = float(per)
        if not divisor:
            raise ValueError("feedback is divided by zero")
        value, per = value / divisor, ""
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
    deliveries: int = 0
    """At one time, to all destinations together: the processes that master.cf allows."""

    @property
    def first_window(self) -> float:
        """The concurrency that a destination starts with, and starts anew with after it was dead."""
        if self.destination_rate_delay:
            return 1.0
        return float(min(self.initial_concurrency, self.concurrency or self.initial_concurrency))


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
    """While it is dead, what waits for it is told this."""
    not_before: float = 0.0
    """destination_rate_delay."""
    jobs: list[tuple[Rank, int, "Job"]] = field(default_factory=list)
    """A heap of those that have entries here."""
    offered: Rank | None = None
    """The rank with which it stands in the transport's heap; what stands there with another is void."""
    timed: float = 0.0
    """The time for which it stands in the transport's other heap."""

    def ready(self, now: float) -> bool:
        if self.dead_until > now or self.not_before > now:
            return False
        return self.busy < self.window

    def first(self) -> "Job | None":
        """The job with entries here that comes before the others."""
        jobs = self.jobs
        while jobs:
            rank, _, job = jobs[0]
            if job.rank == rank and self in job.peers:
                return job
            heappop(jobs)
        return None

    def succeeded(self) -> None:
        """Positive feedback: hysteresis as Postfix's qmgr_queue_unthrottle. To be called after ``finished``."""
        limits = self.transport.limits
        self.fail_cohorts = 0.0
        # What is in use, the delivery that is over included.
        busy = self.busy + 1
        if self.dead_until:
            # It was given up while this delivery was under way: how many it bears nobody knows.
            self.dead_until = 0.0
            self.why = None
            self.window = float(busy)
            self.success = self.failure = 0.0
        # The window grows no further than what is in use: unused width would say nothing about the peer.
        elif self.window < busy + limits.initial_concurrency and (
            limits.concurrency == 0 or self.window < limits.concurrency
        ):
            self.success += limits.positive.of(self.window)
            while self.success >= 1.0 - _ROUNDING:
                self.success -= 1.0
                self.window += 1.0
                self.failure = 0.0
            if limits.concurrency and self.window > limits.concurrency:
                self.window = float(limits.concurrency)
        self.transport.offer(self)

    def failed(self, now: float, why: RecipientStatus | None) -> bool:
        """Negative feedback: the peer could not be reached. True when the destination is dead now."""
        limits = self.transport.limits
        if self.dead_until > now:
            return True
        self.transport.wake(now)
        if limits.failed_cohorts > 0:
            self.fail_cohorts += 1.0 / max(self.window, 1.0)
        # SCHEDULER_README: either cycle begins anew only when the window changes.
        self.failure -= limits.negative.of(self.window)
        while self.failure < -_ROUNDING:
            self.failure += 1.0
            self.window -= 1.0
            self.success = 0.0
        self.window = max(self.window, 1.0)
        if 0 < limits.failed_cohorts <= self.fail_cohorts + _ROUNDING:
            self.dead_until = now + limits.dead_time
            self.why = why
            self.window = limits.first_window
            self.fail_cohorts = self.success = self.failure = 0.0
            # It may have been forgotten as idle when its last delivery was over: that it is dead must be known.
            self.transport.destinations.setdefault(self.name, self)
            self.transport.remember(self, self.dead_until)
            return True
        return False


@dataclass(eq=False, slots=True)
class Job:
    """One message on one transport."""

    message: Any
    transport: "Transport"
    arrived: float
    rank: Rank
    """Jobs go in this order: by arrival, those that have overtaken another right before it."""
    recipients: int = 0
    """Recipients not yet handed out."""
    waiting: int = 0
    """Entries not yet handed out."""
    selected: int = 0
    """Entries handed out."""
    slots_used: int = 0
    overtakers: int = 0
    peers: dict[Destination, deque[Entry]] = field(default_factory=dict)
    before: "Job | None" = None
    after: "Job | None" = None
    """Neighbours in order of arrival."""

    @property
    def has_overtaken(self) -> bool:
        return self.rank[1] != _LAST

    def slots(self) -> int:
        """What it has earned for others to overtake it; below 0 while it waits to earn a loan back."""
        cost = self.transport.limits.slot_cost
        return self.selected // cost - self.slots_used if cost else 0


class Transport:
    """One delivery service and what waits for it."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.destinations: dict[str, Destination] = {}
        self.jobs: dict[Any, Job] = {}
        """By message."""
        self.busy = 0
        self.blocked_until = 0.0
        self.why: RecipientStatus | None = None
        self.not_before = 0.0
        """transport_rate_delay."""
        self._last: Job | None = None
        self._numbers = count(1)
        self._ready: list[tuple[Rank, int, Destination]] = []
        self._timed: list[tuple[float, int, Destination]] = []

    # -- what comes in -----------------------------------------------------------------------------------------------

    def destination(self, nexthop: str, recipient: str) -> Destination:
        """Find or make it. With one recipient a delivery, each recipient is a destination (Postfix: qmgr_message.c)."""
        name = recipient if self.limits.recipients == 1 else nexthop
        found = self.destinations.get(name)
        if found is None:
            found = self.destinations[name] = Destination(self, name, self.limits.first_window, nexthop)
        return found

    def job(self, message: Any, now: float) -> Job:
        """The message's job here; a new one waits behind the others."""
        job = self.jobs.get(message)
        if job is None:
            job = self.jobs[message] = Job(message, self, now, (next(self._numbers), _LAST), before=self._last)
            if self._last is not None:
                self._last.after = job
            self._last = job
        return job

    def add(self, job: Job, destination: Destination, recipient: QueuedRecipient) -> None:
        """One more recipient: into the job's last entry for the destination while that has room."""
        entries = job.peers.get(destination)
        is_new = entries is None
        if entries is None:
            entries = job.peers[destination] = deque()
            heappush(destination.jobs, (job.rank, next(self._numbers), job))
        most = self.limits.recipients
        if entries and (most == 0 or len(entries[-1].recipients) < most):
            entries[-1].recipients.append(recipient)
        else:
            entries.append(Entry(job, destination, [recipient]))
            destination.waiting += 1
            job.waiting += 1
        job.recipients += 1
        if is_new:
            self.offer(destination)

    def offer(self, destination: Destination, now: float = _NEVER) -> None:
        """Have ``select`` look at a destination that may have got work or room. ``now``: when it is known."""
        if not destination.waiting or destination.busy >= destination.window:
            return
        at = max(destination.dead_until, destination.not_before)
        if at > now:
            self.remember(destination, at)
            return
        job = destination.first()
        if job is not None and (destination.offered is None or job.rank < destination.offered):
            destination.offered = job.rank
            # Of equal ranks the first come goes first: a job's destinations take turns.
            heappush(self._ready, (job.rank, next(self._numbers), destination))

    def remember(self, destination: Destination, at: float) -> None:
        """Look at it when its time of waiting is over."""
        if at < _NEVER and destination.timed != at:
            destination.timed = at
            heappush(self._timed, (at, next(self._numbers), destination))

    # -- what goes out -----------------------------------------------------------------------------------------------

    def select(self, now: float) -> Entry | None:
        """The next delivery, or None when nothing may start now."""
        if not self.jobs or self.blocked_until > now or self.not_before > now:
            return None
        limits = self.limits
        if limits.transport_rate_delay and self.busy:
            return None
        if 0 < limits.deliveries <= self.busy:
            return None
        self.wake(now)
        while self._ready:
            rank, _, destination = heappop(self._ready)
            if destination.offered != rank:
                continue
            destination.offered = None
            job = destination.first()
            if job is None or not destination.ready(now) or job.rank != rank:
                self.offer(destination, now)
                continue
            if limits.slot_cost and len(self.jobs) > 1 and self._let_overtake(job, now):
                self.offer(destination, now)
                continue
            return self._take(job, destination, now)
        return None

    def _take(self, job: Job, destination: Destination, now: float) -> Entry:
        entries = job.peers[destination]
        entry = entries.popleft()
        if not entries:
            del job.peers[destination]
        job.selected += 1
        job.waiting -= 1
        job.recipients -= len(entry.recipients)
        if not job.waiting:
            self._end(job)
        destination.waiting -= 1
        destination.busy += 1
        destination.why = None
        destination.dead_until = 0.0
        self.busy += 1
        if self.limits.destination_rate_delay:
            # Until the delivery is over; then the pause runs from its end.
            destination.not_before = _NEVER
        self.offer(destination, now)
        return entry

    def _end(self, job: Job) -> None:
        """Nothing of it is left to be handed out."""
        del self.jobs[job.message]
        if job.before is not None:
            job.before.after = job.after
        if job.after is not None:
            job.after.before = job.before
        else:
            self._last = job.before

    def _let_overtake(self, current: Job, now: float) -> bool:
        """SCHEDULER_README, "Preemption": let a job behind this one go first, if one may. True when one was found.

        A job earns one slot with slot_cost entries handed out; a small job that overtakes it uses as many as it has
        entries. Loan and discount let it do so before they are all earned; they are to be earned before the next one.
        """
        limits = self.limits
        entries = current.selected + current.waiting
        if current.has_overtaken or entries // limits.slot_cost < limits.minimum_slots:
            return False
        funds = current.slots() + limits.slot_loan
        best: Job | None = None
        best_score = 0.0
        job = current.after
        for _ in range(_LOOK_AHEAD):
            if job is None:
                break
            needed = job.waiting
            if not job.has_overtaken and funds > 0 and funds * 100 >= needed * (100 - limits.slot_discount):
                # Postfix: the longer it waits and the less it needs, the sooner.
                score = (now - job.arrived + 1.0) / needed
                if score > best_score and any(destination.ready(now) for destination in job.peers):
                    best, best_score = job, score
            job = job.after
        if best is None:
            return False
        current.overtakers += 1
        current.slots_used += best.waiting
        best.rank = (current.rank[0], current.overtakers)
        for destination in best.peers:
            heappush(destination.jobs, (best.rank, next(self._numbers), best))
            self.offer(destination)
        return True

    def finished(self, entry: Entry, now: float) -> None:
        """A delivery is over, however it ended; to be followed by ``succeeded`` or ``failed`` where that is known."""
        destination = entry.destination
        destination.busy -= 1
        self.busy -= 1
        limits = self.limits
        if limits.destination_rate_delay:
            destination.not_before = now + limits.destination_rate_delay
        if limits.transport_rate_delay:
            self.not_before = now + limits.transport_rate_delay
        self._drop_idle(destination, now)
        self.offer(destination, now)

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

    def withdraw(self, wanted: Callable[[Destination], bool]) -> list[Entry]:
        """Take back waiting entries of destinations (dead ones, or all of a blocked transport)."""
        taken: list[Entry] = []
        for destination in [found for found in self.destinations.values() if found.waiting and wanted(found)]:
            while (job := destination.first()) is not None:
                for entry in job.peers.pop(destination):
                    job.recipients -= len(entry.recipients)
                    job.waiting -= 1
                    destination.waiting -= 1
                    taken.append(entry)
                if not job.waiting:
                    self._end(job)
        return taken

    # -- time --------------------------------------------------------------------------------------------------------

    def wake(self, now: float) -> None:
        """Offer the destinations whose time of waiting is over."""
        while self._timed and self._timed[0][0] <= now:
            at, _, destination = heappop(self._timed)
            if destination.timed == at:
                destination.timed = 0.0
                if destination.dead_until <= now:
                    destination.why = None
                self.offer(destination, now)

    def next_time(self, now: float) -> float | None:
        """When something that waits may start, if that is a matter of time alone."""
        if not self.jobs:
            return None
        self.wake(now)
        times = [at for at in (self.blocked_until, self.not_before) if at > now]
        if self._timed:
            # At worst too early, for one that has been withdrawn from or forgiven since.
            times.append(self._timed[0][0])
        return min(times, default=None)

    def forgive(self, now: float) -> None:
        """A person wants all to be tried now, whatever was learned."""
        self.blocked_until = 0.0
        for destination in self.destinations.values():
            destination.dead_until = 0.0
            destination.why = None
        self.clean(now)

    def clean(self, now: float) -> None:
        """Forget destinations whose time of waiting is over; look anew at the others, whose times may be changed."""
        for destination in list(self.destinations.values()):
            self._drop_idle(destination, now)
            self.offer(destination, now)

    @property
    def waiting(self) -> int:
        return sum(job.recipients for job in self.jobs.values())
