"""The numbers that are not there, as runs."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mailbox.view import missing


@given(st.sets(st.integers(1, 60)), st.integers(1, 60), st.integers(1, 60))
def test_missing(uids: set[int], low: int, high: int) -> None:
    runs = list(missing(sorted(uids), low, high))
    found = [number for first, last in runs for number in range(first, last + 1)]
    assert found == [number for number in range(low, high + 1) if number not in uids]
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(runs))


def test_the_work_is_that_of_the_uids() -> None:
    assert list(missing([5], 1, 4_000_000_000)) == [(1, 4), (6, 4_000_000_000)]
