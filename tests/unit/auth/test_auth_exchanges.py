"""Exchanges under way: bounded for all, and for each process."""

from dataclasses import dataclass

from tubepost.services.auth.exchanges import Exchanges


@dataclass
class _Exchange:
    begun: float = 0.0
    busy: bool = False


def test_one_process_has_at_most_half() -> None:
    table = Exchanges[_Exchange](6)
    for number in range(3):
        assert table.has_room(1)
        table.add((1, number), _Exchange())
    assert not table.has_room(1)
    assert table.has_room(2)
    for number in range(3):
        table.add((2 + number, number), _Exchange())
    assert len(table) == 6
    assert not any(table.has_room(pid) for pid in (1, 2, 3, 9))
    table.gone(1)
    assert table.has_room(9)
    assert len(table) == 3


def test_the_smallest_limit_lets_one_in() -> None:
    table = Exchanges[_Exchange](1)
    assert table.has_room(1)
    table.add((1, 1), _Exchange())
    assert not table.has_room(1)
    table.remove((1, 1))
    assert table.has_room(1)


def test_an_exchange_is_its_process_s_own() -> None:
    table = Exchanges[_Exchange](6)
    exchange = _Exchange()
    table.add((1, 7), exchange)
    assert table.get((1, 7)) is exchange
    assert table.get((2, 7)) is None
    table.remove((2, 7))
    table.remove((1, 8))
    assert table.get((1, 7)) is exchange


def test_late_ones_that_wait_for_their_client_are_forgotten() -> None:
    table = Exchanges[_Exchange](6)
    table.add((1, 1), _Exchange(begun=10))
    table.add((1, 2), _Exchange(begun=10, busy=True))
    table.add((2, 1), _Exchange(begun=30))
    table.forget(20)
    assert [table.get(key) is not None for key in ((1, 1), (1, 2), (2, 1))] == [False, True, True]
