"""``hash:/path``: a constant database in ``/path.db``, built by postmap from ``/path``; ``cdb:`` in ``/path.cdb``.

Both types have the same format and differ in the file's name only: ``hash`` is what Postfix's users have in their
main.cf, ``cdb`` files are also read and written by Postfix and tinycdb. A Berkeley DB file of Postfix is recognized
and refused: run postmap once. The file is mapped into memory; postmap puts a new one in its place with rename, and a
process that has the old one open looks for that once a second.
"""

import mmap
import os
import time
from collections.abc import Iterator

from tubepost.common.tables import cdb
from tubepost.common.tables.codec import decode_value, encode_key
from tubepost.common.tables.table import Table, TableEnvironment, TableError

SUFFIXES = {"hash": ".db", "cdb": ".cdb"}
_CHECK_SECONDS = 1.0
# Berkeley DB: magic number 0x61561 (hash) or 0x53162 (btree) at byte 12 of the first page, in either byte order.
_BERKELEY = (b"\x61\x15\x06\x00", b"\x00\x06\x15\x61", b"\x62\x31\x05\x00", b"\x00\x05\x31\x62")


class HashTable(Table):
    __slots__ = ("_check_at", "_data", "_identity", "_utf8", "_warn", "_zero", "path")

    def __init__(self, kind: str, name: str, environment: TableEnvironment, fold: bool) -> None:
        super().__init__(kind, name, fold)
        self.path = name + SUFFIXES[kind]
        self._warn = environment.warn
        self._utf8 = environment.utf8
        self._data: mmap.mmap | None = None
        self._identity: tuple[int, int, int] = (0, 0, 0)
        self._open()

    def _open(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise TableError(f'{self.spec}: {self.path} does not exist: run "postmap {self.spec}"') from error
        except OSError as error:
            raise TableError(f"{self.spec}: cannot open {self.path}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError) as error:
            raise TableError(f"{self.spec}: cannot map {self.path}: {error}") from error
        finally:
            os.close(descriptor)
        try:
            cdb.check(data)
            zero = ends_with_zero(data)
        except cdb.DatabaseFault as fault:
            berkeley = data[12:16] in _BERKELEY
            data.close()
            what = "is a Berkeley DB file" if berkeley else f"is no whole database ({fault})"
            raise TableError(f'{self.spec}: {self.path} {what}: run "postmap {self.spec}" again') from fault
        if self._data is not None:
            self._data.close()
        self._data = data
        self._zero = zero
        self._identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        self._check_at = time.monotonic() + _CHECK_SECONDS
        try:
            source = os.stat(self.name)
        except OSError:
            return
        # Postfix allows the same second, for files that were made together.
        if source.st_mtime > status.st_mtime + 1:
            self._warn(f"database {self.path} is older than source file {self.name}")

    def _find(self, key: str) -> str | None:
        if time.monotonic() >= self._check_at:
            self._refresh()
        data = self._data
        encoded = encode_key(key, self._utf8)
        if encoded is None:
            return None
        if data is None:
            raise TableError(f"{self.spec}: the table is closed")
        try:
            value = cdb.find(data, encoded + b"\0" if self._zero else encoded)
        except cdb.DatabaseFault as fault:
            raise TableError(f"{self.spec}: {self.path} is damaged: {fault}") from fault
        if value is None:
            return None
        return decode_value(self.spec, key, value.removesuffix(b"\0") if self._zero else value, self._utf8)

    def _refresh(self) -> None:
        self._check_at = time.monotonic() + _CHECK_SECONDS
        try:
            status = os.stat(self.path)
        except OSError:
            # The old content stays good until a new file is there.
            return
        if (status.st_ino, status.st_mtime_ns, status.st_size) == self._identity:
            return
        try:
            self._open()
        except TableError as error:
            self._warn(str(error))

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value), in the order of the source, without the zero bytes of ``postmap -N``."""
        assert self._data is not None
        for key, value in cdb.records(self._data):
            yield (key[:-1], value.removesuffix(b"\0")) if self._zero else (key, value)

    def close(self) -> None:
        if self._data is not None:
            self._data.close()
            self._data = None


def ends_with_zero(data: bytes | mmap.mmap) -> bool:
    """Does this database have zero bytes behind its keys and values (postmap -N, and Postfix's own cdb files)?"""
    first = next(cdb.records(data), None)
    return first is not None and first[0].endswith(b"\0")


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return HashTable(kind, name, environment, fold)
