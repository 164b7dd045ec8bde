"""The master of an instance whose programs have an attacker in them: what he says is done after confinement.

Run in place of ``python -m tubepost.master`` by the tests; the product has no hook for it. Each program opens a line to
the test before it is confined, as a descriptor that it might have inherited, and takes orders from it in its own loop.
"""

import importlib
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tubepost.common.wire.master import Birth
from tubepost.common.config import Config
from tubepost.common.skeleton import life, privileges

from tests.attack.inside import obeying

importlib.import_module("tubepost.master.main")
PLACE = os.environ["TUBEPOST_ATTACK"]
_confine, _serve = privileges.confine, life.Life.serve
_lines: list[socket.socket] = []


def confine(birth: Birth, config: Config) -> bool:
    _lines.append(obeying.introduce(PLACE, birth.program, birth.service))
    if os.path.exists(f"{os.path.dirname(PLACE)}/unconfined-{birth.program}"):
        return False  # the drill of a program that was forgotten
    return _confine(birth, config)


async def serve(self: life.Life) -> int:
    process = self._process
    for line in _lines:
        obeying.obey(line, process, process.spawn)
    return await _serve(self)


vars(life)["confine"] = confine
life.Life.serve = serve  # type: ignore[method-assign]

if __name__ == "__main__":
    from tubepost.master.__main__ import main

    main()
