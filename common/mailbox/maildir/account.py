"""One account: a Maildir++ with its index. Its folders, subscriptions, annotations, rights and use of space.

Every call blocks, most for less than a millisecond; what may take longer (a scan, an import, many files) the caller
puts into a thread. An account is for one thread at a time. Several processes may have the same account open.
"""

import errno
import os
import secrets
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tubepost.common.system import log
from tubepost.common.system.atomic import write_file
from tubepost.common.mailbox import interface
from tubepost.common.mailbox.maildir import fulltext, scan, upkeep
from tubepost.common.mailbox.maildir.database import BUSY, Database
from tubepost.common.mailbox.maildir.exclusive import MaildropLock
from tubepost.common.mailbox.maildir.flags import FlagSets
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.maildir.migration import read_subscriptions
from tubepost.common.mailbox.maildir.names import directory_of, folder_of
from tubepost.common.mailbox.maildir.owner import Owner, as_owner
from tubepost.common.mailbox.maildir.reading import open_file
from tubepost.common.mailbox.store import FolderExists, NoSuchFolder
from tubepost.common.mailbox.trouble import is_corrupt
from tubepost.common.mailbox.values import SEPARATOR, BadName, FolderInfo, Usage

# Beside the index, and outlives it: the highest UIDVALIDITY that was given out.
_HIGHEST = "tubepost.uidvalidity"
_REBUILT = "rebuilt"
# Whatever other programs gave out: it must leave room for more (RFC 9051 2.3.1.1: 32 bits).
_NO_MORE = 0xFFF00000


