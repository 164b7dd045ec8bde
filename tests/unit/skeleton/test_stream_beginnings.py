"""skeleton/stream.py: connections whose session cannot begin give back their slot, and are closed."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tubepost.common.system import log
from tubepost.common.skeleton import stream


class Broken(stream.Service):
    """``breaks``: what raises ValueError."""

    def __init__(self, process: Any, breaks: str) -> None:
        super().__init__(process)
        self.breaks = breaks
        self.made: list[object] = []

    def connected(self, peer: stream.Peer) -> asyncio.Protocol:
        if self.breaks == "connected":
            raise ValueError("no session")
        self.made.append(peer)
        return asyncio.Protocol()

    def wrapping(self) -> Any:
        if self.breaks == "wrapping":
            raise ValueError("no certificate")
        if self.breaks == "wrapping, by the system":
            raise OSError(2, "No such file or directory")
        return None


@pytest.mark.parametrize("breaks", ["connected", "wrapping", "wrapping, by the system"])
def test_a_session_that_cannot_begin_gives_back_its_slot(breaks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "panic", lines.append)

    async def work() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        config: Any = SimpleNamespace(client_limit=2, overload_waiting_limit=10, overload_wait_time=0.0)
        birth = SimpleNamespace(kind="inet", sockets=(listener.detach(),))
        running = asyncio.get_running_loop()
        process: Any = SimpleNamespace(config=config, birth=birth, loop=running, crowded=False, on_crowd=[])
        service = Broken(process, breaks)
        loop = stream.StreamLoop(process, service)
        loop.start()
        port = loop._sockets[0].getsockname()[1]
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read(1) == b"", "it is closed"
            writer.close()
        assert (loop.sessions, loop.served) == (0, 5)
        assert service.made == [], "nothing that nobody ends was made"
        loop.leave()

    asyncio.run(asyncio.wait_for(work(), 10))
    assert bool(lines) is (breaks != "wrapping, by the system")
