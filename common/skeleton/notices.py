"""Tells notify what was delivered: one-way, each mailbox once in a while.

The first delivery is told at once; those that follow close behind it are told together, so that a flood of mail costs
few messages, and a reader waits no longer than ``_GATHER`` for news that are a flood.
"""

import asyncio

from tubepost.common.wire.notify import Changed
from tubepost.common.bus import Client
from tubepost.common.skeleton.process import Process

# Seconds between two messages.
_GATHER = 0.01


class Notices:
    """One a program. Where there is no notify program nothing is lost but time: readers look for themselves."""

    __slots__ = ("_client", "_pending", "_process", "_timer")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._client: Client | None = None
        self._pending: dict[tuple[str, str], None] = {}
        self._timer: asyncio.Handle | None = None

    def tell(self, root: str, folder: str) -> None:
        """The Maildir at ``root`` (absolute) has news in ``folder``."""
        self._pending[root, folder] = None
        if self._timer is None:
            self._timer = self._process.loop.call_soon(self._send)

    def close(self) -> None:
        """Say what was not said yet."""
        self._stop()
        self._send()
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._timer = None
        if not self._pending:
            return
        if self._client is None:
            self._client = self._process.client(self._process.config.notify_service_name)
        pending, self._pending = self._pending, {}
        for root, folder in pending:
            self._client.tell(Changed(mailbox=root, folder=folder))
        self._timer = self._process.loop.call_later(_GATHER, self._send)
