"""The master of an instance whose programs have an attacker in them: what he says is done after confinement.

Run in place of ``python -m tubepost.master`` by the tests; the product has no hook for it. Each program opens a line to
the test before it is confined, as a descriptor that it might have inherited, and takes orders from it in its own loop.
"""

import importlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tubepost.common.wire.master import Birth
from tubepost.common.config import Config
from tubepost.common.skeleton import life, privileges

from tests.attack.inside import asking, attempts

importlib.import_module("tubepost.master.main")
PLACE = os.environ["TUBEPOST_ATTACK"]
_LARGEST = 1 << 20
_confine, _serve = privileges.confine, life.Life.serve
_lines: list[socket.socket] = []


def confine(birth: Birth, config: Config) -> bool:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
    line.connect(PLACE)
    line.send(json.dumps({"pid": os.getpid(), "program": birth.program, "service": birth.service}).encode())
    _lines.append(line)
    return _confine(birth, config)


async def serve(self: life.Life) -> int:
    process = self._process
    for line in _lines:
        line.setblocking(False)
        process.loop.add_reader(line.fileno(), _obey, line, process)
    return await _serve(self)


def _obey(line: socket.socket, process: Any) -> None:
    try:
        data = line.recv(_LARGEST)
    except BlockingIOError:
        return
    if not data:
        process.loop.remove_reader(line.fileno())
        return
    order = json.loads(data)
    if order["name"] in asking.ORDERS:
        process.spawn(process.loop.create_task(_ask(line, process, order)))
        return
    line.send(json.dumps(attempts.run(order["name"], order)).encode())


async def _ask(line: socket.socket, process: Any, order: dict[str, Any]) -> None:
    try:
        found = await asking.ORDERS[order["name"]](process, order)
    except Exception as error:
        found = {"outcome": "broken", "text": repr(error)}
    line.send(json.dumps(found).encode())


vars(life)["confine"] = confine
life.Life.serve = serve  # type: ignore[method-assign]

if __name__ == "__main__":
    from tubepost.master.__main__ import main

    main()