class MaildirAccount:
    """``root``: the Maildir, made when it is missing. ``owner``: uid and gid to act as, None for the process's own."""

    def __init__(self, root: str, owner: tuple[int, int] | None = None) -> None:
        self.root = root.rstrip("/")
        self.owner = Owner(owner)
        self._folders: dict[int, Folder] = {}
        self._listed: tuple[tuple[int, int], int, list[FolderInfo]] | None = None
        self.generation = 0
        """Counts what this process itself has changed: ``Database.version`` tells only of others."""
        self._open()

    @as_owner
    def _open(self) -> None:
        for part in ("tmp", "new", "cur"):
            os.makedirs(f"{self.root}/{part}", 0o700, exist_ok=True)
        self.database = Database(self.root)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            replaced = self.database.replaced
            self.database.close()
            if not is_corrupt(error):
                raise
            if not replaced:
                self.database.set_aside(error)
            self.database = Database(self.root)
            self.database.rebuilt = True
            self._prepare()

    def _prepare(self) -> None:
        self.flagsets = FlagSets(self.database)
        if self.database.one("SELECT 1 FROM folder WHERE name='INBOX'") is None:
            self._begin()
        if self.database.one("SELECT 1 FROM intent") is not None:
            with self.database.transaction():
                scan.finish_intents(self)

    def _begin(self) -> None:
        """The first time, or after the index was lost."""
        with self.database.transaction():
            if self.database.one("SELECT 1 FROM folder WHERE name='INBOX'") is None:
                if os.path.lexists(f"{self.root}/{_HIGHEST}"):
                    self._set_value(_REBUILT, 1)
                self._insert_folder("INBOX")
                self.database.connection.executemany(
                    "INSERT OR IGNORE INTO subscription (name) VALUES (?)",
                    [(name,) for name in read_subscriptions(self.root)],
                )
        self.generation += 1
        self._reconcile()

    @as_owner
    def close(self) -> None:
        self.database.close()

    @as_owner
    def renew(self) -> None:
        """Open the index again: somebody has put a new one in its place, or it was found corrupt."""
        self.database.close()
        self._folders.clear()
        self.generation += 1
        self._open()

    def recover(self, error: sqlite3.Error) -> bool:
        """After an error of a call: was the index corrupt, and is there a new one now? The call may be tried again.

        Another process may have found it corrupt first: what is open here is then a file that was put aside, and gives
        errors of any kind. After an error of reading or writing it is opened again, and is looked at so.
        """
        replaced, corrupt = self.database.replaced, is_corrupt(error)
        if not replaced and not corrupt and getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_IOERR:
            return False
        self.database.close()
        if corrupt and not replaced:
            self.database.set_aside(error)
        self._folders.clear()
        self.generation += 1
        self._open()
        return True

    def wait(self, seconds: float = BUSY) -> None:
        """How long calls wait from now on where another process has the index to itself; then they raise an error that
        ``is_busy``. A caller that others wait for has a moment.
        """
        self.database.wait(seconds)

    @property
    def is_replaced(self) -> bool:
        """Another process has made the index anew, or none is open after an error: see ``renew``."""
        return self.database.replaced

    def lock_maildrop(self) -> MaildropLock:
        """Raises InUse, OSError."""
        return MaildropLock(self.root, self.owner)

    def state(self) -> tuple[int, int]:
        """Differs from what it was when anything in the index has changed."""
        return self.database.version(), self.generation

    def listing_state(self) -> tuple[tuple[int, int], int]:
        """Differs from what it was when folders, subscriptions or rights may have changed."""
        return self.state(), os.stat(self.root).st_mtime_ns

    # Folders

    @as_owner
    def folders(self) -> list[FolderInfo]:
        """All folders that exist, INBOX first, then by name."""
        mtime = os.stat(self.root).st_mtime_ns
        if self._listed is not None and self._listed[:2] == (self.state(), mtime):
            return self._listed[2]
        if mtime != self._value("root_mtime"):
            self._reconcile()
        # Before what it is the state of: another process may write between the two.
        state = self.state()
        rows = self.database.connection.execute("SELECT name, id, special FROM folder ORDER BY name!='INBOX', name")
        found = [FolderInfo(name, number, tuple(special.split())) for name, number, special in rows]
        if mtime == self._value("root_mtime"):
            self._listed = state, mtime, found
        return found

    @as_owner
    def folder(self, name: str) -> Folder:
        """Raises NoSuchFolder."""
        number = self._find(name)
        if number is None:
            # Another program may have made its directory.
            try:
                if os.path.isdir(f"{self.root}/{directory_of(name)}/cur"):
                    self._reconcile()
                    number = self._find(name)
            except BadName:
                pass
        if number is None:
            raise NoSuchFolder(name)
        found = self._folders.get(number)
        if found is None or found.name != name:
            found = self._folders[number] = Folder(self, number)
        return found

    def renamed(self, folder: interface.Folder) -> Folder | None:
        """The same folder under the name that it has now; None when it is no more."""
        row = self.database.one("SELECT name FROM folder WHERE id=?", folder.id)
        return None if row is None else self.folder(row[0])

    def _find(self, name: str) -> int | None:
        row = self.database.one("SELECT id FROM folder WHERE name=?", name)
        return None if row is None else int(row[0])

    @as_owner
    def create(self, name: str, special: Iterable[str] = ()) -> Folder:
        """Raises FolderExists, BadName, OSError."""
        directory = f"{self.root}/{directory_of(name)}"
        if self._find(name) is not None or name.upper() == "INBOX":
            raise FolderExists(name)
        with self.database.transaction():
            if self._find(name) is not None:
                raise FolderExists(name)
            _make_directory(directory)
            self._insert_folder(name, special)
        self.generation += 1
        return self.folder(name)

    @as_owner
    def delete(self, name: str) -> None:
        """The folder and its messages; folders below it stay. Raises NoSuchFolder, BadName, OSError."""
        if name == "INBOX":
            raise BadName("INBOX cannot be deleted")
        directory = f"{self.root}/{directory_of(name)}"
        # Out of the way in one step: what is half removed must not come back as a folder.
        aside = f"{self.root}/tmp/{upkeep.DELETED}{secrets.token_hex(8)}"
        done: list[tuple[str, str]] = []
        try:
            with self.database.transaction():
                number = self._find(name)
                if number is None:
                    raise NoSuchFolder(name)
                self._forget_folder(number)
                try:
                    os.rename(directory, aside)
                    done.append((directory, aside))
                except FileNotFoundError:
                    pass
        except BaseException:
            # The index could not be written: the folder stays, and its mail.
            _put_back(done)
            raise
        self.generation += 1
        _remove_tree(aside)

    @as_owner
    def rename(self, old: str, new: str) -> None:
        """With the folders below it; INBOX gives its messages to a new folder (RFC 9051 6.3.6).

        Raises NoSuchFolder, FolderExists, BadName, OSError.
        """
        target = directory_of(new)
        if old == "INBOX":
            inbox, folder = self.folder("INBOX"), self.create(new)
            inbox.sync()
            inbox.move([uid for uid, _ in inbox.uids()], folder)
            return
        if new == old or new.startswith(old + SEPARATOR):
            raise BadName("a folder cannot be moved into itself")
        below = old + SEPARATOR
        done: list[tuple[str, str]] = []
        try:
            self._rename(old, new, below, target, done)
        except BaseException:
            _put_back(done)
            raise
        self.generation += 1

    def _rename(self, old: str, new: str, below: str, target: str, done: list[tuple[str, str]]) -> None:
        """``done``: gets each directory that has another name now, the old one first."""
        with self.database.transaction() as connection:
            rows = connection.execute("SELECT id, name FROM folder").fetchall()
            names = {name for _, name in rows}
            affected = [(number, name) for number, name in rows if name == old or name.startswith(below)]
            if not affected:
                raise NoSuchFolder(old)
            for _, name in affected:
                if (changed := new + name[len(old) :]) in names:
                    raise FolderExists(changed)
            if os.path.lexists(f"{self.root}/{target}"):
                raise FolderExists(new)
            try:
                for number, name in affected:
                    changed = new + name[len(old) :]
                    connection.execute("UPDATE folder SET name=? WHERE id=?", (changed, number))
                    source, moved = f"{self.root}/{directory_of(name)}", f"{self.root}/{directory_of(changed)}"
                    os.rename(source, moved)
                    done.append((source, moved))
                    self._folders.pop(number, None)
            except BaseException:
                # While nobody else can take the new names for new folders.
                _put_back(done)
                raise

    @as_owner
    def tidy(self, folders: Iterable[str], now: float) -> None:
        """Remove what dead processes left half done here and in these folders. ``now``: seconds since the epoch."""
        upkeep.tidy(self, folders, now)

    def set_special(self, name: str, special: Iterable[str]) -> None:
        """Raises NoSuchFolder."""
        with self.database.transaction() as connection:
            changed = connection.execute("UPDATE folder SET special=? WHERE name=?", (" ".join(special), name)).rowcount
        if not changed:
            raise NoSuchFolder(name)
        self.generation += 1

    def statuses(self) -> list[tuple[int, str, int, int, int, int, int]]:
        """Of all folders, as the index knows them: (id, name, messages, unseen, uidnext, uidvalidity, modseq)."""
        return self.database.connection.execute(
            "SELECT id, name, messages, unseen, uidnext, uidvalidity, modseq FROM folder ORDER BY name"
        ).fetchall()

    # Subscriptions

    def subscriptions(self) -> list[str]:
        return [name for (name,) in self.database.connection.execute("SELECT name FROM subscription ORDER BY name")]

    def subscribe(self, name: str, wanted: bool = True) -> None:
        """A name may be subscribed to whether or not there is such a folder (RFC 9051 6.3.7)."""
        sql = (
            "INSERT OR IGNORE INTO subscription (name) VALUES (?)"
            if wanted
            else "DELETE FROM subscription WHERE name=?"
        )
        self.database.connection.execute(sql, (name,))
        self.generation += 1

    @property
    def is_furnished(self) -> bool:
        """Has it got the folders that every account is to have?"""
        return bool(self._value("furnished"))

    def note_furnished(self) -> None:
        self._set_value("furnished", 1)

    # Space

    def usage(self) -> Usage:
        octets, messages = self.database.one("SELECT coalesce(sum(size),0), coalesce(sum(messages),0) FROM folder")
        return Usage(octets, messages)

    # Annotations (RFC 5464), rights (RFC 4314)

    def annotations(self, folder: int = 0) -> dict[str, bytes]:
        """Entry to value; ``folder``: its id, 0 for those of the server (the account as a whole)."""
        rows = self.database.connection.execute("SELECT entry, value FROM annotation WHERE folder=?", (folder,))
        return dict(rows.fetchall())

    def all_annotations(self) -> dict[int, dict[str, bytes]]:
        """Of each folder that has any: its id to entry to value."""
        found: dict[int, dict[str, bytes]] = {}
        for folder, entry, value in self.database.connection.execute("SELECT folder, entry, value FROM annotation"):
            found.setdefault(folder, {})[entry] = value
        return found

    def annotated_octets(self) -> tuple[int, int]:
        """What all annotations together take, and what those of other users do, whose entries begin with no slash."""
        octets, others = self.database.one(
            "SELECT coalesce(sum(length(entry)+length(value)),0), coalesce(sum(length(entry)+length(value)) FILTER"
            " (WHERE entry NOT LIKE '/%'),0) FROM annotation"
        )
        return int(octets), int(others)

    def annotate(self, folder: int, entry: str, value: bytes | None) -> None:
        """None removes the entry."""
        self.annotate_all(folder, {entry: value})

    def annotate_all(self, folder: int, values: Mapping[str, bytes | None]) -> None:
        """Several, by their entries; all or none."""
        with self.database.transaction() as connection:
            for entry, value in values.items():
                if value is None:
                    connection.execute("DELETE FROM annotation WHERE folder=? AND entry=?", (folder, entry))
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO annotation (folder, entry, value) VALUES (?,?,?)",
                        (folder, entry, value),
                    )
        self.generation += 1

    def rights(self, folder: int) -> dict[str, str]:
        """Identifier to rights, beside those of the owner, who has all."""
        rows = self.database.connection.execute("SELECT identifier, rights FROM acl WHERE folder=?", (folder,))
        return dict(rows.fetchall())

    def rights_of(self, name: str) -> dict[str, str] | None:
        """The same by the folder's name; None: there is no such folder."""
        rows = self.database.connection.execute(
            "SELECT a.identifier, a.rights FROM folder f LEFT JOIN acl a ON a.folder=f.id WHERE f.name=?", (name,)
        ).fetchall()
        return {identifier: rights for identifier, rights in rows if identifier is not None} if rows else None

    def all_rights(self) -> dict[int, dict[str, str]]:
        """Of each folder that has a list: its id to identifier to rights."""
        found: dict[int, dict[str, str]] = {}
        for folder, identifier, rights in self.database.connection.execute(
            "SELECT folder, identifier, rights FROM acl"
        ):
            found.setdefault(folder, {})[identifier] = rights
        return found

    def grant(self, folder: int, identifier: str, rights: str | None) -> None:
        """None removes the identifier."""
        execute = self.database.connection.execute
        if rights is None:
            execute("DELETE FROM acl WHERE folder=? AND identifier=?", (folder, identifier))
        else:
            execute(
                "INSERT OR REPLACE INTO acl (folder, identifier, rights) VALUES (?,?,?)", (folder, identifier, rights)
            )
        self.generation += 1

    def shared(self) -> dict[str, str]:
        """Accounts that have given this one rights to some folder: name to Maildir."""
        return dict(self.database.connection.execute("SELECT owner, mailbox FROM shared ORDER BY owner").fetchall())

    def note_shared(self, owner: str, mailbox: str | None) -> None:
        """None: nothing of that account is shared any more."""
        execute = self.database.connection.execute
        if mailbox is None:
            execute("DELETE FROM shared WHERE owner=?", (owner,))
        else:
            execute("INSERT OR REPLACE INTO shared (owner, mailbox) VALUES (?,?)", (owner, mailbox))
        self.generation += 1

    # Maintenance

    def unfinished(self, full_text: bool = True) -> list[str]:
        """Folders with messages that lack their summary, or (with ``full_text``) are not in the full-text index."""
        return fulltext.unfinished(self, full_text)

    @property
    def is_wasteful(self) -> bool:
        """Is the full-text index mostly of messages that are gone?"""
        return fulltext.wasteful(self)

    def empty_full_text(self) -> None:
        """Let it be filled anew, search by search or in the background."""
        fulltext.reset(self)

    # Within

    def _value(self, key: str) -> Any:
        row = self.database.one("SELECT value FROM account WHERE key=?", key)
        return None if row is None else row[0]

    def _set_value(self, key: str, value: Any) -> None:
        self.database.connection.execute("INSERT OR REPLACE INTO account (key, value) VALUES (?,?)", (key, value))

    def _insert_folder(self, name: str, special: Iterable[str] = ()) -> int:
        """Within a transaction."""
        now = time.time()
        # RFC 9051 2.3.1.1: greater than that of any folder that had this name before, also in an index that was lost.
        uidvalidity = max(int(now), (self._value("uidvalidity") or 0) + 1, self._highest_uidvalidity() + 1)
        self.note_uidvalidity(uidvalidity)
        row = self.database.one(
            "INSERT INTO folder (name, mailboxid, uidvalidity, modseq, special) VALUES (?,?,?,?,?) RETURNING id",
            name,
            f"F{uidvalidity:x}{secrets.token_hex(6)}",
            uidvalidity,
            int(now * 1000),
            " ".join(special),
        )
        return int(row[0])

    def note_uidvalidity(self, given: int) -> None:
        """One that was given to a folder; within a transaction. Raises OSError."""
        if (self._value("uidvalidity") or 0) < given < _NO_MORE:
            self._set_value("uidvalidity", given)
            write_file(f"{self.root}/{_HIGHEST}", b"%d\n" % given, 0o600)

    @property
    def is_rebuilt(self) -> bool:
        """Was there an index before this one? What UIDs it gave out, Dovecot's list does not know."""
        return bool(self._value(_REBUILT))

    def _highest_uidvalidity(self) -> int:
        """That was ever given out here; 0 when that is not known."""
        try:
            with open(open_file(f"{self.root}/{_HIGHEST}"), "rb") as file:
                text = file.read(32).strip()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
            return 0
        return int(text) if text.isdigit() and int(text) < _NO_MORE else 0

    def _forget_folder(self, number: int) -> None:
        execute = self.database.connection.execute
        contents = execute("SELECT content FROM message WHERE folder=?", (number,)).fetchall()
        for table in ("message", "expunged", "keyword", "annotation", "acl"):
            execute(f"DELETE FROM {table} WHERE folder=?", (number,))
        self.drop_contents([content for (content,) in contents])
        execute("DELETE FROM folder WHERE id=?", (number,))
        self._folders.pop(number, None)

    def drop_contents(self, contents: Iterable[int]) -> None:
        """Forget the summaries of messages that no folder has any more; within a transaction."""
        self.database.connection.executemany(
            "DELETE FROM content WHERE id=?1 AND NOT EXISTS (SELECT 1 FROM message WHERE content=?1)",
            [(content,) for content in contents],
        )

    def _reconcile(self) -> None:
        """Folders as the directories are: other programs make and remove some."""
        with self.database.transaction() as connection:
            mtime = os.stat(self.root).st_mtime_ns
            rows = connection.execute("SELECT name, id FROM folder").fetchall()
            known = dict(rows)
            there = {"INBOX"}
            unknown: set[str] = set()
            for directory in os.listdir(self.root):
                if (name := folder_of(directory)) is None:
                    continue
                try:
                    if stat.S_ISDIR(os.stat(f"{self.root}/{directory}/cur").st_mode):
                        there.add(name)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    # A bad disk, or not ours: that is no reason to forget the UIDs and rights of a folder.
                    if name in known:
                        log.warning(
                            f"{self.root}/{directory}: cannot be looked at: {error.strerror}; it stays in the index"
                        )
                        unknown.add(name)
            for name in sorted(there - known.keys()):
                self._insert_folder(name)
            for name in known.keys() - there - unknown:
                self._forget_folder(known[name])
            # A time that is not yet past may come again with another change.
            settled = time.time_ns() - mtime > 20_000_000 and not unknown
            self._set_value("root_mtime", mtime if settled else 0)
        self.generation += 1


def _put_back(done: list[tuple[str, str]]) -> None:
    """Directories get their old names again. Raises OSError."""
    while done:
        source, moved = done.pop()
        os.rename(moved, source)


def _make_directory(path: str) -> None:
    """A folder of a Maildir++. Raises OSError."""
    for part in ("tmp", "new", "cur"):
        os.makedirs(f"{path}/{part}", 0o700, exist_ok=True)
    # Maildir++: tells delivery programs that this is a folder, whose quota is the whole Maildir's.
    os.close(os.open(f"{path}/maildirfolder", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _remove_tree(path: str) -> None:
    """What cannot be removed is left, and said. Another process may be removing it as well."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning(f"cannot remove all of the deleted folder {path}: {error.strerror}")
