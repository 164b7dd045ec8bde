"""A person of this system, who has no part in the mail system, and takes orders as the attackers in programs do.

``person.py LINES UID GID``; -1: who started it.
"""

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import zmq

from tubepost.common.wire.programs import USER

from tests.attack.inside import obeying


async def main(place: str, uid: int, gid: int) -> None:
    # What its library loads at the first use may be out of the person's reach.
    await asyncio.to_thread(int)
    line = obeying.introduce(place, USER, "")
    if uid >= 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    context: zmq.Context[Any] = zmq.Context()
    tasks: set[asyncio.Task[None]] = set()
    process = SimpleNamespace(bus=SimpleNamespace(context=context), loop=asyncio.get_running_loop())
    obeying.obey(line, process, tasks.add)
    # Until the test ends it.
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
