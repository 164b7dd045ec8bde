"""``authdaemond:SOCKET``: Courier's authdaemond: a counted block of lines out; ``NAME=value`` lines, or FAIL, back.

It tells home, mailbox, ids and quota, and with PRE whether there is a user.
"""

import asyncio

from tubepost.common.accounts.names import fold_name
from tubepost.common.config import Config

from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.backends.sockets import Daemon, socket_path
from tubepost.services.auth.hashing import Hasher

_LINES = 200
_SERVICES = {"sieve": "imap", "web": "imap", "lmtp": "imap"}


class Authdaemond(Backend):
    def __init__(self, path: str) -> None:
        self.name = f"authdaemond:{path}"
        self._daemon = Daemon(self.name, path)

    async def verify(self, name: str, password: str, context: Context) -> Result:
        if not name.isprintable() or "\n" in password:
            return WRONG
        service = _SERVICES.get(context.scope, context.scope)
        block = f"{service}\nlogin\n{name}\n{password}\n".encode("utf-8", "surrogateescape")
        answer = await self._ask(b"AUTH %d\n%s" % (len(block), block))
        if answer is not None:
            return Result(Verdict.RIGHT, _account(name, answer))
        # FAIL says neither whether there is such a user.
        return UNKNOWN if await self.user(name) is None else WRONG

    async def user(self, name: str) -> Account | None:
        if not name.isprintable() or " " in name:
            return None
        answer = await self._ask(f"PRE . imap {name}\n".encode("utf-8", "surrogateescape"))
        return _account(name, answer) if answer is not None else None

    async def _ask(self, question: bytes) -> dict[str, str] | None:
        """None: FAIL. Raises Unavailable."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str] | None:
            writer.write(question)
            await writer.drain()
            found: dict[str, str] = {}
            for _ in range(_LINES):
                line = (await reader.readuntil(b"\n")).decode("utf-8", "surrogateescape").rstrip("\n")
                if line == ".":
                    return found
                if line == "FAIL":
                    return None
                key, _, value = line.partition("=")
                found[key] = value
            raise Unavailable(f"{self.name}: the answer does not end")

        return await self._daemon.ask(talk)


def _account(name: str, answer: dict[str, str]) -> Account:
    home = answer.get("HOME", "")
    mailbox = answer.get("MAILDIR", "")
    if mailbox and not mailbox.startswith("/"):
        mailbox = f"{home}/{mailbox}"
    if not mailbox and home:
        # Courier's default below the home.
        mailbox = f"{home}/Maildir"
    bytes_, messages = _quota(answer.get("QUOTA", ""))
    return Account(
        fold_name(answer.get("ADDRESS", "") or name),
        home,
        f"{mailbox.rstrip('/')}/" if mailbox else "",
        _number(answer.get("UID", "")),
        _number(answer.get("GID", "")),
        bytes_,
        messages,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1


def _quota(text: str) -> tuple[int, int]:
    """Courier's ``10000000S,1000C``."""
    bytes_ = messages = 0
    for part in text.split(","):
        if part.isascii() and part[:-1].isdigit():
            if part.endswith("S"):
                bytes_ = int(part[:-1])
            elif part.endswith("C"):
                messages = int(part[:-1])
    return bytes_, messages


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    return Authdaemond(socket_path(argument or "/var/run/courier/authdaemon/socket"))
