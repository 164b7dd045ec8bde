"""What code inside a program says to other programs: every message to every service, and floods."""

import asyncio
import socket
import threading
import time
from typing import Any

import zmq

from tubepost.common.bus import frames

_PATIENCE = 5.0


def _knock(path: str) -> str:
    """Where a worker of the service is. Raises OSError: the kernel, or nobody, lets us in."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_PATIENCE)
        line.connect(path)
        return line.recv(200).decode().strip()


def _reachable(path: str) -> str:
    """Empty, or the kernel's refusal."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_PATIENCE)
            line.connect(path)
    except OSError as error:
        return type(error).__name__
    return ""


async def ask(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Each of ``names`` (wire names) is asked of the service whose worker listens at ``path``, without its knowing us.

    ``answers``: by name what was said; or ``refused`` by the kernel.
    """
    if refusal := _reachable(order["path"]):
        return {"outcome": "refused", "text": refusal}
    answers: dict[str, str] = {}
    dealer = process.bus.context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(f"ipc://{order['path']}")
    try:
        for number, name in enumerate(order["names"], 1):
            dealer.send_multipart([frames.head(frames.CALL, number) + name.encode() + b'\n{"attack":1}'])
        deadline = time.monotonic() + _PATIENCE
        while len(answers) < len(order["names"]) and time.monotonic() < deadline:
            try:
                frame = dealer.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                await asyncio.sleep(0.002)
                continue
            name = order["names"][int(frame[1 : frames.HEAD], 16) - 1]
            answers[name] = f"{frame[:1].decode()} {frame[frames.HEAD :].decode('utf-8', 'replace')}"
    finally:
        dealer.close()
    return {"outcome": "done", "answers": answers}


async def flood(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """For ``seconds``, as fast as it goes, all of ``said`` (frames as text) to each of ``paths``, each by a thread.

    Answers when it has begun; the threads end by themselves.
    """

    def work(path: str) -> None:
        context: zmq.Context[Any] = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(f"ipc://{path}")
        end = time.monotonic() + order["seconds"]
        number = 0
        while time.monotonic() < end:
            for text in order["said"]:
                number += 1
                kind = (frames.CALL, frames.TELL, frames.UPLOAD)[number % 3]
                parts = [frames.head(kind, number) + text.encode(), b"x" * order.get("payload", 0)]
                try:
                    dealer.send_multipart(parts, zmq.NOBLOCK)
                except zmq.Again:
                    time.sleep(0.001)
        context.destroy(linger=0)

    for path in order["paths"]:
        threading.Thread(target=work, args=(path,), daemon=True).start()
    return {"outcome": "done"}


async def hold_lines(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """So many connections to each of ``paths``, kept; tells how many were given."""
    kept = _kept.setdefault("lines", [])
    count = 0
    for path in order["paths"]:
        for _ in range(order["count"]):
            line = socket.socket(socket.AF_UNIX)
            line.setblocking(False)
            try:
                line.connect(path)
            except OSError:
                line.close()
                continue
            kept.append(line)
            count += 1
    return {"outcome": "done", "count": count}


async def release_lines(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    for line in _kept.pop("lines", []):
        line.close()
    return {"outcome": "done"}


_kept: dict[str, list[socket.socket]] = {}
ORDERS = {"ask": ask, "flood": flood, "hold_lines": hold_lines, "release_lines": release_lines}
