"""What a server program asks auth: which mechanisms a connection may use, and one exchange after the other.

A program does so::

    self.auth = Authenticator(process, "imap")         # in open()
    mechanisms = await self.auth.offer(asker)          # for CAPABILITY
    exchange = self.auth.exchange(asker)
    answer = await exchange.begin(mechanism, initial)  # Challenge, Success or Failure
    answer = await exchange.go_on(data)                # until it is no Challenge
    exchange.abandon()                                 # the client went away
"""

import time
from dataclasses import dataclass, field
from typing import cast

from tubepost.common.wire import auth
from tubepost.common.system import log
from tubepost.common.bus.client import Talk
from tubepost.common.bus.errors import BusError
from tubepost.common.skeleton.process import Process

# What may be offered depends on configuration alone, and that changes with a reload, which makes new processes.
_OFFER_LIFETIME = 60.0
_OFFERS_LIMIT = 4096
# An answer may be held back by auth to slow down who guesses, seconds.
_DEADLINE = 60.0
# The client waits for its greeting meanwhile: better no AUTH than no answer.
_OFFER_DEADLINE = 10.0

Answer = auth.Challenge | auth.Success | auth.Failure
_UNAVAILABLE = auth.Failure(cause="temporary", text="Temporary authentication failure")


@dataclass(slots=True)
class Asker:
    """The connection that is asked for. ``binding``: tls-server-end-point data, empty where there is none."""

    address: str
    name: str = ""
    local: str = ""
    tls: bool = False
    binding: bytes = b""
    certificate_name: str = ""
    """In the client's verified certificate."""


class Exchange:
    """One try of a client."""

    __slots__ = ("_asker", "_authenticator", "_number", "_open", "_talk")

    def __init__(self, authenticator: "Authenticator", asker: Asker, number: int) -> None:
        self._authenticator = authenticator
        self._asker = asker
        self._number = number
        self._talk: Talk | None = None
        self._open = False

    async def begin(self, mechanism: str, initial: bytes | None) -> Answer:
        """``initial``: the initial response, None: there is none. Never raises: trouble is a Failure, temporary."""
        asker, owner = self._asker, self._authenticator
        self._talk = owner.process.client(owner.service).talk()
        return await self._ask(
            auth.Begin(
                exchange=self._number,
                scope=owner.scope,
                service=owner.process.name,
                mechanism=mechanism,
                initial=initial,
                client=asker.address,
                client_name=asker.name,
                local=asker.local,
                tls=asker.tls,
                certificate_name=asker.certificate_name,
                binding=asker.binding,
            )
        )

    async def go_on(self, data: bytes | None) -> Answer:
        """The client's answer to a challenge; None: it gave up."""
        return await self._ask(auth.Continue(exchange=self._number, data=data))

    def abandon(self) -> None:
        """The client is gone."""
        if self._open and self._talk is not None:
            self._open = False
            self._talk.tell(auth.Forget(exchange=self._number))

    async def _ask(self, message: auth.Begin | auth.Continue) -> Answer:
        assert self._talk is not None
        self._open = True
        try:
            answer = await self._talk.ask(
                message, auth.Challenge, auth.Success, auth.Failure, deadline=self._authenticator.deadline
            )
        except BusError as error:
            self._open = False
            log.warning(f"cannot ask {self._authenticator.service} who {self._asker.address} is: {error}")
            return _UNAVAILABLE
        self._open = isinstance(answer, auth.Challenge)
        return cast("Answer", answer)


@dataclass(slots=True)
class Authenticator:
    """One a program. ``scope``: what accounts are asked for."""

    process: Process
    scope: auth.Scope
    service: str = ""
    deadline: float = _DEADLINE
    _offers: dict[tuple[str, bool, bool, bool], tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self.service = self.service or self.process.config.auth_service_name

    def exchange(self, asker: Asker) -> Exchange:
        """A new one, with a number of its own."""
        self._number = self._number % 0x7FFFFFFF + 1
        return Exchange(self, asker, self._number)

    def known_offer(self, asker: Asker) -> tuple[str, ...] | None:
        """``offer`` answered from memory, or None."""
        found = self._offers.get(_key(asker))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    async def offer(self, asker: Asker) -> tuple[str, ...]:
        """The mechanisms for this connection, in the order in which they are to be announced. When auth cannot be asked
        what it said before; else none.
        """
        known = self.known_offer(asker)
        if known is not None:
            return known
        key = _key(asker)
        question = auth.Mechanisms(
            scope=self.scope,
            tls=asker.tls,
            client=asker.address,
            binding=bool(asker.binding),
            certificate=bool(asker.certificate_name),
        )
        try:
            offer = await self.process.client(self.service).call(question, auth.Offer, deadline=_OFFER_DEADLINE)
        except BusError as error:
            log.warning(f"cannot ask {self.service} for mechanisms: {error}")
            found = self._offers.get(key)
            return found[1] if found is not None else ()
        if len(self._offers) >= _OFFERS_LIMIT:
            self._offers.clear()
        self._offers[key] = time.monotonic() + _OFFER_LIFETIME, offer.mechanisms
        return offer.mechanisms


def _key(asker: Asker) -> tuple[str, bool, bool, bool]:
    return asker.address, asker.tls, bool(asker.binding), bool(asker.certificate_name)
