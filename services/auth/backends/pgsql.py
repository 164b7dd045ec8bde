"""``pgsql:FILE``: users in PostgreSQL. FILE has ``name = value`` lines: hosts (or conninfo), dbname, user, password,
password_query, user_query, timeout (10: seconds that a question takes at most), connections (4: questions at one time).

Queries have %u, %n, %d for the user, also within a quoted text (``'%n@%d'``); what a client said is passed beside the
query, never within it. A percent sign is %%. Columns count by their names: password (with {SCHEME} or $id$), mailbox,
home, uid, gid, quota_bytes, quota_messages, nologin. Without a user_query the password_query answers for both.

FILE.crt and FILE.key, where they exist, are shown to the server as our certificate, unless conninfo has others.
"""

import asyncio
import contextlib
import os
import re
import socket
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from tubepost.common.config import Config
from tubepost.common.tables import TableError, template

from tubepost.services.auth import schemes
from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.chain import check_hash
from tubepost.services.auth.hashing import Hasher

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]

# A quoted text, with or without backslashes; a quoted name; an expansion.
_PART = re.compile(
    r"""(?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')|(?P<name>"[^"]*")|%(?P<letter>.?)""", re.DOTALL
)
_LETTER = re.compile(r"%(.?)", re.DOTALL)
_SEPARATORS = re.compile(r"[,\s]+")
_HOST_AND_PORT = re.compile(r"\[(.+)\](?::(\d+))?|([^:]+):(\d+)")
# How long a server may take to give up a question, and then to say so, seconds.
_GRACE = 1.0
_CERTIFICATE = (("sslcert", ".crt"), ("sslkey", ".key"))
# A connection that something on the way has forgotten is noticed while it idles, not by who logs in next; seconds.
_KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "3"}
_NO = ("", "0", "n", "no", "f", "false")
# What a client called itself cannot be a text of this database: then nobody there is called so.
_STRANGE = (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire)


def prepare(query: str) -> str:
    """``… WHERE name = '%n@%d'`` to psycopg's placeholders. Raises ValueError for an expansion that does not exist."""

    def letter(found: str) -> str:
        if found == "%":
            return "%%"
        if not found or found not in "und":
            raise ValueError(f'"%{found}" is no expansion: %u, %n, %d; write %% for a percent sign')
        return f"%({found})s"

    def part(match: re.Match[str]) -> str:
        text, name = match["text"], match["name"]
        if name is not None:
            return str(name).replace("%", "%%")
        if text is None:
            return letter(match["letter"])
        opening, inner = text[: text.index("'") + 1], text[text.index("'") + 1 : -1]
        # [text, letter, text, letter, … text]
        pieces = _LETTER.split(inner)
        if len(pieces) == 3 and not pieces[0] and not pieces[2] and pieces[1] != "%":
            return letter(pieces[1])
        made = [opening]
        for place, piece in enumerate(pieces):
            if place % 2 == 0:
                made.append(piece)
            elif (placeholder := letter(piece)) == "%%":
                made.append("%%")
            else:
                made.append(f"' || {placeholder}::text || {opening}")
        joined = "".join(made) + "'"
        return f"({joined})" if "||" in joined else joined

    return _PART.sub(part, query)


