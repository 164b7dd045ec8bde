"""``tcp:host:port``: a server of Postfix's line protocol (tcp_table(5)): ``get key`` to ``200 value``, ``500``."""

import asyncio
import re
from urllib.parse import unquote_to_bytes

from tubepost.common.tables.codec import decode_value, encode_key
from tubepost.common.tables.connection import Connection
from tubepost.common.tables.table import Table, TableEnvironment, TableError

_TIMEOUT = 100.0
# tcp_table(5): "no longer than 4096 characters including the newline".
_REPLY_LIMIT = 4096
_UNSAFE = re.compile(rb"[^!-$&-~]")


class TcpTable(Table):
    __slots__ = ("_connection",)
    patterned = True
    immediate = False

    def __init__(self, kind: str, name: str, fold: bool) -> None:
        super().__init__(kind, name, fold)
        self._connection = Connection(self.spec, "inet:" + name, _TIMEOUT)

    async def _ask(self, key: str) -> str | None:
        encoded = encode_key(key)
        if encoded is None:
            return None
        quoted = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], encoded)
        line = await self._connection.ask(b"get %b\n" % quoted, self._read)
        code, _, text = line.rstrip(b"\r\n").partition(b" ")
        if code == b"500":
            return None
        value = unquote_to_bytes(text)
        if code == b"200":
            return decode_value(self.spec, key, value)
        reason = value.decode("utf-8", "replace")
        if code == b"400":
            raise TableError(f"{self.spec}: the server cannot tell now: {reason}")
        self._connection.close()
        raise TableError(f"{self.spec}: the server's answer is not of this protocol: {line[:60]!r}")

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        line = await reader.readuntil(b"\n")
        if len(line) > _REPLY_LIMIT:
            raise ValueError(f"the answer is longer than {_REPLY_LIMIT} bytes")
        return line

    def close(self) -> None:
        self._connection.close()


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return TcpTable(kind, name, fold)
