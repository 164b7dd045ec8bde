"""The pipe of in_flow_delay: who takes mail up pours tokens in, who brings mail takes one."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from tubepost.common.skeleton.process import Process


def _process(flow: tuple[int, int], delay: float = 0.01) -> Process:
    birth: Any = SimpleNamespace(service="qmgr", program="qmgr", flow=flow)
    bus: Any = SimpleNamespace(loop=asyncio.get_running_loop())
    config: Any = SimpleNamespace(in_flow_delay=delay)
    return Process(birth, config, bus, None)


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)


def test_the_tokens_of_a_turn_go_in_together_and_none_is_lost() -> None:
    async def work() -> None:
        flow = _pipe()
        process = _process(flow)
        for _ in range(3):
            process.outflow(2)
        await asyncio.sleep(0)
        assert os.read(flow[0], 100) == b"......"
        process.outflow(1)
        await asyncio.sleep(0)
        assert os.read(flow[0], 100) == b"."
        for fd in flow:
            os.close(fd)

    asyncio.run(work())


def test_a_full_pipe_and_none_at_all_harm_nobody() -> None:
    async def work() -> None:
        flow = _pipe()
        process = _process(flow)
        process.outflow(1 << 20)
        await asyncio.sleep(0)
        process.outflow(1)
        await asyncio.sleep(0)
        without = _process((-1, -1))
        without.outflow(1)
        await asyncio.sleep(0)
        await without.inflow()
        for fd in flow:
            os.close(fd)

    asyncio.run(work())


def test_who_brings_mail_waits_for_a_token_but_not_for_ever() -> None:
    async def work() -> None:
        flow = _pipe()
        process = _process(flow)
        loop = process.loop
        process.outflow(1)
        await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            await process.inflow()
            os.read(flow[0], 1)
        begun = loop.time()
        await process.inflow()
        assert loop.time() - begun >= 0.009
        for fd in flow:
            os.close(fd)

    asyncio.run(work())
