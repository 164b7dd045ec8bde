"""``sqlite:/path``: a query on an SQLite database (Postfix sqlite_table(5)); ``/path`` has ``name = value`` lines.

dbpath, query, result_format (%s), expansion_limit (0: none), domain. Parts of the key are put in as quoted text;
several rows and columns of a result are joined with commas. Queries run in a thread: a locked database holds up nobody.
"""

import asyncio
import sqlite3
import threading

from tubepost.common.tables import template
from tubepost.common.tables.codec import encode_key
from tubepost.common.tables.match import StringList
from tubepost.common.tables.table import Table, TableEnvironment, TableError

# Seconds to wait for a writer to be done.
_BUSY_TIMEOUT = 5.0
# Rows read of one answer where expansion_limit is off: a value is an address list, not a table.
_ROW_LIMIT = 100_000


class SqliteTable(Table):
    __slots__ = ("_database", "_domains", "_limit", "_lock", "_path", "_query", "_result", "patterned")
    immediate = False

    def __init__(self, kind: str, name: str, environment: TableEnvironment, fold: bool) -> None:
        # Keys are folded even where only whole addresses are asked.
        self.patterned = False
        super().__init__(kind, name, fold)
        settings = template.read_settings(self.spec, name)
        self._path = settings.get("dbpath", "")
        self._query = settings.get("query", "")
        self._result = settings.get("result_format", "%s") or "%s"
        limit = settings.get("expansion_limit", "0")
        if not self._path or not self._query:
            raise TableError(f"{self.spec}: {name} must set dbpath and query")
        if not (limit.isascii() and limit.isdigit()):
            raise TableError(f'{self.spec}: bad expansion_limit "{limit}": expected a number')
        self._limit = int(limit)
        template.check(self.spec, "query", self._query)
        template.check(self.spec, "result_format", self._result)
        self._domains = StringList(f"{self.spec} domain", settings.get("domain", ""), environment)
        self.patterned = template.is_partial(self._query)
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._connect()

    def _connect(self) -> sqlite3.Connection:
        try:
            # mode=ro: a look-up must not create an empty database where the path is wrong.
            database = sqlite3.connect(
                f"file:{_uri(self._path)}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise TableError(f"{self.spec}: cannot open {self._path}: {error}") from error
        self._database = database
        return database

    async def _ask(self, key: str) -> str | None:
        if encode_key(key) is None:
            return None
        if self._domains:
            domain = template.in_domains(key)
            if domain is None or not await self._domains.match(domain):
                return None
        query = template.expand(self._query, key, None, _quote)
        if query is None:
            return None
        rows = await asyncio.to_thread(self._run, query)
        values: list[str] = []
        for row in rows:
            for column in row:
                # An empty or missing column is no value; nor is one without what the format asks for.
                text = "" if column is None else str(column)
                value = template.expand(self._result, text, key) if text else None
                if not value:
                    continue
                values.append(value)
                if self._limit and len(values) > self._limit:
                    raise TableError(f'{self.spec}: more than expansion_limit ({self._limit}) results for "{key}"')
        return ",".join(values) or None

    def _run(self, query: str) -> list[tuple[object, ...]]:
        with self._lock:
            database = self._database or self._connect()
            try:
                rows: list[tuple[object, ...]] = database.execute(query).fetchmany(_ROW_LIMIT + 1)
            except (sqlite3.Error, sqlite3.Warning) as error:
                # The file may have been put in its place anew.
                database.close()
                self._database = None
                raise TableError(f"{self.spec}: the query failed: {error}") from error
        if len(rows) > _ROW_LIMIT:
            raise TableError(f"{self.spec}: the query gives more than {_ROW_LIMIT} rows")
        return rows

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def _quote(text: str) -> str:
    # SQL text literals: a quote is doubled; a zero byte would end the statement.
    return text.replace("\0", "").replace("'", "''")


def _uri(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return SqliteTable(kind, name, environment, fold)
