"""anvil's counters: nothing is counted twice, nothing stays after its process."""

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.anvil import protocol
from tubepost.services.anvil.protocol import Counters

A, B = ("smtp", "192.0.2.1"), ("smtp", "192.0.2.2")


def test_connections_and_rate_are_apart() -> None:
    counters = Counters(60)
    assert counters.connect(A, 1, 0) == (1, 1)
    assert counters.connect(A, 2, 1) == (2, 2)
    counters.disconnect(A, 1)
    assert counters.connect(A, 1, 2) == (2, 3)
    assert counters.connect(B, 1, 2) == (1, 1)


def test_a_new_window_starts_from_nothing_but_open_connections_stay() -> None:
    counters = Counters(60)
    counters.connect(A, 1, 0)
    assert counters.connect(A, 1, 60) == (2, 1)


def test_a_dead_process_gives_its_connections_back() -> None:
    counters = Counters(60)
    for _ in range(3):
        counters.connect(A, 7, 0)
    counters.connect(A, 8, 0)
    counters.gone(7)
    assert counters.count(A, "message", 1) == (1, 1)


def test_nobody_can_take_back_what_is_not_theirs() -> None:
    counters = Counters(60)
    counters.connect(A, 1, 0)
    counters.disconnect(A, 2)
    counters.disconnect(A, 1)
    counters.disconnect(A, 1)
    assert counters.connect(A, 1, 1)[0] == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CLIENT_LIMIT", 10)
    counters = Counters(60)
    for number in range(100):
        counters.count(("smtp", str(number)), "message", 0)
    assert len(counters) <= 10


def test_a_caller_that_connects_as_ever_new_clients_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with connections that never end: what is held for a process is bounded as the clients are."""
    monkeypatch.setattr(protocol, "CLIENT_LIMIT", 10)
    counters = Counters(60)
    for number in range(1000):
        counters.connect(("smtp", str(number)), 7, 0)
    assert len(counters) <= 10
    assert sum(len(held) for held in counters._held.values()) <= 10
    assert counters.connect(("smtp", "0"), 8, 0) == (2, 2), "who is counted is not forgotten for newcomers"
    counters.gone(7)
    assert counters.connect(("smtp", "new"), 8, 0) == (1, 1)
    assert counters.count(("smtp", "new"), "message", 0)[0] == 1


def test_newcomers_cost_no_look_at_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood from many addresses is what anvil is there for: it must not become slow then."""
    looked = 0

    class Clients(OrderedDict[protocol.Key, object]):
        def items(self):  # type: ignore[no-untyped-def]
            nonlocal looked
            for item in super().items():
                looked += 1
                yield item

    monkeypatch.setattr(protocol, "CLIENT_LIMIT", 1000)
    counters = Counters(60)
    counters._clients = Clients()  # type: ignore[assignment]
    for number in range(3000):
        counters.count(("smtp", str(number)), "message", 1)
    assert looked == 0
    assert counters.count(("smtp", "2999"), "message", 1) == (0, 2)
    assert counters.count(("smtp", "0"), "message", 1) == (0, 1), "the oldest made room"


@given(st.lists(st.tuples(st.sampled_from("cdg"), st.integers(1, 3), st.sampled_from([A, B]))))
def test_open_connections_are_those_not_given_back(events: list[tuple[str, int, tuple[str, str]]]) -> None:
    counters = Counters(60)
    model: dict[tuple[int, tuple[str, str]], int] = {}
    for verb, pid, key in events:
        if verb == "c":
            counters.connect(key, pid, 0)
            model[pid, key] = model.get((pid, key), 0) + 1
        elif verb == "d":
            counters.disconnect(key, pid)
            model[pid, key] = max(0, model.get((pid, key), 0) - 1)
        else:
            counters.gone(pid)
            model = {(p, k): n for (p, k), n in model.items() if p != pid}
    for key in (A, B):
        assert counters.count(key, "message", 0)[0] == sum(n for (_, k), n in model.items() if k == key)
