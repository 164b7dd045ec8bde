"""What happens when every slot of a service is taken: who makes way, who gets the slot, who is turned away.

A process that the master has told so takes new clients into a waiting room. There each costs a descriptor, no session.
A session whose client has proven nothing yet (nobody logged in, no recipient named) and is silent makes way for one of
them; where there is none, who waits is told after a while to come again later. Addresses are treated alike: the one
with the most slots gives one up first, the one with the fewest gets one first. So a client that comes from elsewhere
gets through however many connections others hold. Time is an argument of all choices.
"""

import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from tubepost.common.mail.network import network_of

# Octets of what a client has said already that are read before it is turned away, so that it hears why.
_DRAIN = 4096
# Of the slots of a process this part may change hands at one moment: 1 / _PORTIONS.
_PORTIONS = 10
# By this part the grace is less when the waiting room is full.
_HASTE = 0.8


class Guest(Protocol):
    """A session, as far as it may have to make way."""

    @property
    def address(self) -> str:
        """Of the client."""

    @property
    def idle(self) -> tuple[int, float] | None:
        """(0 for one that has proven nothing since it came, 1 for one that has done its work and stays; the time of the
        event loop since which the server waits for its client). None: it may not be ended now.
        """

    def make_way(self) -> None:
        """Tell the client to come again later, and end."""


def pick_victim(guests: Iterable[Guest], now: float, grace: float, haste: float | None = None) -> Guest | None:
    """Who has to make way: of those who were silent for longer than ``grace`` seconds, first who has proven nothing,
    first from the address with the most sessions, first the longest silent. None: nobody.

    ``haste``: a shorter time, for all but the addresses with less than their share of the sessions: who comes from one
    of those may only be far away, and is given the whole of it.
    """
    guests = tuple(guests)
    held = Counter(network_of(guest.address) for guest in guests)
    silent = []
    for guest in guests:
        idle = guest.idle
        if idle is None:
            continue
        network = network_of(guest.address)
        few = held[network] * len(held) < len(guests)
        if now - idle[1] >= (grace if few or haste is None else haste):
            silent.append((idle[0], network, idle[1], guest))
    if not silent:
        return None
    return min(silent, key=lambda found: (found[0], -held[found[1]], found[2]))[3]


class Pace:
    """How many may be told to make way, and after how long a silence: ``grace`` seconds, less the fuller the room is.

    All slots change hands once in that time at most, a few at each moment: were they all given away at once, whoever
    came next would find nobody who had been silent for long enough.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._burst = max(1.0, slots / _PORTIONS)
        self._due = self._burst
        self._then = 0.0

    def take(self, now: float, grace: float) -> bool:
        """May one more be told to make way?"""
        if grace > 0:
            self._due = min(self._due + (now - self._then) * self._slots / grace, self._burst)
            self._then = now
            if self._due < 1:
                return False
            self._due -= 1
        return True


def grace_of(grace: float, waiting: int, limit: int) -> float:
    """How long a silence is borne while so many wait in a room for ``limit``."""
    return grace * (1 - _HASTE * min(waiting / limit, 1.0))


@dataclass(slots=True, eq=False)
class Waiting:
    """A connection that has no slot yet. ``came``: time of the event loop."""

    connection: socket.socket
    address: str
    came: float
    begin: Callable[[], None]
    """It has a slot: let the session begin."""

    @property
    def network(self) -> str:
        return network_of(self.address)


class Room:
    """Who waits, in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, waiting: Waiting) -> Waiting | None:
        """Returns who has to go for it, which may be itself: the last one of the address that has the most here."""
        self._waiting.append(waiting)
        if len(self._waiting) <= self.limit:
            return None
        here = Counter(one.network for one in self._waiting)
        most = max(here.values())
        gone = next(one for one in reversed(self._waiting) if here[one.network] == most)
        self._waiting.remove(gone)
        return gone

    def next(self, held: Counter[str]) -> Waiting | None:
        """Who gets a slot: the first one of the network with the fewest slots (``held``)."""
        if not self._waiting:
            return None
        chosen = min(self._waiting, key=lambda one: held[one.network])
        self._waiting.remove(chosen)
        return chosen

    def late(self, before: float) -> list[Waiting]:
        """Take out those who came before then."""
        late = [one for one in self._waiting if one.came <= before]
        if late:
            self._waiting = [one for one in self._waiting if one.came > before]
        return late

    def all(self) -> list[Waiting]:
        """Take out all."""
        everybody, self._waiting = self._waiting, []
        return everybody


def turn_away(connection: socket.socket, words: bytes) -> None:
    """Say these last words on a connection that nothing was said on yet, and close it."""
    try:
        connection.setblocking(False)
        if words:
            try:
                # Closed with unread input, a connection is reset, and the client may not hear what it was told.
                connection.recv(_DRAIN)
            except BlockingIOError:
                pass
            connection.send(words)
            connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        connection.close()
