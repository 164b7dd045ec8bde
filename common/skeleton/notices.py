"""Tells notify what was delivered: one-way, at the end of the loop's turn, each mailbox once."""

from tubepost.common.wire.notify import Changed
from tubepost.common.bus import Client
from tubepost.common.skeleton.process import Process


class Notices:
    """One a program. Where there is no notify program nothing is lost but time: readers look for themselves."""

    __slots__ = ("_client", "_pending", "_process")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._client: Client | None = None
        self._pending: dict[tuple[str, str], None] = {}

    def tell(self, root: str, folder: str) -> None:
        """The Maildir at ``root`` (absolute) has news in ``folder``."""
        if not self._pending:
            self._process.loop.call_soon(self._send)
        self._pending[root, folder] = None

    def _send(self) -> None:
        if self._client is None:
            self._client = self._process.client(self._process.config.notify_service_name)
        pending, self._pending = self._pending, {}
        for root, folder in pending:
            self._client.tell(Changed(mailbox=root, folder=folder))
