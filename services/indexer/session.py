"""The program: hears what changed, and works through it, a little at a time."""

import asyncio
import os
import stat
import time
from collections.abc import Iterable, Mapping

from tubepost.common.wire import notify
from tubepost.common.wire.auth import User
from tubepost.common.wire.base import Message
from tubepost.common.system import log
from tubepost.common.bus import Handler, Request
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.mailbox.trouble import IndexTrouble
from tubepost.common.mailbox.values import Indexed
from tubepost.common.skeleton import request
from tubepost.common.skeleton.mailboxes import Mailbox, Mailboxes
from tubepost.common.skeleton.process import Process

from tubepost.services.indexer.schedule import Schedule, Task

# After the last change of a mailbox, and after the first, seconds: a delivery is not to wait for what may come later.
_QUIET, _MOST = 0.2, 30.0
# A mailbox that cannot be indexed is tried again so many times; after that, when it changes again.
_TRIES = 8
# Messages of one step, and after each step a rest as long as the step was, seconds at least and at most; so many times
# as long while mail keeps coming in: deliveries want the disk.
_STEP = 25
_REST = (0.005, 1.0)
_PATIENCE = 5


class Indexer(request.Service):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._schedule = Schedule(_QUIET, _MOST)
        self._news = asyncio.Event()
        self._heard = self._noticed = 0
        self._worker: asyncio.Task[None] | None = None
        self._working = False

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {notify.Changed: self._changed}

    @property
    def busy(self) -> bool:
        return self._working or len(self._schedule) > 0

    async def open(self) -> None:
        config = self.process.config
        if config.indexer_nice:
            os.nice(config.indexer_nice)
        self._full_text = config.indexer_full_text
        # One thread: who reads mail now goes before who may read it later.
        self._acting = os.geteuid() == 0
        self._mailboxes = Mailboxes(1, self._acting)
        self._worker = self.process.loop.create_task(self._work())

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._mailboxes.close()

    def _changed(self, request: Request[notify.Changed]) -> None:
        self._schedule.note(request.message.mailbox.rstrip("/"), request.message.folder, self.process.loop.time())
        self._heard += 1
        self._news.set()

    async def _work(self) -> None:
        loop = self.process.loop
        while True:
            due = self._schedule.next_time()
            if due is None or due > loop.time():
                self._news.clear()
                try:
                    async with asyncio.timeout_at(due):
                        await self._news.wait()
                except TimeoutError:
                    pass
                continue
            taken = self._schedule.take(loop.time())
            if taken is not None:
                self._working = True
                await self._serve(*taken)
                self._working = False

    async def _serve(self, task: Task, failures: int) -> None:
        try:
            await self._bring_up_to_date(task)
        except (FileNotFoundError, PermissionError) as error:
            # It is gone, or it is none of ours: mail of users of this system where those have no accounts here.
            log.debug(f"{task.mailbox}: not indexed: {error}")
        except (OSError, IndexTrouble) as error:
            log.warning(f"{task.mailbox}: not indexed now: {error}; it is tried again later")
            if failures < _TRIES:
                self._schedule.again(task, self.process.loop.time(), failures + 1)
        except Exception as error:
            log.panic(f"{task.mailbox}: {type(error).__name__}: {error}")

    async def _bring_up_to_date(self, task: Task) -> None:
        found = maildir_owner(task.mailbox)
        if found is None:
            log.debug(f"{task.mailbox}: no Maildir; the hint is ignored")
            return
        uid, gid = found if self._acting else (-1, -1)
        mailbox = await self._mailboxes.open(User(name=task.mailbox, mailbox=task.mailbox, uid=uid, gid=gid))
        try:
            if mailbox.account.is_replaced:
                await mailbox.work(mailbox.account.renew)
            for name in task.folders:
                try:
                    await mailbox.work(_sync, mailbox, name)
                except NoSuchFolder:
                    continue
            await mailbox.work(_tidy, mailbox, task.folders)
            if self._full_text and await mailbox.work(_is_wasteful, mailbox):
                log.info(f"{task.mailbox}: the full-text index is mostly of mail that is gone: it is built anew")
                await mailbox.work(mailbox.account.empty_full_text)
            for name in await mailbox.work(mailbox.account.unfinished, self._full_text):
                try:
                    count = await self._finish(mailbox, name)
                except NoSuchFolder:
                    continue
                if count:
                    log.info(f"{task.mailbox}: indexed {count} message{'s' * (count != 1)} of {name}")
        finally:
            self._mailboxes.release(mailbox)

    async def _finish(self, mailbox: Mailbox, name: str) -> int:
        """Returns how many messages there were to do."""
        loop = self.process.loop
        folder = await mailbox.work(mailbox.account.folder, name)
        uids = await mailbox.work(folder.unfinished)
        for start in range(0, len(uids), _STEP):
            started = loop.time()
            await mailbox.work(folder.complete, uids[start : start + _STEP])
            await self._rest(started)
        count = 0
        progress = Indexed(0, 1)
        while progress.done and self._full_text:
            started = loop.time()
            progress = await mailbox.work(folder.index, progress.place, _STEP)
            count += progress.done
            await self._rest(started)
        return max(count, len(uids))

    async def _rest(self, started: float) -> None:
        """What took long met others at the disk or at the index: they get the next turn, and a longer one."""
        took = self.process.loop.time() - started
        if self._heard != self._noticed:
            took *= _PATIENCE
        self._noticed = self._heard
        await asyncio.sleep(min(max(took, _REST[0]), _REST[1]))


def maildir_owner(path: str) -> tuple[int, int] | None:
    """Whose Maildir it is; None for what is none: anybody may tell notify of a change, of whatever path."""
    if not path.startswith("/"):
        return None
    try:
        for part in ("new", "cur"):
            if not stat.S_ISDIR(os.stat(f"{path}/{part}", follow_symlinks=False).st_mode):
                return None
        found = os.stat(path, follow_symlinks=False)
    except (OSError, ValueError):
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None
    return found.st_uid, found.st_gid


def _tidy(mailbox: Mailbox, folders: Iterable[str]) -> None:
    there = {info.name for info in mailbox.account.folders()}
    mailbox.account.tidy([name for name in folders if name in there], time.time())


def _is_wasteful(mailbox: Mailbox) -> bool:
    return mailbox.account.is_wasteful


def _sync(mailbox: Mailbox, name: str) -> None:
    folder = mailbox.account.folder(name)
    if folder.stale():
        folder.sync()
