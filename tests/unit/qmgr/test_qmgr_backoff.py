"""When deferred mail is tried again: the wait doubles, within bounds; and when it ends."""

from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.qmgr.backoff import Lifetimes, expired, next_try, warning_due

TIMES = Lifetimes(300.0, 4000.0, 432_000.0, 86_400.0, 14_400.0)
moments = st.floats(0, 1e7)
part = st.floats(0, 1)


@given(arrival=moments, age=moments, jitter=part)
def test_the_next_try_is_within_the_bounds(arrival: float, age: float, jitter: float) -> None:
    now = arrival + age
    wait = next_try(arrival, now, TIMES, jitter) - now
    assert 300 - 0.01 <= wait <= 4400 + 0.01


def test_the_wait_doubles() -> None:
    now, waits = 0.0, []
    for _ in range(6):
        following = next_try(0.0, now, TIMES, 0.0)
        waits.append(following - now)
        now = following
    assert waits == [300, 300, 600, 1200, 2400, 4000]


def test_a_clock_that_was_set_back_makes_nothing_wait_longer_than_the_least() -> None:
    assert next_try(1000.0, 500.0, TIMES, 0.0) == 800


def test_what_failed_together_comes_back_apart() -> None:
    assert next_try(0, 1000, TIMES, 0.0) < next_try(0, 1000, TIMES, 0.9)


@given(age=moments)
def test_mail_expires_once_and_bounces_have_their_own_time(age: float) -> None:
    assert expired(0.0, age, "a@b", TIMES) == (age >= 432_000)
    assert expired(0.0, age, "", TIMES) == (age >= 86_400)


def test_a_lifetime_of_nothing_allows_one_try() -> None:
    assert expired(5.0, 5.0, "a@b", Lifetimes(300, 4000, 0, 0, 0))


def test_a_warning_is_due_once_and_never_for_bounces() -> None:
    assert not warning_due(0, 14_399, "a@b", False, TIMES)
    assert warning_due(0, 14_400, "a@b", False, TIMES)
    assert not warning_due(0, 14_400, "a@b", True, TIMES)
    assert not warning_due(0, 14_400, "", False, TIMES)
    assert not warning_due(0, 1e9, "a@b", False, Lifetimes(300, 4000, 432_000, 432_000, 0))
