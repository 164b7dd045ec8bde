"""Receives datagrams of log lines and writes them out: a file, standard output, or syslog."""

import bisect
import contextlib
import os
import re
import socket
import sys
import time

from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.skeleton import datagram

_SYSLOG = "/dev/log"
_FACILITY_NAMES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - "
    "local0 local1 local2 local3 local4 local5 local6 local7"
)
_FACILITIES = {name: number << 3 for number, name in enumerate(_FACILITY_NAMES.split(" "))}
# RFC 5424 6.2.1: severities that our labels stand for.
_LABEL = re.compile(rb"\]: (warning|error|fatal|panic): ")
_SEVERITIES = {b"warning": 4, b"error": 3, b"fatal": 2, b"panic": 2}
_INFO = 6
# Lines wait at least this long, seconds, for those of other processes that were said before them but come later:
# longer than a sender gathers its own (common/system/log.py).
_ORDERING = 0.02
_PLACE = log.PLACE_WIDTH
# So many lines, or so many bytes of them, are not held for the sake of order.
_HELD_LIMIT = 20_000
_HELD_BYTES = 8_000_000
# Bytes that wait in memory for a disk that takes none, and how often it is tried again, seconds.
_BACKLOG_LIMIT = 1_000_000
_RETRY = 1.0
# As in common/system/log.py, in bytes: our programs send none of this, but people may send anything.
_UNPRINTABLE = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")


