"""What is told to notify: the first at once, a flood together."""

import asyncio
from types import SimpleNamespace
from typing import Any

from tubepost.common.skeleton.notices import Notices


class Loop:
    """A loop whose timers fire when told to."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def call_soon(self, work: Any) -> Any:
        return self._add(work)

    def call_later(self, _seconds: float, work: Any) -> Any:
        return self._add(work)

    def _add(self, work: Any) -> Any:
        handle = SimpleNamespace(work=work)
        handle.cancel = lambda: self.waiting.remove(handle)
        self.waiting.append(handle)
        return handle

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for handle in waiting:
            handle.work()


class Process:
    def __init__(self) -> None:
        self.loop = Loop()
        self.config = SimpleNamespace(notify_service_name="notify")
        self.told: list[tuple[str, str]] = []

    def client(self, _service: str) -> Any:
        return SimpleNamespace(tell=lambda message: self.told.append((message.mailbox, message.folder)))


def test_a_flood_is_told_together() -> None:
    process = Process()
    notices = Notices(process)  # type: ignore[arg-type]
    notices.tell("/a", "INBOX")
    notices.tell("/a", "INBOX")
    notices.tell("/b", "Work")
    process.loop.turn()
    assert process.told == [("/a", "INBOX"), ("/b", "Work")]
    for _ in range(100):
        notices.tell("/a", "INBOX")
    assert len(process.told) == 2 and len(process.loop.waiting) == 1
    process.loop.turn()
    assert process.told[2:] == [("/a", "INBOX")]
    process.loop.turn()
    # Silence: no timer is left, and the next one goes at once.
    assert process.loop.waiting == []
    notices.tell("/a", "INBOX")
    process.loop.turn()
    assert len(process.told) == 4


def test_nothing_is_kept_back_at_the_end() -> None:
    process = Process()
    notices = Notices(process)  # type: ignore[arg-type]
    notices.tell("/a", "INBOX")
    notices.close()
    assert process.told == [("/a", "INBOX")] and process.loop.waiting == []
    notices.close()


def test_with_a_real_loop() -> None:
    process = Process()

    async def run() -> None:
        process.loop = asyncio.get_running_loop()  # type: ignore[assignment]
        notices = Notices(process)  # type: ignore[arg-type]
        notices.tell("/a", "INBOX")
        await asyncio.sleep(0)
        assert process.told == [("/a", "INBOX")]
        notices.close()

    asyncio.run(run())
