"""Which process has how many connections of a user from one network. Pure.

There is a row only while there are connections, so what is kept is bounded by what the processes can have open; that
holds for an honest caller, and for one that is not there is a limit.
"""

ROW_LIMIT = 100_000
Key = tuple[str, str, str]
"""Program, user, network."""


class Logins:
    """All rows."""

    def __init__(self) -> None:
        self._rows: dict[Key, dict[int, int]] = {}
        self._held: dict[int, set[Key]] = {}
        self._size = 0

    def serves(self, key: Key, pid: int, connections: int) -> int:
        """The process now has so many. Returns those of all processes together."""
        row = self._rows.get(key, {})
        if not connections:
            self._drop(key, pid)
        elif pid in row:
            row[pid] = connections
        elif self._size < ROW_LIMIT:
            self._size += 1
            row[pid] = connections
            self._rows[key] = row
            self._held.setdefault(pid, set()).add(key)
        else:
            return sum(row.values()) + connections
        return sum(row.values())

    def gone(self, pid: int) -> None:
        """The process ended: its connections are over."""
        for key in tuple(self._held.get(pid, ())):
            self._drop(key, pid)

    def _drop(self, key: Key, pid: int) -> None:
        row = self._rows.get(key)
        if row is None or row.pop(pid, None) is None:
            return
        self._size -= 1
        if not row:
            del self._rows[key]
        held = self._held[pid]
        held.discard(key)
        if not held:
            del self._held[pid]

    def __len__(self) -> int:
        return self._size
