"""The orderly stop: who is told to end when, and who is made to. Time comes in as an argument."""

import os
import signal
from collections.abc import Callable, Mapping

from tubepost.common.wire.master import Order
from tubepost.common.system import log

from tubepost.master.children import ServiceState

# In this order services are stopped: the doors, then those who carry, then those whom they ask; the log goes last.
PHASES = (
    ("smtpd", "imapd", "pop3d", "lmtpd", "authclient", "pickup", "showq"),
    ("qmgr", "flush", "verify", "indexer"),
    ("local", "virtual", "smtp", "pipe", "error", "discard"),
    ("cleanup", "bounce", "rewrite", "proxymap", "anvil", "auth", "notify"),
)
_PHASE_OF = {folder: number for number, folders in enumerate(PHASES) for folder in folders}
# From the wish to end to the order of the kernel, seconds.
_GRACE = 2


class Stop:
    """From its making on the system is stopping. ``owners``: living processes and their services, kept up to date."""

    def __init__(
        self, owners: Mapping[int, ServiceState], order: Callable[[int, Order], None], timeout: float, now: float
    ) -> None:
        """``timeout``: stop_timeout, seconds for all phases together. Monotonic ``now``."""
        log.info("stopping: sessions and deliveries under way are finished first")
        self._owners = owners
        self._order = order
        self._patience = timeout / len(PHASES)
        self._phase = -1
        self._next(now)

    def has_come_to(self, state: ServiceState) -> bool:
        """Is it its turn to end? Until then there may be more of its processes: others, that finish, ask them."""
        return _PHASE_OF.get(state.service.folder, len(PHASES)) <= self._phase

    def _awaited(self) -> list[int]:
        """Processes that have to be gone before the next phase."""
        return [pid for pid, state in self._owners.items() if self.has_come_to(state)]

    def _next(self, now: float) -> None:
        self._phase += 1
        self._since = now
        if self._phase == len(PHASES):
            # While there is still a log program to write it.
            log.info("stopped")
            log.flush()
        for pid in self._awaited():
            if child := self._owners[pid].children.get(pid):
                child.stopping = True
            self._order(pid, Order("hurry"))

    def step(self, now: float) -> bool:
        """To be called whenever something may have changed. True when all is over."""
        while True:
            waiting = self._awaited()
            if not waiting:
                if self._phase >= len(PHASES):
                    return True
                self._next(now)
                continue
            late = now - self._since - self._patience
            if late > 0:
                for pid in waiting:
                    kill(pid, signal.SIGKILL if late > _GRACE else signal.SIGTERM)
            return False


def kill(pid: int, number: int) -> bool:
    """Send a signal to a process that may have ended. False: it has, and its end was taken note of."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
