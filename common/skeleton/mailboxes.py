"""Accounts that are open in this process, each once, and the threads in which long work on them is done.

An account is for one thread at a time: its lock is held for each piece of work, on the event loop or in a thread. What
is short (a few rows of the index, a file that was just written) is done on the loop; what may wait for the disk or take
more than some milliseconds goes to a thread, and other accounts are served meanwhile. On the loop nothing waits for
another process that has the index to itself (a delivery agent's look at a large folder, a backup): what may write goes
through ``quick``, which tries again, or ``work``.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from tubepost.common.wire.auth import User
from tubepost.common.system import log
from tubepost.common.mailbox.interface import Account, Folder
from tubepost.common.mailbox.opening import open_account
from tubepost.common.mailbox.trouble import IndexTrouble, is_busy

P = ParamSpec("P")
R = TypeVar("R")

# Seconds that the event loop waits for another process's transaction, those until it is thought to be without end, and
# those between looks whether it is over.
_MOMENT = 0.01
_BUSY = 20.0
_SOON = 0.001
_LATER = 0.05
# Accounts that nobody uses stay open for those who come again, up to so many.
_SPARE = 32


class Mailbox:
    """An open account. Get it from ``Mailboxes.open`` and give it back with ``release``."""

    def __init__(self, owner: "Mailboxes", account: Account) -> None:
        self._owner = owner
        self.account = account
        self.lock = asyncio.Lock()
        self.users = 0
        self.listings: dict[object, tuple[object, bytes]] = {}
        """Answers to LIST, by what was asked, each with the state of the account that it was made of."""
        self.flushing: set[int] = set()
        """Folders whose file names are being brought up to date."""
        account.wait(_MOMENT)

    @property
    def path(self) -> str:
        return self.account.root

    async def work(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """In a thread, alone with the account. Raises what the function raises."""
        async with self.lock:
            return await self._owner.in_thread(self._run, function, arguments, named)

    async def quick(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Short work that writes, or may have to, on the event loop; while another process has the index to itself the
        loop serves others. The function has one transaction and does nothing lasting before it: it may be called again.
        """
        async with self.lock:
            try:
                return function(*arguments, **named)
            except IndexTrouble as error:
                if not is_busy(error):
                    raise
            # No thread waits: there are few of them, and other accounts need them.
            loop = asyncio.get_running_loop()
            last, pause = loop.time() + _BUSY, _SOON
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LATER)
                self.account.wait(0)
                try:
                    return function(*arguments, **named)
                except IndexTrouble as error:
                    if not is_busy(error) or loop.time() > last:
                        raise
                finally:
                    self.account.wait(_MOMENT)

    async def up_to_date(self, name: str) -> Folder:
        """The folder, after a look at its files. Raises NoSuchFolder, OSError, IndexTrouble."""
        folder, stale = await self.quick(self._look, name)
        if stale:
            await self.work(folder.sync)
        return folder

    def _look(self, name: str) -> tuple[Folder, bool]:
        folder = self.account.folder(name)
        return folder, folder.stale()

    def _run(self, function: Callable[..., R], arguments: tuple[object, ...], named: dict[str, object]) -> R:
        self.account.wait()
        try:
            return function(*arguments, **named)
        except IndexTrouble as error:
            if not self.account.recover(error):
                raise
            return function(*arguments, **named)
        finally:
            # Not where the index could not be opened again.
            with contextlib.suppress(IndexTrouble):
                self.account.wait(_MOMENT)


class Mailboxes:
    """Of a process. ``threads``: how much long work is done at once."""

    def __init__(self, threads: int, act: bool) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mailbox")
        self._open: dict[str, Mailbox] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._act = act

    async def in_thread(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*arguments, **named))

    async def open(self, user: User) -> Mailbox:
        """Raises OSError (Unusable among them)."""
        path = user.mailbox.rstrip("/")
        lock = self._opening.setdefault(path, asyncio.Lock())
        async with lock:
            found = self._open.get(path)
            if found is None or (found.users and found.account.is_replaced):
                # Another process found the index corrupt. Who uses the old one gives it back in time.
                ids = (user.uid, user.gid) if self._act and user.uid >= 0 else None
                account = await self.in_thread(open_account, path, ids)
                found = self._open[path] = Mailbox(self, account)
            # It is in use from now on, so that nobody closes it meanwhile.
            found.users += 1
            if found.users == 1 and found.account.is_replaced:
                try:
                    await self.in_thread(found.account.renew)
                    found.account.wait(_MOMENT)
                except BaseException:
                    found.users -= 1
                    raise
        self._opening.pop(path, None)
        return found

    def release(self, mailbox: Mailbox) -> None:
        """One user less."""
        mailbox.users -= 1
        if self._open.get(mailbox.path) is not mailbox:
            # Another one has taken its place.
            if not mailbox.users:
                self._close_soon(mailbox)
            return
        spare = [path for path, other in self._open.items() if not other.users]
        for path in spare[: max(0, len(spare) - _SPARE)]:
            self._close_soon(self._open.pop(path))

    def get(self, path: str) -> Mailbox | None:
        return self._open.get(path)

    def _close_soon(self, mailbox: Mailbox) -> None:
        """The last to close an index brings its log into it, and waits for the disk."""
        try:
            self._pool.submit(self._close, mailbox)
        except RuntimeError:
            # The program is ending.
            self._close(mailbox)

    def _close(self, mailbox: Mailbox) -> None:
        try:
            mailbox.account.close()
        except IndexTrouble as error:
            log.warning(f"{mailbox.path}: closing the index: {error}")

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        for mailbox in self._open.values():
            self._close(mailbox)
        self._open.clear()
