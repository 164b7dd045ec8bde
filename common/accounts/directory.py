"""``accounts.db``: domains, users and aliases. No secret is in it; the programs of the mail road may read it.

Names are folded (``names.fold_name``). Who looks up on the hot path uses ``view.View``, which remembers answers.
"""

import fnmatch
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tubepost.common.accounts import names
from tubepost.common.accounts.files import AccountsError, open_reading, open_writing, writing

FILE = "accounts.db"

_STEPS = (
    """
    CREATE TABLE domains (name TEXT PRIMARY KEY, created INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        domain TEXT NOT NULL REFERENCES domains (name),
        enabled INTEGER NOT NULL DEFAULT 1,
        mailbox TEXT NOT NULL,
        home TEXT NOT NULL DEFAULT '',
        uid INTEGER NOT NULL DEFAULT -1,
        gid INTEGER NOT NULL DEFAULT -1,
        quota_bytes INTEGER NOT NULL DEFAULT 0,
        quota_messages INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX users_of_domain ON users (domain);
    CREATE TABLE aliases (
        name TEXT PRIMARY KEY,
        domain TEXT NOT NULL REFERENCES domains (name),
        targets TEXT NOT NULL,
        created INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX aliases_of_domain ON aliases (domain)
    """,
)
_USER = "name, enabled, mailbox, home, uid, gid, quota_bytes, quota_messages, created"
_CHANGEABLE = frozenset({"enabled", "mailbox", "home", "uid", "gid", "quota_bytes", "quota_messages"})
_TARGET = re.compile(r"[^\s,]+")


class Domain(NamedTuple):
    name: str
    created: int
    """Seconds since 1970."""
    users: int
    aliases: int


class User(NamedTuple):
    name: str
    enabled: bool
    """False: may not log in. Mail for it is still delivered: a locked account loses nothing."""
    mailbox: str
    """Below virtual_mailbox_base, with a final /."""
    home: str
    """Empty: none but the mailbox."""
    uid: int
    gid: int
    """-1: as virtual_uid_maps and virtual_gid_maps say."""
    quota_bytes: int
    quota_messages: int
    """0: no limit."""
    created: int


class Alias(NamedTuple):
    name: str
    """An address, or ``@domain``."""
    targets: tuple[str, ...]


