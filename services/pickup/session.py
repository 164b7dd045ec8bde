"""Drives the way from maildrop/ to cleanup: opens files warily, hands them over, removes them."""

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Mapping
from typing import ClassVar

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.bounce import SendOne
from tubepost.common.wire.cleanup import INLINE_LIMIT, Deposit, Deposited
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system import log
from tubepost.common.bus import BusError, Handler, Refusal
from tubepost.common.bus.frames import CHUNK_SIZE
from tubepost.common.spool import Damaged, Incomplete, QueueFile, Spool, maildrop
from tubepost.common.spool.queuefile import read_queue_file
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process

from tubepost.services.pickup import protocol
from tubepost.services.pickup.protocol import Fate

# Messages on their way to cleanup at one time: enough for it to sync several at once.
_AT_ONCE = 8
# Of files with more bytes of recipients one is in memory at a time.
_LONG = 256 * 1024
# Recipients that one request tells of: more might be more than the bus takes.
_REPORTED = 5000
# A file that nobody wrote to for so long has lost its writer, seconds.
_ABANDONED = 86_400
# What the disk refused is tried again after this long, seconds.
_DISK_RETRY = 10.0


class Pickup(request.Service):
    """Answers only Wake. One process: two would take the same file twice."""

    stays: ClassVar[bool] = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._spool = Spool(".", tuple(self.config.hash_queue_names), self.config.hash_queue_depth)
        self._options = frozenset(self.config.receive_override_options)
        self._owner = os.geteuid()
        self._timer: asyncio.TimerHandle | None = None
        self._long_one = asyncio.Lock()
        # Those that are in the queue and still in maildrop, since the disk does not let them go: not to be sent twice.
        self._gone: dict[str, int] = {}

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {}

    async def open(self) -> None:
        # What was posted while the system was down does not wait for the first wake-up.
        self.process.loop.call_soon(lambda: self.process.wake())

    async def woken(self) -> None:
        try:
            await self._go_through()
        except OSError as error:
            log.warning(f"the maildrop directory cannot be read: {error.strerror}; tried again later")
            self._again_soon()

    async def _go_through(self) -> None:
        """Go through the directory until there is nothing more to take; what has to wait waits for the next wake-up."""
        kept: set[str] = set()
        progress = True
        while progress and not self.process.stopping.is_set():
            progress = False
            running: set[asyncio.Task[bool]] = set()
            for entry in self._spool.scan(maildrop.QUEUE):
                if entry.name in kept:
                    continue
                if self.process.stopping.is_set():
                    break
                kept.add(entry.name)
                running.add(asyncio.create_task(self._take(entry.name)))
                if len(running) >= _AT_ONCE:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    progress = _any_gone(done) or progress
            if running:
                done, _ = await asyncio.wait(running)
                progress = _any_gone(done) or progress

    async def _take(self, name: str) -> bool:
        """Bring one file to its end. True when it is gone."""
        path = self._spool.path(maildrop.QUEUE, name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._gone.pop(name, None)
            return False
        except OSError as error:
            log.warning(f"open input file {path}: {error.strerror}; remove it, or make it readable for mail_owner")
            if error.errno not in (errno.EACCES, errno.ELOOP):
                self._again_soon()
            return False
        try:
            return await self._take_open(name, path, fd)
        except Exception as error:
            # Whatever somebody put here: it is not to keep out what others post.
            log.panic(f"{path}: {type(error).__name__}: {error}; {Fate.KEEP.value}")
            return False
        finally:
            os.close(fd)

    def _again_soon(self) -> None:
        """What the disk refused, or a lack of descriptors, need not wait for the next wake-up."""
        if self._timer is None:
            self._timer = self.process.loop.call_later(_DISK_RETRY, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self.process.wake()

    async def _take_open(self, name: str, path: str, fd: int) -> bool:
        status = os.fstat(fd)
        if self._gone.get(name) == status.st_ino:
            return self._remove(name, path)
        if not stat.S_ISREG(status.st_mode):
            log.warning(f"{path}: uid {status.st_uid}: not a regular file; left for a person to remove")
            return False
        try:
            # At a reload the pickup before us is finishing what it has begun: nobody gets that twice.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        status = os.fstat(fd)
        if status.st_nlink == 0:
            return True
        if status.st_nlink > 1:
            # Another name would let its owner keep, and change, what is thought to be ours.
            log.warning(f"{path}: uid {status.st_uid}: {status.st_nlink} names for one file; this one is removed")
            return self._remove(name, path)
        try:
            file = read_queue_file(fd)
            # Each recipient takes far more memory than bytes.
            async with self._long_one if file.size - file.envelope_offset > _LONG else contextlib.nullcontext():
                return await self._take_complete(name, path, file, status)
        except Incomplete:
            if time.time() - status.st_mtime < _ABANDONED:
                return False
            log.info(f"{path}: uid {status.st_uid}: never finished, and nobody was told that it was accepted; removed")
            return self._remove(name, path)
        except Damaged as error:
            if maildrop.is_requeued(status, self._owner):
                log.warning(f"{path}: {error}; it was accepted once: left for a person to look at")
                return False
            log.warning(f"{path}: uid {status.st_uid}: {error}; removed")
            return self._remove(name, path)
        except OSError as error:
            log.warning(f"{path}: cannot read it: {error.strerror}; {Fate.KEEP.value}")
            self._again_soon()
            return False

    async def _take_complete(self, name: str, path: str, file: QueueFile, status: os.stat_result) -> bool:
        """Raises Damaged and OSError when the recipients cannot be read."""
        rows = ((offset, recipient) for offset, done, recipient, _ in file.recipients() if not done)
        waiting = list(itertools.islice(rows, 1 if _has_too_many(file) else None))
        if not waiting:
            # postsuper -r came between the last delivery and its end (Postfix: the same).
            log.warning(f"{path}: uid {status.st_uid}: no recipients; removed")
            return self._remove(name, path)
        try:
            fate = await self._hand_over(name, path, file, status, waiting)
        except BusError as error:
            log.warning(f"{path}: cleanup cannot take it now: {error}; {Fate.KEEP.value}")
            fate = Fate.KEEP
        except (OSError, Damaged) as error:
            log.warning(f"{path}: cannot read it: {error}; {Fate.KEEP.value}")
            fate = Fate.KEEP
        if fate is Fate.KEEP:
            return False
        self._gone[name] = status.st_ino
        return self._remove(name, path)

    def _remove(self, name: str, path: str) -> bool:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning(f"remove {path}: {error.strerror}; tried again later")
            self._again_soon()
            return False
        self._gone.pop(name, None)
        return True

    async def _hand_over(
        self, name: str, path: str, file: QueueFile, status: os.stat_result, waiting: list[tuple[int, Recipient]]
    ) -> Fate:
        config = self.config
        requeued = maildrop.is_requeued(status, self._owner)
        posted, complaint = protocol.posted_time(status.st_mtime, time.time())
        if complaint:
            log.warning(f"{path}: message {complaint}")
        if requeued:
            envelope = protocol.requeued_envelope(file.envelope, config.content_filter)
        else:
            envelope = protocol.believed_envelope(file.envelope, status.st_uid, posted, config.content_filter)
        local = time.localtime(posted)
        line = protocol.received(
            config.myhostname, config.mail_name, status.st_uid, posted, local.tm_gmtoff, local.tm_zone
        )
        question = protocol.deposit(
            envelope, [recipient for _, recipient in waiting], line, self._options, requeued=requeued
        )
        origin = f" orig_id={name}" if requeued else ""
        # What cleanup and qmgr say of the message comes after our line, as in Postfix: log analysers want that.
        asked = time.time()
        try:
            if _has_too_many(file):
                raise Refusal(protocol.TOO_MANY)
            answer = await self._deposit(question, file)
        except Refusal as error:
            refused = error.refused
            # What was in the queue before is not thrown away for its size: a person knows what to do with it.
            fate = Fate.KEEP if requeued and refused is protocol.TOO_MANY else protocol.judge(refused)
            log.warning(
                f"{path}: uid={status.st_uid} from=<{envelope.sender}>{origin}: refused: "
                f"{refused.code} {refused.dsn} {refused.reason}; {fate.value}"
            )
            if fate is Fate.RETURN and not await self._return(name, envelope, file, waiting, refused):
                return Fate.KEEP
            return fate
        log.info(f"{answer.queue_id}: uid={status.st_uid} from=<{envelope.sender}>{origin}", asked)
        return Fate.DROP

    async def _deposit(self, question: Deposit, file: QueueFile) -> Deposited:
        client = self.process.client(self.config.cleanup_service_name)
        if file.content_length <= INLINE_LIMIT:
            return await client.call(question, Deposited, payload=b"".join(file.content()))
        upload = client.upload(question, Deposited)
        try:
            for chunk in file.content(CHUNK_SIZE):
                if upload.answered:
                    break
                await upload.send(chunk)
            return await upload.finish()
        except BaseException:
            upload.cancel()
            raise

    async def _return(
        self, name: str, envelope: Envelope, file: QueueFile, waiting: list[tuple[int, Recipient]], refused: Refused
    ) -> bool:
        """Have the sender told. False: not possible now."""
        entries = protocol.failures(waiting, refused, time.time())
        try:
            for start in range(0, len(entries), _REPORTED):
                question = SendOne(
                    kind="failure",
                    queue_id=name,
                    queue="maildrop",
                    envelope=envelope,
                    content_offset=file.content_offset,
                    content_length=file.content_length,
                    entries=entries[start : start + _REPORTED],
                )
                await self.process.client(self.config.bounce_service_name).call(question, Done)
        except BusError as error:
            log.warning(f"maildrop/{name}: the sender cannot be told now: {error}; {Fate.KEEP.value}")
            return False
        return True


def _has_too_many(file: QueueFile) -> bool:
    """More than this program, or cleanup, may hold in memory; the recipients of such a file are not read."""
    return file.size - file.envelope_offset > maildrop.ENVELOPE_LIMIT


def _any_gone(done: set[asyncio.Task[bool]]) -> bool:
    """Look at every task: the error of one is not to be lost behind the success of another."""
    return True in {task.result() for task in done}
