"""Group commit: what arrives while the last sync runs is written, synced and answered together.

A *job* has two parts: ``write`` makes the file and returns its descriptor, ``publish`` (optional) gives it its final
name. For a whole batch: write all, wait until the contents are written out, publish all, sync all, then answer all. The
sync comes after the rename, so one journal commit makes content and name durable; the content was written out before,
so that no power failure shows the name without it. (It is not enough to have started that: ext4 gives a file its size
at once, and what is not written yet is zeros after a crash, in ordered mode too.)

A batch is synced by one syncfs(2) a file system. fsync file by file would make the disk flush once a file: *measured*
on a journaled ext4, batches of 20: 6,700 files a second and 27 us of CPU each, against 15,000 and 14 us. syncfs also
waits for what others have written to the same file system; when that makes it slow, files are synced one by one.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import queue
import threading
import time
from collections.abc import Callable

from tubepost.common.system.finish import to_the_end

# sync_file_range(2): initiate write-out of dirty pages; and wait until they are written.
_WRITE, _WRITE_AND_WAIT = 2, 7
# A commit within so many gathering times says that there is more to come.
_BUSY = 5
# A batch is bounded, so that one process never holds more than this many descriptors for it.
_BATCH = 64

# PyDLL: it only starts the writing, which is not worth giving up Python's lock for.
_sync_file_range = getattr(ctypes.PyDLL(None), "sync_file_range", None)
if _sync_file_range is not None:  # another C library: the sync itself does all the work
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
# The same, and others run while it waits.
_write_out = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
if _write_out is not None:
    _write_out.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_statfs = getattr(ctypes.CDLL(None, use_errno=True), "fstatfs", None)
# ext4 and XFS note in their journal that data was written before they say so: what comes into it later is later.
_JOURNALS = frozenset({0xEF53, 0x58465342})
_keeps_order: dict[int, bool] = {}


# Before Linux 5.8 syncfs did not report failed writes.
_SYNCFS_REPORTS = (5, 8)
# A syncfs that took longer had others' data to write: sync file by file for this long, seconds.
_SLOW, _AVOID = 0.25, 60.0
# A larger file was written over a longer time, before this batch: only its own fsync tells of what failed then.
_LARGE = 262_144
_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def _kernel() -> tuple[int, int]:
    major, _, rest = os.uname().release.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


_may_syncfs = _syncfs is not None and _kernel() >= _SYNCFS_REPORTS
_avoid_until = 0.0


class _Job:
    __slots__ = ("error", "fd", "future", "over", "publish", "undo", "write")

    def __init__(
        self,
        write: Callable[[], int],
        publish: Callable[[], None] | None,
        future: "asyncio.Future[None]",
        undo: Callable[[], None] | None = None,
    ) -> None:
        self.write = write
        self.publish = publish
        self.undo = undo
        self.future = future
        self.fd = -1
        self.error: BaseException | None = None
        self.over = False


def start_write_back(fd: int) -> None:
    """Ask the kernel to begin writing this file's pages; a hint, never an error."""
    if _sync_file_range is not None:
        _sync_file_range(fd, 0, 0, _WRITE)


def write_out(fd: int) -> None:
    """Return when this file may be given a name: no power failure will show the name without the content.

    Where the journal keeps that order the content need not be durable yet, and no disk is flushed. Raises OSError.
    """
    if _write_out is None or not _is_ordered(fd):
        os.fsync(fd)
    elif _write_out(fd, 0, 0, _WRITE_AND_WAIT) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _is_ordered(fd: int) -> bool:
    device = os.fstat(fd).st_dev
    found = _keeps_order.get(device)
    if found is None:
        # struct statfs begins with the type, a long.
        buffer = (ctypes.c_long * 64)()
        known = _statfs is not None and _statfs(fd, buffer) == 0
        found = _keeps_order[device] = known and buffer[0] in _JOURNALS
    return found


