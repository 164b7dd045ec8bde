"""What the hot path looks up in ``accounts.db``: answers are remembered until the file changes, which is
looked at once in a hundredth of a second.

A file that changed less than a clock tick before it was read may change again within that tick and look the same: what
was read then is not remembered.
"""

import os
import sqlite3
import time
from collections.abc import Callable

from tubepost.common.accounts import names
from tubepost.common.accounts.directory import FILE
from tubepost.common.accounts.files import AccountsError, open_reading

# Answers, and as many older ones: who is asked for again and again stays, strangers go soon. A query takes some 10 us.
_REMEMBERED = 1000
# Seconds: file times of the kernels in use move by 1 to 10 ms.
_TICK = 0.05
_NEVER = (0, 0, 0, 0)
# The file is looked at no more often than this, seconds: a message asks several times, and a busy server a thousand
# times a second. A change is seen so much later.
_PAUSE = 0.01

_LIMIT_LOGINS = 100

_ONE = {
    "domains": "SELECT name FROM domains WHERE name = ?",
    "mailboxes": "SELECT mailbox FROM users WHERE name = ?",
    # A user of a domain with an alias for all of it is told from the rest: Postfix's catch-all would take its mail.
    "aliases": "SELECT targets FROM aliases WHERE name = ?1 UNION ALL SELECT name FROM users WHERE name = ?1 "
    "AND EXISTS (SELECT 1 FROM aliases WHERE name = '@' || users.domain) LIMIT 1",
    "uids": "SELECT uid FROM users WHERE name = ? AND uid >= 0",
    "gids": "SELECT gid FROM users WHERE name = ? AND gid >= 0",
    "quotas": "SELECT quota_bytes || ' ' || quota_messages FROM users WHERE name = ? AND quota_bytes + quota_messages",
}
SECTIONS = (*_ONE, "logins")
"""What can be asked for: see ``View.find``."""


class View:
    """One a program and file. Not for several threads at once."""

    __slots__ = ("_answers", "_database", "_looked", "_older", "_seen", "_trusted", "path")

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE)
        self._database: sqlite3.Connection | None = None
        self._answers: dict[tuple[str, str], str | None] = {}
        self._older: dict[tuple[str, str], str | None] = {}
        self._seen: tuple[int, int, int, int] = _NEVER
        self._trusted = False
        self._looked = 0.0

    def find(self, section: str, key: str) -> str | None:
        """The value of a folded key, None for none. Raises AccountsError: it cannot tell now.

        domains: the domain; mailboxes: address to its path below virtual_mailbox_base; aliases: address or ``@domain``
        to ``address, address``; uids, gids: where a user has ids of its own; quotas: ``bytes messages``, 0 for no
        limit; logins: address to the users who may send with it (the user, and those an alias goes to).
        """
        now = time.monotonic()
        if now - self._looked > _PAUSE:
            self._look()
            self._looked = now
        try:
            return self._answers[section, key]
        except KeyError:
            pass
        try:
            value = self._older[section, key]
        except KeyError:
            value = self._query(section, key)
        if self._trusted:
            if len(self._answers) >= _REMEMBERED:
                self._older, self._answers = self._answers, {}
            self._answers[section, key] = value
        return value

    def _forget(self) -> None:
        self._answers.clear()
        self._older.clear()

    def _look(self) -> None:
        """Forget everything when the file is another one, or was changed."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            self.close()
            raise AccountsError(
                f"{self.path}: {error.strerror}; make it with tubepost domain add and tubepost user add"
            ) from error
        seen = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
        if seen == self._seen:
            if not self._trusted:
                self._trusted = _settled(found.st_mtime_ns)
            return
        if seen[2:] != self._seen[2:]:
            self.close()
        self._forget()
        self._seen = seen
        self._trusted = _settled(found.st_mtime_ns)

    def _query(self, section: str, key: str) -> str | None:
        if self._database is None:
            self._database = open_reading(self.path)
        try:
            if section == "logins":
                return self._logins(self._database, key)
            return _first(self._database, _ONE[section], key)
        except sqlite3.Error as error:
            self.close()
            raise AccountsError(f"{self.path}: {error}") from error

    def _logins(self, database: sqlite3.Connection, key: str) -> str | None:
        found: dict[str, None] = {}
        waiting, seen = [key], {key}
        while waiting and len(seen) < _LIMIT_LOGINS:
            name = waiting.pop()
            if _first(database, "SELECT name FROM users WHERE name = ?", name) is not None:
                found[name] = None
            targets = _first(database, _ONE["aliases"], name) or ""
            for target in targets.split(", "):
                folded = names.fold_name(target)
                if folded and folded not in seen:
                    seen.add(folded)
                    waiting.append(folded)
        return ", ".join(found) or None

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        self._forget()
        self._seen = _NEVER
        self._looked = 0.0


def _settled(changed: int, clock: Callable[[], int] = time.time_ns) -> bool:
    return not 0 <= clock() - changed < _TICK * 1e9


def _first(database: sqlite3.Connection, statement: str, key: str) -> str | None:
    row = database.execute(statement, (key,)).fetchone()
    return None if row is None else str(row[0])
