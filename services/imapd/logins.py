"""How many connections a user has from one network: in this process by its own count, in all by asking anvil.

A limit is a courtesy to others, not a condition for reading mail: where anvil does not answer, only this process's own
count holds. What anvil is told are sums, and all of them again when it is another anvil, so nothing that is lost on the
way stays wrong.
"""

from tubepost.common.mail.network import network_of
from tubepost.common.wire.anvil import NAME_LIMIT, Serves, Total
from tubepost.common.system import log
from tubepost.common.bus.client import Talk
from tubepost.common.bus.errors import BusError
from tubepost.common.skeleton.process import Process

_SERVICE = "anvil"
# The client waits meanwhile: better no limit than no mail. Seconds.
_DEADLINE = 2.0
# After it did not answer, until it is asked again.
_PAUSE = 10.0

Key = tuple[str, str]
"""User and network."""


class Logins:
    """Of a process. ``limit``: connections of a user from a network to all processes; 0: any number."""

    def __init__(self, process: Process, limit: int) -> None:
        self._process = process
        self._limit = limit
        self._held: dict[Key, int] = {}
        self._talk: Talk | None = None
        self._away_until = 0.0
        """A time of the event loop; 0: anvil answers."""

    async def enter(self, user: str, address: str) -> Key | None:
        """One more connection, to be given back by ``leave``. None: it is one too many."""
        key = user[:NAME_LIMIT], network_of(address)
        self._held[key] = self._held.get(key, 0) + 1
        if not self._limit:
            return key
        try:
            total = self._held[key]
            if total <= self._limit:
                total = await self._ask(key, total)
        except BaseException:
            self.leave(key)
            raise
        if total <= self._limit:
            return key
        self.leave(key)
        log.warning(f"{user} [{address}]: login refused: more than {self._limit} connections from {key[1]}")
        return None

    def leave(self, key: Key) -> None:
        """One connection less."""
        left = self._held[key] - 1
        if left:
            self._held[key] = left
        else:
            del self._held[key]
        if self._talk is not None and not self._talk.ended:
            self._talk.tell(_word(key, left))

    async def _ask(self, key: Key, here: int) -> int:
        """The connections to all processes, as far as it can be told; ``here``: to this one."""
        loop = self._process.loop
        if loop.time() < self._away_until:
            return here
        try:
            found = await self._worker().ask(_word(key, here), Total, deadline=_DEADLINE)
        except BusError as error:
            self._talk = None
            if not self._away_until:
                log.warning(f"cannot count connections of users over all processes: {error}")
            self._away_until = loop.time() + _PAUSE
            return here
        self._away_until = 0.0
        assert isinstance(found, Total)
        return found.connections

    def _worker(self) -> Talk:
        """The anvil that was asked before; a new one hears of all that are here. Raises Unavailable."""
        if self._talk is None or self._talk.ended:
            talk = self._talk = self._process.client(_SERVICE).talk()
            for key, number in self._held.items():
                talk.tell(_word(key, number))
        return self._talk


def _word(key: Key, connections: int) -> Serves:
    user, network = key
    return Serves(user=user, network=network, connections=connections)
