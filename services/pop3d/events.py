"""What the machine tells its driver: one value an event. Pure.

After those marked *asks* the driver says how it went (``logged_in``, ``challenge``, ``fail``, ``bye`` …) before it asks
for the next event.
"""

from typing import NamedTuple


class Login(NamedTuple):
    """Asks. USER and PASS."""

    name: str
    password: str


class Apop(NamedTuple):
    """Asks. RFC 1939 7; ``digest`` as sent."""

    name: str
    digest: str


class Auth(NamedTuple):
    """Asks. RFC 5034 4. ``initial``: None where there is no initial response."""

    mechanism: str
    initial: bytes | None


class AuthResponse(NamedTuple):
    """Asks. To a challenge."""

    data: bytes


class AuthAbandoned(NamedTuple):
    """The client gave up, or sent what cannot be a response; it was told."""


class StartTls(NamedTuple):
    """Asks: the driver replies, begins TLS and calls ``secured``; or ``fail``."""


class Retrieve(NamedTuple):
    """The driver replies: the whole message (``lines`` None), or its header and so many lines of its body.

    ``place``: in the maildrop, from 0.
    """

    place: int
    lines: int | None


class Quit(NamedTuple):
    """Asks. In the TRANSACTION state: what is marked in the maildrop is to be removed, then ``bye``."""


class Full(NamedTuple):
    """Much was said since the last one: send it, and wait until the client has taken most of it."""


class Hangup(NamedTuple):
    """Send what is to be sent and close. ``reason`` is for the log; empty where the client took its leave."""

    reason: str = ""


Event = Login | Apop | Auth | AuthResponse | AuthAbandoned | StartTls | Retrieve | Quit | Full | Hangup
