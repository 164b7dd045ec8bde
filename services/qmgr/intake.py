"""Takes messages up into the active queue: those that cleanup tells of, and those found in incoming and deferred."""

import asyncio
import fcntl
import os
import stat
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tubepost.common.wire.qmgr import Arrived, QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
from tubepost.common.config.owners import is_apart
from tubepost.common.spool import Damaged, Incomplete, QueueFile, Spool, open_queue_file
from tubepost.common.skeleton.process import Process

from tubepost.services.qmgr.message import ActiveMessage, ActiveQueue

# A scan gives the loop back after this many directory entries.
_SLICE = 200
# A file in incoming that is younger is left to the hint that comes after its sync, seconds.
_YOUNG = 5.0
# What the disk refused is tried again after this long, seconds.
_DISK_RETRY = 10.0
# Hints that came while there was no room: so many are kept as a name, for more a scan is due.
_TOLD_LIMIT = 20_000
_FLOW_TOKENS = 100

Enter = Callable[[ActiveMessage, Sequence[QueuedRecipient]], None]


class Intake:
    """``enter`` is called with each message that has become active and its first recipients; ``pump`` after many."""

    def __init__(
        self, process: Process, spool: Spool, queue: ActiveQueue, enter: Enter, pump: Callable[[], None]
    ) -> None:
        self._process = process
        self._spool = spool
        self._queue = queue
        self._enter = enter
        self._pump = pump
        self._apart = is_apart(process.config)
        self._queue_run_delay = process.config.queue_run_delay
        # next_try adds a tenth of jitter, _finish the least pause of a report.
        self._longest = 1.2 * max(process.config.maximal_backoff_time, process.config.minimal_backoff_time, 60.0)
        self._set_back = 0.0
        """In this scan of deferred: by so many seconds times of the future are moved, as the clock was set back."""
        self._told: deque[str] = deque()
        self._incoming: Iterator[os.DirEntry[str]] | None = None
        self._deferred: Iterator[os.DirEntry[str]] | None = None
        self._incoming_again = False
        self._everything_due = False
        self._feeding = False
        self._last_deferred_scan = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._rescan: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """What a qmgr before us had in work goes first; it cannot exceed the limits by much."""
        for entry in list(self._spool.scan("active")):
            self._take(entry.name, "active")
        self._start_deferred_scan()
        self._look_again()

    # -- what is to be looked at -------------------------------------------------------------------------------------

    def hint(self, hint: Arrived) -> None:
        """A message stands complete in incoming."""
        queue = self._queue
        if self._process.stopping.is_set() or hint.queue_id in queue.messages or not is_queue_id(hint.queue_id):
            return
        if not queue.room:
            if len(self._told) < _TOLD_LIMIT:
                self._told.append(hint.queue_id)
            else:
                self._incoming_again = True
            return
        if len(hint.recipients) != hint.recipient_count or hint.recipient_count > queue.portion:
            self._take(hint.queue_id, "incoming")
            return
        try:
            self._spool.move(hint.queue_id, "incoming", "active")
        except FileNotFoundError:
            return  # a scan was quicker, or postsuper took it
        except OSError as error:
            self._cannot(hint.queue_id, "incoming", error)
            return
        self._process.outflow(1)
        message = ActiveMessage(
            hint.queue_id,
            hint.envelope,
            hint.content_offset,
            hint.content_length,
            hint.recipient_count,
            time.time(),
        )
        self._enter(message, hint.recipients)

    def woken(self) -> None:
        self._incoming_again = True
        # The master's clock and ours may differ by a little.
        self.look_around(time.monotonic() + 1)
        self.feed_soon()

    def look_around(self, now: float) -> None:
        """Scan both queues when the last scan is queue_run_delay ago: who was to tell of a message may have died.

        ``now``: monotonic.
        """
        if now - self._last_deferred_scan >= self._queue_run_delay:
            self._incoming_again = True
            self.scan("deferred")

    def scan(self, queue: str) -> None:
        """Look at incoming or deferred again."""
        if queue == "incoming":
            self._incoming_again = True
        else:
            self._start_deferred_scan()
        self.feed_soon()

    def flush(self) -> None:
        """All deferred mail is due now."""
        self._everything_due = True
        self._incoming_again = True
        self.scan("deferred")

    def clock_set_back(self, seconds: float) -> None:
        """The times of the next tries were written by the clock of before: move them along."""
        self._set_back += seconds
        self._incoming_again = True
        self.scan("deferred")

    def flush_message(self, queue_id: str) -> bool:
        """False when there is none of this id in incoming or deferred."""
        for queue in ("deferred", "incoming"):
            path = self._spool.path(queue, queue_id)
            if not os.path.exists(path):
                continue
            if self._queue.room:
                self._take(queue_id, queue, flushed=True)
            else:
                self._make_due(queue_id, queue, path)
            return True
        return False

    def _make_due(self, queue_id: str, queue: str, path: str) -> None:
        """It is taken up by a scan when there is room: ETRN may ask for more than the active queue may hold."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._cannot(queue_id, queue, error)
            return
        self.scan(queue)

    def _start_deferred_scan(self) -> None:
        self._last_deferred_scan = time.monotonic()
        self._deferred = self._spool.scan("deferred")

    def _look_again(self) -> None:
        self._later = None
        self._incoming_again = True
        self.feed_soon()

    # -- feeding -----------------------------------------------------------------------------------------------------

    @property
    def _hungry(self) -> bool:
        return bool(self._told) or self._incoming_again or self._incoming is not None or self._deferred is not None

    def feed_soon(self) -> None:
        """There is room, or something to be looked at."""
        if not self._feeding and self._hungry and not self._process.stopping.is_set():
            self._feeding = True
            self._process.spawn(asyncio.create_task(self._feed()))

    async def _feed(self) -> None:
        """One message of incoming, one of deferred, in turn, while there is room (Postfix: the two scans)."""
        try:
            looked = 0
            while self._queue.room and self._hungry and not self._process.stopping.is_set():
                try:
                    self._next_incoming()
                    if self._deferred is not None and self._queue.room and not self._next_deferred():
                        self._deferred = None
                        self._everything_due = False
                        self._set_back = 0.0
                except OSError as error:
                    self._cannot_scan(error)
                looked += 1
                if looked % _SLICE == 0:
                    self._pump()
                    await asyncio.sleep(0)
        finally:
            self._feeding = False
        self._pump()

    def _cannot_scan(self, error: OSError) -> None:
        """Both directories are looked at anew, later: what else is due then is due still."""
        log.warning(f"the queue cannot be read: {error.filename or 'a directory'}: {error.strerror}; tried again later")
        self._incoming = self._deferred = None
        if self._rescan is None:
            self._rescan = self._process.loop.call_later(_DISK_RETRY, self._scan_again)

    def _scan_again(self) -> None:
        self._rescan = None
        self._incoming_again = True
        self.scan("deferred")

    def _next_incoming(self) -> None:
        """One message that was told of, or one look at the directory. Raises OSError."""
        if self._told:
            queue_id = self._told.popleft()
            if queue_id not in self._queue.messages:
                self._take(queue_id, "incoming")
            return
        if self._incoming is None and self._incoming_again:
            self._incoming_again = False
            self._incoming = self._spool.scan("incoming")
        if self._incoming is None:
            return
        entry = next(self._incoming, None)
        if entry is None:
            self._incoming = None
            self._fill_flow()
            return
        if entry.name in self._queue.messages:
            return
        try:
            # A file of the future is one that was written before the clock was set back.
            young = -_YOUNG < time.time() - entry.stat(follow_symlinks=False).st_mtime < _YOUNG
        except FileNotFoundError:
            return
        if not young:
            self._take(entry.name, "incoming")
        elif self._later is None:
            # Its hint is on the way; should that be lost, this scan comes again.
            self._later = self._process.loop.call_later(_YOUNG, self._look_again)

    def _next_deferred(self) -> bool:
        """False at the end of the scan. Raises OSError."""
        assert self._deferred is not None
        # Many files are not due: looking at their time is all that they cost.
        now = time.time()
        for _ in range(50):
            entry = next(self._deferred, None)
            if entry is None:
                return False
            if entry.name in self._queue.messages:
                continue
            try:
                due = self._everything_due or self._is_due(entry, now)
            except OSError:
                continue  # moved meanwhile; what cannot be looked at is tried by the next scan
            if due:
                self._take(entry.name, "deferred", flushed=self._everything_due)
                return True
        return True

    def _is_due(self, entry: "os.DirEntry[str]", now: float) -> bool:
        """Raises FileNotFoundError."""
        when = entry.stat(follow_symlinks=False).st_mtime
        if when <= now:
            return True
        if self._set_back:
            when -= self._set_back
            os.utime(entry.path, (when, when))
            return when <= now
        # No try is ever put off for longer: that was written before the clock was set back, with nobody to see it.
        return when > now + self._longest

    def _fill_flow(self) -> None:
        """Incoming is empty: nobody who brings mail need wait (Postfix: mail_flow_put)."""
        fd = self._process.birth.flow[0]
        if fd >= 0:
            waiting = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]
            if waiting < _FLOW_TOKENS:
                self._process.outflow(_FLOW_TOKENS - waiting)

    # -- queue files -------------------------------------------------------------------------------------------------

    def _share(self, file: QueueFile) -> None:
        """A file from before protocol_owner was set is opened to our group, in which smtp is."""
        if self._apart and not os.fstat(file.fd).st_mode & stat.S_IRGRP:
            os.fchmod(file.fd, 0o640)

    def _take(self, queue_id: str, queue: str, flushed: bool = False) -> None:
        """Read a queue file and move it to active."""
        spool = self._spool
        try:
            with open_queue_file(spool.path(queue, queue_id)) as file:
                self._share(file)
                found, following = self._read_recipients(file, 0)
                # Of an earlier round, also of one that ended with a kill, or before the message was held.
                # Where the disk does not tell it is left: without its report, or with one of nothing, no mail goes on.
                bounced, defer_logged = (spool.has(kind, queue_id) for kind in ("bounce", "defer"))
                message = ActiveMessage(
                    queue_id,
                    file.envelope,
                    file.content_offset,
                    file.content_length,
                    file.recipient_count,
                    time.time(),
                    first_round=queue != "deferred",
                    warned=file.warned,
                    bounced=bounced,
                    defer_logged=defer_logged,
                    forced_expire=file.expired,
                    flushed=flushed,
                    unread=following,
                )
            if queue != "active":
                spool.move(queue_id, queue, "active")
        except FileNotFoundError:
            return
        except Incomplete:
            if queue == "incoming":
                return  # being written; postsuper removes what never gets finished
            self._corrupt(queue_id, queue, "the file is shorter than it says")
            return
        except Damaged as error:
            self._corrupt(queue_id, queue, str(error))
            return
        except OSError as error:
            self._cannot(queue_id, queue, error)
            return
        if queue == "incoming":
            self._process.outflow(1)
        self._enter(message, found)

    def _cannot(self, queue_id: str, queue: str, error: OSError) -> None:
        log.warning(f"{queue_id}: cannot take it up from {queue}: {error.strerror}; tried again later")
        if queue == "active":
            # Of the queue manager before: no scan looks there.
            self._process.loop.call_later(_DISK_RETRY, self._take, queue_id, queue)
        elif self._later is None:
            self._later = self._process.loop.call_later(_DISK_RETRY, self._look_again)

    def read_more(self, message: ActiveMessage) -> list[QueuedRecipient]:
        """The next portion of a big list; where to go on is noted in the message."""
        try:
            with open_queue_file(self._spool.path("active", message.queue_id)) as file:
                found, message.unread = self._read_recipients(file, message.unread)
        except (OSError, Damaged, Incomplete) as error:
            log.warning(f"{message.queue_id}: cannot read more recipients: {error}; tried again later")
            message.unread = 0
            message.deferred += 1
            return []
        return found

    def _read_recipients(self, file: QueueFile, start: int) -> tuple[list[QueuedRecipient], int]:
        """A portion of those still to be done, and where to go on (0: all are read)."""
        most = self._queue.portion
        found: list[QueuedRecipient] = []
        for offset, done, recipient, following in file.recipients(start):
            if not done:
                found.append(QueuedRecipient(offset=offset, recipient=recipient))
                if len(found) >= most and following < file.size:
                    return found, following
        return found, 0

    def _corrupt(self, queue_id: str, queue: str, reason: str) -> None:
        log.warning(f"{queue_id}: {queue} queue file cannot be read: {reason}; saved in the corrupt queue")
        try:
            self._spool.move(queue_id, queue, "corrupt")
        except OSError as error:
            log.error(f"{queue_id}: cannot be moved to corrupt: {error.strerror}")
