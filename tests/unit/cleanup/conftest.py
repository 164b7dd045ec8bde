"""A policy whose tables are dicts, and messages to try it on."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from tubepost.common.wire.cleanup import Deposit
from tubepost.common.wire.envelope import Envelope, Origin, Recipient

from tubepost.services.cleanup.policy import AddressMap, Check, Expand, Policy
from tubepost.services.cleanup.protocol import Message

T = TypeVar("T")


class Kit:
    """What the tests of cleanup are made with."""

    @staticmethod
    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    @staticmethod
    async def rewrite(context: str, addresses: Sequence[str]) -> list[str]:
        domain = "local.example" if context == "local" else "remote.example"
        return [address if "@" in address or not address else f"{address}@{domain}" for address in addresses]

    def policy(self, **changes: Any) -> Policy:
        return Policy(rewrite=self.rewrite, hostname="mx.example", **changes)

    @staticmethod
    def table(entries: Mapping[str, list[str]]) -> Expand:
        async def expand(address: str) -> list[str] | None:
            return entries.get(address.lower())

        return expand

    def address_map(self, entries: Mapping[str, list[str]], *classes: str, title: str = "canonical_maps") -> AddressMap:
        return AddressMap(title, self.table(entries), frozenset(classes))

    @staticmethod
    def check(entries: Mapping[str, str] | Callable[[str], str | None], title: str = "header_checks") -> Check:
        async def lookup(text: str) -> str | None:
            if callable(entries):
                return entries(text)
            return next((value for key, value in entries.items() if key in text), None)

        return Check(title, lookup)

    @staticmethod
    def deposit(**changes: Any) -> Deposit:
        origin = Origin(client_name="c.example", client_address="192.0.2.1", helo="c", protocol="ESMTP")
        settings: dict[str, Any] = {
            "envelope": Envelope(sender="s@a.example", arrival_time=1795544452.0, origin=origin),
            "recipients": (Recipient(address="r@b.example"),),
            "source": "smtpd",
        }
        return Deposit(**{**settings, **changes})

    def message(self, **changes: Any) -> Message:
        return Message("4QID", self.deposit(**changes))


@pytest.fixture
def kit() -> Kit:
    return Kit()
