"""Connections that are kept for the next delivery: bookkeeping only.

A connection is found by the next hop that it was made for, or by its address and port. Who is kept, and how long, is
the delivery's to say.
"""

import math
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Kept(Protocol):
    @property
    def usable(self) -> bool: ...


C = TypeVar("C", bound=Kept)


class Pool(Generic[C]):
    """By label; the connection used last is taken first, so that the others can go."""

    def __init__(self) -> None:
        self._by_label: dict[Hashable, list[C]] = {}
        self._labels: dict[int, tuple[Hashable, ...]] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def put(self, connection: C, *labels: Hashable) -> None:
        self._labels[id(connection)] = labels
        for label in labels:
            self._by_label.setdefault(label, []).append(connection)

    def take(self, label: Hashable) -> C | None:
        """A usable connection, which is then no longer kept; None where there is none."""
        while kept := self._by_label.get(label):
            connection = kept[-1]
            self.remove(connection)
            if connection.usable:
                return connection
        return None

    def remove(self, connection: C) -> bool:
        """False when it was not kept."""
        labels = self._labels.pop(id(connection), None)
        if labels is None:
            return False
        for label in labels:
            kept = self._by_label[label]
            kept.remove(connection)
            if not kept:
                del self._by_label[label]
        return True

    def all(self) -> list[C]:
        return list({id(connection): connection for kept in self._by_label.values() for connection in kept}.values())


class Demand:
    """Whether more mail for a next hop is likely to come soon: others are under way, or came within ``span`` seconds.

    An agent is not told what waits in the queue; but qmgr hands the next job of a busy destination over the moment that
    one is reported, so what came lately is a good measure of it.
    """

    def __init__(self, span: float, limit: int = 1000) -> None:
        """``limit``: next hops that are remembered."""
        self._span = span
        self._limit = limit
        self._running: dict[str, int] = {}
        self._last: dict[str, tuple[float, float]] = {}
        """When the last job and the one before it came."""

    def begin(self, nexthop: str, now: float) -> None:
        """A job came."""
        self._running[nexthop] = self._running.get(nexthop, 0) + 1
        last, _ = self._last.pop(nexthop, (-math.inf, 0.0))
        if len(self._last) >= self._limit:
            del self._last[next(iter(self._last))]
        self._last[nexthop] = (now, last)

    def end(self, nexthop: str) -> None:
        """It is reported."""
        running = self._running.get(nexthop, 0) - 1
        if running > 0:
            self._running[nexthop] = running
        else:
            self._running.pop(nexthop, None)

    def likely(self, nexthop: str, now: float) -> bool:
        """Asked while a job for it is under way: are there others, or was there one lately?"""
        if self._running.get(nexthop, 0) > 1:
            return True
        found = self._last.get(nexthop)
        return found is not None and now - found[1] < self._span
