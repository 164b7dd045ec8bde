"""What a backend is: a place where users, or their passwords, are known."""

import enum
from dataclasses import dataclass

from tubepost.common.wire.auth import Scope


class Unavailable(Exception):
    """The backend cannot tell now; one line of plain English that names it."""


class Verdict(enum.Enum):
    RIGHT = "right"
    WRONG = "wrong password"
    UNKNOWN = "unknown user"
    """The next backend is asked."""
    DISABLED = "the account is disabled"
    """The password was right."""
    EXPIRED = "the password or the account has expired"
    SCOPE = "the application password is not for this"


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks."""

    scope: Scope
    service: str = ""
    client: str = ""
    local: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """A user as a backend knows it. What is empty, or -1, is filled in by ``users``."""

    name: str
    home: str = ""
    mailbox: str = ""
    """Absolute, or below virtual_mailbox_base."""
    uid: int = -1
    gid: int = -1
    quota_bytes: int = 0
    quota_messages: int = 0
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """``account``: what the backend knows of the user; None: nothing but the password."""

    verdict: Verdict
    account: Account | None = None
    note: str = ""
    """For the log: which application password."""
    whole: bool = False
    """``account`` is all that ``user`` of this backend would tell: it need not be asked again."""


UNKNOWN = Result(Verdict.UNKNOWN)
WRONG = Result(Verdict.WRONG)


class Backend:
    """Subclasses know one kind of place."""

    name = ""
    """As in auth_backends."""
    has_scram = False
    has_clear = False
    """It may have passwords in clear."""
    has_users = True
    """It can be asked whether a user exists."""
    has_passwords = True
    worn = False
    """Threads of it hang for good: a new process is to take over."""

    async def open(self) -> None:
        """Raises Unavailable only where it can never work (a missing library): what is down now is asked later."""

    async def close(self) -> None:
        pass

    async def tend(self) -> None:
        """Every ten seconds."""

    async def verify(self, name: str, password: str, context: Context) -> Result:
        """Raises Unavailable."""
        return UNKNOWN

    async def keys(self, name: str, scheme: str) -> str | None:
        """See sasl.steps.NeedKeys. Raises Unavailable."""
        return None

    async def user(self, name: str) -> Account | None:
        """Raises Unavailable."""
        return None

    async def has_last_word(self, name: str) -> bool:
        """Would ``verify`` say anything but UNKNOWN of this user? Raises Unavailable."""
        return not self.has_users or await self.user(name) is not None
