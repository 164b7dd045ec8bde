"""Connections of users over all processes: the sum is right whatever is said in what order, and memory is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.anvil import logins
from tubepost.services.anvil.logins import Key, Logins

A: Key = ("imapd", "alice@example.test", "192.0.2.1")
B: Key = ("imapd", "alice@example.test", "192.0.2.2")


def test_all_processes_count_together_and_each_address_apart() -> None:
    counted = Logins()
    assert [counted.serves(A, 1, 1), counted.serves(A, 1, 2), counted.serves(A, 2, 1)] == [1, 2, 3]
    assert counted.serves(B, 2, 1) == 1
    assert counted.serves(("pop3d", *A[1:]), 2, 1) == 1
    assert counted.serves(A, 1, 1) == 2


def test_a_dead_process_has_no_connections() -> None:
    counted = Logins()
    counted.serves(A, 1, 40)
    counted.serves(B, 1, 3)
    counted.serves(A, 2, 2)
    counted.gone(1)
    counted.gone(1)
    counted.gone(99)
    assert counted.serves(A, 2, 3) == 3
    assert len(counted) == 1


def test_a_word_that_was_lost_is_made_good_by_the_next() -> None:
    counted = Logins()
    counted.serves(A, 1, 5)
    assert counted.serves(A, 1, 2) == 2


def test_memory_is_bounded_and_who_is_not_counted_is_told_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "ROW_LIMIT", 10)
    counted = Logins()
    counted.serves(A, 2, 4)
    for number in range(1000):
        counted.serves(("imapd", str(number), ""), 1, 1)
    assert len(counted) == 10
    assert counted.serves(A, 1, 3) == 7
    assert counted.serves(A, 2, 5) == 5, "who is counted stays so"
    counted.gone(1)
    assert len(counted) == 1
    assert not any(counted._held.get(pid) for pid in (1, 3))


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([A, B]), st.integers(0, 4), st.booleans())))
def test_the_sum_is_of_what_each_said_last(said: list[tuple[int, Key, int, bool]]) -> None:
    counted = Logins()
    model: dict[tuple[int, Key], int] = {}
    for pid, key, number, dies in said:
        model[pid, key] = number
        assert counted.serves(key, pid, number) == sum(n for (_, k), n in model.items() if k == key)
        if dies:
            counted.gone(pid)
            model = {(p, k): n for (p, k), n in model.items() if p != pid}
    assert len(counted) == sum(1 for n in model.values() if n)
    for pid, _ in tuple(model):
        counted.gone(pid)
    for known in [counted._rows, counted._held]:
        assert not known
