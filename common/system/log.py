"""Log lines, Postfix's shape: ``postfix/smtpd[123]: warning: text``.

A process formats its lines and hands those of one loop turn to a *sink* in one go: the log program's datagram socket,
or a file descriptor. Before a sink is set, lines go to standard error at once. Never raises: a log that cannot be
written must not stop mail; lines that had to be dropped are counted and told of later.
"""

import os
import re
import socket
import sys
import time
from collections.abc import Callable

# Besides control characters: what some readers take for a line end, and what turns the direction of text on a screen.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# RFC 5424 leaves 64 KiB as the largest useful syslog line; Postfix cuts at 2000 bytes.
_LINE_LIMIT = 4000
# Kept while the log program does not read; beyond it lines are dropped and counted.
_BACKLOG_LINES = 10_000
# One datagram; Linux takes up to the socket's send buffer (212992 by default).
_DATAGRAM = 60_000
# The kernel keeps few datagrams (net.unix.max_dgram_qlen): come back after this long, seconds.
_RETRY = 0.02
_PATIENCE = 2.0
# A process that has just written waits this long and writes what comes meanwhile together: under load the log program
# is woken a hundred times a second by each process, not once a line. An idle process writes at once.
_GATHER = 0.01

PLACE_WIDTH = 16
"""In a datagram each line begins with its microsecond since the epoch, in so many digits, and a space."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _State:
    tag = "postfix"
    verbose = False
    host = "localhost"
    lines: list[tuple[int, str]] = []  # noqa: RUF012 - one state a process, replaced by setup()
    """With the microsecond of each: the log program puts the lines of all processes in order by it."""
    last = 0
    lost = 0
    path = ""
    sock: socket.socket | None = None
    stream_fd = 2
    schedule: Callable[[Callable[[], None]], object] | None = None
    later: Callable[[float, Callable[[], None]], object] | None = None
    scheduled = False
    stamp_second = 0
    stamp = ""
    head = ""
    """``host tag[pid]: ``"""
    flushed = 0.0


_state = _State


def setup(tag: str, *, verbose: bool = False, path: str = "", fd: int = 2) -> None:
    """Name this process's lines. ``path``: the log program's datagram socket; without one lines go to ``fd``."""
    _state.tag = tag
    _state.verbose = verbose
    _state.head = ""
    _state.host = socket.gethostname().split(".")[0] or "localhost"
    _state.path = path
    _state.stream_fd = fd
    if _state.sock is not None:
        _state.sock.close()
        _state.sock = None


def use_loop(
    schedule: Callable[[Callable[[], None]], object] | None,
    later: Callable[[float, Callable[[], None]], object] | None = None,
) -> None:
    """``loop.call_soon`` and ``call_later``: lines of one loop turn are written together, and again when the log
    program was behind. None: write each at once, waiting for the log program.
    """
    _state.schedule = schedule
    _state.later = later
    flush()


def info(text: str, when: float = 0.0) -> None:
    """``when``: seconds since the epoch, of what is told only now; it gets its place among others' lines of then."""
    _put("", text, when)


def warning(text: str) -> None:
    _put("warning: ", text)


def error(text: str) -> None:
    _put("error: ", text)


def fatal(text: str) -> None:
    """The process is about to end because of this."""
    _put("fatal: ", text)


def panic(text: str) -> None:
    """Our own mistake."""
    _put("panic: ", text)


def debug(text: str) -> None:
    if _state.verbose:
        _put("", text)


def clean(text: str) -> str:
    """One printable line: control characters become ``?``, the length is bounded."""
    if not text.isprintable():
        text = _UNPRINTABLE.sub("?", text)
    return text if len(text) <= _LINE_LIMIT else text[:_LINE_LIMIT] + "..."


def describe(error: BaseException) -> str:
    """``KeyError: 'x' at /path/module.py:17``: what should not have happened, and where."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else ""
    return f"{type(error).__name__}: {error}{where}"


def timestamp(now: float) -> str:
    """``Nov  4 18:10:19``, local time (RFC 3164 4.1.2, as Postfix's postlogd writes)."""
    second = int(now)
    if second != _state.stamp_second:
        t = time.localtime(second)
        _state.stamp = f"{_MONTHS[t.tm_mon - 1]} {t.tm_mday:2d} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"
        _state.stamp_second = second
    return _state.stamp


def _put(label: str, text: str, when: float = 0.0) -> None:
    state = _state
    now = time.time()
    if when:
        place = int(when * 1e6)
    else:
        # Lines of one microsecond stay in the order in which they were said.
        place = state.last = max(int(now * 1e6), state.last + 1)
    line = f"{timestamp(when or now)} {state.head or _head()}{label}{clean(text)}\n"
    if len(state.lines) >= _BACKLOG_LINES:
        state.lost += 1
        return
    state.lines.append((place, line))
    if state.schedule is None:
        flush()
    elif not state.scheduled:
        state.scheduled = True
        if state.later is None or now - state.flushed > _GATHER:
            state.schedule(flush)
        else:
            state.later(_GATHER, flush)


def _head() -> str:
    _state.head = f"{_state.host} {_state.tag}[{os.getpid()}]: "
    return _state.head


def flush() -> None:
    """Hand over what is waiting. What the log program does not take now is kept for the next call."""
    state = _state
    state.scheduled = False
    if not state.lines:
        return
    state.flushed = time.time()
    lines = state.lines
    # Told once there is room again: a notice with each try would itself fill the memory.
    if state.lost and len(lines) < _BACKLOG_LINES:
        told = f"warning: {state.lost} log lines were lost: the log program did not keep up"
        lines.append((int(state.flushed * 1e6), f"{timestamp(state.flushed)} {state.head or _head()}{told}\n"))
        state.lost = 0
    if not state.path:
        state.lines = []
        try:
            os.write(state.stream_fd, "".join([line for _, line in lines]).encode("utf-8", "replace"))
        except OSError:
            pass
        return
    while lines:
        size = count = 0
        for _, line in lines:
            size += len(line) + PLACE_WIDTH + 1
            if count and size > _DATAGRAM // 4:  # a character is at most four bytes of UTF-8
                break
            count += 1
        if not _send(lines[:count]):
            if state.later is not None and not state.scheduled:
                state.scheduled = True
                state.later(_RETRY, flush)
            break
        del lines[:count]


def _send(lines: list[tuple[int, str]]) -> bool:
    state = _state
    data = "".join([f"{place:0{PLACE_WIDTH}d} {line}" for place, line in lines]).encode("utf-8", "replace")
    try:
        if state.sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(state.path)
            except OSError:
                sock.close()
                raise
            state.sock = sock
        # With no loop to come back (a process that starts or ends) wait a little for the log program; a loop never.
        state.sock.settimeout(_PATIENCE if state.schedule is None else 0.0)
        state.sock.send(data)
        return True
    except (BlockingIOError, TimeoutError):
        return False
    except OSError:
        if state.sock is not None:
            state.sock.close()
            state.sock = None
        try:
            sys.stderr.buffer.write("".join([line for _, line in lines]).encode("utf-8", "replace"))
            sys.stderr.buffer.flush()
        except (OSError, ValueError):
            pass
        return True


def reset_after_fork() -> None:
    """A forked child starts without its parent's waiting lines and socket."""
    _state.lines = []
    _state.lost = 0
    _state.head = ""
    _state.sock = None
    _state.schedule = None
    _state.later = None
    _state.scheduled = False
