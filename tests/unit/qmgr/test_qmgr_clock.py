"""A clock that is set makes no mail older or younger."""

from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.qmgr.clock import Clock

HOUR = 3600.0


def test_a_clock_that_goes_right_changes_nothing() -> None:
    clock = Clock(1e9, 5.0)
    assert clock.look(1e9 + 100, 105.0) == 0
    assert clock.arrival(1e9 + 50) == 1e9 + 50


def test_an_adjustment_is_no_setting_however_long_it_goes_on() -> None:
    clock = Clock(1e9, 0.0)
    for second in range(1, 200):
        assert clock.look(1e9 + second * 2, float(second)) == 0
    assert clock.arrival(1e9) == 1e9


def test_set_forward_what_arrived_before_is_not_an_hour_older() -> None:
    clock = Clock(1e9, 0.0)
    assert clock.look(1e9 + 10 + HOUR, 10.0) == HOUR
    now = 1e9 + 20 + HOUR
    assert now - clock.arrival(1e9 + 5) == 15
    assert now - clock.arrival(1e9 + 15 + HOUR) == 5, "what arrived after it has the new time"


def test_set_back_what_arrived_before_is_no_younger() -> None:
    clock = Clock(1e9, 0.0)
    assert clock.look(1e9 + 10 - HOUR, 10.0) == -HOUR
    now = 1e9 + 20 - HOUR
    assert now - clock.arrival(1e9 - 2 * HOUR) == 2 * HOUR + 20


@given(st.lists(st.tuples(st.floats(1, 1e4), st.floats(-1e5, 1e5)), max_size=30), st.floats(2e6, 3e6))
def test_nothing_is_ever_older_than_it_is(steps: list[tuple[float, float]], before: float) -> None:
    """However the clock is set, a message that was there long before is not thought older than the time that went by,
    and what adjustments added (under half a minute each).
    """
    wall, steady = 1e9, 0.0
    clock = Clock(wall, steady)
    arrived = wall - before
    unnoticed = 0.0
    for passed, forward in steps[:15]:
        wall, steady = wall + passed + forward, steady + passed
        unnoticed += 0 if clock.look(wall, steady) else 30
    assert wall - clock.arrival(arrived) <= before + steady + unnoticed + 1e-3
