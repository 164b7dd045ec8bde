"""The counters. Pure: time comes in as an argument.

Rates are counted in fixed windows of one time unit that start with a client's first event, as Postfix does: cheap, and
at most twice the rate passes across the edge of two windows.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

CLIENT_LIMIT = 100_000
# How many that have connections open are passed over in search of one that can make room.
_LOOKS = 16
Key = tuple[str, str]


@dataclass(slots=True)
class _Client:
    window: float
    open: int = 0
    rates: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Peak:
    value: int
    key: Key
    time: float


class Counters:
    """All clients. ``unit``: seconds of a window."""

    def __init__(self, unit: float) -> None:
        self._unit = unit
        self._clients: OrderedDict[Key, _Client] = OrderedDict()
        """About in the order in which their windows began."""
        self._held: dict[int, Counter[Key]] = {}
        self.peaks: dict[str, Peak] = {}
        self.largest = 0

    def _client(self, key: Key, now: float) -> _Client | None:
        """None: there are too many, and this one is not counted."""
        clients = self._clients
        client = clients.get(key)
        if client is None:
            if len(clients) >= CLIENT_LIMIT and not self._make_room():
                return None
            client = clients[key] = _Client(now)
            self.largest = max(self.largest, len(clients))
        elif now - client.window >= self._unit:
            client.window = now
            client.rates.clear()
            clients.move_to_end(key)
        return client

    def _make_room(self) -> bool:
        """Forget who has nothing open and was first counted the longest ago."""
        clients = self._clients
        for _ in range(_LOOKS):
            key, client = clients.popitem(last=False)
            if not client.open:
                return True
            clients[key] = client
        return False

    def _peak(self, what: str, value: int, key: Key, now: float) -> None:
        peak = self.peaks.get(what)
        if peak is None or value > peak.value:
            self.peaks[what] = Peak(value, key, now)

    def connect(self, key: Key, pid: int, now: float) -> tuple[int, int]:
        """A connection to process ``pid``. Returns (open connections, connection rate)."""
        client = self._client(key, now)
        if client is None:
            return 1, 1
        client.open += 1
        client.rates["connect"] += 1
        self._held.setdefault(pid, Counter())[key] += 1
        self._peak("connection count", client.open, key, now)
        self._peak("connection rate", client.rates["connect"], key, now)
        return client.open, client.rates["connect"]

    def disconnect(self, key: Key, pid: int) -> None:
        held = self._held.get(pid)
        if held is None or held[key] <= 0:
            return  # not of this process: it cannot take back what it has not got
        held[key] -= 1
        if held[key] == 0:
            del held[key]
        client = self._clients.get(key)
        if client is not None and client.open > 0:
            client.open -= 1

    def count(self, key: Key, event: str, now: float) -> tuple[int, int]:
        """One event. Returns (open connections, rate of these events)."""
        client = self._client(key, now)
        if client is None:
            return 0, 1
        client.rates[event] += 1
        self._peak(f"{event} rate", client.rates[event], key, now)
        return client.open, client.rates[event]

    def gone(self, pid: int) -> None:
        """The process ended: its connections are over."""
        for key, number in self._held.pop(pid, Counter()).items():
            client = self._clients.get(key)
            if client is not None:
                client.open = max(0, client.open - number)

    def forget(self, now: float) -> None:
        """Drop clients with nothing open and an ended window."""
        over = [k for k, c in self._clients.items() if c.open == 0 and now - c.window >= self._unit]
        for key in over:
            del self._clients[key]

    def take_peaks(self) -> Iterable[tuple[str, Peak]]:
        """The peaks since the last call."""
        peaks, self.peaks = self.peaks, {}
        return peaks.items()

    def __len__(self) -> int:
        return len(self._clients)
