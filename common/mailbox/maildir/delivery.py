"""Deliver into a Maildir: written in ``tmp/``, renamed to ``new/``, synced together with what else is under way.

The sync comes after the rename: one journal commit makes the content and the name durable (``system.commit``). A reader
may see a message that a power failure then takes away again: it was not yet reported as delivered, and is delivered
again. Nothing that was reported is ever lost.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Callable

from tubepost.common.system.atomic import write_all
from tubepost.common.system.commit import GroupCommit
from tubepost.common.system.identity import CannotBecome, act_as
from tubepost.common.mailbox.copying import read
from tubepost.common.mailbox.maildir.names import folder_of
from tubepost.common.mailbox.maildir.quota import Announced, check
from tubepost.common.mailbox.store import Content, DeliveryError
from tubepost.common.mailbox.values import Limit

_SMALL = 1 << 18
_counter = itertools.count(1)
# A slash or colon in a host name would be a path or a flag (maildir specification).
_host = socket.gethostname().replace("/", "\\057").replace(":", "\\072") or "localhost"

# RFC 3463: what an error of the file system means for the sender.
_ERRORS = {
    errno.ENOSPC: ("4.3.1", "the file system of the mailbox is full"),
    errno.EDQUOT: ("5.2.2", "the mailbox is over its disk quota"),
    errno.EACCES: ("4.2.0", "permission denied"),
    errno.EPERM: ("4.2.0", "permission denied"),
    errno.EROFS: ("4.3.0", "the file system is read-only"),
    errno.ENOTDIR: ("4.2.0", "something on the path is not a directory"),
}


def _learn_process() -> None:
    global _process
    _process = os.getpid()


_process = 0
_learn_process()
os.register_at_fork(after_in_child=_learn_process)


def unique_name(now: float) -> str:
    """A file name that no other delivery makes: seconds, microseconds, process, counter, host."""
    seconds = int(now)
    return f"{seconds}.M{int((now - seconds) * 1e6):06d}P{_process}Q{next(_counter)}.{_host}"


def copy_content(content: Content, fd: int) -> None:
    """Head and content into an open file, a chunk at a time. Raises OSError."""
    if content.length <= _SMALL and not content.crlf:
        data = content.pread(content.length, content.offset)
        if len(data) != content.length:
            raise OSError(errno.EIO, "the queue file is shorter than it says")
        write_all(fd, content.head + data if content.head else data)
        return
    write_all(fd, content.head)
    for piece in read(content):
        write_all(fd, piece)


class MaildirStore:
    """Mailboxes are directories below ``base``; missing ones are made.

    ``delivered``: called after each delivery with the account's Maildir and the name of the folder.
    """

    def __init__(self, base: str, commit: GroupCommit, delivered: Callable[[str, str], None] | None = None) -> None:
        self._base = base.rstrip("/")
        self._commit = commit
        self._delivered = delivered
        self._announced = Announced()

    async def deliver(
        self, mailbox: str, content: Content, *, uid: int = -1, gid: int = -1, limit: Limit | None = None
    ) -> None:
        """See Store. ``mailbox``: a path below ``base``, or an absolute one. ``limit``: of the whole account."""
        folder = (mailbox if mailbox.startswith("/") else f"{self._base}/{mailbox}").rstrip("/")
        name = unique_name(time.time())
        if limit:
            root, _ = split_place(folder)
            size = len(content.head) + content.length
            with self._announced.coming(root, name, size) as before:
                await asyncio.get_running_loop().run_in_executor(None, check, root, limit, size, before, (uid, gid))
                await self._write(mailbox, folder, name, content, uid, gid)
        else:
            await self._write(mailbox, folder, name, content, uid, gid)
        if self._delivered is not None:
            self._delivered(*split_place(folder))

    async def _write(self, mailbox: str, folder: str, name: str, content: Content, uid: int, gid: int) -> None:
        temporary, final = f"{folder}/tmp/{name}", f"{folder}/new/{name}"

        # In a thread of the commit, which stays who it was last.
        def write() -> int:
            act_as(uid, gid)
            fd = _create(folder, temporary)
            try:
                copy_content(content, fd)
            except BaseException:
                os.close(fd)
                os.unlink(temporary)
                raise
            return fd

        def publish() -> None:
            act_as(uid, gid)
            os.rename(temporary, final)

        # It will be tried again: no piece stays, nor a message that may not last.
        def undo() -> None:
            act_as(uid, gid)
            for path in (temporary, final):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

        try:
            await self._commit.run(write, publish, undo)
        except CannotBecome as error:
            raise DeliveryError("4.3.0", f"cannot act as the owner of maildir {mailbox}: {error}") from error
        except OSError as error:
            dsn, words = _ERRORS.get(error.errno or 0, ("4.3.0", error.strerror or str(error)))
            raise DeliveryError(dsn, f"delivery to maildir {mailbox} failed: {words}") from error


def split_place(path: str) -> tuple[str, str]:
    """A Maildir++ directory as account and folder: ``…/Maildir/.Work.Plans`` to ``…/Maildir`` and ``Work/Plans``."""
    above, _, last = path.rstrip("/").rpartition("/")
    folder = folder_of(last) if last.startswith(".") and above else None
    return (path.rstrip("/"), "INBOX") if folder is None else (above, folder)


def _create(folder: str, path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        make_maildir(folder)
        return os.open(path, flags, 0o600)


def make_maildir(folder: str) -> None:
    """The three directories, and the folders above. Raises OSError."""
    for part in ("tmp", "new", "cur"):
        os.makedirs(f"{folder}/{part}", 0o700, exist_ok=True)
