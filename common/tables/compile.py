"""Building of tables from their sources: what postmap, postalias and newaliases do.

A new database is written beside the old one, synced, and renamed into its place: readers have the old or the new one,
never a part. An exclusive lock on the directory keeps two builders apart.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from tubepost.common.system import log
from tubepost.common.system.atomic import sync_directory
from tubepost.common.tables import cdb, lmdb
from tubepost.common.tables.files import join_files
from tubepost.common.tables.hash import SUFFIXES, HashTable
from tubepost.common.tables.registry import split_spec
from tubepost.common.tables.source import Entry, read_aliases, read_entries
from tubepost.common.tables.table import TableEnvironment, TableError

BUILDABLE = ("cdb", "hash", "lmdb")
Reader = Callable[[Iterable[str], str, Callable[[str], None], bool], Iterator[Entry]]


@dataclass(slots=True)
class Options:
    """How to build; the defaults are postmap's."""

    fold: bool = True
    """Keys in lower case."""
    duplicates: Literal["warn", "replace", "ignore"] = "warn"
    """What to do with a key that is there already: tell and keep the first; keep the last; keep the first."""
    permissions: bool = True
    """A new file is readable to no more than the source is."""
    as_owner: bool = True
    """As root, act as the owner of the source, so that the result is theirs and a link they planted harms only them."""
    zero: bool = False
    """A zero byte behind each key and value (-N)."""
    utf8: bool = True
    """Refuse lines that are not UTF-8; off: -u."""
    files: bool = False
    """Values are names of files, whose content is stored, base64-encoded (-F)."""
    warn: Callable[[str], None] = log.warning


def suffix(kind: str) -> str:
    """``.db`` … Raises TableError for a type that cannot be built."""
    if kind in SUFFIXES:
        return SUFFIXES[kind]
    if kind == "lmdb":
        return lmdb.SUFFIX
    raise TableError(
        f'unsupported table type "{kind}" for this operation: a table can be built as one of {", ".join(BUILDABLE)}'
    )


def build(kind: str, name: str, options: Options, read: Reader = read_entries) -> None:
    """Build ``kind:name`` from the source file ``name``. Raises TableError."""
    end = suffix(kind)
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as source:
            status = os.fstat(source.fileno())
            with _acting_for(status, name, options):
                target = name + end
                pairs = _collect(read(source, name, options.warn, options.utf8), {}, options, target)
                if read is read_aliases:
                    # Sendmail's mark of a complete alias table.
                    pairs[b"@"] = b"@"
                with _locked_directory(target):
                    _write(kind, target, pairs, _mode(status, options), options)
    except OSError as error:
        raise TableError(_describe(error, name)) from error


def update(kind: str, name: str, lines: Iterable[str], options: Options, read: Reader = read_entries) -> None:
    """Add the entries of ``lines`` (postmap -i: standard input) to the database, which is made if need be.

    Raises TableError.
    """
    target = name + suffix(kind)
    try:
        with _acting_for(_status(name), name, options), _locked_directory(target):
            old = dict(_existing(kind, name))
            mode = _mode(_status(target) or _status(name), options)
            pairs = _collect(read(lines, "stdin", options.warn, options.utf8), old, options, target)
            if read is read_aliases:
                pairs[b"@"] = b"@"
            _write(kind, target, pairs, mode, options)
    except OSError as error:
        raise TableError(_describe(error, target)) from error


def delete(kind: str, name: str, keys: Iterable[str], options: Options) -> bool:
    """Remove keys (postmap -d); was there one of them? Raises TableError."""
    target = name + suffix(kind)
    found = False
    try:
        status = os.stat(target)
        with _acting_for(_status(name), name, options), _locked_directory(target):
            pairs = dict(_existing(kind, name))
            for key in keys:
                encoded = _encode(key, options)
                if encoded is not None and pairs.pop(encoded, None) is not None:
                    found = True
            if found:
                _write(kind, target, pairs, stat.S_IMODE(status.st_mode), options)
    except OSError as error:
        raise TableError(_describe(error, target)) from error
    return found


class AliasSettings(Protocol):
    """The parameters that newaliases needs; ``tubepost.common.config.Config`` has them."""

    @property
    def alias_database(self) -> tuple[str, ...]: ...
    @property
    def default_database_type(self) -> str: ...


