"""auth/1: who is it, and where is their mailbox? Only the auth program knows passwords; everybody else asks it.

A SASL exchange (RFC 4422) is a ``Begin`` and as many ``Continue`` as the mechanism wants, all on one connection; the
auth program holds its state under the caller's number until it succeeds, fails, is cancelled, or takes longer than
``auth_exchange_timeout``.
"""

from typing import Annotated, Literal

from pydantic import Field

from tubepost.common.wire.base import Done, Kept, Message, Refused

PROTOCOL = "auth/1"

Scope = Literal["smtp", "imap", "pop3", "lmtp", "sieve", "web"]
"""What is asked for: application passwords are limited to some of these."""

Cause = Literal[
    "credentials", "disabled", "expired", "plaintext", "mechanism", "protocol", "scope", "delayed", "temporary"
]
"""Why it failed. ``delayed``: too many failures lately; ``temporary``: cannot tell now."""


class Mechanisms(Message):
    """Which mechanisms may this connection use? Answered by Offer."""

    scope: Scope
    tls: bool
    client: str
    """The client's address, numeric."""
    binding: bool = False
    """The connection can do channel binding (tls-server-end-point)."""
    certificate: bool = False
    """The client showed a certificate that was verified (EXTERNAL)."""


class Offer(Message):
    """In the order in which they are to be announced. Empty: no password may be sent on this connection."""

    mechanisms: tuple[str, ...]


class Begin(Message):
    """Answered by Challenge, Success or Failure."""

    exchange: int
    """The caller's own number for it."""
    scope: Scope
    service: Kept
    """The caller's name in master.cf, for the log."""
    mechanism: str
    initial: bytes | None = None
    """The initial response; empty is one of no bytes (``=``), None is none."""
    client: Kept
    client_name: Kept = ""
    local: Kept = ""
    tls: bool
    certificate_name: str = ""
    """The name in the client's verified certificate."""
    binding: Annotated[bytes, Field(max_length=512)] = b""
    """RFC 5929 4: the tls-server-end-point data, empty where there is none."""


class Continue(Message):
    """The client's answer to a challenge; None: it gave up (``*``). Answered as Begin."""

    exchange: int
    data: bytes | None


class Forget(Message):
    """One-way: the client of this exchange is gone."""

    exchange: int


class Challenge(Message):
    data: bytes


class User(Message):
    """An account as the other programs need it."""

    name: str
    """The account, in its one spelling: ``alice@example.test``, or ``alice`` for a user of this system."""
    home: str = ""
    mailbox: str
    """The Maildir, absolute."""
    uid: int = -1
    gid: int = -1
    """Whose files they are; -1: of whoever asks."""
    quota_bytes: int = 0
    quota_messages: int = 0
    """0: no limit."""


class Success(Message):
    """``data``: the mechanism's last word to the client, for the reply that tells success (None: there is none)."""

    user: User
    data: bytes | None = None
    login: str = ""
    """The name that was authenticated, when it is a master user who acts as ``user``."""


class Failure(Message):
    """``text``: for the peer, and says nothing that helps to guess."""

    cause: Cause
    text: str


class Lookup(Message):
    """Is there such an account? ``name`` as in an address, also with an extension. Answered by User or Refused."""

    name: str
    scope: Scope


__all__ = [
    "PROTOCOL",
    "Begin",
    "Cause",
    "Challenge",
    "Continue",
    "Done",
    "Failure",
    "Forget",
    "Lookup",
    "Mechanisms",
    "Offer",
    "Refused",
    "Scope",
    "Success",
    "User",
]
