"""What a crash left in the queue directories: removed without anybody's help, after a program's start and once a day.

Files in ``incoming`` and ``hold`` that never got finished (nobody was told that they were accepted), by qmgr; logs
whose message is gone, by bounce (STATES.md: S1, H1, S7); and temporary files. The same as ``postsuper -p -s``, which a
person may run.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable

from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
from tubepost.common.spool.directories import QUEUES, Spool
from tubepost.common.spool.queuefile import Damaged, Incomplete, open_queue_file

INTERVAL = 86_400.0
# A file that nobody wrote to for so long has lost its writer, and a log its message, seconds.
_ABANDONED, _FORGOTTEN = 86_400, 3600
_TEMPORARY = re.compile(r"\..+\.tmp")
# The loop is given back after so many directory entries.
_SLICE = 200


async def remove(spool: Spool, queues: Iterable[str], now: float) -> int:
    """How many files of these directories were removed. ``now``: seconds since the epoch."""
    count = 0
    for queue in queues:
        async for entry in _entries(f"{spool.directory}/{queue}"):
            try:
                age = now - entry.stat(follow_symlinks=False).st_mtime
                reason = _reason(spool, queue, entry, age)
                if reason:
                    os.unlink(entry.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning(f"{entry.path}: cannot be looked at or removed: {error.strerror}")
                continue
            if reason:
                log.info(f"removed {entry.path}: {reason}")
                count += 1
    return count


def _reason(spool: Spool, queue: str, entry: "os.DirEntry[str]", age: float) -> str:
    """Why it may go; empty: it stays. Raises OSError."""
    if _TEMPORARY.fullmatch(entry.name):
        return "it was never finished" if age > _ABANDONED else ""
    if not is_queue_id(entry.name):
        return ""
    if queue in ("incoming", "hold"):
        if age <= _ABANDONED:
            return ""
        try:
            open_queue_file(entry.path).close()
        except Incomplete:
            return "it was never finished, and nobody was told that it was accepted"
        except Damaged:
            return ""
        return ""
    # Twice, for the message may be on its way from one queue to another.
    if age <= _FORGOTTEN or _is_there(spool, entry.name) or _is_there(spool, entry.name):
        return ""
    return "its message is gone"


def _is_there(spool: Spool, queue_id: str) -> bool:
    """Raises OSError where that cannot be known."""
    for queue in QUEUES:
        try:
            os.stat(spool.path(queue, queue_id))
        except FileNotFoundError:
            continue
        return True
    return False


async def _entries(folder: str) -> AsyncIterator["os.DirEntry[str]"]:
    looked = 0
    folders = [folder]
    while folders:
        try:
            found = os.scandir(folders.pop())
        except OSError as error:
            log.warning(f"{folder}: what was left there cannot be looked for: {error.strerror}")
            continue
        with found:
            for entry in found:
                looked += 1
                if looked % _SLICE == 0:
                    await asyncio.sleep(0)
                if entry.is_dir(follow_symlinks=False):
                    if len(entry.name) == 1:
                        folders.append(entry.path)
                else:
                    yield entry