def rebuild_alias_databases(config: AliasSettings, warn: Callable[[str], None] = log.warning) -> tuple[str, ...]:
    """Build each table of alias_database from its source (newaliases); the specs that were built. Raises TableError."""
    built = []
    for spec in config.alias_database:
        kind, name = split_spec(spec, config.default_database_type)
        build(kind, name, Options(warn=warn), read_aliases)
        built.append(f"{kind}:{name}")
    return tuple(built)


def _encode(key: str, options: Options) -> bytes | None:
    try:
        return (key.casefold() if options.fold else key).encode(
            "utf-8", "strict" if options.utf8 else "surrogateescape"
        )
    except UnicodeEncodeError:
        return None


def _collect(entries: Iterable[Entry], pairs: dict[bytes, bytes], options: Options, target: str) -> dict[bytes, bytes]:
    for number, key, value in entries:
        encoded = _encode(key, options)
        if encoded is None:
            continue
        if encoded in pairs and options.duplicates != "replace":
            if options.duplicates == "warn":
                options.warn(f'{target}: duplicate entry: "{encoded.decode("utf-8", "replace")}"')
            continue
        if options.files:
            try:
                value = join_files(value)
            except TableError as error:
                options.warn(f"{target}, line {number}: {error}: skipping this entry")
                continue
        pairs[encoded] = value.encode("utf-8", "surrogateescape")
    return pairs


def _existing(kind: str, name: str) -> Iterator[tuple[bytes, bytes]]:
    if not os.path.exists(name + suffix(kind)):
        return
    environment = TableEnvironment(warn=lambda text: None)
    table = HashTable(kind, name, environment, False) if kind in SUFFIXES else lmdb.LmdbTable(kind, name, False)
    try:
        yield from table.records()
    finally:
        table.close()


def _write(kind: str, target: str, pairs: dict[bytes, bytes], mode: int, options: Options) -> None:
    """A new file at ``target``. Raises OSError, TableError."""
    zero = b"\0" if options.zero else b""
    records = ((key + zero, value + zero) for key, value in pairs.items())
    directory, base = os.path.split(target)
    temporary = os.path.join(directory, f".{base}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb", 1 << 16) as file:
            if kind == "lmdb":
                too_long = [key for key in pairs if len(key) + len(zero) > lmdb.KEY_LIMIT or not key]
                for key in too_long:
                    options.warn(f'{target}: key "{key[:60].decode("utf-8", "replace")}" is too long -- ignoring it')
                    del pairs[key]
                lmdb.build(temporary, ((key + zero, value + zero) for key, value in pairs.items()))
            else:
                try:
                    _write_cdb(file, records)
                except cdb.DatabaseFault as fault:
                    raise TableError(f"{target}: {fault}") from fault
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory or ".")


class _File(Protocol):
    def write(self, data: bytes, /) -> int: ...
    def seek(self, position: int, /) -> int: ...


def _write_cdb(file: _File, records: Iterable[tuple[bytes, bytes]]) -> None:
    file.seek(2048)
    previous = b""
    for piece in cdb.build(records):
        file.write(previous)
        previous = piece
    file.seek(0)
    file.write(previous)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _mode(status: os.stat_result | None, options: Options) -> int:
    if status is None or not options.permissions or not stat.S_ISREG(status.st_mode):
        return 0o644
    return 0o600 | (status.st_mode & 0o044)


@contextlib.contextmanager
def _locked_directory(target: str) -> Iterator[None]:
    descriptor = os.open(os.path.dirname(target) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _acting_for(status: os.stat_result | None, name: str, options: Options) -> Iterator[None]:
    """As root, with the effective rights of the source's owner."""
    if status is None or not options.as_owner or os.geteuid() != 0:
        yield
        return
    if status.st_uid == 0:
        directory = os.path.dirname(name) or "."
        if os.stat(directory).st_uid != 0:
            options.warn(
                f"creating a root-owned database for {name} in the directory {directory}, which root does not own: "
                "its owner could put another file in its place; give file and directory the same owner"
            )
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(status.st_gid)
    os.seteuid(status.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _describe(error: OSError, path: str) -> str:
    where = error.filename if isinstance(error.filename, str) else path
    return f"open {where}: {error.strerror}"
