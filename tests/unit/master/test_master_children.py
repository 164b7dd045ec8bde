"""master/children.py and pressure.py: who is wanted, who backs off, what load does to limits. Time is an argument."""

from dataclasses import replace

import pytest

from tubepost.common.wire.master import EXIT_BOOT, EXIT_CONFIG, Order, Status, decode_order, decode_status
from tubepost.common.wire.programs import PROGRAMS, USER

from tubepost.master import pressure
from tubepost.master.children import BIRTH_TIMEOUT, QUEUE_MANAGER, Child, ServiceState
from tubepost.master.pressure import Load, Thresholds
from tubepost.master.sockets import split_endpoint
from tubepost.master.stopping import PHASES, Stop
from tubepost.master.table import ALIASES, Service

SERVICE = Service(
    name="cleanup",
    kind="unix",
    path="public/cleanup",
    program="cleanup",
    folder="cleanup",
    arguments=(),
    overrides=(),
    private=False,
    unprivileged=True,
    wakeup=0.0,
    wakeup_if_used=False,
    maxproc=3,
    min_avail=0,
    client_limit=10,
    throttle_time=60.0,
    verbose=False,
)


def state(*pids: int, **changes: object) -> ServiceState:
    made = ServiceState(replace(SERVICE, **changes))  # type: ignore[arg-type]
    for pid in pids:
        made.children[pid] = Child(pid, 0, born=100.0, heard=100.0)
    return made


def says(made: ServiceState, pid: int, *, now: float = 101.0, available: bool = True, **changes: object) -> None:
    made.heard(pid, Status(available, **{"sessions": 0, "served": 0, **changes}), now)  # type: ignore[arg-type]


def killed(number: int) -> int:
    return number


def exited(code: int) -> int:
    return code << 8


# -- demand ----------------------------------------------------------------------------------------------------------


def test_the_master_watches_the_socket_only_while_no_child_does() -> None:
    made = state()
    assert made.watching(0.0)
    made.pending = 1
    assert not made.watching(0.0), "one demand starts one process"
    made.pending = 0
    made.children[7] = Child(7, 0, 0.0, 0.0)
    assert not made.watching(0.0), "a new child is taken for available until it says otherwise"
    says(made, 7, available=False)
    assert made.watching(0.0)


def test_at_the_limit_nobody_is_started() -> None:
    made = state(1, 2, 3)
    for pid in (1, 2, 3):
        says(made, pid, available=False)
    assert made.at_limit and made.full and not made.watching(0.0)
    made.limit = 0
    assert not made.at_limit and not made.full and made.watching(0.0), "0: no limit"


def test_those_who_leave_make_room_for_others() -> None:
    made = state(1, 2, 3)
    for pid in (1, 2, 3):
        says(made, pid, available=False, leaving=pid == 1)
    assert made.serving == 2 and made.watching(0.0)
    made.children[2].stopping = True
    assert made.serving == 1


def test_a_queue_manager_that_leaves_makes_no_room_before_it_is_gone() -> None:
    made = state(1, program=QUEUE_MANAGER, maxproc=1)
    made.children[1].stopping = True
    says(made, 1, available=False, leaving=True)
    assert made.at_limit and not made.watching(0.0) and made.missing(0.0) == 0
    made.died(1, 0, 200.0)
    assert made.serving == 0 and made.watching(0.0)


@pytest.mark.parametrize(
    ("min_avail", "busy", "idle", "limit", "missing"),
    [
        (2, 0, 0, 3, 2),
        (2, 1, 1, 3, 1),
        (2, 2, 0, 3, 1),
        (5, 0, 0, 3, 3),
        (5, 0, 0, 0, 5),
        (0, 3, 0, 3, 0),
        (1, 0, 2, 3, 0),
    ],
)
def test_process_min_avail_is_kept_within_the_limit(
    min_avail: int, busy: int, idle: int, limit: int, missing: int
) -> None:
    made = state(*range(1, busy + idle + 1), min_avail=min_avail, maxproc=limit)
    for pid in range(1, busy + 1):
        says(made, pid, available=False)
    assert made.missing(0.0) == missing
    made.throttled_until = 10.0
    assert made.missing(9.9) == 0
    assert made.missing(10.0) == missing


