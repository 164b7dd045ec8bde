"""``lmdb:/path``: an LMDB database in ``/path.lmdb`` (Postfix lmdb_table(5)). Needs the package ``lmdb``.

postmap builds a new file and renames it into place; a process that has the old one open looks for that once a
second. Single keys are changed in place (proxywrite, postmap -i), under an exclusive lock of the file, as Postfix locks
it; each look-up takes a shared one, so that a page is not used again while it is read.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tubepost.common.tables.codec import decode_value, encode_key
from tubepost.common.tables.table import Table, TableEnvironment, TableError

try:
    import lmdb

    library: Any = lmdb
except ImportError:
    library = None

SUFFIX = ".lmdb"
_CHECK_SECONDS = 1.0
# LMDB's own limit (mdb_env_get_maxkeysize) in its standard build.
KEY_LIMIT = 511
_MAP_SIZE = 16 * 1024 * 1024
# The library must not open a file twice in a process: (device, inode) -> [environment, users].
_shared: dict[tuple[int, int], list[Any]] = {}


def need_library(spec: str) -> None:
    """Raises TableError when the package is missing."""
    if library is None:
        raise TableError(f"{spec}: the Python package \"lmdb\" is not installed: pip install 'tubepost[lmdb]'")


class LmdbTable(Table):
    __slots__ = ("_check_at", "_descriptor", "_environment", "_identity", "_utf8", "path")
    writable = True

    def __init__(self, kind: str, name: str, fold: bool, utf8: bool = True) -> None:
        super().__init__(kind, name, fold)
        self._utf8 = utf8
        need_library(self.spec)
        self.path = name + SUFFIX
        self._descriptor = -1
        self._environment: Any = None
        self._identity = (0, 0)
        self._open()

    def _open(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise TableError(f'{self.spec}: {self.path} does not exist: run "postmap {self.spec}"') from error
        except OSError as error:
            raise TableError(f"{self.spec}: cannot open {self.path}: {error.strerror}") from error
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        shared = _shared.get(identity)
        if shared is None:
            try:
                environment = library.open(
                    self.path,
                    subdir=False,
                    lock=False,
                    create=False,
                    readonly=not os.access(self.path, os.W_OK),
                    map_size=max(_MAP_SIZE, status.st_size),
                    sync=True,
                )
            except library.Error as error:
                os.close(descriptor)
                raise TableError(f"{self.spec}: {self.path} is no usable LMDB file: {error}") from error
            shared = _shared[identity] = [environment, 0]
        shared[1] += 1
        self._release()
        self._environment, self._descriptor, self._identity = shared[0], descriptor, identity
        self._check_at = time.monotonic() + _CHECK_SECONDS

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        shared = _shared.get(self._identity)
        if shared is not None and self._environment is not None:
            shared[1] -= 1
            if not shared[1]:
                del _shared[self._identity]
                shared[0].close()
        self._environment = None

    def _refresh(self) -> None:
        self._check_at = time.monotonic() + _CHECK_SECONDS
        try:
            status = os.stat(self.path)
        except OSError:
            return
        if (status.st_dev, status.st_ino) != self._identity:
            self._open()

    def _find(self, key: str) -> str | None:
        if time.monotonic() >= self._check_at:
            self._refresh()
        encoded = encode_key(key, self._utf8)
        if not encoded or len(encoded) >= KEY_LIMIT:
            return None
        value = self._get(encoded)
        return None if value is None else decode_value(self.spec, key, value, self._utf8)

    def _get(self, key: bytes) -> bytes | None:
        if self._environment is None:
            raise TableError(f"{self.spec}: the table is closed")
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            while True:
                try:
                    with self._environment.begin(buffers=False) as transaction:
                        value: bytes | None = transaction.get(key)
                        if value is not None:
                            return value
                        value = transaction.get(key + b"\0")
                        return None if value is None else value.rstrip(b"\0")
                except library.MapResizedError:
                    # Another process made the file larger: take over its size.
                    self._environment.set_mapsize(0)
        except library.Error as error:
            raise TableError(f"{self.spec}: {self.path}: {error}") from error
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    async def update(self, key: str, value: str) -> None:
        encoded = encode_key(key.casefold() if self.fold else key)
        if not encoded or len(encoded) > KEY_LIMIT:
            raise TableError(f'{self.spec}: "{key:.60}" cannot be a key: it must have 1 to {KEY_LIMIT} bytes of UTF-8')
        self.store([(encoded, value.encode())], [])

    async def delete(self, key: str) -> bool:
        encoded = encode_key(key.casefold() if self.fold else key)
        if not encoded or self._get(encoded) is None:
            return False
        self.store([], [encoded])
        return True

    def store(self, pairs: Iterable[tuple[bytes, bytes]], gone: Iterable[bytes]) -> None:
        """Set and remove keys in one transaction, the file grown as needed. Raises TableError."""
        pairs, gone = list(pairs), list(gone)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        for key in gone:
                            transaction.delete(key)
                            transaction.delete(key + b"\0")
                        for key, value in pairs:
                            transaction.delete(key + b"\0")
                            transaction.put(key, value)
                    return
                except library.MapFullError:
                    self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
                except library.MapResizedError:
                    self._environment.set_mapsize(0)
        except library.Error as error:
            raise TableError(f"{self.spec}: {self.path}: {error}") from error
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) without the zero bytes that Postfix adds."""
        with self._environment.begin() as transaction:
            for key, value in transaction.cursor():
                yield key.rstrip(b"\0"), value.rstrip(b"\0")

    def close(self) -> None:
        self._release()


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return LmdbTable(kind, name, fold, environment.utf8)


def build(path: str, pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """A new database file at ``path``, synced. Raises TableError, OSError."""
    need_library(f"lmdb:{path}")
    try:
        environment = library.open(path, subdir=False, lock=False, map_size=_MAP_SIZE, sync=True)
        try:
            batch: list[tuple[bytes, bytes]] = []
            for pair in pairs:
                batch.append(pair)
                if len(batch) >= 10_000:
                    _put(environment, batch)
                    batch = []
            _put(environment, batch)
            environment.sync(True)
        finally:
            environment.close()
    except library.Error as error:
        raise TableError(f"cannot build {path}: {error}") from error


def _put(environment: Any, batch: list[tuple[bytes, bytes]]) -> None:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
            return
        except library.MapFullError:
            environment.set_mapsize(environment.info()["map_size"] * 2)
