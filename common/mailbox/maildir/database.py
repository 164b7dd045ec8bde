"""The index of one account: a SQLite file beside the mail, written by several processes at once.

The files of the Maildir are the truth for content, the index for UIDs, flags not yet written into file names, and what
is quick to answer. Losing it loses no mail: it is built anew from the files, with a new UIDVALIDITY (RFC 9051 2.3.1.1).
Commits do not wait for the disk, except those that hand out a UID for good: who assigns UIDs syncs the log of the index
together with the files (``Database.sync``).
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tubepost.common.system import log
from tubepost.common.mailbox.trouble import is_corrupt

FILE = "tubepost.db"
VERSION = 1
BUSY = 20.0
"""Seconds for which another process's transaction is waited for."""
_CACHE_KIB = 2048
# Pages of the log after which it is copied back. A long log is slow to open, a short one is copied often.
_CHECKPOINT = 2000

_SCHEMA = """
CREATE TABLE account (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE folder (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    mailboxid TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL,
    uidnext INTEGER NOT NULL DEFAULT 1,
    modseq INTEGER NOT NULL,
    -- Removals before this one may be forgotten (RFC 7162 3.2.5.2).
    floor INTEGER NOT NULL DEFAULT 0,
    -- The first UID that no session has seen as \\Recent (RFC 3501 2.3.2).
    recent INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0,
    unseen INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    special TEXT NOT NULL DEFAULT '',
    -- The directories' times when they were last looked at, nanoseconds; negative: they were still too fresh then.
    new_mtime INTEGER NOT NULL DEFAULT 0,
    cur_mtime INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE subscription (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE flagset (id INTEGER PRIMARY KEY, flags TEXT NOT NULL UNIQUE);
CREATE TABLE keyword (
    folder INTEGER NOT NULL, name TEXT NOT NULL COLLATE NOCASE, letter TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TABLE message (
    folder INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    flagset INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    content INTEGER NOT NULL,
    size INTEGER NOT NULL,
    internal INTEGER NOT NULL,
    saved INTEGER NOT NULL,
    -- The file: 0 new, 1 cur; its unique part; the rest of its name as it is on disk.
    place INTEGER NOT NULL,
    file TEXT NOT NULL,
    info TEXT NOT NULL,
    -- The name on disk does not yet tell the flags, or the file is not yet in cur.
    dirty INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (folder, uid)
) WITHOUT ROWID;
CREATE INDEX message_modseq ON message (folder, modseq);
CREATE INDEX message_content ON message (content);
CREATE INDEX message_new ON message (folder, file) WHERE place = 0;
CREATE INDEX message_dirty ON message (folder, uid) WHERE dirty = 1;
CREATE TABLE content (
    -- Never used again: the full-text index may still know an id that is gone.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    emailid TEXT NOT NULL,
    -- Which edition of the summary these columns have; 0: none yet.
    version INTEGER NOT NULL DEFAULT 0,
    -- In the full-text index: 0 no; 1 yes; 2 it has too many words, its text is looked at each time.
    indexed INTEGER NOT NULL DEFAULT 0,
    threadid TEXT,
    -- What searches and sorting look at stands first: a long row goes on in pages that they need not read.
    sent INTEGER, sent_offset INTEGER,
    subject TEXT, sender TEXT, receiver TEXT, copied TEXT, blind TEXT,
    base_subject TEXT, display_from TEXT, display_to TEXT, first_from TEXT, first_to TEXT, first_cc TEXT,
    message_id TEXT, in_reply_to TEXT, refs TEXT, attachments INTEGER,
    header_size INTEGER, headers BLOB, envelope BLOB, body BLOB, structure BLOB, preview TEXT
);
CREATE INDEX content_unfinished ON content (id) WHERE version = 0;
CREATE INDEX content_unindexed ON content (id) WHERE indexed = 0;
CREATE INDEX content_wordy ON content (id) WHERE indexed = 2;
CREATE TABLE thread (message_id TEXT PRIMARY KEY, threadid TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE expunged (
    folder INTEGER NOT NULL, modseq INTEGER NOT NULL, uid INTEGER NOT NULL, PRIMARY KEY (folder, modseq, uid)
) WITHOUT ROWID;
-- Several messages on their way into a folder, all or none: who finds this removes their files (COPY, MULTIAPPEND).
CREATE TABLE intent (id INTEGER PRIMARY KEY AUTOINCREMENT, directory TEXT NOT NULL, files TEXT NOT NULL);
CREATE TABLE annotation (
    folder INTEGER NOT NULL, entry TEXT NOT NULL COLLATE NOCASE, value BLOB NOT NULL, PRIMARY KEY (folder, entry)
) WITHOUT ROWID;
CREATE TABLE acl (
    folder INTEGER NOT NULL, identifier TEXT NOT NULL, rights TEXT NOT NULL, PRIMARY KEY (folder, identifier)
) WITHOUT ROWID;
CREATE TABLE shared (owner TEXT PRIMARY KEY, mailbox TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
    header, body, content='', detail=column, columnsize=0, tokenize="ascii"
);
-- Every word of the full-text index, for searches of a part of one. Numbers only grow: who has read up to one reads on.
CREATE TABLE vocabulary (id INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT NOT NULL UNIQUE);
"""


