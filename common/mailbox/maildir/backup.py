"""A copy of one account elsewhere, consistent in itself, made again and again at little cost.

A message's file never changes and its unique name never comes again, so what the copy has already is not copied again,
only renamed where its flags were changed, and removed where the message is gone. First all is copied while others work;
then, with the index held (no other process of this system moves or removes messages meanwhile), what has changed since,
and at last the index itself, by SQLite's backup. So the copy is one that the account may have had at one instant: each
message once, with its UID and flags. A delivery that comes in between is a new message without a row, as always
(STATES.md, S2).

What is restored is a Maildir: put the copy in the place of the account's directory, with the same owner.
"""

import errno
import os
import sqlite3
import stat
from typing import TYPE_CHECKING, NamedTuple

from tubepost.common.mailbox.maildir.database import FILE
from tubepost.common.mailbox.maildir.names import folder_of, split_file
from tubepost.common.mailbox.maildir.owner import Owner, as_owner

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount

_PIECE = 1 << 20
# Beside the directories of messages: what other programs know of a folder, or of the account.
_BESIDE = frozenset(
    ("dovecot-keywords", "dovecot-uidlist", "maildirfolder", "subscriptions", "courierimapsubscribed", "maildirsize")
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Copied(NamedTuple):
    """Messages: in all, new in the copy, and taken out of it; octets that were copied and not linked."""

    messages: int
    fresh: int
    gone: int
    octets: int


class Backup:
    """Of one account into ``target``, a directory that is made. ``link``: hard links where that can be.

    The mailbox is read as its owner, the copy written as the process itself. Raises OSError, sqlite3.Error.
    """

    def __init__(self, account: "MaildirAccount", target: str, *, link: bool = True) -> None:
        self.owner: Owner = account.owner
        self._account = account
        self._target = target
        self._link = link
        self._messages = self._fresh = self._gone = self._octets = 0

    def run(self) -> Copied:
        os.makedirs(self._target, 0o700, exist_ok=True)
        database = self._account.database
        for info in self._account.folders():
            # What was delivered so far has its UID before it is copied.
            self._account.folder(info.name).sync()
        self._pass()
        with database.transaction():
            self._pass()
            self._copy_index()
        return Copied(self._messages, self._fresh, self._gone, self._octets)

    def _pass(self) -> None:
        self._messages = 0
        wanted = [""]
        wanted += [name for name in self._list_root() if folder_of(name) is not None and self._is_folder(name)]
        for directory in wanted:
            self._copy_folder(directory)
        for entry in os.scandir(self._target):
            if folder_of(entry.name) is not None and entry.name not in wanted and entry.is_dir(follow_symlinks=False):
                self._gone += _remove_folder(entry.path)

    @as_owner
    def _list_root(self) -> list[str]:
        return os.listdir(self._account.root)

    @as_owner
    def _is_folder(self, name: str) -> bool:
        path = f"{self._account.root}/{name}"
        return stat.S_ISDIR(os.lstat(path).st_mode) and os.path.isdir(f"{path}/cur")

    @as_owner
    def _open(self, path: str) -> int:
        """A directory of the mailbox. Whoever owns it may have put a link there: none is followed."""
        return os.open(path, _DIRECTORY)

    def _copy_folder(self, directory: str) -> None:
        source = f"{self._account.root}/{directory}" if directory else self._account.root
        target = f"{self._target}/{directory}" if directory else self._target
        for part in ("tmp", "new", "cur"):
            os.makedirs(f"{target}/{part}", 0o700, exist_ok=True)
        self._own(source, target)
        # new before cur: what a reader moves meanwhile is seen in one of them.
        names: dict[str, str] = {}
        fds = {}
        try:
            for part in ("new", "cur"):
                fds[part] = self._open(f"{source}/{part}")
                _note(names, part, os.listdir(fds[part]))
            there: dict[str, str] = {}
            for part in ("new", "cur"):
                _note(there, part, os.listdir(f"{target}/{part}"))
            for file, place in names.items():
                self._messages += 1
                known = there.pop(file, None)
                if known is None:
                    self._bring(fds, place, target)
                elif known != place:
                    os.rename(f"{target}/{known}", f"{target}/{place}")
            for place in there.values():
                os.unlink(f"{target}/{place}")
                self._gone += 1
        finally:
            for fd in fds.values():
                os.close(fd)
        fd = self._open(source)
        try:
            for name in os.listdir(fd):
                if name in _BESIDE:
                    self._copy(fd, name, f"{target}/{name}")
        finally:
            os.close(fd)

    @as_owner
    def _status(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def _own(self, source: str, target: str) -> None:
        if os.geteuid() == 0:
            found = self._status(source)
            for path in (target, *(f"{target}/{part}" for part in ("tmp", "new", "cur"))):
                os.chown(path, found.st_uid, found.st_gid)

    def _bring(self, fds: dict[str, int], place: str, target: str) -> None:
        part, _, name = place.partition("/")
        if self._link:
            try:
                if not stat.S_ISREG(os.stat(name, dir_fd=fds[part], follow_symlinks=False).st_mode):
                    self._messages -= 1
                    return
                os.link(name, f"{target}/{place}", src_dir_fd=fds[part], follow_symlinks=False)
                self._fresh += 1
                return
            except FileNotFoundError:
                # Renamed or removed meanwhile: the second pass sees it.
                self._messages -= 1
                return
            except OSError:
                # Another file system, or one without links.
                pass
        if self._copy(fds[part], name, f"{target}/{place}"):
            self._fresh += 1
        else:
            self._messages -= 1

    @as_owner
    def _open_file(self, directory: int, name: str) -> int:
        return os.open(name, _READ, dir_fd=directory)

    def _copy(self, directory: int, name: str, target: str) -> bool:
        """A regular file, as a whole or not at all. False: there is none (any more)."""
        try:
            source = self._open_file(directory, name)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno in (errno.ELOOP, errno.ENXIO):
                return False
            raise
        temporary = f"{os.path.dirname(target)}/.copying.{os.getpid()}"
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode):
                return False
            copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                while data := os.read(source, _PIECE):
                    self._octets += len(data)
                    view = memoryview(data)
                    while view:
                        view = view[os.write(copy, view) :]
                os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
                if os.geteuid() == 0:
                    os.fchown(copy, found.st_uid, found.st_gid)
                os.fsync(copy)
            finally:
                os.close(copy)
            os.rename(temporary, target)
            return True
        except BaseException:
            try:
                os.unlink(temporary)
            except FileNotFoundError:
                pass
            raise
        finally:
            os.close(source)

    def _copy_index(self) -> None:
        """While the transaction of another connection keeps it as it is: readers are not kept out (WAL)."""
        temporary = f"{self._target}/.{FILE}.copying"
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        source = self._connect()
        try:
            target = sqlite3.connect(temporary)
            try:
                source.backup(target)
                # One file, without a log beside it.
                target.execute("PRAGMA journal_mode=DELETE")
            finally:
                target.close()
        finally:
            source.close()
        if os.geteuid() == 0:
            found = self._status(self._account.database.path)
            os.chown(temporary, found.st_uid, found.st_gid)
        os.chmod(temporary, 0o600)
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        for suffix in ("-wal", "-shm"):
            try:
                os.unlink(f"{self._target}/{FILE}{suffix}")
            except FileNotFoundError:
                pass
        os.rename(temporary, f"{self._target}/{FILE}")

    @as_owner
    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._account.database.path, timeout=5.0)
        try:
            # The log and its index are opened now, as the owner.
            connection.execute("SELECT count(*) FROM folder").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


def _note(found: dict[str, str], part: str, names: list[str]) -> None:
    """Files by their unique part; should one be there twice, the second by its whole name."""
    for name in sorted(names):
        if not name.startswith("."):
            file = split_file(name)[0]
            found[file if file not in found else name] = f"{part}/{name}"


def _remove_folder(path: str) -> int:
    """Of the copy. Returns how many messages it had."""
    count = 0
    for part in ("new", "cur", "tmp"):
        try:
            names = os.listdir(f"{path}/{part}")
        except FileNotFoundError:
            continue
        for name in names:
            os.unlink(f"{path}/{part}/{name}")
            count += part != "tmp"
        os.rmdir(f"{path}/{part}")
    for name in os.listdir(path):
        os.unlink(f"{path}/{name}")
    os.rmdir(path)
    return count
