"""A question to a daemon on a UNIX socket: connect, ask, read the answer, all within one deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tubepost.services.auth.backends.base import Unavailable

_DEADLINE = 30.0
_LIMIT = 65_536
# Conversations with one daemon at one time; it may have few workers.
_AT_ONCE = 20

T = TypeVar("T")
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[T]]


class Daemon:
    """``title``: for messages. ``deadline``: seconds for one conversation."""

    def __init__(self, title: str, path: str, deadline: float = _DEADLINE) -> None:
        self.title = title
        self._path = path
        self._deadline = deadline
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, talk: Talk[T]) -> T:
        """One connection for one conversation. Raises Unavailable: no daemon, no answer in time, not its protocol."""
        try:
            async with self._room, asyncio.timeout(self._deadline):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=_LIMIT)
                try:
                    return await talk(reader, writer)
                finally:
                    writer.close()
        except TimeoutError:
            raise Unavailable(f"{self.title} does not answer within {self._deadline:g} s") from None
        except asyncio.IncompleteReadError:
            raise Unavailable(f"{self.title} closed the connection without an answer") from None
        except asyncio.LimitOverrunError:
            raise Unavailable(f"{self.title} answers with a line that is too long") from None
        except OSError as error:
            raise Unavailable(f"{self.title} cannot be reached: {error.strerror or error}") from error


def socket_path(argument: str) -> str:
    """Raises ValueError."""
    if not argument.startswith("/"):
        raise ValueError("name the socket by its whole path")
    return argument
