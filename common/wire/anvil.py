"""anvil/1: counters of connections and rates per (service, client), shared by all smtpd processes.

Counts are within ``anvil_rate_time_unit``; anvil forgets a client that is idle. A caller that dies has its
connections taken back when its bus connection ends.
"""

from typing import Literal

from tubepost.common.wire.base import Done, Message

PROTOCOL = "anvil/1"


class Connect(Message):
    """A client connected. Answered by Counts."""

    service: str
    client: str


class Disconnect(Message):
    """One-way."""

    service: str
    client: str


class Count(Message):
    """Count one event and say the rate. Answered by Counts."""

    service: str
    client: str
    event: Literal["message", "recipient", "newtls", "auth", "lookup"]


class Counts(Message):
    """connections: now open. rate: connections, or the events asked for, in this time unit."""

    connections: int
    rate: int


__all__ = ["PROTOCOL", "Connect", "Count", "Counts", "Disconnect", "Done"]
