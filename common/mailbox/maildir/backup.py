"""A copy of one account elsewhere, consistent in itself, made again and again at little cost.

A message's file never changes and its unique name never comes again, so what the copy has already is not copied again,
only renamed where its flags were changed, and removed where the message is gone. First all is copied while others work;
then, with the index held (no other process of this system moves or removes messages meanwhile), what has changed since,
and at last the index itself, by SQLite's backup. So the copy is one that the account may have had at one instant: each
message once, with its UID and flags. A delivery that comes in between is a new message without a row, as always
(STATES.md, S2).

What is restored is a Maildir: put the copy in the place of the account's directory, with the same owner. Clients then
know messages and changes that the copy never heard of, so its next UID and modification sequence lie far beyond those
(RFC 9051 2.3.1.1: no UID comes again), and each message counts as changed (RFC 7162 3.1: none has two states by one
sequence).
"""

import errno
import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from tubepost.common.mailbox.maildir.database import FILE
from tubepost.common.mailbox.maildir.names import folder_of, split_file
from tubepost.common.mailbox.maildir.owner import Owner, as_owner

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount

_PIECE = 1 << 20
# So many UIDs and modification sequences may be given out between a backup and its restoration.
_UIDS, _CHANGES = 1_000_000, 1 << 32
# Beside the directories of messages: what other programs know of a folder, or of the account.
_BESIDE = frozenset(
    (
        "dovecot-keywords",
        "dovecot-uidlist",
        "maildirfolder",
        "subscriptions",
        "courierimapsubscribed",
        "maildirsize",
        "tubepost.uidvalidity",
    )
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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
        top = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._pass(top)
            with database.transaction():
                self._pass(top)
                self._copy_index(top)
        finally:
            os.close(top)
        return Copied(self._messages, self._fresh, self._gone, self._octets)

    def _pass(self, top: int) -> None:
        self._messages = 0
        wanted = [""]
        wanted += [name for name in self._list_root() if folder_of(name) is not None and self._is_folder(name)]
        for directory in list(wanted):
            try:
                self._copy_folder(top, directory)
            except FileNotFoundError:
                # Removed or renamed by a session since the list was made.
                if not directory or self._is_folder(directory):
                    raise
                wanted.remove(directory)
        for name in os.listdir(top):
            if folder_of(name) is not None and name not in wanted:
                self._gone += _remove_folder(top, name)

    @as_owner
    def _list_root(self) -> list[str]:
        return os.listdir(self._account.root)

    @as_owner
    def _is_folder(self, name: str) -> bool:
        path = f"{self._account.root}/{name}"
        return not os.path.islink(path) and os.path.isdir(f"{path}/cur")

    @as_owner
    def _open(self, path: str) -> int:
        """A directory of the mailbox. Whoever owns it may have put a link there: none is followed."""
        return os.open(path, _DIRECTORY)

    def _copy_folder(self, top: int, directory: str) -> None:
        source = f"{self._account.root}/{directory}" if directory else self._account.root
        owner = self._status(source)
        with ExitStack() as stack:

            def keep(fd: int) -> int:
                stack.callback(os.close, fd)
                return fd

            target = keep(_directory(top, directory, owner)) if directory else top
            if not directory:
                _own(top, owner)
            targets = {part: keep(_directory(target, part, owner)) for part in ("tmp", "new", "cur")}
            # new before cur: what a reader moves meanwhile is seen in one of them.
            names: dict[str, str] = {}
            sources = {}
            for part in ("new", "cur"):
                sources[part] = keep(self._open(f"{source}/{part}"))
                _note(names, part, os.listdir(sources[part]))
            there: dict[str, str] = {}
            for part in ("new", "cur"):
                _note(there, part, os.listdir(targets[part]))
            for file, place in names.items():
                self._messages += 1
                known = there.pop(file, None)
                if known is None:
                    part, _, name = place.partition("/")
                    self._bring(sources[part], name, targets[part])
                elif known != place:
                    (old_part, _, old), (part, _, name) = known.partition("/"), place.partition("/")
                    os.rename(old, name, src_dir_fd=targets[old_part], dst_dir_fd=targets[part])
            for place in there.values():
                part, _, name = place.partition("/")
                os.unlink(name, dir_fd=targets[part])
                self._gone += 1
            fd = keep(self._open(source))
            for name in os.listdir(fd):
                if name in _BESIDE:
                    self._copy(fd, name, target)

    @as_owner
    def _status(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def _bring(self, source: int, name: str, target: int) -> None:
        """A message from one directory to another."""
        if self._link:
            try:
                if not stat.S_ISREG(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
                    self._messages -= 1
                    return
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                self._fresh += 1
                return
            except FileNotFoundError:
                # Renamed or removed meanwhile: the second pass sees it.
                self._messages -= 1
                return
            except OSError:
                # Another file system, or one without links.
                pass
        if self._copy(source, name, target):
            self._fresh += 1
        else:
            self._messages -= 1

    @as_owner
    def _open_file(self, directory: int, name: str) -> int:
        return os.open(name, _READ, dir_fd=directory)

    def _copy(self, directory: int, name: str, target: int) -> bool:
        """A regular file, as a whole or not at all. False: there is none (any more)."""
        try:
            source = self._open_file(directory, name)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno in (errno.ELOOP, errno.ENXIO):
                return False
            raise
        temporary = f".copying.{os.getpid()}"
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode):
                return False
            _unlink(temporary, target)
            copy = os.open(temporary, _WRITE, 0o600, dir_fd=target)
            try:
                while data := os.read(source, _PIECE):
                    self._octets += len(data)
                    view = memoryview(data)
                    while view:
                        view = view[os.write(copy, view) :]
                _own(copy, found)
                os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
                os.fsync(copy)
            finally:
                os.close(copy)
            os.rename(temporary, name, src_dir_fd=target, dst_dir_fd=target)
            return True
        except BaseException:
            _unlink(temporary, target)
            raise
        finally:
            os.close(source)

    def _copy_index(self, top: int) -> None:
        """While the transaction of another connection keeps it as it is: readers are not kept out (WAL).

        It is made in a directory of our own: SQLite opens files by their names, and follows links.
        """
        beside = os.path.dirname(os.path.realpath(self._target))
        with tempfile.TemporaryDirectory(prefix=".tubepost-copying.", dir=beside) as directory:
            temporary = f"{directory}/{FILE}"
            source = self._connect()
            try:
                target = sqlite3.connect(temporary)
                try:
                    source.backup(target)
                    with target:
                        _leap(target)
                    # One file, without a log beside it.
                    target.execute("PRAGMA journal_mode=DELETE")
                finally:
                    target.close()
            finally:
                source.close()
            fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fchmod(fd, 0o600)
                _own(fd, self._status(self._account.database.path))
                os.fsync(fd)
            finally:
                os.close(fd)
            for suffix in ("-wal", "-shm"):
                _unlink(FILE + suffix, top)
            os.rename(temporary, FILE, dst_dir_fd=top)

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


def _leap(index: sqlite3.Connection) -> None:
    """Of the copy: beyond all that may be told of the account before this copy takes its place."""
    # A folder that has given out half of all UIDs keeps what is left.
    index.execute("UPDATE folder SET uidnext=uidnext+? WHERE uidnext < 1 << 31", (_UIDS,))
    index.execute("UPDATE folder SET modseq=modseq+?", (_CHANGES,))
    index.execute("UPDATE message SET modseq=(SELECT modseq FROM folder WHERE id=message.folder)")
    index.execute("DELETE FROM expunged")
    index.execute("UPDATE folder SET floor=modseq")


def _note(found: dict[str, str], part: str, names: list[str]) -> None:
    """Files by their unique part; should one be there twice, the second by its whole name."""
    for name in sorted(names):
        if not name.startswith("."):
            file = split_file(name)[0]
            found[file if file not in found else name] = f"{part}/{name}"


def _directory(parent: int, name: str, owner: os.stat_result) -> int:
    """A directory of the copy, made where it is missing. The mailbox's owner has it, and may have put a link in its
    place: none is followed, here and wherever something is written."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    _own(fd, owner)
    return fd


def _own(fd: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _remove_folder(top: int, name: str) -> int:
    """Of the copy. Returns how many messages it had."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        return 0
    count = 0
    folder = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for part in ("new", "cur"):
            try:
                fd = os.open(part, _DIRECTORY, dir_fd=folder)
            except OSError:
                continue
            count += len(os.listdir(fd))
            os.close(fd)
    finally:
        os.close(folder)
    shutil.rmtree(name, dir_fd=top)
    return count