class GroupCommit:
    """Runs jobs in ``threads`` threads, a batch a thread at a time. To be used from one event loop.

    ``gather``: seconds that a job waits for others to join it, when there was a commit a moment ago.
    """

    def __init__(self, threads: int = 1, gather: float = 0.0) -> None:
        self._threads = threads
        self._gather = gather
        self._dispatched = 0.0
        self._started = 0
        self._idle = 0
        self._waiting: list[_Job] = []
        self._batches: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(
        self,
        write: Callable[[], int],
        publish: Callable[[], None] | None = None,
        undo: Callable[[], None] | None = None,
    ) -> None:
        """Return once the file is durable. Raises what ``write``, ``publish`` or the sync raised (OSError).

        The descriptor that ``write`` returns is closed here. When anything after ``write`` fails, ``undo`` is called in
        the same thread, or the caller removes what it named. Who is cancelled is so before ``write`` began, or when all
        is done: never in between.
        """
        loop = asyncio.get_running_loop()
        job = _Job(write, publish, loop.create_future(), undo)
        self._loop = loop
        self._waiting.append(job)
        if not self._scheduled:
            self._scheduled = True
            # Not at once: the jobs of this loop turn go together.
            if self._gather and loop.time() - self._dispatched < _BUSY * self._gather:
                loop.call_later(self._gather, self._dispatch)
            else:
                loop.call_soon(self._dispatch)
        try:
            await job.future
        except asyncio.CancelledError:
            if job in self._waiting:
                self._waiting.remove(job)
            elif not job.over:
                job.future = loop.create_future()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await to_the_end(job.future)
            raise

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._waiting:
            if self._idle == 0:
                if self._started >= self._threads:
                    return  # _finished calls again
                try:
                    threading.Thread(target=self._work, name="commit", daemon=True).start()
                except RuntimeError as error:
                    self._refuse(str(error))
                    return
                self._started += 1
                self._idle += 1
            self._dispatched = asyncio.get_running_loop().time()
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._idle -= 1
            self._batches.put(batch)

    def _refuse(self, why: str) -> None:
        """The system has no thread for us: those that there are go on, and without any nobody is to wait for one."""
        if self._started:
            return
        jobs, self._waiting = self._waiting, []
        for job in jobs:
            if not job.future.cancelled():
                job.future.set_exception(OSError(errno.EAGAIN, why))

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            commit(batch)
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._finished, batch)
            except RuntimeError:  # the loop is closed: the process is ending
                return

    def _finished(self, batch: list[_Job]) -> None:
        self._idle += 1
        for job in batch:
            job.over = True
            if job.future.cancelled():
                continue
            if job.error is None:
                job.future.set_result(None)
            else:
                job.future.set_exception(job.error)
        if self._waiting:
            self._dispatch()

    def close(self) -> None:
        """Let the threads end when their work is done."""
        for _ in range(self._started):
            self._batches.put(None)


def commit(batch: list[_Job]) -> None:
    """The five steps, for all jobs of a batch. An error stays with its job."""
    for job in batch:
        try:
            job.fd = job.write()
        except BaseException as error:
            job.error = error
    for job in batch:
        if job.error is None:
            start_write_back(job.fd)
    for job in batch:
        if job.error is None and job.publish is not None:
            try:
                write_out(job.fd)
            except OSError as error:
                job.error = error
    for job in batch:
        if job.error is None and job.publish is not None:
            try:
                job.publish()
            except BaseException as error:
                job.error = error
    _sync([job for job in batch if job.error is None])
    for job in batch:
        if job.fd >= 0:
            try:
                os.close(job.fd)
            except OSError as error:
                job.error = job.error or error
            if job.error is not None and job.undo is not None:
                # What remains is no worse than after a crash here.
                with contextlib.suppress(Exception):
                    job.undo()


def sync_file_system(fd: int) -> bool:
    """Make all that was written to this file's file system durable. False where that cannot be had, or would take long.

    Raises OSError when something could not be written.
    """
    global _avoid_until
    begun = time.monotonic()
    if not _may_syncfs or begun < _avoid_until:
        return False
    if _syncfs(fd) != 0:  # type: ignore[misc]
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if time.monotonic() - begun > _SLOW:
        _avoid_until = time.monotonic() + _AVOID
    return True


def _sync(jobs: list[_Job]) -> None:
    """Make all of them durable; who could not be is told so."""
    if len(jobs) > 1 and _may_syncfs and time.monotonic() >= _avoid_until:
        by_device: dict[int, list[_Job]] = {}
        for job in jobs:
            try:
                found = os.fstat(job.fd)
                if found.st_size > _LARGE:
                    os.fsync(job.fd)
                else:
                    by_device.setdefault(found.st_dev, []).append(job)
            except OSError as trouble:
                job.error = trouble
        for together in by_device.values():
            try:
                # By the file that was opened first: a failed write is told only to who had the file system open before.
                if not sync_file_system(together[0].fd):
                    for job in together:
                        os.fsync(job.fd)
            except OSError as error:
                for job in together:
                    job.error = error
        return
    for job in jobs:
        try:
            os.fsync(job.fd)
        except OSError as error:
            job.error = error
