"""The scheduler with a simulated clock: limits hold, nothing is lost or doubled, nobody starves, the dead come back."""

import heapq
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Recipient
from tubepost.common.wire.qmgr import QueuedRecipient

from tubepost.services.qmgr.schedule import Destination, Entry, Feedback, Limits, Transport, parse_feedback

WHY = RecipientStatus(offset=-1, status="deferred", dsn="4.4.1", text="connection refused")


@dataclass(eq=False)
class Mail:
    name: str


@dataclass
class World:
    """Deliveries under way end in order of time; ``took``: seconds a delivery; ``down``: destinations that fail."""

    limits: Limits
    took: float = 1.0
    down: frozenset[str] = frozenset()
    process_limit: int = 10_000
    now: float = 1000.0
    transport: Transport = field(init=False)
    under_way: list[tuple[float, int, Entry]] = field(default_factory=list)
    number: int = 0
    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(message, offset) of those handed out to an agent or withdrawn."""
    started: list[tuple[float, str, str]] = field(default_factory=list)
    """(time, message, destination) of each delivery."""
    withdrawn: int = 0
    widest: Counter[str] = field(default_factory=Counter)
    ended: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transport = Transport("smtp", self.limits)

    def give(self, mail: Mail, recipients: list[tuple[str, str]], first: int = 0) -> None:
        """(address, next hop) each."""
        transport = self.transport
        for offset, (address, nexthop) in enumerate(recipients, first):
            queued = QueuedRecipient(offset=offset, recipient=Recipient(address=address))
            transport.add(transport.job(mail, self.now), transport.destination(nexthop, address), queued)

    def pump(self) -> None:
        limits = self.limits
        while len(self.under_way) < self.process_limit:
            entry = self.transport.select(self.now)
            if entry is None:
                break
            destination = entry.destination
            assert destination.dead_until <= self.now
            if limits.recipients:
                assert 0 < len(entry.recipients) <= limits.recipients
            for queued in entry.recipients:
                self.outcomes[entry.job.message.name, queued.offset] += 1
            running = Counter(other.destination.name for _, _, other in self.under_way)
            running[destination.name] += 1
            if limits.concurrency:
                assert running[destination.name] <= limits.concurrency
            self.widest[destination.name] = max(self.widest[destination.name], running[destination.name])
            self.started.append((self.now, entry.job.message.name, destination.name))
            self.number += 1
            heapq.heappush(self.under_way, (self.now + self.took, self.number, entry))

    def step(self) -> bool:
        """The next thing that happens. False when all is still."""
        self.pump()
        if not self.under_way:
            at = self.transport.next_time(self.now)
            if at is None:
                return False
            assert at >= self.now
            self.now = max(at, self.now + 0.001)
            return True
        at = self.transport.next_time(self.now)
        ends, _, entry = self.under_way[0]
        if at is not None and at < ends and len(self.under_way) < self.process_limit:
            self.now = max(at, self.now + 0.001)
            return True
        heapq.heappop(self.under_way)
        self.now = ends
        self.transport.finished(entry, self.now)
        self.ended.append((self.now, entry.job.message.name))
        destination = entry.destination
        if destination.nexthop not in self.down:
            destination.succeeded()
        elif destination.failed(self.now, WHY):
            for waiting in self.transport.withdraw(lambda found: found.why is not None):
                assert waiting.destination.dead_until > self.now, "only mail for the dead is given up"
                self.withdrawn += 1
                for queued in waiting.recipients:
                    self.outcomes[waiting.job.message.name, queued.offset] += 1
        return True

    def run(self, steps: int = 20_000) -> None:
        for _ in range(steps):
            if not self.step():
                return
        raise AssertionError("no end in sight")

    def check_empty(self) -> None:
        transport = self.transport
        assert transport.busy == transport.waiting == 0
        assert not transport.jobs
        transport.clean(self.now + 10_000)
        assert not transport.destinations


def addresses(number: int, *hosts: str) -> list[tuple[str, str]]:
    return [(f"u{place}@{hosts[place % len(hosts)]}", hosts[place % len(hosts)]) for place in range(number)]


limits_strategy = st.builds(
    Limits,
    initial_concurrency=st.integers(1, 6),
    concurrency=st.integers(0, 8),
    recipients=st.integers(0, 5),
    positive=st.sampled_from([Feedback(1.0), Feedback(0.2), Feedback(1.0, "concurrency")]),
    negative=st.sampled_from([Feedback(1.0), Feedback(0.2), Feedback(1.0, "concurrency")]),
    failed_cohorts=st.integers(0, 2),
    destination_rate_delay=st.sampled_from([0.0, 0.0, 2.0]),
    transport_rate_delay=st.sampled_from([0.0, 0.0, 0.5]),
    slot_cost=st.integers(0, 5),
    slot_loan=st.integers(0, 3),
    slot_discount=st.integers(0, 100),
    minimum_slots=st.integers(0, 3),
)


@given(
    limits=limits_strategy,
    mails=st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), min_size=1, max_size=12),
    down=st.frozensets(st.sampled_from("abcd"), max_size=2),
    process_limit=st.integers(1, 20),
    pauses=st.lists(st.integers(0, 4), min_size=12, max_size=12),
)
@settings(max_examples=150, deadline=None)
def test_every_recipient_is_handed_out_exactly_once(
    limits: Limits, mails: list[list[str]], down: frozenset[str], process_limit: int, pauses: list[int]
) -> None:
    world = World(limits, down=down, process_limit=process_limit)
    expected = set()
    for number, (hosts, pause) in enumerate(zip(mails, pauses, strict=False)):
        mail = Mail(str(number))
        world.give(mail, [(f"{place}@{host}", host) for place, host in enumerate(hosts)])
        expected |= {(mail.name, place) for place in range(len(hosts))}
        for _ in range(pause):
            world.step()
    world.run()
    assert set(world.outcomes) == expected
    assert set(world.outcomes.values()) == {1}
    world.check_empty()


@given(rounds=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 8)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_recipients_that_come_in_portions_are_all_handed_out(rounds: list[tuple[int, int]]) -> None:
    world = World(Limits(recipients=3))
    mail, offset = Mail("list"), 0
    for number, steps in rounds:
        world.give(mail, addresses(number, "a", "b"), offset)
        offset += number
        for _ in range(steps):
            world.step()
    world.run()
    assert world.outcomes == Counter({("list", place): 1 for place in range(offset)})
    world.check_empty()


def test_concurrency_starts_at_the_initial_and_grows_to_the_limit() -> None:
    world = World(Limits(initial_concurrency=2, concurrency=7, recipients=1000))
    for number in range(100):
        world.give(Mail(str(number)), addresses(1, "a"))
    world.pump()
    assert len(world.under_way) == 2
    world.run()
    assert world.widest["a"] == 7


def test_an_initial_concurrency_of_one_grows_too() -> None:
    world = World(Limits(initial_concurrency=1, concurrency=4, recipients=1000))
    for number in range(50):
        world.give(Mail(str(number)), addresses(1, "a"))
    world.run()
    assert world.widest["a"] == 4


def test_failures_narrow_the_window_to_one_and_no_further() -> None:
    destination = Transport("smtp", Limits(failed_cohorts=0)).destination("a", "")
    for _ in range(20):
        assert not destination.failed(0.0, WHY)
    assert destination.window == 1


def test_success_and_failure_in_turn_do_not_begin_each_others_cycle_anew() -> None:
    # SCHEDULER_README: only a change of the window does. Four quarters of each: one step down and one up.
    quarter = Feedback(0.25)
    limits = Limits(initial_concurrency=20, concurrency=0, positive=quarter, negative=quarter, failed_cohorts=0)
    destination = Transport("smtp", limits).destination("a", "")
    windows = []
    for _ in range(4):
        destination.failed(0.0, WHY)
        windows.append(destination.window)
        destination.succeeded()
        windows.append(destination.window)
    assert windows == [19.0] * 7 + [20.0]


@pytest.mark.parametrize("part", [3, 10, 49])
def test_so_many_parts_are_a_whole(part: int) -> None:
    limits = Limits(initial_concurrency=20, concurrency=0, positive=Feedback(1 / part), failed_cohorts=0)
    destination = Transport("smtp", limits).destination("a", "")
    for _ in range(part - 1):
        destination.succeeded()
    assert destination.window == 20.0
    destination.succeeded()
    assert destination.window == 21.0


def test_what_succeeds_after_the_destination_was_given_up_keeps_what_is_under_way() -> None:
    world = World(Limits(initial_concurrency=4))
    for number in range(4):
        world.give(Mail(str(number)), addresses(1, "a"))
    world.pump()
    destination = world.transport.destinations["a"]
    destination.busy = 9
    while not destination.failed(world.now, WHY):
        pass
    destination.succeeded()
    assert destination.window == 10.0 and not destination.dead_until and destination.why is None


def test_a_dead_destination_is_left_alone_and_comes_back() -> None:
    world = World(Limits(initial_concurrency=5, dead_time=300.0), down=frozenset("a"))
    for number in range(30):
        world.give(Mail(str(number)), addresses(1, "a"))
    world.give(Mail("other"), addresses(1, "b"))
    world.run()
    # Five in a row with a window that shrinks: one cohort. The rest was not tried.
    tried = sum(1 for _, _, host in world.started if host == "a")
    assert tried < 10
    assert world.withdrawn == 30 - tried
    dead = world.transport.destinations["a"]
    assert dead.dead_until > world.now and dead.why is WHY
    assert world.transport.destination("a", "x@a") is dead, "what comes now is told at once"
    world.now += 301
    world.down = frozenset()
    world.give(Mail("later"), addresses(1, "a"))
    world.run()
    assert world.outcomes["later", 0] == 1
    assert world.started[-1][1] == "later"
    world.check_empty()


def test_the_last_delivery_to_a_destination_can_kill_it_too() -> None:
    # Its entry is over when the failure is told: nothing else keeps it in memory.
    world = World(Limits(initial_concurrency=1), down=frozenset("a"))
    world.give(Mail("only"), addresses(1, "a"))
    world.run()
    assert world.transport.destination("a", "").dead_until > world.now


def test_mail_for_a_destination_that_has_come_back_is_not_given_up_with_another() -> None:
    world = World(Limits(initial_concurrency=1, dead_time=10.0), down=frozenset("a"), process_limit=1)
    world.give(Mail("first"), addresses(1, "a"))
    world.run()
    world.now += 11
    world.down = frozenset("b")
    for number in range(3):
        world.give(Mail(f"b{number}"), addresses(1, "b"))
        world.give(Mail(f"a{number}"), addresses(1, "a"))
    world.run()  # asserts it in step()
    assert sum(1 for _, name, host in world.started if host == "a" and name != "first") == 3


def test_forgiven_destinations_are_tried_at_once() -> None:
    world = World(Limits(initial_concurrency=1))
    destination = world.transport.destination("a", "")
    world.give(Mail("x"), addresses(1, "a"))
    destination.failed(world.now, None)
    world.pump()
    assert not world.started and world.transport.next_time(world.now) == world.now + 300
    world.transport.forgive(world.now)
    world.pump()
    assert len(world.started) == 1


def test_forgiven_destinations_are_not_given_up_with_another() -> None:
    world = World(Limits(initial_concurrency=2, recipients=1000))
    for number in range(2):
        world.give(Mail(str(number)), addresses(1, "a"))
    world.pump()
    # It is remembered, for deliveries to it are under way.
    destination = world.transport.destinations["a"]
    while not destination.failed(world.now, WHY):
        pass
    world.transport.forgive(world.now)
    world.give(Mail("later"), addresses(1, "a"))
    assert destination.waiting == 1
    assert world.transport.withdraw(lambda found: found.why is not None) == []


def test_a_single_mail_overtakes_a_big_list() -> None:
    world = World(Limits(recipients=1), process_limit=4)
    world.give(Mail("list"), addresses(2000, *"abcdefghij"))
    for _ in range(100):
        world.step()
    world.give(Mail("single"), [("x@z", "z")])
    before = len(world.started)
    while not any(name == "single" for _, name, _ in world.started):
        assert world.step()
    assert len(world.started) - before <= 10


def test_without_slots_a_list_is_not_overtaken() -> None:
    world = World(Limits(recipients=1, slot_cost=0), process_limit=4)
    world.give(Mail("list"), addresses(200, *"abcdefghij"))
    world.step()
    world.give(Mail("single"), [("x@z", "z")])
    world.run()
    assert world.started[-1][1] == "single"


@given(cost=st.integers(2, 6), loan=st.integers(0, 3), discount=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_list_that_is_overtaken_all_the_time_still_goes_on(cost: int, loan: int, discount: int) -> None:
    world = World(Limits(recipients=1, slot_cost=cost, slot_loan=loan, slot_discount=discount), process_limit=2)
    world.give(Mail("list"), addresses(300, *"abcdefghij"))
    number = 0
    while sum(1 for _, name, _ in world.started if name == "list") < 300:
        # Small mail without end.
        world.give(Mail(f"small{number}"), [(f"x{number}@z", f"z{number % 7}")])
        number += 1
        assert world.step()
        assert number < 2000
    small = len(world.started) - 300
    # One slot for cost entries, and what was lent once.
    assert small <= 300 // cost + loan + 3 + 2


def test_small_mail_is_not_held_up_by_a_full_destination_before_it() -> None:
    world = World(Limits(initial_concurrency=2, concurrency=2), took=1000.0)
    for number in range(100):
        world.give(Mail(str(number)), addresses(1, "slow"))
    world.pump()
    world.give(Mail("other"), addresses(1, "fast"))
    world.pump()
    assert world.started[-1][1:] == ("other", "fast")


def test_the_destinations_of_a_job_take_turns() -> None:
    world = World(Limits(recipients=2, slot_cost=0), process_limit=1)
    world.give(Mail("list"), addresses(24, "a", "b", "c"))
    world.run()
    assert [host for _, _, host in world.started] == ["a", "b", "c"] * 4


def test_one_recipient_a_delivery_makes_each_recipient_a_destination() -> None:
    world = World(Limits(initial_concurrency=1, concurrency=1, recipients=1))
    world.give(Mail("x"), [("a@h", "h"), ("b@h", "h"), ("a@h", "h")])
    world.pump()
    assert sorted(host for _, _, host in world.started) == ["a@h", "b@h"]


def test_a_destination_rate_delay_runs_from_the_end_of_a_delivery() -> None:
    world = World(Limits(destination_rate_delay=5.0), took=2.0)
    for number in range(4):
        world.give(Mail(str(number)), addresses(1, "a"))
    world.give(Mail("b"), addresses(1, "b"))
    world.run()
    assert [time for time, _, host in world.started if host == "a"] == [1000, 1007, 1014, 1021]
    assert [time for time, _, host in world.started if host == "b"] == [1000]


def test_a_transport_rate_delay_leaves_one_delivery_at_a_time() -> None:
    world = World(Limits(transport_rate_delay=3.0), took=1.0)
    for host in "abc":
        world.give(Mail(host), addresses(1, host))
    world.run()
    assert [time for time, _, _ in world.started] == [1000, 1004, 1008]


def test_a_blocked_transport_starts_nothing_until_its_time() -> None:
    world = World(Limits())
    world.give(Mail("x"), addresses(1, "a"))
    world.transport.block(1060.0, WHY)
    world.run()
    assert [time for time, _, _ in world.started] == [1060]


def test_withdrawing_all_leaves_nothing() -> None:
    world = World(Limits(recipients=2))
    world.give(Mail("x"), addresses(9, "a", "b"))
    world.give(Mail("y"), addresses(1, "a"))
    entries = world.transport.withdraw(lambda destination: True)
    assert sum(len(entry.recipients) for entry in entries) == 10
    assert world.transport.select(world.now) is None
    world.check_empty()


def test_work_a_delivery_does_not_grow_with_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # Counted, not timed: 5000 messages for one destination that takes few at a time.
    looks = 0
    ready = Destination.ready

    def counted(destination: Destination, now: float) -> bool:
        nonlocal looks
        looks += 1
        return ready(destination, now)

    monkeypatch.setattr(Destination, "ready", counted)
    world = World(Limits(initial_concurrency=2, concurrency=2))
    for number in range(5000):
        world.give(Mail(str(number)), addresses(1, "a"))
    for _ in range(500):
        world.step()
    assert looks < 500 * 6


@pytest.mark.parametrize(
    ("text", "window", "value"),
    [("1", 5, 1.0), ("0.5", 5, 0.5), ("1/4", 5, 0.25), ("1/concurrency", 4, 0.25), ("1 / sqrt_concurrency", 16, 0.25)],
)
def test_feedback_forms(text: str, window: float, value: float) -> None:
    assert parse_feedback(text).of(window) == value


@pytest.mark.parametrize("text", ["", "x", "2", "-1", "1/x", "1/0", "nan", "1/nan"])
def test_bad_feedback_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_feedback(text)
