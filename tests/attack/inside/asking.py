"""What code inside a program says to other programs: every message to every service, floods, and what never ends."""

import asyncio
import os
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

    # One for all, and small stacks: they count against this program's own limit of memory.
    context: zmq.Context[Any] = zmq.Context()

    def work(path: str) -> None:
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
        dealer.close()

    threading.stack_size(1 << 18)
    threads = [threading.Thread(target=work, args=(path,), daemon=True) for path in order["paths"]]
    for thread in threads:
        thread.start()

    def end() -> None:
        for thread in threads:
            thread.join()
        context.destroy(linger=0)

    threading.Thread(target=end, daemon=True).start()
    return {"outcome": "done"}


# ZMTP 3.0 (RFC 23/ZMTP): a greeting with the mechanism NULL, and READY of a DEALER. ZeroMQ's own sockets hold back a
# message until they are given its last part.
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
_MORE, _LONG, _COMMAND = 1, 2, 4
_AT_ONCE = 1 << 20


def _begin(path: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(_PATIENCE)
    line.connect(path)
    line.sendall(_GREETING)
    heard = b""
    while len(heard) < len(_GREETING):
        if not (data := line.recv(len(_GREETING) - len(heard))):
            raise ConnectionResetError("no greeting")
        heard += data
    line.sendall(bytes((_COMMAND, len(_READY))) + _READY)
    # Its own READY: until then it takes nothing else.
    if not line.recv(1000):
        raise ConnectionResetError("not let in")
    return line


def part_of(size: int, flags: int = _MORE) -> bytes:
    """One part of a message, of ``size`` octets; another follows it."""
    if size < 256:
        return bytes((flags, size)) + b"x" * size
    return bytes((flags | _LONG,)) + size.to_bytes(8, "big") + b"x" * size


async def pour(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """One message of endless parts of ``size`` octets each to the worker at ``path``, until ``limit`` octets were sent.

    Tells ``sent``, and whether the other side ended the connection.
    """

    def work() -> dict[str, Any]:
        part = part_of(order["size"])
        data = part * max(1, _AT_ONCE // len(part))
        sent, ended = 0, False
        with _begin(order["path"]) as line:
            line.settimeout(_PATIENCE)
            while sent < order["limit"] and not ended:
                try:
                    line.sendall(data)
                    sent += len(data)
                except OSError:
                    ended = True
        return {"outcome": "done", "sent": sent, "ended": ended}

    return await asyncio.to_thread(work)


async def shout(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """``data`` as datagrams to the socket at ``path``, or (no path) statuses to the master, for ``seconds``."""

    def work() -> dict[str, Any]:
        data = order["data"].encode() * order["times"]
        if order["path"]:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            line.connect(order["path"])
        else:
            line = socket.socket(fileno=os.dup(process.birth.control))
        count, end = 0, time.monotonic() + order["seconds"]
        with line:
            line.setblocking(True)
            while time.monotonic() < end:
                line.send(data)
                count += 1
        return {"outcome": "done", "count": count}

    return await asyncio.to_thread(work)


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
ORDERS = {
    "ask": ask,
    "flood": flood,
    "pour": pour,
    "shout": shout,
    "hold_lines": hold_lines,
    "release_lines": release_lines,
}