def _say(text: str) -> None:
    """To standard error, if anybody has it: there is nowhere else."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


class Order:
    """Lines of many processes, by the time at which they were said: a reader finds ``client=`` before ``from=``."""

    def __init__(self) -> None:
        self._old: list[bytes] = []
        self._new: list[bytes] = []
        self._old_bytes = self._new_bytes = 0

    def __len__(self) -> int:
        return len(self._old) + len(self._new)

    @property
    def is_full(self) -> bool:
        """What waits is to be written, in its order or not."""
        return len(self) > _HELD_LIMIT or self._old_bytes + self._new_bytes > _HELD_BYTES

    def add(self, data: bytes, now: float) -> None:
        """One datagram. A line without a place (not from our programs) was said ``now``, seconds since the epoch.

        Empty lines, which say nothing, are left out.
        """
        self._new_bytes += len(data)
        if _UNPRINTABLE.search(data):
            data = _UNPRINTABLE.sub(b"?", data)
        for line in data.split(b"\n"):
            if not line:
                continue
            if not (line[:_PLACE].isdigit() and line[_PLACE : _PLACE + 1] == b" "):
                line = b"%0*d %b" % (_PLACE, int(now * 1e6), line)
            self._new.append(line)

    def turn(self) -> bytes:
        """What has waited since the last turn, and what was said before that."""
        # Not by the clock: it may be set back, and nothing may be held for ever.
        old, new = self._old, self._new
        if not old:
            self._old, self._new = new, old
            self._old_bytes, self._new_bytes = self._new_bytes, 0
            return b""
        last = max(old)
        everything = old + new
        everything.sort()
        count = bisect.bisect_right(everything, last)
        self._old, self._new = everything[count:], []
        self._old_bytes, self._new_bytes = sum(map(len, self._old)), 0
        return _text(everything[:count])

    def rest(self) -> bytes:
        everything = sorted(self._old + self._new)
        self._old, self._new = [], []
        self._old_bytes = self._new_bytes = 0
        return _text(everything)


def _text(lines: list[bytes]) -> bytes:
    return b"".join([line[_PLACE + 1 :] + b"\n" for line in lines])


class Log(datagram.Service):
    async def open(self) -> None:
        # Its own lines go the way of all others, once it reads.
        self._sink = open_sink(self.config, self.process.birth.output)
        self._order = Order()
        self._turning = self._closed = False

    def received(self, data: bytes) -> None:
        self._order.add(data, time.time())
        if self._order.is_full:
            self._write(self._order.turn())

    def drained(self) -> None:
        if self._closed:
            self._write(self._order.rest())
            return
        if not self._turning and (len(self._order) or self._sink.behind):
            self._turning = True
            self.process.loop.call_later(_ORDERING if len(self._order) else _RETRY, self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._write(self._order.turn())
        self.drained()

    def _write(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
        self._sink.flush()

    async def close(self) -> None:
        # Nobody waits for a turn any more; what the socket still has comes after this.
        self._closed = True
        self._write(self._order.rest())


class FileSink:
    """A file that is reopened when another took its name, or a descriptor that is ours.

    What finds no room is written when there is some again; where that becomes too much the newest lines are left out,
    and how many is written in their place.
    """

    def __init__(self, path: str, fd: int, mode: int) -> None:
        self._path = path
        self._mode = mode
        self._fd = fd
        self._waiting: list[bytes] = []
        self._backlog = b""
        self._lost = 0
        self._ill = False
        """It was said that nothing can be written."""
        if path:
            self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, self._mode)

    def write(self, data: bytes) -> None:
        self._waiting.append(data)

    @property
    def behind(self) -> bool:
        """There is something that could not be written yet."""
        return bool(self._backlog or self._lost)

    def flush(self) -> None:
        data, self._waiting = b"".join(self._waiting), []
        if not data and not self.behind:
            return
        if len(self._backlog) > _BACKLOG_LIMIT:
            self._lost += data.count(b"\n")
        else:
            self._backlog += data
        try:
            if self._path:
                self._follow_rotation()
            self._write_backlog()
            if self._lost:
                stamp, host = log.timestamp(time.time()), socket.gethostname()
                text = f"{stamp} {host} log[{os.getpid()}]: error: {self._lost} lines of the log were lost: no room\n"
                self._backlog, self._lost = text.encode(), 0
                self._write_backlog()
            self._ill = False
        except OSError as error:
            if not self._ill:
                self._ill = True
                _say(f"log: cannot write {self._path or 'standard output'}: {error.strerror}\n")

    def _write_backlog(self) -> None:
        view = memoryview(self._backlog)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        finally:
            self._backlog = bytes(view)

    def _follow_rotation(self) -> None:
        try:
            there, ours = os.stat(self._path), os.fstat(self._fd)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        # The old one is closed when the new one is there: until then it is the only one.
        new = self._open()
        os.close(self._fd)
        self._fd = new


class SyslogSink:
    """The system's syslog daemon."""

    behind = False
    """It keeps nothing back."""

    def __init__(self, facility: str) -> None:
        self._facility = _FACILITIES.get(facility, _FACILITIES["mail"])
        self._socket: socket.socket | None = None

    def write(self, data: bytes) -> None:
        for line in data.splitlines():
            found = _LABEL.search(line, 0, 200)
            severity = _SEVERITIES[found[1]] if found else _INFO
            # RFC 3164 4.1: what goes to the local socket has no host name.
            words = line.split(b" ")
            host = 4 if len(line) > 4 and line[4:5] == b" " else 3
            text = b" ".join(words[:host] + words[host + 1 :])
            self._send(b"<%d>%b" % (self._facility | severity, text))

    def _send(self, datagram: bytes) -> None:
        for _ in range(2):
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._socket.connect(_SYSLOG)
                self._socket.send(datagram)
                return
            except OSError:
                # syslogd was restarted: its socket is a new one.
                if self._socket is not None:
                    self._socket.close()
                self._socket = None
        _say(datagram.decode("utf-8", "replace") + "\n")

    def flush(self) -> None:
        """Each line went at once."""


def open_sink(config: Config, output: int) -> FileSink | SyslogSink:
    """Where maillog_file says. Raises ConfigError, OSError."""
    path = config.maillog_file
    if not path:
        return SyslogSink(config.syslog_facility)
    if path == "/dev/stdout":
        return FileSink("", output, 0)
    if not any(path.startswith(prefix) for prefix in config.maillog_file_prefixes):
        raise config.bad_value("maillog_file", f"{path} does not begin with one of $maillog_file_prefixes")
    log.debug(f"writing to {path}")
    return FileSink(path, -1, int(config.maillog_file_permissions, 8))
