"""anvil/1: counters shared by all processes of a service: connections and rates of smtpd's clients, users of imapd.

smtpd's counts are per (service, client), within ``anvil_rate_time_unit``; anvil forgets a client that is idle. What a
caller that dies had open is taken back when its bus connection ends.
"""

from typing import Annotated, Literal

from pydantic import Field

from tubepost.common.wire.base import Done, Message

PROTOCOL = "anvil/1"

NAME_LIMIT = 512
Name = Annotated[str, Field(max_length=NAME_LIMIT)]
"""What anvil counts by, and so keeps: of a service, a client, a user."""


class Connect(Message):
    """A client connected. Answered by Counts."""

    service: Name
    client: Name


class Disconnect(Message):
    """One-way."""

    service: Name
    client: Name


class Count(Message):
    """Count one event and say the rate. Answered by Counts."""

    service: Name
    client: Name
    event: Literal["message", "recipient", "newtls", "auth", "lookup"]


class Counts(Message):
    """connections: now open. rate: connections, or the events asked for, in this time unit."""

    connections: int
    rate: int


class Serves(Message):
    """The calling process now has so many connections of a user from one network. One-way, or answered by Total.

    Not how many more or less: so the next word puts right what was lost on the way, or by an anvil that died.
    """

    user: Name
    network: Name
    connections: int = Field(ge=0, le=1_000_000)


class Total(Message):
    """All connections of that user from there, to all processes of the calling program."""

    connections: int


__all__ = ["NAME_LIMIT", "PROTOCOL", "Connect", "Count", "Counts", "Disconnect", "Done", "Serves", "Total"]
