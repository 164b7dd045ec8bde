"""One connection to a lookup server (tcp, socketmap, memcache): made when needed, kept, made again when it breaks.

Questions go one after the other; each has a deadline, and what a server may send is bounded by the caller's reader.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tubepost.common.tables.table import TableError

Exchange = Callable[[asyncio.StreamReader], Awaitable[bytes]]
# Bytes held of what was not asked for yet: a reader's line may not be longer either.
_BUFFER = 256 * 1024


class Connection:
    """To ``inet:host:port`` or ``unix:path``."""

    __slots__ = ("_connect_timeout", "_host", "_lock", "_path", "_port", "_spec", "_streams", "_timeout")

    def __init__(self, spec: str, endpoint: str, timeout: float, connect_timeout: float | None = None) -> None:
        """``spec``: the table's name, for messages. ``timeout``: seconds for one answer. Raises TableError."""
        self._spec = spec
        self._timeout = timeout
        self._connect_timeout = timeout if connect_timeout is None else connect_timeout
        self._path, self._host, self._port = "", "", ""
        kind, _, rest = endpoint.partition(":")
        if kind == "unix" and rest:
            self._path = rest
        elif kind == "inet":
            self._host, _, self._port = rest.rpartition(":")
            self._host = self._host.removeprefix("[").removesuffix("]")
        if not self._path and not (self._host and self._port):
            raise TableError(f'{spec}: bad server name "{endpoint}": expected inet:host:port or unix:path')
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        # A lock belongs to one event loop; the table may be opened before there is one.
        self._lock: asyncio.Lock | None = None

    async def ask(self, request: bytes, read: Exchange, attempts: int = 2, pause: float = 0.0) -> bytes:
        """Send ``request`` and give what ``read`` takes from the stream. Raises TableError.

        A kept connection may have been closed by the server in the meantime: what breaks is tried again on a new one.
        """
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            why = ""
            for attempt in range(attempts):
                if attempt and pause:
                    await asyncio.sleep(pause)
                try:
                    if self._streams is None:
                        self._streams = await asyncio.wait_for(self._connect(), self._connect_timeout)
                except TimeoutError:
                    raise TableError(f"{self._spec}: the server does not accept the connection in time") from None
                except (OSError, ValueError, UnicodeError) as error:
                    raise TableError(f"{self._spec}: cannot connect: {error}") from error
                reader, writer = self._streams
                try:
                    writer.write(request)
                    return await asyncio.wait_for(read(reader), self._timeout)
                except TimeoutError:
                    self.close()
                    raise TableError(f"{self._spec}: no answer in {self._timeout:g} seconds") from None
                except (OSError, EOFError, ValueError) as error:
                    # ValueError: a line longer than the buffer.
                    why = str(error) or type(error).__name__
                    self.close()
                except BaseException:
                    # A question given up half-way leaves an answer behind: never take it for the next one's.
                    self.close()
                    raise
            raise TableError(f"{self._spec}: the connection broke: {why}")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._path:
            return await asyncio.open_unix_connection(self._path, limit=_BUFFER)
        return await asyncio.open_connection(self._host, self._port, limit=_BUFFER)

    def close(self) -> None:
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            try:
                writer.close()
            except RuntimeError:
                pass  # the loop has ended, and the socket with it
