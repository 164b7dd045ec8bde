"""The master's answers to commands (``common.system.control`` is their end).

Only the owner of the socket file may connect (mode 0600): root, or the one who started the instance.
"""

import json
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any

from tubepost.common.system.control import NAME

from tubepost.master import measure
from tubepost.master.children import ServiceState

_LINE_LIMIT = 256
_CLIENTS = 8


class Control:
    """Listens; each connection asks once."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, NAME)
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self.listener.bind(self._path)
        finally:
            os.umask(mask)
        self.listener.listen(_CLIENTS)
        self.listener.setblocking(False)

    def answer(self, verbs: dict[str, Callable[[], Any]]) -> None:
        """Take one connection and answer it. A caller that does not speak within a second is dropped."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1.0)
            try:
                line = connection.recv(_LINE_LIMIT).decode("ascii", "replace").strip()
                verb = verbs.get(line)
                reply = verb() if verb is not None else {"error": f"unknown request {line!r}"}
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except OSError:
                return

    def close(self) -> None:
        self.listener.close()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass


def rows(states: Iterable[ServiceState], now: float) -> list[dict[str, Any]]:
    """One a service, for the answer to ``status``. ``memory`` in KiB, ``throttled`` in seconds from ``now``."""
    found = []
    for state in states:
        service = state.service
        children = state.children.values()
        found.append(
            {
                "service": service.name,
                "type": service.kind,
                "program": service.program,
                "processes": len(state.children),
                "maxproc": state.limit,
                "sessions": sum(child.sessions for child in children),
                "limit": service.client_limit * (state.limit or 0),
                "requests": state.requests + sum(child.served for child in children),
                "restarts": state.restarts,
                "memory": sum(measure.memory_of(child.pid) for child in children),
                "stress": state.stressed_since is not None,
                "throttled": max(0, round(state.throttled_until - now)),
                "pids": [child.pid for child in children],
            }
        )
    return found
