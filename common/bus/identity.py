"""Who is calling: ZAP (RFC 27/ZAP) hands over the kernel's word (SO_PEERCRED) for a peer of an ``ipc://`` socket.

The handler lets everybody connect and passes ``uid:gid:pid`` on as User-Id; what a caller may do is decided a message,
by the table in ``common.wire.programs``.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import zmq

from tubepost.common.wire.programs import USER
from tubepost.common.system.register import Register

_ENDPOINT = "inproc://zeromq.zap.01"
DOMAIN = b"tubepost"


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified peer. ``program`` is ``user`` for a process that the master did not start."""

    program: str
    service: str
    uid: int
    pid: int


class Gatekeeper:
    """Answers ZeroMQ's own question about each new connection of this context."""

    def __init__(self, context: "zmq.Context[Any]", loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(_ENDPOINT)
        self._fd = self._socket.getsockopt(zmq.FD)
        loop.add_reader(self._fd, self._answer)

    def _answer(self) -> None:
        while True:
            try:
                routing, empty, version, request, _domain, address, *_ = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            # libzmq 4.3 gives ``localhost:uid:gid:pid`` for ipc; anything else has no business on these sockets.
            identity = b":".join(address.split(b":")[-3:])
            known = identity.count(b":") == 2 and identity.replace(b":", b"").isdigit()
            code, text = (b"200", b"OK") if known else (b"400", b"not a local peer")
            self._socket.send_multipart([routing, empty, version, request, code, text, identity if known else b"", b""])

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._socket.close()


def caller_of(uid: int, pid: int, register: Register | None) -> Caller:
    """Which program a process is, by the master's register: one of this uid, that runs."""
    program, service = (register.find(pid, uid) if register is not None else None) or (USER, "")
    return Caller(program, service, uid, pid)


def identify(user_id: str, register: Register | None) -> Caller:
    """A Caller from a message's User-Id. Raises ValueError."""
    uid, _gid, pid = (int(part) for part in user_id.split(":"))
    return caller_of(uid, pid, register)
