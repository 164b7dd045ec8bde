"""``passwords.db``: what each user's secrets are checked against. For auth alone, and for the commands; mode 0600."""

import os
import sqlite3
from typing import NamedTuple

from tubepost.common.accounts import names
from tubepost.common.accounts.files import AccountsError, open_writing, writing

FILE = "passwords.db"
SCOPES = ("smtp", "imap", "pop3", "lmtp", "sieve", "web")
"""What an application password may be limited to."""

_STEPS = (
    """
    CREATE TABLE passwords (
        name TEXT PRIMARY KEY,
        hash TEXT NOT NULL,
        scram_sha_1 TEXT NOT NULL DEFAULT '',
        scram_sha_256 TEXT NOT NULL DEFAULT '',
        changed INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE application_passwords (
        name TEXT NOT NULL,
        label TEXT NOT NULL,
        hash TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created INTEGER NOT NULL,
        last_use INTEGER NOT NULL DEFAULT 0,
        last_client TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (name, label)
    ) WITHOUT ROWID;
    CREATE TABLE masters (
        name TEXT PRIMARY KEY, hash TEXT NOT NULL, created INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)


class StoredPassword(NamedTuple):
    hash: str
    """``$argon2id$…``, or ``{SCHEME}…`` of one that was taken over from elsewhere."""
    scram_sha_1: str = ""
    scram_sha_256: str = ""
    """RFC 5803: ``SCRAM-SHA-256$iterations:salt$stored-key:server-key``; empty: none."""


class ApplicationPassword(NamedTuple):
    label: str
    hash: str
    scopes: tuple[str, ...]
    """Empty: everything."""
    created: int
    last_use: int
    """Seconds since 1970; 0: never."""
    last_client: str


class Passwords:
    """The database. Methods raise AccountsError when it cannot be used. ``folder``: auth_directory."""

    def __init__(self, folder: str, *, owner: tuple[int, int] | None = None) -> None:
        self.path = os.path.join(folder, FILE)
        self._database = open_writing(self.path, _STEPS, mode=0o600, folder_mode=0o700, owner=owner)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> "Passwords":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- of users ----------------------------------------------------------------------------------------------------

    def password(self, name: str) -> StoredPassword | None:
        rows = self._rows(
            "SELECT hash, scram_sha_1, scram_sha_256 FROM passwords WHERE name = ?", names.fold_name(name)
        )
        return StoredPassword(*(str(column) for column in rows[0])) if rows else None

    def set_password(self, name: str, stored: StoredPassword, now: float) -> None:
        self._rows(
            "INSERT INTO passwords VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, "
            "scram_sha_1 = excluded.scram_sha_1, scram_sha_256 = excluded.scram_sha_256, changed = excluded.changed",
            names.fold_name(name),
            *stored,
            int(now),
        )

    def delete_user(self, name: str) -> None:
        """All that is known of a user."""
        folded = names.fold_name(name)
        try:
            with writing(self._database):
                self._database.execute("DELETE FROM passwords WHERE name = ?", (folded,))
                self._database.execute("DELETE FROM application_passwords WHERE name = ?", (folded,))
        except sqlite3.Error as error:
            raise AccountsError(f"{self.path}: {error}") from error

    # -- application passwords ---------------------------------------------------------------------------------------

    def application_passwords(self, name: str) -> list[ApplicationPassword]:
        rows = self._rows(
            "SELECT label, hash, scopes, created, last_use, last_client FROM application_passwords WHERE name = ? "
            "ORDER BY label",
            names.fold_name(name),
        )
        return [
            ApplicationPassword(str(a), str(b), tuple(str(c).split()), int(str(d)), int(str(e)), str(f))
            for a, b, c, d, e, f in rows
        ]

    def add_application_password(self, name: str, label: str, hash_: str, scopes: tuple[str, ...], now: float) -> bool:
        """False when there is one of this label. Raises ValueError for an unknown scope or an empty label."""
        if unknown := set(scopes) - set(SCOPES):
            raise ValueError(f"no such scope: {', '.join(sorted(unknown))}; there are {', '.join(SCOPES)}")
        if not label.strip() or not label.isprintable():
            raise ValueError("an application password needs a name")
        rows = self._rows(
            "INSERT OR IGNORE INTO application_passwords (name, label, hash, scopes, created) VALUES (?, ?, ?, ?, ?) "
            "RETURNING 1",
            names.fold_name(name),
            label,
            hash_,
            " ".join(scopes),
            int(now),
        )
        return bool(rows)

    def delete_application_password(self, name: str, label: str) -> bool:
        return bool(
            self._rows(
                "DELETE FROM application_passwords WHERE name = ? AND label = ? RETURNING 1",
                names.fold_name(name),
                label,
            )
        )

    def note_use(self, name: str, label: str, client: str, now: float) -> None:
        self._rows(
            "UPDATE application_passwords SET last_use = ?, last_client = ? WHERE name = ? AND label = ?",
            int(now),
            client,
            names.fold_name(name),
            label,
        )

    # -- master users ------------------------------------------------------------------------------------------------

    def master(self, name: str) -> str | None:
        """The hash."""
        rows = self._rows("SELECT hash FROM masters WHERE name = ?", names.fold_name(name))
        return str(rows[0][0]) if rows else None

    def masters(self) -> list[tuple[str, int]]:
        """(name, created), sorted."""
        return [(str(a), int(str(b))) for a, b in self._rows("SELECT name, created FROM masters ORDER BY name")]

    def set_master(self, name: str, hash_: str, now: float) -> None:
        self._rows(
            "INSERT INTO masters VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET hash = excluded.hash",
            names.fold_name(name),
            hash_,
            int(now),
        )

    def delete_master(self, name: str) -> bool:
        return bool(self._rows("DELETE FROM masters WHERE name = ? RETURNING 1", names.fold_name(name)))

    def _rows(self, statement: str, *values: object) -> "list[tuple[object, ...]]":
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise AccountsError(f"{self.path}: {error}") from error