class Directory:
    """The database, to read and to change. Methods raise AccountsError when it cannot be used."""

    def __init__(self, folder: str, *, write: bool = False, owner: tuple[int, int] | None = None) -> None:
        """``folder``: accounts_directory. ``write``: make it when it is missing. ``owner``: of new files, as root."""
        self.path = os.path.join(folder, FILE)
        if write:
            self._database = open_writing(self.path, _STEPS, mode=0o644, folder_mode=0o755, owner=owner)
        else:
            self._database = open_reading(self.path)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- domains -----------------------------------------------------------------------------------------------------

    def add_domain(self, name: str, now: float) -> bool:
        """False when it is there already. Raises ValueError for what is no domain."""
        domain = names.check_domain(name)
        return self._change("INSERT OR IGNORE INTO domains VALUES (?, ?)", (domain, int(now))) == 1

    def delete_domain(self, name: str) -> bool:
        """False when there is none. Raises ValueError while it has users or aliases."""
        domain = names.fold_name(name)
        users, aliases = self._one(
            "SELECT (SELECT count(*) FROM users WHERE domain = ?1), (SELECT count(*) FROM aliases WHERE domain = ?1)",
            (domain,),
        ) or (0, 0)
        if users or aliases:
            raise ValueError(f"{domain} has {users} users and {aliases} aliases: delete those first")
        try:
            return self._change("DELETE FROM domains WHERE name = ?", (domain,)) == 1
        except sqlite3.IntegrityError:
            raise ValueError(f"{domain} was given users or aliases just now") from None

    def has_domain(self, name: str) -> bool:
        return self._one("SELECT 1 FROM domains WHERE name = ?", (names.fold_name(name),)) is not None

    def domains(self, pattern: str = "*") -> list[Domain]:
        """Sorted; ``pattern``: a glob."""
        rows = self._all(
            "SELECT name, created, (SELECT count(*) FROM users WHERE domain = d.name), "
            "(SELECT count(*) FROM aliases WHERE domain = d.name) FROM domains AS d ORDER BY name"
        )
        matches = _matcher(pattern)
        return [Domain(*row) for row in rows if matches(row[0])]

    # -- users -------------------------------------------------------------------------------------------------------

    def add_user(
        self,
        name: str,
        now: float,
        *,
        mailbox: str = "",
        home: str = "",
        uid: int = -1,
        gid: int = -1,
        quota_bytes: int = 0,
        quota_messages: int = 0,
    ) -> User:
        """``mailbox`` empty: ``domain/local/``. Raises ValueError: a bad name, no such domain, or it exists."""
        local, domain = names.split_name(name)
        path = names.check_mailbox(mailbox or f"{domain}/{local}")
        user = User(f"{local}@{domain}", True, path, home, uid, gid, quota_bytes, quota_messages, int(now))
        with self._guarded(), writing(self._database):
            self._need_domain(domain)
            if self._one("SELECT 1 FROM users WHERE name = ?", (user.name,)):
                raise ValueError(f"there is a user {user.name} already")
            if self._one("SELECT 1 FROM aliases WHERE name = ?", (user.name,)):
                raise ValueError(f"{user.name} is an alias: delete that first")
            if other := self._one("SELECT name FROM users WHERE mailbox = ?", (path,)):
                raise ValueError(f"{path} is the mailbox of {other[0]}")
            self._database.execute(
                f"INSERT INTO users ({_USER}, domain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (*user, domain),
            )
        return user

    def user(self, name: str) -> User | None:
        row = self._one(f"SELECT {_USER} FROM users WHERE name = ?", (names.fold_name(name),))  # noqa: S608
        return _user(row) if row else None

    def users(self, patterns: Iterable[str] = ("*",)) -> list[User]:
        """Sorted by domain and name; each pattern is a glob on the whole name."""
        matchers = [_matcher(pattern) for pattern in patterns]
        rows = self._all(f"SELECT {_USER} FROM users ORDER BY domain, name")  # noqa: S608
        return [_user(row) for row in rows if any(matches(row[0]) for matches in matchers)]

    def change_user(self, name: str, /, **fields: str | int | bool) -> bool:
        """Set columns of User. False when there is none."""
        unknown = fields.keys() - _CHANGEABLE
        if unknown or not fields:
            raise ValueError(f"cannot change {', '.join(sorted(unknown)) or 'nothing'}")
        if "mailbox" in fields:
            fields["mailbox"] = names.check_mailbox(str(fields["mailbox"]))
        columns = ", ".join(f"{field} = ?" for field in fields)
        statement = f"UPDATE users SET {columns} WHERE name = ?"  # noqa: S608
        return self._change(statement, (*fields.values(), names.fold_name(name))) == 1

    def delete_user(self, name: str) -> bool:
        return self._change("DELETE FROM users WHERE name = ?", (names.fold_name(name),)) == 1

    # -- aliases -----------------------------------------------------------------------------------------------------

    def add_alias(self, name: str, targets: Iterable[str], now: float) -> Alias:
        """Targets are added to those that are there. Raises ValueError: bad names, no such domain, or a user's name."""
        alias = names.check_alias(name)
        wanted = [check_target(target) for target in targets]
        if not wanted:
            raise ValueError(f"{alias} needs an address that it stands for")
        domain = alias.rpartition("@")[2]
        with self._guarded(), writing(self._database):
            self._need_domain(domain)
            if self._one("SELECT 1 FROM users WHERE name = ?", (alias,)) and alias not in wanted:
                raise ValueError(f"{alias} is a user: an alias may only add to it, so name {alias} as a target too")
            row = self._one("SELECT targets FROM aliases WHERE name = ?", (alias,))
            merged = tuple(dict.fromkeys([*(_targets(row[0]) if row else ()), *wanted]))
            self._database.execute(
                "INSERT INTO aliases (name, domain, targets, created) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET targets = excluded.targets",
                (alias, domain, ", ".join(merged), int(now)),
            )
        return Alias(alias, merged)

    def delete_alias(self, name: str, targets: Iterable[str] = ()) -> bool:
        """Only those ``targets``, or with none the alias. False when there was nothing to delete."""
        alias = names.fold_name(name)
        gone = {names.fold_name(target) for target in targets}
        if not gone:
            return self._change("DELETE FROM aliases WHERE name = ?", (alias,)) == 1
        with self._guarded(), writing(self._database):
            row = self._one("SELECT targets FROM aliases WHERE name = ?", (alias,))
            before = _targets(row[0]) if row else ()
            after = [target for target in before if names.fold_name(target) not in gone]
            if len(after) == len(before):
                return False
            if after:
                self._database.execute("UPDATE aliases SET targets = ? WHERE name = ?", (", ".join(after), alias))
            else:
                self._database.execute("DELETE FROM aliases WHERE name = ?", (alias,))
        return True

    def alias(self, name: str) -> Alias | None:
        row = self._one("SELECT targets FROM aliases WHERE name = ?", (names.fold_name(name),))
        return Alias(names.fold_name(name), _targets(row[0])) if row else None

    def aliases(self, patterns: Iterable[str] = ("*",)) -> list[Alias]:
        """Sorted by domain and name; each pattern is a glob on the alias."""
        matchers = [_matcher(pattern) for pattern in patterns]
        rows = self._all("SELECT name, targets FROM aliases ORDER BY domain, name")
        return [Alias(row[0], _targets(row[1])) for row in rows if any(matches(row[0]) for matches in matchers)]

    # -- below -------------------------------------------------------------------------------------------------------

    def _need_domain(self, domain: str) -> None:
        if not self._one("SELECT 1 FROM domains WHERE name = ?", (domain,)):
            raise ValueError(f"there is no domain {domain} here: make it with tubepost domain add {domain}")

    def _guarded(self) -> "_Guard":
        return _Guard(self.path)

    def _change(self, statement: str, values: tuple[object, ...]) -> int:
        with self._guarded():
            return self._database.execute(statement, values).rowcount

    def _one(self, statement: str, values: tuple[object, ...]) -> "tuple[Any, ...] | None":
        with self._guarded():
            row: tuple[Any, ...] | None = self._database.execute(statement, values).fetchone()
            return row

    def _all(self, statement: str) -> "list[tuple[Any, ...]]":
        with self._guarded():
            return self._database.execute(statement).fetchall()


class _Guard:
    """SQLite's complaints become AccountsError, but for broken references, which the caller understands."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise AccountsError(f"{self._path}: {error}") from error


def check_target(target: str) -> str:
    """An address that an alias stands for, as it was written. Raises ValueError."""
    target = target.strip()
    local, at, domain = target.rpartition("@")
    if not at or not local or not domain or not _TARGET.fullmatch(target):
        raise ValueError(f'"{target}" is not an address that mail can go to: write name@domain')
    return target


def _targets(text: object) -> tuple[str, ...]:
    return tuple(_TARGET.findall(str(text)))


def _user(row: "tuple[Any, ...]") -> User:
    name, enabled, mailbox, home, uid, gid, bytes_, messages, created = row
    return User(
        str(name), bool(enabled), str(mailbox), str(home), *(int(str(x)) for x in (uid, gid, bytes_, messages, created))
    )


def _matcher(pattern: str) -> "Callable[[object], bool]":
    compiled = re.compile(fnmatch.translate(names.fold_name(pattern)))
    return lambda name: compiled.match(str(name)) is not None