def test_a_full_service_is_not_full_while_one_process_has_room() -> None:
    """Stress must end for a service of one process: it is at its limit as long as it lives."""
    made = state(1, maxproc=1)
    assert made.at_limit and not made.full
    says(made, 1, available=False)
    assert made.full
    says(made, 1, available=True)
    assert not made.full


# -- death -----------------------------------------------------------------------------------------------------------


def test_a_quiet_end_is_not_told() -> None:
    made = state(1)
    says(made, 1, served=5)
    assert made.died(1, exited(0), 200.0) == ""
    assert made.requests == 5 and made.restarts == 0 and made.throttled_until == 0.0 and not made.children


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (exited(EXIT_BOOT), "bad command startup"),
        (exited(EXIT_CONFIG), "its configuration is wrong"),
        (killed(11), "was killed by signal 11"),
        (killed(11) | 0x80, "was killed by signal 11"),
    ],
)
def test_death_before_service_is_throttled(status: int, words: str) -> None:
    made = state(1)
    text = made.died(1, status, 200.0)
    assert words in text and "no new one for 60s" in text and "cleanup[1]" in text
    assert not made.watching(259.9) and made.watching(260.0)
    assert made.restarts == 1


def test_death_after_service_is_told_and_not_throttled() -> None:
    made = state(1)
    says(made, 1, served=1)
    text = made.died(1, exited(1), 200.0)
    assert "ended with status 1" in text and made.watching(200.0)


def test_a_ready_process_that_is_shot_is_replaced_at_once() -> None:
    made = state(1)
    says(made, 1)
    text = made.died(1, killed(9), 200.0)
    assert "signal 9 (out of memory, or by hand?)" in text and made.watching(200.0)


def test_one_that_was_told_to_stop_may_end_as_it_likes() -> None:
    made = state(1)
    made.children[1].stopping = True
    assert made.died(1, killed(9), 200.0) == ""
    assert made.watching(200.0) and made.restarts == 0


def test_strangers_are_nobody() -> None:
    made = state(1)
    says(made, 99)
    assert made.died(99, killed(9), 200.0) == "" and list(made.children) == [1]


# -- heartbeats, wake-ups --------------------------------------------------------------------------------------------


def test_silence_is_noticed_and_a_birth_has_more_patience() -> None:
    made = state(1, 2)
    says(made, 1, now=100.0)
    assert made.overdue(105.0, 5.0) == []
    assert made.overdue(105.1, 5.0) == [1]
    assert made.overdue(100.1 + BIRTH_TIMEOUT, 5.0) == [1, 2]
    says(made, 1, now=105.0)
    assert made.overdue(105.1, 5.0) == []


def test_a_master_that_was_frozen_finds_nobody_silent() -> None:
    made = state(1)
    says(made, 1, now=100.0)
    made.excuse(500.0)
    assert made.overdue(604.0, 5.0) == []
    assert made.overdue(606.0, 5.0) == [1]


def test_readiness_stays() -> None:
    made = state(1)
    says(made, 1)
    says(made, 1, ready=False)
    assert made.children[1].ready
    says(made, 1, leaving=True)
    says(made, 1, leaving=False)
    assert made.children[1].leaving


def test_wake_ups_come_at_their_interval() -> None:
    made = state(wakeup=60.0)
    assert made.wakeup_due(0.0)
    assert not made.wakeup_due(59.9)
    assert made.wakeup_due(60.0)
    assert not state().wakeup_due(1e9), "0: never"


def test_a_wake_up_with_a_question_mark_waits_for_use() -> None:
    made = state(wakeup=60.0, wakeup_if_used=True)
    assert not made.wakeup_due(0.0)
    made.used = True
    assert not made.wakeup_due(59.0)
    assert made.wakeup_due(60.0)


# -- pressure --------------------------------------------------------------------------------------------------------

THRESHOLDS = Thresholds(stall_high=20, stall_low=5, used_high=90, used_low=80)


@pytest.mark.parametrize(
    ("level", "stall", "used", "following"),
    [
        (0, 0, 0, 0),
        (0, 20, 0, 1),
        (0, 0, 90, 1),
        (1, 10, 0, 1),
        (1, 0, 85, 1),
        (1, 5, 80, 0),
        (1, 5, 81, 1),
        (4, 99, 99, 4),
        (2, 0, 0, 1),
        (2, 0, 95, 3),
    ],
)
def test_levels_go_one_step_at_a_time(level: int, stall: float, used: float, following: int) -> None:
    assert pressure.next_level(level, Load(stall, used), THRESHOLDS) == following


