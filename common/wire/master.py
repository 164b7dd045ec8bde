"""All that a child inherits from the master, and what the two say to each other afterwards.

Plain dataclasses and JSON, not pydantic: the master imports as little as possible. One datagram of a SEQPACKET socket
pair is one ``Status`` (child to master) or one ``Order`` (master to child).
"""

import json
from dataclasses import dataclass
from typing import Literal, get_args


@dataclass(frozen=True, slots=True)
class Birth:
    """What a child is told at its start, by the template that forks it. Descriptors are open in the child."""

    service: str
    """Name in master.cf: ``smtp``, ``cleanup``, ``127.0.0.1:2525``."""
    program: str
    kind: Literal["inet", "unix", "unix-dgram"]
    path: str
    """Socket path below the queue directory (``private/cleanup``), where callers knock; empty for inet."""
    own_path: str
    """Of this worker alone, where its callers talk to it (``private/cleanup.7``); empty but for kind unix."""
    config_directory: str
    overrides: tuple[tuple[str, str], ...]
    """``-o name=value`` of master.cf, and ``stress=yes``."""
    arguments: tuple[str, ...]
    """Further words of the command column (pipe: flags= user= argv=)."""
    verbose: bool
    unprivileged: bool
    generation: int
    """Counts reloads."""
    sockets: tuple[int, ...] = ()
    """Listening descriptors: of ``path`` and ``own_path``, or of the addresses of an inet service."""
    control: int = -1
    flow: tuple[int, int] = (-1, -1)
    """Both ends of the in_flow_delay token pipe."""
    output: int = 1
    """Where the log program writes when maillog_file is /dev/stdout."""


@dataclass(frozen=True, slots=True)
class Status:
    """Sent when ``available`` changes, and at least every heartbeat_interval."""

    available: bool
    """More work is accepted; False: full, or leaving."""
    sessions: int
    served: int
    ready: bool = True
    leaving: bool = False
    note: str = ""

    def encode(self) -> bytes:
        return json.dumps(
            [self.available, self.sessions, self.served, self.ready, self.leaving, self.note], separators=(",", ":")
        ).encode()


Verb = Literal["stop", "wake", "stress-on", "stress-off", "hurry", "crowded", "roomy"]


@dataclass(frozen=True, slots=True)
class Order:
    """stop: finish what is under way, then end. wake: look for work. stress: on or off. hurry: end sessions now.
    crowded: no process of the service has room, and none may be added. roomy: that is over.
    """

    verb: Verb

    def encode(self) -> bytes:
        return self.verb.encode()


_VERBS: dict[str, Order] = {verb: Order(verb) for verb in get_args(Verb)}


def decode_status(data: bytes) -> Status:
    """Raises ValueError: children are not trusted to speak well."""
    try:
        fields = json.loads(data)
    except RecursionError:
        raise ValueError("not a status") from None
    match fields:
        case [bool(available), int(sessions), int(served), bool(ready), bool(leaving), str(note)]:
            return Status(available, sessions, served, ready, leaving, note[:200])
        case _:
            raise ValueError("not a status")


def decode_order(data: bytes) -> Order:
    """Raises ValueError."""
    order = _VERBS.get(data.decode("ascii", "replace"))
    if order is None:
        raise ValueError("not an order")
    return order


EXIT_CONFIG = 78
"""sysexits EX_CONFIG: a bad configuration, no use to try again soon."""
EXIT_BOOT = 3
"""The program failed before it served anything: it is started again only after service_throttle_time."""
STATUS_LIMIT = 1024
"""Largest datagram, bytes."""
