"""Where findings are kept: an own file (sqlite3), a table of another type, or memory."""

import os
import sqlite3
import time
from collections import OrderedDict

from tubepost.common.system import log
from tubepost.common.tables import Table, TableEnvironment, TableError, open_table

from tubepost.services.verify.protocol import Ages, Finding, decode, encode

SUFFIX = ".sqlite"
_OWN = ("hash", "btree", "cdb", "dbm", "sdbm", "sqlite")
# Without a file: the least recently used findings leave first.
_MEMORY = 10_000
# In place of a file: of 4096 bytes each.
_MEMORY_PAGES = 4096
# Seconds until a file that could not be opened is tried again.
_AGAIN = 10.0
_TABLE = "CREATE TABLE IF NOT EXISTS finding (address TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def _is_damaged(error: sqlite3.Error) -> bool:
    """The file itself, not the disk that it stands on."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Store:
    """Findings by address. No method raises: a cache that fails costs probes, not mail."""

    async def get(self, address: str) -> Finding | None:
        raise NotImplementedError

    async def put(self, address: str, finding: Finding) -> None:
        raise NotImplementedError

    async def delete(self, address: str) -> None:
        raise NotImplementedError

    def clean(self, now: float, ages: Ages) -> int:
        """Remove what has expired. Returns how many."""
        return 0

    def close(self) -> None:
        """The end."""


class Memory(Store):
    def __init__(self) -> None:
        self._findings: OrderedDict[str, Finding] = OrderedDict()

    async def get(self, address: str) -> Finding | None:
        return self._findings.get(address)

    async def put(self, address: str, finding: Finding) -> None:
        self._findings[address] = finding
        self._findings.move_to_end(address)
        if len(self._findings) > _MEMORY:
            self._findings.popitem(last=False)

    async def delete(self, address: str) -> None:
        self._findings.pop(address, None)

    def clean(self, now: float, ages: Ages) -> int:
        old = [address for address, finding in self._findings.items() if is_over(finding, now, ages)]
        for address in old:
            del self._findings[address]
        return len(old)


class File(Store):
    """An own sqlite3 file. One that is damaged is put aside; one that cannot be used now is left as it is, findings are
    kept in memory meanwhile, and it is tried again.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._again_at = 0.0
        """When the file is tried again, on the monotonic clock; 0 while it is in use."""
        self._database = self._open_or_do_without()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            # What a crash of the machine loses is probed again.
            database.execute("PRAGMA synchronous=OFF")
            database.execute(_TABLE)
        except BaseException:
            database.close()
            raise
        return database

    def _open_or_do_without(self) -> sqlite3.Connection:
        try:
            try:
                database = self._open()
            except sqlite3.DatabaseError as error:
                if not _is_damaged(error):
                    raise
                self._set_aside(error)
                database = self._open()
        except (sqlite3.Error, OSError) as error:
            return self._do_without(error)
        self._again_at = 0.0
        return database

    def _do_without(self, error: Exception) -> sqlite3.Connection:
        log.warning(f"{self._path}: {error}; findings are kept in memory, the file is tried again in {_AGAIN:.0f}s")
        self._again_at = time.monotonic() + _AGAIN
        database = sqlite3.connect(":memory:", isolation_level=None)
        database.execute(f"PRAGMA max_page_count={_MEMORY_PAGES}")
        database.execute(_TABLE)
        return database

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Postfix verify(8), BUGS: "human intervention is needed". Here it is not. Raises OSError."""
        aside = f"{self._path}.damaged-{int(time.time())}"
        log.warning(f"{self._path}: {error}; it is kept as {aside}, and a new cache is begun")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            pass
        for suffix in ("-wal", "-shm"):
            try:
                os.unlink(self._path + suffix)
            except FileNotFoundError:
                pass

    def _run(self, statement: str, *values: str) -> list[tuple[str, str]]:
        if self._again_at and time.monotonic() >= self._again_at:
            self._database.close()
            self._database = self._open_or_do_without()
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            if self._again_at:
                log.warning(f"{self._path}: {error}")  # the memory is full
                return []
            damaged = _is_damaged(error)
            self._database.close()
            self._database = self._open_or_do_without() if damaged else self._do_without(error)
            # A disk that takes or gives nothing, or whose locks cannot be had, keeps nobody waiting once more.
            return [] if damaged else self._run(statement, *values)

    async def get(self, address: str) -> Finding | None:
        for _, value in self._run("SELECT address, value FROM finding WHERE address = ?", address):
            return decode(value)
        return None

    async def put(self, address: str, finding: Finding) -> None:
        self._run("INSERT OR REPLACE INTO finding VALUES (?, ?)", address, encode(finding))

    async def delete(self, address: str) -> None:
        self._run("DELETE FROM finding WHERE address = ?", address)

    def clean(self, now: float, ages: Ages) -> int:
        count, last = 0, ""
        while rows := self._run(
            "SELECT address, value FROM finding WHERE address > ? ORDER BY address LIMIT 1000", last
        ):
            last = rows[-1][0]
            for address, value in rows:
                finding = decode(value)
                if finding is None or is_over(finding, now, ages):
                    self._run("DELETE FROM finding WHERE address = ?", address)
                    count += 1
        return count

    def close(self) -> None:
        self._database.close()


class TableStore(Store):
    """A writable table of the administrator's choice; expired findings stay until they are asked for again."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def get(self, address: str) -> Finding | None:
        try:
            value = await self._table.lookup(address)
        except TableError as error:
            log.warning(str(error))
            return None
        return None if value is None else decode(value)

    async def put(self, address: str, finding: Finding) -> None:
        try:
            await self._table.update(address, encode(finding))
        except TableError as error:
            log.warning(str(error))

    async def delete(self, address: str) -> None:
        try:
            await self._table.delete(address)
        except TableError as error:
            log.warning(str(error))


def is_over(finding: Finding, now: float, ages: Ages) -> bool:
    """Expired, and no probe is under way."""
    limit = ages.positive_expire if finding.status == "ok" else ages.negative_expire
    return now - finding.updated > limit and now - finding.probed > limit


def open_store(spec: str, environment: TableEnvironment) -> Store:
    """``spec``: address_verify_map. Raises OSError, ValueError (a table that cannot be written to), TableError."""
    spec = spec.strip()
    if not spec:
        return Memory()
    kind, colon, name = spec.partition(":")
    if not colon:
        kind, name = "hash", spec
    if kind in _OWN:
        return File(name + SUFFIX)
    table = open_table(spec, environment=environment)
    if not table.writable and kind != "proxy":
        raise ValueError(f"a table of type {kind} cannot be written to; use hash:, lmdb:, memcache: or proxy:")
    return TableStore(table)
