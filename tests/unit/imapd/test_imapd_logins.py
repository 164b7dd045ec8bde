"""Connections of a user over all processes, as one imapd sees it: anvil's word where there is one, else its own."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tubepost.common.wire.anvil import Serves, Total
from tubepost.common.system import log
from tubepost.common.bus.errors import Unavailable

from tubepost.services.anvil.logins import Logins as Counted
from tubepost.services.imapd import logins
from tubepost.services.imapd.logins import Logins


class Anvil:
    """Several workers, one after the other; the real counts behind each."""

    def __init__(self) -> None:
        self.counted = Counted()
        self.talks = 0
        self.asked = 0
        self.silent = False
        self.held: asyncio.Event | None = None

    def restart(self) -> None:
        self.counted = Counted()
        self.talks += 1


class Talk:
    def __init__(self, anvil: Anvil, pid: int) -> None:
        self._anvil, self._pid = anvil, pid
        self._number = anvil.talks

    @property
    def ended(self) -> bool:
        return self._number != self._anvil.talks

    def tell(self, word: Serves) -> None:
        assert not self.ended
        self._anvil.counted.serves(("imapd", word.user, word.network), self._pid, word.connections)

    async def ask(self, word: Serves, model: type[Total], *, deadline: float) -> Total:
        self._anvil.asked += 1
        if self._anvil.held is not None:
            await self._anvil.held.wait()
        if self._anvil.silent or self.ended:
            raise Unavailable("private/anvil: no answer in time")
        found = self._anvil.counted.serves(("imapd", word.user, word.network), self._pid, word.connections)
        return model(connections=found)


class Clock(SimpleNamespace):
    now = 100.0

    def time(self) -> float:
        return self.now


def process(anvil: Anvil, pid: int, limit: int, clock: Clock | None = None) -> Logins:
    client = SimpleNamespace(talk=lambda: Talk(anvil, pid))
    fake = SimpleNamespace(loop=clock or Clock(), client=lambda name: client)
    return Logins(cast(Any, fake), limit)


def run(scene: Callable[[Anvil], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene(Anvil()))


def test_the_limit_is_over_all_processes() -> None:
    async def scene(anvil: Anvil) -> None:
        one, other = process(anvil, 1, 3), process(anvil, 2, 3)
        keys = [await one.enter("alice", "192.0.2.1"), await other.enter("alice", "192.0.2.1")]
        keys.append(await other.enter("alice", "192.0.2.1"))
        assert None not in keys
        for _ in range(5):
            assert await one.enter("alice", "192.0.2.1") is None
            assert await other.enter("alice", "192.0.2.1") is None
        assert await one.enter("alice", "192.0.2.2")
        assert await one.enter("bob", "192.0.2.1")
        assert keys[1] is not None
        other.leave(keys[1])
        assert await one.enter("alice", "192.0.2.1")
        assert await other.enter("alice", "192.0.2.1") is None
        anvil.counted.gone(2)
        assert await one.enter("alice", "192.0.2.1")

    run(scene)


def test_whoever_has_a_network_of_addresses_has_one_limit() -> None:
    async def scene(anvil: Anvil) -> None:
        one = process(anvil, 1, 2)
        assert await one.enter("alice", "2001:db8::1")
        assert await one.enter("alice", "2001:db8::2:3:4:5")
        assert await one.enter("alice", "2001:db8::ffff:0:0:1") is None
        assert await one.enter("alice", "2001:db8:0:1::1")

    run(scene)


def test_two_that_come_at_once_do_not_both_pass() -> None:
    async def scene(anvil: Anvil) -> None:
        anvil.held = asyncio.Event()
        both = [process(anvil, pid, 1).enter("alice", "192.0.2.1") for pid in (1, 2)]
        waiting = asyncio.gather(*both)
        await asyncio.sleep(0)
        anvil.held.set()
        assert (await waiting).count(None) == 1

    run(scene)


def test_without_a_limit_anvil_is_not_asked() -> None:
    async def scene(anvil: Anvil) -> None:
        one = process(anvil, 1, 0)
        keys = [await one.enter("alice", "192.0.2.1") for _ in range(200)]
        for key in keys:
            assert key is not None
            one.leave(key)
        assert (anvil.asked, len(anvil.counted), one._held) == (0, 0, {})

    run(scene)


def test_a_silent_anvil_refuses_nobody_is_asked_seldom_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)

    async def scene(anvil: Anvil) -> None:
        clock = Clock()
        one = process(anvil, 1, 3, clock)
        anvil.silent = True
        kept = await one.enter("alice", "192.0.2.1")
        for _ in range(20):
            key = await one.enter("bob", "192.0.2.1")
            assert key is not None
            one.leave(key)
        assert (anvil.asked, len(said)) == (1, 1)
        clock.now += logins._PAUSE + 1
        assert await one.enter("bob", "192.0.2.1")
        assert (anvil.asked, len(said)) == (2, 1)
        # Its own count holds all the time.
        assert await one.enter("alice", "192.0.2.1")
        assert await one.enter("alice", "192.0.2.1")
        assert await one.enter("alice", "192.0.2.1") is None
        clock.now += logins._PAUSE + 1
        anvil.silent = False
        assert await one.enter("carol", "192.0.2.1")
        assert await process(anvil, 2, 3).enter("alice", "192.0.2.1") is None, "it was told of what it missed"
        assert kept is not None
        one.leave(kept)
        assert await process(anvil, 2, 3).enter("alice", "192.0.2.1")

    run(scene)
    assert len([line for line in said if line.startswith("cannot count")]) == 1


def test_a_new_anvil_hears_of_all_that_are_here() -> None:
    async def scene(anvil: Anvil) -> None:
        one, other = process(anvil, 1, 4), process(anvil, 2, 4)
        for _ in range(3):
            key = await one.enter("alice", "192.0.2.1")
        anvil.restart()
        assert key is not None
        one.leave(key)
        assert await one.enter("bob", "192.0.2.1")
        assert await other.enter("alice", "192.0.2.1")
        assert await other.enter("alice", "192.0.2.1")
        assert await other.enter("alice", "192.0.2.1") is None

    run(scene)


def test_a_name_longer_than_anvil_takes_is_counted_all_the_same() -> None:
    async def scene(anvil: Anvil) -> None:
        one, name = process(anvil, 1, 1), "x" * 5000
        key = await one.enter(name, "192.0.2.1")
        assert key is not None
        assert await one.enter(name, "192.0.2.1") is None
        one.leave(key)
        assert len(anvil.counted) == 0

    run(scene)


def test_who_gives_up_waiting_is_not_counted() -> None:
    async def scene(anvil: Anvil) -> None:
        anvil.held = asyncio.Event()
        one = process(anvil, 1, 1)
        task = asyncio.create_task(one.enter("alice", "192.0.2.1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        anvil.held = None
        assert await one.enter("alice", "192.0.2.1")

    run(scene)
