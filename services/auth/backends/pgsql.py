"""``pgsql:FILE``: users in PostgreSQL. FILE has ``name = value`` lines: hosts (or conninfo), dbname, user, password,
password_query, user_query.

Queries have %u, %n, %d for the user; what a client said is passed beside the query, never within it. Columns count by
their names: password (with {SCHEME} or $id$), mailbox, home, uid, gid, quota_bytes, quota_messages, nologin. Without a
user_query the password_query answers for both.
"""

import asyncio
import re
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tubepost.common.config import Config
from tubepost.common.tables import TableError, template

from tubepost.services.auth import schemes
from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.chain import check_hash
from tubepost.services.auth.hashing import Hasher

_LETTER = re.compile(r"'?%([%und])'?")
_DEADLINE = 10.0


def prepare(query: str) -> str:
    """``… WHERE name = '%u'`` to psycopg's placeholders, with or without the quotes that others' files have."""
    return _LETTER.sub(lambda match: "%%" if match[1] == "%" else f"%({match[1]})s", query)


class PostgreSql(Backend):
    has_scram = True
    has_clear = True

    def __init__(self, path: str, hasher: Hasher) -> None:
        """Raises ValueError."""
        self.name = f"pgsql:{path}"
        self._hasher = hasher
        try:
            told = template.read_settings(self.name, path)
        except TableError as error:
            raise ValueError(str(error)) from None
        query = told.get("password_query", "")
        if not query:
            raise ValueError(f"{path} must set password_query")
        self._password_query = prepare(query)
        self._user_query = prepare(told.get("user_query", "") or query)
        self._conninfo = told.get("conninfo", "")
        names = {"hosts": "host", "dbname": "dbname", "user": "user", "password": "password"}
        self._arguments = {value: told[key].replace(" ", ",") for key, value in names.items() if told.get(key)}
        self._connection: psycopg.AsyncConnection[dict[str, Any]] | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _row(self, query: str, name: str) -> dict[str, Any] | None:
        """Raises Unavailable."""
        local, at, domain = name.rpartition("@")
        values = {"u": name, "n": local if at else name, "d": domain}
        async with self._lock:
            for last in (False, True):
                try:
                    async with asyncio.timeout(_DEADLINE):
                        if self._connection is None or self._connection.closed:
                            self._connection = await psycopg.AsyncConnection.connect(
                                self._conninfo,
                                autocommit=True,
                                row_factory=dict_row,
                                **self._arguments,  # type: ignore[arg-type]
                            )
                        found = await self._connection.execute(query.encode(), values)
                        row = await found.fetchone()
                        if row is not None and await found.fetchone() is not None:
                            raise Unavailable(f"{self.name}: the query finds more than one row for {name}")
                        return row
                except TimeoutError:
                    await self._drop()
                    raise Unavailable(f"{self.name} does not answer within {_DEADLINE:g} s") from None
                except psycopg.OperationalError as error:
                    await self._drop()
                    # The server may have been restarted.
                    if last:
                        raise Unavailable(f"{self.name}: {error}") from error
                except psycopg.Error as error:
                    raise Unavailable(f"{self.name}: {error}") from error
        return None

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def verify(self, name: str, password: str, context: Context) -> Result:
        row = await self._row(self._password_query, name)
        if row is None:
            return UNKNOWN
        stored = str(row.get("password") or "")
        if not stored:
            return WRONG
        verdict = await check_hash(self._hasher, stored, password, name)
        if verdict is Verdict.RIGHT and row.get("nologin"):
            return Result(Verdict.DISABLED)
        return Result(verdict, account_of(name, row))

    async def keys(self, name: str, scheme: str) -> str | None:
        row = await self._row(self._password_query, name)
        stored = str(row.get("password") or "") if row is not None and not row.get("nologin") else ""
        return schemes.clear_text(stored) if scheme == "PLAIN" else schemes.scram_text(stored, scheme)

    async def user(self, name: str) -> Account | None:
        row = await self._row(self._user_query, name)
        return account_of(name, row) if row is not None else None


def account_of(name: str, row: dict[str, Any]) -> Account:
    """Columns that are not there, or NULL, are not told."""

    def number(column: str, default: int) -> int:
        value = row.get(column)
        try:
            return default if value is None else int(value)
        except (TypeError, ValueError):
            raise Unavailable(f"pgsql: {column} of {name} is not a number") from None

    return Account(
        str(row.get("user") or name),
        str(row.get("home") or ""),
        str(row.get("mailbox") or ""),
        number("uid", -1),
        number("gid", -1),
        number("quota_bytes", 0),
        number("quota_messages", 0),
        not row.get("nologin"),
    )


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    return PostgreSql(argument, hasher)