class Unusable(OSError):
    """The index cannot be used now (disk full, locked for long, from a newer version); the text says why."""


class Database:
    """One connection. Not for two threads at once; its owner sees to that."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/{FILE}"
        self.rebuilt = False
        """The index that was there was corrupt, and this is a new one."""
        self.rollbacks = 0
        """Counts them: what was read within such a transaction was never true."""
        self.transactions = 0
        """Counts those that were begun."""
        self.closed = False
        self.connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._try_open()
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise Unusable(f"cannot open the index {self.path}: {error}") from error
            # Another process may have done so since, and have a new one there.
            if not self.replaced:
                self.set_aside(error)
        try:
            return self._try_open()
        except sqlite3.Error as error:
            raise Unusable(f"cannot open the index {self.path}: {error}") from error

    def _try_open(self) -> sqlite3.Connection:
        before = _identity(self.path)
        connection = sqlite3.connect(
            self.path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self.identity = _identity(self.path)
            if before not in (None, self.identity):
                # Put aside meanwhile by another process: what is open may be either.
                connection.close()
                return self._try_open()
            execute = connection.execute
            version = execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                self._make_schema(connection, version)
            execute("PRAGMA synchronous=NORMAL")
            execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT}")
            execute("PRAGMA temp_store=MEMORY")
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_schema(self, connection: sqlite3.Connection, version: int) -> None:
        if version > VERSION:
            raise Unusable(f"the index {self.path} was written by a newer version: {version}, this one knows {VERSION}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        # Somebody else may have made it meanwhile.
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _statements():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")

    def set_aside(self, error: sqlite3.Error) -> None:
        """Put a corrupt index out of the way. Raises OSError."""
        self.rebuilt = True
        aside = f"{self.path}.corrupt.{int(time.time())}"
        log.warning(f"the index {self.path} is corrupt ({error}): it is kept as {aside}, and built anew from the files")
        for suffix in ("-wal", "-shm"):
            try:
                os.unlink(self.path + suffix)
            except FileNotFoundError:
                pass
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            pass

    @property
    def replaced(self) -> bool:
        """Has somebody put another index in the place of the one that is open here? Or is none open: it could not be
        opened again after an error of the disk.
        """
        if self.closed:
            return True
        return self.identity is None or _identity(self.path) != self.identity

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Alone with the index until the end of the block. Raises what the block raises, and sqlite3.Error."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        self.transactions += 1
        try:
            yield connection
            # One that fails may leave the transaction open, and with it the lock that all others wait for.
            connection.execute("COMMIT")
        except BaseException:
            self.rollbacks += 1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def wait(self, seconds: float) -> None:
        """Another's transaction is waited for so long from now on; then an error that ``is_busy``."""
        self.connection.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")

    def sync(self) -> None:
        """Make what was committed durable: nobody may be told of a UID before. Raises OSError."""
        for name in (f"{self.path}-wal", self.path):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
            return

    def renew_words(self) -> None:
        """Make the full-text index anew, empty: it was found damaged, and all else is sound. Raises sqlite3.Error."""
        with self.transaction() as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name='words'").fetchone() is not None:
                connection.execute("DROP TABLE words")
            for statement in _statements():
                if "VIRTUAL TABLE words " in statement:
                    connection.execute(statement)
            connection.execute("DELETE FROM vocabulary")
            connection.execute("DELETE FROM account WHERE key='words'")
            connection.execute("UPDATE content SET indexed=0")

    def version(self) -> int:
        """Changes when another connection has committed something."""
        found: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return found

    def one(self, sql: str, *arguments: Any) -> Any:
        """The first row, or None."""
        return self.connection.execute(sql, arguments).fetchone()

    def close(self) -> None:
        self.closed = True
        self.connection.close()


def _identity(path: str) -> tuple[int, int] | None:
    """What file it is; None when there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _statements() -> Iterator[str]:
    """The schema cut into statements: ``executescript`` would end the transaction."""
    statement = ""
    for line in _SCHEMA.splitlines():
        if line.lstrip().startswith("--"):
            continue
        statement += line + "\n"
        if line.endswith(";"):
            yield statement
            statement = ""
