"""mbox: all messages in one file, each begun by a ``From `` line and ended by an empty one (RFC 4155, mboxrd's elder).

The file is locked while a message is added (dotlock, flock, fcntl, as configured), cut back to its old length when
that fails, and synced before the delivery counts. What is no regular file (/dev/null, a FIFO) is written to as it is.
"""

import asyncio
import errno
import fcntl
import os
import select
import stat
import struct
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass

from tubepost.common.system import log
from tubepost.common.system.atomic import write_all
from tubepost.common.system.finish import to_the_end
from tubepost.common.system.identity import CannotBecome, acting_as
from tubepost.common.mailbox.copying import MBOX, Form, render
from tubepost.common.mailbox.store import Content, DeliveryError

# Locks of open file descriptions meet those of other programs' fcntl(), and each other within this process as well.
_SET_LOCK = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
# struct flock of Linux: type, whence, start, length, pid.
_WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_THREADS = 16
# Of this host, for a while (a file system goes read-only when its disk fails): no mail is returned for that.
_OUR_TROUBLE = frozenset(
    {errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.ETIMEDOUT}
)
# Lock files of ours that could not be removed, their inodes and times: nobody holds them. So many are remembered.
_left: dict[str, tuple[int, int]] = {}
_LEFT = 1000
# For the reader of a FIFO, seconds.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Locking:
    """``styles``: of dotlock, flock, fcntl; tried ``attempts`` times, ``delay`` seconds apart (deliver_lock_…).

    ``stale``: seconds after which a lock file counts as left behind (stale_lock_time). ``dotlock_optional``: where a
    lock file cannot be made the kernel's locks have to do (mail to /file/name in a directory that is not writable).
    """

    styles: tuple[str, ...] = ("fcntl", "dotlock")
    attempts: int = 20
    delay: float = 1.0
    stale: float = 500.0
    dotlock_optional: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """``size_limit``: bytes of the whole file, 0 for none. ``owner``: the file must be this user's; -1 for any.

    ``executable``: a file that may be executed is accepted. ``special``: so is what is no regular file.
    ``otherwise``: the status code for errors that say nothing of their own.
    """

    size_limit: int = 0
    owner: int = -1
    executable: bool = True
    special: bool = False
    otherwise: str = "4.2.0"
    form: Form = MBOX


class Busy(DeliveryError):
    """Somebody else has the mailbox locked."""


def from_line(sender: str, now: float) -> str:
    """``From sender  Thu Nov 24 18:22:48 2026`` and LF: the line that begins a message (local time, asctime's form)."""
    return f"From {sender or 'MAILER-DAEMON'}  {time.asctime(time.localtime(now))}\n"


