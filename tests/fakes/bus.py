"""For tests of the bus: a service's door, and waiting for what has no event."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


def listen(path: str) -> socket.socket:
    """As the master makes it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(600)
    listener.setblocking(False)
    return listener


async def until(true: Callable[[], bool]) -> None:
    """Turns of the loop until it is so; whoever calls bounds the time."""
    while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.001)


def run_in(directory: Path, work: Coroutine[Any, Any, None]) -> None:
    """Sockets have names below it: a path of theirs is a short one."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        asyncio.run(work)
    finally:
        os.chdir(before)
