"""What code inside a program says to other programs: every message to every service, floods, and what never ends."""

import asyncio
import errno
import os
import socket
import threading
import time
from typing import Any

import zmq

from tubepost.common.bus import frames

_PATIENCE = 5.0


def _reachable(path: str) -> dict[str, Any]:
    """Empty, or how it was refused: by the kernel, if ``errno`` is EACCES or EPERM."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_PATIENCE)
            line.connect(path)
    except OSError as error:
        return {"outcome": "refused", "errno": errno.errorcode.get(error.errno or 0, ""), "text": str(error)}
    return {}


_UNANSWERED = (frames.TELL.decode(), "endless")
_OVER = (frames.REPLY, frames.FAILED)


async def _talk(process: Any, path: str, said: list[list[str]]) -> list[list[str]]:
    """(kind, text) each to the worker at ``path``, all at once: the answers to each, with their kinds.

    The kind ``endless`` is a listing that has no end: it is given up when all else is answered.
    """
    answers: list[list[str]] = [[] for _ in said]
    waiting = {number for number, (kind, _) in enumerate(said) if kind not in _UNANSWERED}
    dealer = process.bus.context.socket(zmq.DEALER)
    dealer.linger = 1000
    dealer.connect(f"ipc://{path}")
    try:
        for number, (kind, text) in enumerate(said):
            letter = frames.LISTING if kind == "endless" else kind.encode()
            dealer.send(frames.head(letter, number) + text.encode("utf-8", "surrogateescape"))
            if letter == frames.LISTING:
                dealer.send(frames.head(frames.CREDIT, number) + b"9999")
        deadline = time.monotonic() + _PATIENCE
        while waiting and time.monotonic() < deadline:
            try:
                frame = dealer.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                await asyncio.sleep(0.002)
                continue
            if (kind := frame[:1]) == frames.LEAVING:
                continue
            number = int(frame[1 : frames.HEAD], 16)
            answers[number].append(f"{kind.decode()} {frame[frames.HEAD :].decode('utf-8', 'replace')}")
            if kind in _OVER:
                waiting.discard(number)
        for number, (kind, _) in enumerate(said):
            if kind == "endless":
                dealer.send(frames.head(frames.CANCEL, number))
    finally:
        dealer.close()
    return answers


async def ask(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Each of ``names`` (wire names) is asked of the service whose worker listens at ``path``, without its knowing us.

    ``answers``: by name what was said; or ``refused`` by the kernel.
    """
    if refusal := _reachable(order["path"]):
        return refusal
    said = [[frames.CALL.decode(), name + '\n{"attack":1}'] for name in order["names"]]
    found = await _talk(process, order["path"], said)
    return {
        "outcome": "done",
        "answers": {name: answers[-1] for name, answers in zip(order["names"], found, strict=True) if answers},
    }


async def converse(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """``said``: (kind, text) each, in good form, to the worker at ``path``. ``answers``: a list for each."""
    if refusal := _reachable(order["path"]):
        return refusal
    return {"outcome": "done", "answers": await _talk(process, order["path"], order["said"])}


async def exceed(process: Any, order: dict[str, Any]) -> dict[str, Any]:
    """To the worker at ``path`` the head of a frame of ``size`` octets, and then a request, ``asked``, of ``count``
    frames. Tells whether the first ended the connection, and what was answered to the second.
    """
    if refusal := _reachable(order["path"]):
        return refusal

    def work() -> bool:
        with _begin(order["path"]) as line:
            line.sendall(part_of(order["size"], 0, 100))
            try:
                return not line.recv(1000)
            except ConnectionError:
                return True
            except TimeoutError:
                return False

    ended = await asyncio.to_thread(work)
    dealer = process.bus.context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(f"ipc://{order['path']}")
    try:
        text = f'{order["asked"]}\n{{"attack":1}}'.encode()
        dealer.send_multipart([frames.head(frames.CALL, 1) + text, *[b"x"] * order["count"]])
        deadline = time.monotonic() + _PATIENCE
        answer = "no answer"
        while time.monotonic() < deadline:
            try:
                answer = dealer.recv(zmq.NOBLOCK).decode("utf-8", "replace")
                break
            except zmq.Again:
                await asyncio.sleep(0.002)
    finally:
        dealer.close()
    return {"outcome": "done", "ended": ended, "answer": answer[:1] + " " + answer[frames.HEAD :]}


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


def part_of(size: int, flags: int = _MORE, there: int | None = None) -> bytes:
    """One part of a message, of ``size`` octets; another follows it. ``there``: so many of them are sent, not all."""
    content = b"x" * (size if there is None else there)
    if size < 256:
        return bytes((flags, size)) + content
    return bytes((flags | _LONG,)) + size.to_bytes(8, "big") + content


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
    "converse": converse,
    "exceed": exceed,
    "flood": flood,
    "pour": pour,
    "shout": shout,
    "hold_lines": hold_lines,
    "release_lines": release_lines,
}
