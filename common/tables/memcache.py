"""``memcache:/path``: a memcached server, with another table behind it (Postfix memcache_table(5)).

``/path`` is a file of ``name = value`` lines: memcache (inet:localhost:11211), backup, flags, ttl, key_format, domain,
data_size_limit, line_size_limit, max_try, retry_pause, timeout. A value found in the backup is put into the cache.
"""

import asyncio
import re

from tubepost.common.tables import template
from tubepost.common.tables.codec import decode_value
from tubepost.common.tables.connection import Connection, Exchange
from tubepost.common.tables.match import StringList
from tubepost.common.tables.registry import open_table as open_any
from tubepost.common.tables.table import Table, TableEnvironment, TableError

_DEFAULTS = {
    "memcache": "inet:localhost:11211",
    "backup": "",
    "flags": "0",
    "ttl": "3600",
    "key_format": "%s",
    "domain": "",
    "data_size_limit": "10240",
    "line_size_limit": "1024",
    "max_try": "2",
    "retry_pause": "1",
    "timeout": "2",
}
_VALUE = re.compile(rb"VALUE (\S+) \d+ (\d+)(?: \d+)?\r\n")
_TIME = re.compile(r"(\d+)([smhdw]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# The memcache protocol's own limit (doc/protocol.txt, "Keys").
_KEY_LIMIT = 250


class MemcacheTable(Table):
    __slots__ = ("_backup", "_connection", "_domains", "_settings", "patterned")
    immediate = False
    writable = True

    def __init__(self, kind: str, name: str, environment: TableEnvironment, fold: bool) -> None:
        # Keys are folded even where only whole addresses are asked.
        self.patterned = False
        super().__init__(kind, name, fold)
        self._settings = _DEFAULTS | template.read_settings(self.spec, name)
        unknown = sorted(self._settings.keys() - _DEFAULTS.keys())
        if unknown:
            environment.warn(f"{self.spec}: {name}: unused parameter {unknown[0]}")
        template.check(self.spec, "key_format", self._settings["key_format"])
        self.patterned = template.is_partial(self._settings["key_format"])
        for number in ("flags", "data_size_limit", "line_size_limit", "max_try"):
            self._number(number)
        self._connection = Connection(self.spec, self._settings["memcache"], self._seconds("timeout"))
        self._domains = StringList(f"{self.spec} domain", self._settings["domain"], environment)
        backup = self._settings["backup"]
        self._backup = open_any(backup, environment=environment, fold=fold) if backup else None

    def _number(self, name: str) -> int:
        text = self._settings[name]
        if not (text.isascii() and text.isdigit()):
            raise TableError(f'{self.spec}: bad {name} "{text}": expected a number')
        return int(text)

    def _seconds(self, name: str) -> int:
        match = _TIME.fullmatch(self._settings[name])
        if match is None:
            raise TableError(f'{self.spec}: bad {name} "{self._settings[name]}": expected a time like 10s')
        return int(match[1]) * _UNITS[match[2]]

    async def _ask(self, key: str) -> str | None:
        cache_key = await self._cache_key(key)
        if cache_key is None:
            return None
        trouble: TableError | None = None
        value: bytes | None = None
        try:
            value = await self._get(cache_key)
        except TableError as error:
            trouble = error
        if value is not None:
            return decode_value(self.spec, key, value)
        if self._backup is None:
            if trouble is not None:
                raise trouble
            return None
        found = await self._backup.lookup(key)
        if found is not None and trouble is None:
            await self._try_set(cache_key, found)
        return found

    async def update(self, key: str, value: str) -> None:
        cache_key = await self._need_key(key)
        if self._backup is not None:
            await self._backup.update(key, value)
            await self._try_set(cache_key, value)
        else:
            await self._set(cache_key, value)

    async def delete(self, key: str) -> bool:
        cache_key = await self._need_key(key)
        gone = False
        if self._backup is not None:
            gone = await self._backup.delete(key)
        answer = await self._command(b"delete %b\r\n" % cache_key, self._line)
        return gone or answer == b"DELETED"

    async def _need_key(self, key: str) -> bytes:
        cache_key = await self._cache_key(key.casefold() if self.fold else key)
        if cache_key is None:
            raise TableError(f'{self.spec}: "{key:.60}" cannot be a key of this table')
        return cache_key

    async def _cache_key(self, key: str) -> bytes | None:
        if self._domains:
            domain = template.in_domains(key)
            if domain is None or not await self._domains.match(domain):
                return None
        text = template.expand(self._settings["key_format"], key, None)
        # White space and control characters would end the command and begin another one.
        if not text or not text.isprintable() or any(char.isspace() for char in text):
            return None
        encoded = text.encode("utf-8", "replace")
        return encoded if len(encoded) <= _KEY_LIMIT else None

    async def _try_set(self, cache_key: bytes, value: str) -> None:
        try:
            await self._set(cache_key, value)
        except TableError:
            pass  # the backup has it: the cache is only for speed

    async def _set(self, cache_key: bytes, value: str) -> None:
        data = value.encode()
        head = f" {self._number('flags')} {self._seconds('ttl')} {len(data)}\r\n".encode()
        answer = await self._command(b"set " + cache_key + head + data + b"\r\n", self._line)
        if answer != b"STORED":
            raise TableError(f"{self.spec}: the server did not store: {answer[:60]!r}")

    async def _get(self, cache_key: bytes) -> bytes | None:
        async def read(reader: asyncio.StreamReader) -> bytes:
            line = await self._line_with_end(reader)
            if line == b"END\r\n":
                return b""
            match = _VALUE.fullmatch(line)
            if match is None or match[1] != cache_key:
                raise ValueError(f"unexpected answer {line[:60]!r}")
            size = int(match[2])
            if size > self._number("data_size_limit"):
                raise ValueError("the value is longer than data_size_limit")
            data = await reader.readexactly(size + 2)
            if not data.endswith(b"\r\n") or await self._line_with_end(reader) != b"END\r\n":
                raise ValueError("the answer has no proper end")
            return b"=" + data[:-2]

        answer = await self._command(b"get %b\r\n" % cache_key, read)
        return answer[1:] if answer else None

    async def _command(self, request: bytes, read: Exchange) -> bytes:
        return await self._connection.ask(
            request, read, attempts=max(1, self._number("max_try")), pause=self._seconds("retry_pause")
        )

    async def _line_with_end(self, reader: asyncio.StreamReader) -> bytes:
        line = await reader.readuntil(b"\n")
        if len(line) > self._number("line_size_limit"):
            raise ValueError("the answer is longer than line_size_limit")
        return line

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        return (await self._line_with_end(reader)).rstrip(b"\r\n")

    def close(self) -> None:
        self._connection.close()


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return MemcacheTable(kind, name, environment, fold)
