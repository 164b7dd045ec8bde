"""What the machine tells its driver: one value an event. Pure."""

from typing import NamedTuple


class Recipient(NamedTuple):
    """Asks: ``accept`` or ``refuse``."""

    address: str


class Begin(NamedTuple):
    """Content is about to come."""


class Content(NamedTuple):
    """A piece of it, with LF line ends."""

    data: bytes


class End(NamedTuple):
    """Asks: ``finished`` with one reply for each recipient. ``size``: octets, a line end is two."""

    size: int


class Lost(NamedTuple):
    """The transaction ended without a message: what the driver holds of it is to be forgotten."""


class StartTls(NamedTuple):
    """Asks: the driver replies, begins TLS and calls ``secured``; or ``refuse``."""


class Hangup(NamedTuple):
    """Send what is to be sent and close. ``reason`` is for the log; empty where the client took its leave."""

    reason: str = ""


Event = Recipient | Begin | Content | End | Lost | StartTls | Hangup
