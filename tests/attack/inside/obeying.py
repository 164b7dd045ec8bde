"""The line from a process with an attacker in it to the test, and what comes by it is done."""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from tests.attack.inside import asking, attempts

_LARGEST = 1 << 20


def introduce(place: str, program: str, service: str) -> socket.socket:
    """The line, opened; the test knows who is at its end."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
    line.connect(place)
    line.send(json.dumps({"pid": os.getpid(), "program": program, "service": service}).encode())
    return line


def obey(line: socket.socket, process: Any, spawn: Callable[[asyncio.Task[None]], object]) -> None:
    """What comes is done in the process's own loop; ``spawn`` keeps what takes longer."""
    line.setblocking(False)
    process.loop.add_reader(line.fileno(), _take, line, process, spawn)


def _take(line: socket.socket, process: Any, spawn: Callable[[asyncio.Task[None]], object]) -> None:
    try:
        data = line.recv(_LARGEST)
    except BlockingIOError:
        return
    if not data:
        process.loop.remove_reader(line.fileno())
        return
    order = json.loads(data)
    if order["name"] in asking.ORDERS:
        spawn(process.loop.create_task(_ask(line, process, order)))
        return
    line.send(json.dumps(attempts.run(order["name"], order)).encode())


async def _ask(line: socket.socket, process: Any, order: dict[str, Any]) -> None:
    try:
        found = await asking.ORDERS[order["name"]](process, order)
    except Exception as error:
        found = {"outcome": "broken", "text": repr(error)}
    line.send(json.dumps(found).encode())