def test_limits_follow_the_level_and_never_reach_none() -> None:
    assert [pressure.limit_at(level, 100, 40) for level in range(5)] == [100, 30, 20, 10, 4], "of those there were"
    assert [pressure.limit_at(level, 0, 50) for level in range(5)] == [0, 37, 25, 12, 5], "unlimited becomes limited"
    assert [pressure.limit_at(level, 1, 1) for level in range(5)] == [1] * 5
    assert [pressure.limit_at(level, 2, 2) for level in range(5)] == [2, 1, 1, 1, 1]


def test_stall_is_read_from_psi() -> None:
    text = "some avg10=12.34 avg60=1.00 avg300=0.00 total=5\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n"
    assert pressure.parse_stall(text) == 12.34
    assert pressure.parse_stall("") == 0.0
    assert pressure.parse_stall("some avg10=x\n") == 0.0


# -- endpoints, words of children ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("smtp", "", "smtp"),
        ("2525", "", "2525"),
        ("127.0.0.1:2525", "127.0.0.1", "2525"),
        ("[::1]:25", "::1", "25"),
        ("::1:25", "::1", "25"),
        ("localhost:smtp", "localhost", "smtp"),
        (":25", "", "25"),
    ],
)
def test_endpoints(name: str, host: str, port: str) -> None:
    assert split_endpoint(name) == (host, port)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1,2,3,4,5,6]", b"[true,0,0,true,false]", b"\xff", b'[true,"0",0,true,false,""]', b"[" * 1024],
)
def test_a_status_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_status(data)


def test_what_children_say_is_read_as_said() -> None:
    said = Status(False, 3, 4, True, True, "x" * 500)
    assert decode_status(said.encode()) == replace(said, note="x" * 200)
    with pytest.raises(ValueError, match="not an order"):
        decode_order(b"stop now")


# -- the stop ----------------------------------------------------------------------------------------------------------


class Stopping:
    """A stop of one process a program; the number of the process is its place in ``programs``."""

    def __init__(self, *programs: str) -> None:
        self.programs = programs
        self.owners = {
            pid: state(pid, program=program, folder=ALIASES.get(program, program))
            for pid, program in enumerate(programs)
        }
        self.told: list[str] = []
        self.stop = Stop(self.owners, self._order, 40.0, 0.0)

    def _order(self, pid: int, order: Order) -> None:
        assert order.verb == "hurry"
        self.told.append(self.programs[pid])

    def end(self, *programs: str) -> None:
        for program in programs:
            del self.owners[self.programs.index(program)]


def test_doors_end_first_and_the_log_last() -> None:
    made = Stopping("postlogd", "auth", "imapd", "trivial-rewrite", "smtpd", "qmgr", "lmtp", "lmtpd", "notify", "pop3d")
    assert made.told == ["imapd", "smtpd", "lmtpd", "pop3d"]
    made.end("imapd", "smtpd", "lmtpd", "pop3d")
    assert not made.stop.step(1.0)
    assert made.told[4:] == ["qmgr"]
    made.end("qmgr")
    assert not made.stop.step(1.0)
    assert made.told[5:] == ["lmtp"]
    made.end("lmtp")
    assert not made.stop.step(1.0)
    assert made.told[6:] == ["auth", "trivial-rewrite", "notify"]
    made.end("auth", "trivial-rewrite", "notify")
    assert not made.stop.step(1.0)
    assert made.told[9:] == ["postlogd"]
    made.end("postlogd")
    assert made.stop.step(1.0)


def test_every_program_has_its_turn_before_the_log() -> None:
    known = {folder for folders in PHASES for folder in folders}
    assert {ALIASES.get(name, name) for name in PROGRAMS} - known == {"log", USER}


def test_whom_others_still_ask_may_be_started_during_a_stop() -> None:
    made = Stopping("smtpd", "cleanup")
    assert made.stop.has_come_to(state(program="smtpd", folder="smtpd"))
    assert not made.stop.has_come_to(state(program="cleanup", folder="cleanup"))
