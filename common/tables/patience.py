"""An end for a regular expression that would search for hours: ``(a+)+$`` tries all ways to divide a long line.

Python's ``re`` knows no limit, but looks for signals while it works. A timer that runs only while this process computes
looks in at each tick: who is found in the same look-up twice is stopped. A look-up itself pays nothing for that.
"""

import signal
import threading
from types import CodeType, FrameType

from tubepost.common.tables.table import TableError

TICK = 0.5
"""Seconds of computing; a look-up is stopped after one to two of them."""

_watched: set[CodeType] = set()
_last: FrameType | None = None


class Slow(TableError):
    """The look-up took too long."""

    def __init__(self) -> None:
        super().__init__(f"a pattern took more than {TICK:g} seconds, and was given up")


def watch(code: CodeType) -> None:
    """From now on Slow is raised in functions with this code, where they search too long. Main thread only."""
    if code in _watched or threading.current_thread() is not threading.main_thread():
        return
    if not _watched:
        signal.signal(signal.SIGVTALRM, _tick)
        signal.siginterrupt(signal.SIGVTALRM, False)
        signal.setitimer(signal.ITIMER_VIRTUAL, TICK, TICK)
    _watched.add(code)


def _tick(_: int, frame: FrameType | None) -> None:
    global _last
    if frame is None or frame.f_code not in _watched:
        _last = None
    elif frame is _last:
        _last = None
        raise Slow
    else:
        # Kept, so that no other can be taken for it.
        _last = frame
