"""``saslauthd:SOCKET``: Cyrus saslauthd, by its mux socket: four counted strings out, one counted string back.

It knows passwords and nothing else of users: their mailboxes are by auth_default_mailbox.
"""

import asyncio
import struct

from tubepost.common.config import Config

from tubepost.services.auth.backends.base import WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.backends.sockets import Daemon, socket_path
from tubepost.services.auth.hashing import Hasher

_ANSWER_LIMIT = 4096
_FIELD_LIMIT = 1024


class Saslauthd(Backend):
    has_users = False

    def __init__(self, path: str) -> None:
        self.name = f"saslauthd:{path}"
        self._daemon = Daemon(self.name, path)

    async def verify(self, name: str, password: str, context: Context) -> Result:
        # The daemon parts user and realm itself, or wants them parted, by its option -r: both are told apart.
        local, at, realm = name.rpartition("@")
        fields = [(local if at else name), password, "smtp" if context.scope == "smtp" else context.scope, realm]
        encoded = [field.encode("utf-8", "surrogateescape") for field in fields]
        if any(len(field) > _FIELD_LIMIT for field in encoded) or not encoded[0]:
            return WRONG
        request = b"".join(struct.pack("!H", len(field)) + field for field in encoded)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(request)
            await writer.drain()
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            if size > _ANSWER_LIMIT:
                raise Unavailable(f"{self.name}: the answer is too long")
            return await reader.readexactly(size)

        answer = await self._daemon.ask(talk)
        if answer[:2] == b"OK":
            return Result(Verdict.RIGHT, Account(name))
        if answer[:2] == b"NO":
            return WRONG
        raise Unavailable(f"{self.name} answers {answer[:60]!r}")


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    return Saslauthd(socket_path(argument or "/var/run/saslauthd/mux"))