def servers(text: str) -> dict[str, str]:
    """``hosts`` as libpq's host and port: names, name:port, [address]:port, directories of a socket; inet: and unix:
    before them as in pgsql_table(5).
    """
    hosts, ports = [], []
    for word in _SEPARATORS.split(text.strip()):
        place = word.removeprefix("inet:").removeprefix("unix:")
        match = None if place.startswith("/") else _HOST_AND_PORT.fullmatch(place)
        hosts.append((match[1] or match[3]) if match else place)
        ports.append((match[2] or match[4] or "") if match else "")
    told = {"host": ",".join(hosts)}
    return {**told, "port": ",".join(ports)} if any(ports) else told


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
        self._is_whole = self._user_query == self._password_query
        self._timeout = _positive(told, "timeout", 10)
        self._conninfo = told.get("conninfo", "")
        # libpq's own defaults take the encoding of the database, which may be none.
        self._arguments = {"client_encoding": "utf8", "fallback_application_name": "tubepost-auth"}
        self._arguments |= {name: told[name] for name in ("dbname", "user", "password") if told.get(name)}
        if hosts := told.get("hosts", ""):
            if "://" in hosts:
                raise ValueError(f"{path}: write {hosts} as conninfo, not as hosts")
            self._arguments |= servers(hosts)
        try:
            given = conninfo_to_dict(self._conninfo, **self._arguments)
        except psycopg.ProgrammingError as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
        # libpq would look into the home of who started the master, and give up where it may not look.
        defaults = {**_KEEPALIVES, **{key: path + end for key, end in _CERTIFICATE}}
        self._arguments |= {key: value for key, value in defaults.items() if key not in given}
        # Each server has its part of the time, so that the second is reached when the first says nothing.
        self._connect_timeout = self._timeout // len(str(given.get("host") or given.get("hostaddr") or "").split(","))
        self._turns = asyncio.Semaphore(_positive(told, "connections", 4))
        self._idle: list[Connection] = []

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _row(self, query: str, name: str) -> Row | None:
        """What the query finds for a user, within the timeout. Raises Unavailable."""
        local, at, domain = name.rpartition("@")
        values = {"u": name, "n": local if at else name, "d": domain}
        if "\0" in name or not _is_text(name):
            return None
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
            try:
                rows = await self._ask(query.encode("utf-8", "surrogateescape"), values, deadline)
            finally:
                self._turns.release()
        except TimeoutError:
            raise Unavailable(f"{self.name} does not answer within {self._timeout} s") from None
        except _STRANGE:
            return None
        except psycopg.Error as error:
            raise Unavailable(f"{self.name}: {' '.join(str(error).split())}") from error
        if len(rows) > 1:
            raise Unavailable(f"{self.name}: the query finds more than one row for {name}")
        return rows[0] if rows else None

    async def _ask(self, query: bytes, values: dict[str, str], deadline: float) -> list[Row]:
        """Raises psycopg.Error, TimeoutError."""
        while True:
            kept = self._idle.pop() if self._idle else None
            if kept is not None and kept.closed:
                continue
            connection = kept or await self._connect(deadline)
            try:
                return await _fetch(connection, query, values, deadline)
            except psycopg.OperationalError:
                # The server may have been restarted since this connection was used: a new one is asked.
                if kept is None or not kept.closed:
                    raise
            finally:
                if connection.closed or connection.broken:
                    await connection.close()
                else:
                    self._idle.append(connection)

    async def _connect(self, deadline: float) -> Connection:
        async with asyncio.timeout_at(deadline):
            return await psycopg.AsyncConnection.connect(
                self._conninfo,
                autocommit=True,
                # Statements that the server keeps are lost behind a pool of connections (pgbouncer).
                prepare_threshold=None,
                row_factory=dict_row,
                connect_timeout=max(1, self._connect_timeout),
                **self._arguments,  # type: ignore[arg-type]
            )

    async def verify(self, name: str, password: str, context: Context) -> Result:
        row = await self._row(self._password_query, name)
        if row is None:
            return UNKNOWN
        stored = str(row.get("password") or "")
        if not stored:
            await self._hasher.check(None, password)
            return WRONG
        verdict = await check_hash(self._hasher, stored, password, name)
        if verdict is Verdict.RIGHT and _is_barred(row):
            return Result(Verdict.DISABLED)
        return Result(verdict, account_of(name, row), whole=self._is_whole)

    async def keys(self, name: str, scheme: str) -> str | None:
        row = await self._row(self._password_query, name)
        stored = str(row.get("password") or "") if row is not None and not _is_barred(row) else ""
        return schemes.clear_text(stored) if scheme == "PLAIN" else schemes.scram_text(stored, scheme)

    async def user(self, name: str) -> Account | None:
        row = await self._row(self._user_query, name)
        return account_of(name, row) if row is not None else None

    async def has_last_word(self, name: str) -> bool:
        return await self._row(self._password_query, name) is not None


async def _fetch(connection: Connection, query: bytes, values: dict[str, str], deadline: float) -> list[Row]:
    """At most two rows. When the deadline has passed the server is told so, and if that does not help, left.

    Raises psycopg.Error, TimeoutError.
    """

    async def work() -> list[Row]:
        return await (await connection.execute(query, values)).fetchmany(2)

    task = asyncio.ensure_future(work())
    try:
        done, _ = await asyncio.wait({task}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        if done:
            return task.result()
        with contextlib.suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(_GRACE):
                await connection.cancel_safe(timeout=_GRACE)
            await asyncio.wait({task}, timeout=_GRACE)
        raise TimeoutError
    finally:
        if not task.done():
            # To cancel the task would have psycopg wait for the server. Its end of the connection is what it hears of.
            _shut(connection)
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


def _shut(connection: Connection) -> None:
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def _positive(told: dict[str, str], name: str, default: int) -> int:
    """Raises ValueError."""
    text = told.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 1000:
        raise ValueError(f"{name} is a number from 1 to 1000, not {text}")
    return int(text)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_barred(row: Row) -> bool:
    value = row.get("nologin")
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


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
        not _is_barred(row),
    )


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    return PostgreSql(argument, hasher)
