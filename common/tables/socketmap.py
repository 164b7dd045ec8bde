"""``socketmap:inet:host:port:map``, ``socketmap:unix:path:map``: a server of Sendmail's protocol (socketmap_table(5)).

A question is the netstring ``map key``, an answer one of ``OK value``, ``NOTFOUND``, ``TEMP why``, ``TIMEOUT why`` and
``PERM why``.
"""

import asyncio

from tubepost.common.tables.codec import decode_value, encode_key
from tubepost.common.tables.connection import Connection
from tubepost.common.tables.table import Table, TableEnvironment, TableError

_TIMEOUT = 100.0
_REPLY_LIMIT = 100_000


class SocketmapTable(Table):
    __slots__ = ("_connection", "_map")
    patterned = True
    immediate = False

    def __init__(self, kind: str, name: str, fold: bool) -> None:
        super().__init__(kind, name, fold)
        endpoint, colon, self._map = name.rpartition(":")
        if not colon or not self._map or " " in self._map:
            raise TableError(f"{self.spec}: expected {kind}:inet:host:port:map or {kind}:unix:path:map")
        self._connection = Connection(self.spec, endpoint, _TIMEOUT)

    async def _ask(self, key: str) -> str | None:
        encoded = encode_key(key)
        if encoded is None:
            return None
        question = self._map.encode() + b" " + encoded
        answer = await self._connection.ask(b"%d:%b," % (len(question), question), self._read)
        status, _, text = answer.partition(b" ")
        if status == b"OK":
            return decode_value(self.spec, key, text)
        if status == b"NOTFOUND":
            return None
        reason = text.decode("utf-8", "replace")
        if status in (b"TEMP", b"TIMEOUT", b"PERM"):
            raise TableError(f"{self.spec}: the server cannot tell ({status.decode().lower()}): {reason}")
        self._connection.close()
        raise TableError(f"{self.spec}: the server's answer is not of this protocol: {answer[:60]!r}")

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        digits = await reader.readuntil(b":")
        if not digits[:-1].isdigit() or len(digits) > 8:
            raise ValueError("the answer is no netstring")
        size = int(digits[:-1])
        if size > _REPLY_LIMIT:
            raise ValueError(f"the answer is longer than {_REPLY_LIMIT} bytes")
        data = await reader.readexactly(size + 1)
        if data[-1:] != b",":
            raise ValueError("the answer is no netstring")
        return data[:-1]

    def close(self) -> None:
        self._connection.close()


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return SocketmapTable(kind, name, fold)
