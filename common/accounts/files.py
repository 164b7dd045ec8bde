"""The two database files: how they are opened, made, and brought to the present schema.

Both are in rollback-journal mode: who only reads needs no right to write, neither to the file nor to its directory
(a write-ahead log would need it). Should a writer be killed in the middle, the next program that may write puts the
file right; auth looks after that.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Seconds that one waits for another's write; each write is one short transaction.
_BUSY = 10.0


class AccountsError(Exception):
    """A database cannot be used now; one line of plain English that names the file."""


def database_uri(path: str, mode: str) -> str:
    """For sqlite3.connect with uri=True."""
    return f"file:{path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode={mode}"


def open_reading(path: str, busy: float = 2.0) -> sqlite3.Connection:
    """Of an existing file, without the right to write. Raises AccountsError.

    ``busy``: seconds to wait while another writes.
    """
    try:
        return sqlite3.connect(
            database_uri(path, "ro"), uri=True, timeout=busy, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise AccountsError(f"cannot open {path}: {error}; is it there, and may this program read it?") from error


def open_writing(
    path: str, steps: Sequence[str], *, mode: int, folder_mode: int, owner: tuple[int, int] | None
) -> sqlite3.Connection:
    """Made when it is missing, with the schema of all ``steps``; step N brings version N to N + 1.

    ``owner``: uid and gid of new files and directories, obeyed as root. Raises AccountsError.
    """
    try:
        _make(path, mode, folder_mode, owner)
        connection = sqlite3.connect(
            database_uri(path, "rw"), uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AccountsError(f"cannot open {path} to write: {reason}") from error
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, path, steps)
    except sqlite3.Error as error:
        connection.close()
        raise AccountsError(f"{path}: {error}") from error
    except AccountsError:
        connection.close()
        raise
    return connection


def _make(path: str, mode: int, folder_mode: int, owner: tuple[int, int] | None) -> None:
    folder = os.path.dirname(path)
    own = owner if owner is not None and os.geteuid() == 0 else None
    if not os.path.isdir(folder):
        os.makedirs(folder, folder_mode)
        os.chmod(folder, folder_mode)
        if own:
            os.chown(folder, *own)
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except FileExistsError:
        return
    try:
        os.fchmod(fd, mode)
        if own:
            os.fchown(fd, *own)
    finally:
        os.close(fd)


def _migrate(connection: sqlite3.Connection, path: str, steps: Sequence[str]) -> None:
    if schema_version(connection) == len(steps):
        return
    with writing(connection):
        # Again, now that nobody else can be doing the same.
        version = schema_version(connection)
        if version > len(steps):
            raise AccountsError(f"{path} is of a newer version of tubepost (schema {version}): run that version")
        for step in steps[version:]:
            for statement in step.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def schema_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction: all of it, or nothing when an exception leaves the block."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