class MboxStore:
    """Files below ``base``. Safe for any number of deliveries at once, in any number of processes."""

    def __init__(self, base: str, locking: Locking, rules: Rules) -> None:
        self._base = base
        self._locking = locking
        self._rules = rules
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mbox")
        self._turns: dict[str, tuple[asyncio.Lock, list[None]]] = {}

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    async def deliver(
        self,
        mailbox: str,
        content: Content,
        *,
        uid: int = -1,
        gid: int = -1,
        rules: Rules | None = None,
        locking: Locking | None = None,
        create_as: tuple[int, int] | None = None,
    ) -> int:
        """See Store; gives the length that the file had. ``content.head`` begins with a ``from_line``.

        ``create_as``: (uid, gid) that may make the file and its lock where the user may not (a mail spool directory);
        the file is then given to the user. Who is cancelled is so between two tries. Raises DeliveryError.
        """
        path = os.path.join(self._base, mailbox)
        rules = rules or self._rules
        locking = locking or self._locking

        def attempt() -> int:
            return _append(path, content, uid, gid, rules, locking, create_as)

        loop = asyncio.get_running_loop()
        async with self._turn(path):
            for tries in range(locking.attempts, 0, -1):
                try:
                    return await to_the_end(loop.run_in_executor(self._pool, attempt))
                except Busy:
                    if tries == 1:
                        raise
                    await asyncio.sleep(locking.delay)
        raise AssertionError("deliver_lock_attempts is at least 1")

    @asynccontextmanager
    async def _turn(self, path: str) -> AsyncIterator[None]:
        """One delivery at a time for one file, so that those of this process do not wait for whole seconds."""
        lock, users = self._turns.setdefault(path, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._turns[path]


def _append(
    path: str, content: Content, uid: int, gid: int, rules: Rules, locking: Locking, create_as: tuple[int, int] | None
) -> int:
    """One try, in a thread. Raises DeliveryError, Busy."""
    maker, group = create_as if create_as is not None else (uid, gid)
    given_to = (uid, gid) if create_as is not None and maker != uid else None
    try:
        with acting_as(maker, group):
            locked = "dotlock" in locking.styles and _may_lock(path) and _dotlock(path, locking)
            try:
                fd = _open(path, given_to)
                try:
                    # A file made by another account is written as the user, so that disk quota counts.
                    user = (uid, gid) if create_as is not None else None
                    return _write(fd, path, content, user, rules, locking)
                finally:
                    os.close(fd)
            finally:
                if locked:
                    _unlock(f"{path}.lock")
    except CannotBecome as error:
        raise DeliveryError("4.3.0", f"cannot act as the owner of {path}: {error}") from error
    except OSError as error:
        raise DeliveryError(code_for(error, rules.otherwise), f"cannot write to {path}: {error.strerror}") from error


def code_for(error: OSError, otherwise: str) -> str:
    """RFC 3463: what an error of the file system means for the sender."""
    # ENXIO: a FIFO whose reader is not there now.
    if error.errno in (errno.EAGAIN, errno.ESTALE, errno.EIO, errno.ENXIO):
        return "4.2.0"
    if error.errno in _OUR_TROUBLE:
        return "4.3.0"
    if error.errno in (errno.EDQUOT, errno.EFBIG):
        return "5.2.2"
    return otherwise


def _may_lock(path: str) -> bool:
    """A lock file is for a regular file, or one that is still to be made: not for /dev/null."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _dotlock(path: str, locking: Locking) -> bool:
    """Make ``path.lock``. False where it cannot be made and need not be. Raises Busy, OSError."""
    name = f"{path}.lock"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    for _ in range(2):
        try:
            os.close(os.open(name, flags, 0o600))
            return True
        except FileExistsError:
            try:
                status = os.lstat(name)
                ours = _left.get(name) == (status.st_ino, status.st_ctime_ns)
                if time.time() - status.st_ctime <= locking.stale and not ours:
                    raise Busy("4.2.0", f"unable to create lock file {name}: another program holds it") from None
                os.unlink(name)
            except FileNotFoundError:
                pass
            _left.pop(name, None)
        except OSError:
            if locking.dotlock_optional:
                return False
            raise
    raise Busy("4.2.0", f"unable to create lock file {name}: another program holds it")


def _unlock(name: str) -> None:
    """A message that is in the mailbox is not to be sent to it again since this cannot be done."""
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass  # another program took it for stale
    except OSError as error:
        log.warning(f"cannot remove the lock file {name}: {error.strerror}; for others it is stale after a while")
        with suppress(OSError):
            status = os.lstat(name)
            _left[name] = status.st_ino, status.st_ctime_ns
        if len(_left) > _LEFT:
            _left.pop(next(iter(_left)), None)


def _open(path: str, given_to: tuple[int, int] | None) -> int:
    """Open to append, or make; never through a link that a stranger may have put there. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            # Another program was first.
            return os.open(path, flags)
        if given_to is not None:
            try:
                os.fchown(fd, *given_to)
            except BaseException:
                # As it is, no later delivery could write to it.
                os.close(fd)
                os.unlink(path)
                raise
        return fd
    except OSError as error:
        if error.errno != errno.ELOOP or not _trusted_link(path):
            raise
        return os.open(path, flags & ~os.O_NOFOLLOW)


def _trusted_link(path: str) -> bool:
    """Made by root, in a directory where only root can make one."""
    folder = os.stat(os.path.dirname(path) or ".")
    return os.lstat(path).st_uid == 0 and folder.st_uid == 0 and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _lock(fd: int, path: str, styles: tuple[str, ...]) -> None:
    """The kernel's locks; closing the descriptor gives them back. Raises Busy, OSError."""
    try:
        if "flock" in styles:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if "fcntl" in styles:
            fcntl.fcntl(fd, _SET_LOCK, _WHOLE_FILE)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise Busy("4.2.0", f"unable to lock {path} for exclusive access") from error
        raise


def _write_special(fd: int, path: str, data: bytes) -> None:
    """Into a FIFO or device that may not be read from: a thread is not lent to it for ever. Raises DeliveryError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            if not poll.poll(_PATIENCE * 1000):
                raise DeliveryError("4.2.0", f"{path} takes no more: nobody reads from it") from None


def _write(fd: int, path: str, content: Content, user: tuple[int, int] | None, rules: Rules, locking: Locking) -> int:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        if not rules.special:
            raise DeliveryError("5.2.0", f"destination {path} is not a regular file")
        for piece in render(content, Form(quote_from=rules.form.quote_from)):
            _write_special(fd, path, piece)
        return 0
    _lock(fd, path, locking.styles)
    # Once locked it must still be the file that readers know: some of them put a new one in its place.
    status = os.fstat(fd)
    if status.st_nlink != 1:
        raise Busy("4.2.0", f"{path} was replaced or has a second name")
    if rules.owner >= 0 and status.st_uid != rules.owner:
        raise DeliveryError("4.2.0", f"destination {path} is not owned by recipient")
    if not rules.executable and status.st_mode & 0o111:
        raise DeliveryError("5.7.1", "file is executable")
    before = status.st_size
    limit = rules.size_limit
    size = before
    try:
        with acting_as(*user) if user is not None else nullcontext():
            for piece in render(content, rules.form):
                size += len(piece)
                if limit and size > limit:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                write_all(fd, piece)
            os.fsync(fd)
    except BaseException:
        os.ftruncate(fd, before)
        raise
    return before
