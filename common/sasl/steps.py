"""What a server's machine asks of its driver, and how it ends. Pure.

step = machine.begin(initial)
Challenge        -> send it, then machine.respond(what came back)
VerifyPassword … -> find out, then machine.verified(answer)
Accepted, Rejected: the end
"""

from typing import Literal, NamedTuple


class Challenge(NamedTuple):
    data: bytes


class VerifyPassword(NamedTuple):
    """Answer: bool. ``authzid``: who is to be acted as; empty: the login itself."""

    login: str
    password: str
    authzid: str


class NeedKeys(NamedTuple):
    """Answer: text, or None where there is no such user or no such key.

    ``scheme``: ``PLAIN`` (the password itself), ``SCRAM-SHA-1`` or ``SCRAM-SHA-256`` (RFC 5803's text).
    """

    login: str
    scheme: str
    authzid: str


class VerifyToken(NamedTuple):
    """Answer: the login that the token is of, or None. ``authzid``: as whom the client wants to act, or empty."""

    token: str
    authzid: str


class VerifyExternal(NamedTuple):
    """Answer: the login that the outside (a certificate) tells, or None."""

    authzid: str


class Accepted(NamedTuple):
    """``data``: the mechanism's last word, to be sent with the success; None: there is none."""

    login: str
    authzid: str
    data: bytes | None = None


class Rejected(NamedTuple):
    """``text`` is for the log, and says of a protocol error what was wrong."""

    cause: Literal["credentials", "protocol"]
    text: str


Question = VerifyPassword | NeedKeys | VerifyToken | VerifyExternal
Answer = bool | str | None
Step = Challenge | Question | Accepted | Rejected

WRONG = Rejected("credentials", "authentication failed")


class Server:
    """Base of the machines. Each step is right in one state only; a driver that errs gets RuntimeError."""

    __slots__ = ()
    name = ""

    def begin(self, initial: bytes | None) -> Step:
        """``initial``: the initial response; None: there was none, empty: one of no bytes."""
        raise NotImplementedError

    def respond(self, data: bytes) -> Step:
        raise RuntimeError(f"{self.name} had sent no challenge")

    def verified(self, answer: Answer) -> Step:
        raise RuntimeError(f"{self.name} had asked nothing")


def protocol_error(text: str) -> Rejected:
    return Rejected("protocol", text)


class ExchangeError(Exception):
    """A client's machine gives up: the server sent what the mechanism does not allow, or did not prove itself."""


class Client:
    """Base of a client's machines."""

    __slots__ = ()
    name = ""
    sends_password = False
    """The server, and whoever listens, gets to know the password."""

    def start(self) -> bytes | None:
        """The initial response; None: the server speaks first."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """The answer. Raises ExchangeError."""
        raise ExchangeError(f"{self.name}: the server sent a challenge that it must not send")

    def finish(self, data: bytes | None) -> None:
        """The server said success, with this last word or without one. Raises ExchangeError: do not believe it."""
