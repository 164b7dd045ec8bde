"""The exchanges under way, by the process that began them."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    begun: float
    busy: bool


T = TypeVar("T", bound=Timed)
Key = tuple[int, int]
"""The caller's process id, and its own number of the exchange."""


class Exchanges(Generic[T]):
    """At most ``limit``, of which one process has at most half: one that was broken into keeps nobody out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._share = max(1, limit // 2)
        self._of: dict[int, dict[int, T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def has_room(self, pid: int) -> bool:
        return len(self) < self._limit and len(self._of.get(pid, ())) < self._share

    def get(self, key: Key) -> T | None:
        return self._of.get(key[0], {}).get(key[1])

    def add(self, key: Key, exchange: T) -> None:
        self._of.setdefault(key[0], {})[key[1]] = exchange

    def remove(self, key: Key) -> None:
        """Also one that is not there."""
        numbers = self._of.get(key[0], {})
        numbers.pop(key[1], None)
        if not numbers:
            self._of.pop(key[0], None)

    def gone(self, pid: int) -> None:
        """The process has ended."""
        self._of.pop(pid, None)

    def forget(self, limit: float) -> None:
        """Those that began before ``limit`` and wait for their client."""
        for key in list(self._late(limit)):
            self.remove(key)

    def _late(self, limit: float) -> Iterator[Key]:
        for pid, numbers in self._of.items():
            for number, exchange in numbers.items():
                if exchange.begun < limit and not exchange.busy:
                    yield pid, number
