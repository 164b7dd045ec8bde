"""``dovecot:SOCKET``: Dovecot's auth, by its client protocol (version 1), which says OK or FAIL to PLAIN.

Which users there are only its master protocol tells: here they are known once their password was right.
"""

import asyncio
import base64
import itertools
import os

from tubepost.common.config import Config

from tubepost.services.auth.backends.base import WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.backends.sockets import Daemon, socket_path
from tubepost.services.auth.hashing import Hasher

_HANDSHAKE_LINES = 200
_SERVICES = {"sieve": "managesieve"}


class DovecotAuth(Backend):
    has_users = False

    def __init__(self, path: str) -> None:
        self.name = f"dovecot:{path}"
        self._daemon = Daemon(self.name, path)
        self._numbers = itertools.count(1)

    async def verify(self, name: str, password: str, context: Context) -> Result:
        if "\0" in name or "\0" in password:
            return WRONG

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Result:
            # Version 1.3's server waits for ours before it says more; older ones do not mind.
            writer.write(f"VERSION\t1\t1\nCPID\t{os.getpid()}\n".encode())
            await self._handshake(reader)
            number = next(self._numbers)
            plain = f"\0{name}\0{password}".encode("utf-8", "surrogateescape")
            words = ["AUTH", str(number), "PLAIN", f"service={_SERVICES.get(context.scope, context.scope)}", "secured"]
            # Guessing is slowed down here; Dovecot must not do it once more.
            words += ["no-penalty", *([f"rip={context.client}"] if context.client else [])]
            words += [*([f"lip={context.local}"] if context.local else []), f"resp={base64.b64encode(plain).decode()}"]
            writer.write(("\t".join(words) + "\n").encode())
            await writer.drain()
            while True:
                answer = (await reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip("\n").split("\t")
                if answer[1:2] == [str(number)]:
                    return self._result(name, answer)

        return await self._daemon.ask(talk)

    async def _handshake(self, reader: asyncio.StreamReader) -> None:
        for _ in range(_HANDSHAKE_LINES):
            line = (await reader.readuntil(b"\n")).rstrip(b"\n").split(b"\t")
            if line[0] == b"VERSION" and line[1:2] != [b"1"]:
                raise Unavailable(f"{self.name} speaks another version of the protocol")
            if line[0] == b"DONE":
                return
        raise Unavailable(f"{self.name}: the handshake does not end")

    def _result(self, name: str, answer: list[str]) -> Result:
        """Raises Unavailable."""
        if answer[0] == "OK":
            told = dict(word.partition("=")[::2] for word in answer[2:])
            return Result(Verdict.RIGHT, Account(told.get("user", "") or name))
        if answer[0] != "FAIL":
            raise Unavailable(f"{self.name} asks for more, with PLAIN")
        words = answer[2:]
        if "temp" in words or "code=temp_fail" in words:
            raise Unavailable(f"{self.name} says that it cannot tell now")
        if "user_disabled" in words or "code=user_disabled" in words:
            return Result(Verdict.DISABLED)
        if "pass_expired" in words or "code=pass_expired" in words:
            return Result(Verdict.EXPIRED)
        return WRONG


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    return DovecotAuth(socket_path(argument))
