"""The rewrite service as its callers see it: rewrite and resolve, with a bounded, short-lived cache.

Questions of one loop turn travel in one ``Batch``; the same question asked twice travels once. An address that is
plainly in standard form already (``local@sub.domain`` without quotes, percent or bang) is never asked to be rewritten:
no setting of rewriting touches it.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Literal, TypeVar

from tubepost.common.mail.addresslist import is_text
from tubepost.common.wire.rewrite import Answers, Batch, Resolve, Resolved, Rewrite
from tubepost.common.bus.client import Client
from tubepost.common.bus.errors import BusError, Unavailable

Context = Literal["local", "remote"]
T = TypeVar("T")
Question = tuple[str, str, bool]
"""Of ``resolve``: sender, address, whether for a probe."""

# A dot in the domain (append_dot_mydomain), none at its end; a Dot-string without %, ! and what would be quoted.
_STANDARD = re.compile(
    r"[A-Za-z0-9_+=#$&'*/?^`{|}~-]++(?:\.[A-Za-z0-9_+=#$&'*/?^`{|}~-]++)*+"
    r"@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++"
)
# Of one Batch; more questions go in several.
_BATCH = 100


class _Cache(Generic[T]):
    """At most ``size`` answers, the least recently used leaves first; none is older than ``ttl`` seconds."""

    __slots__ = ("_clock", "_entries", "_size", "_ttl")

    def __init__(self, size: int, ttl: float, clock: Callable[[], float]) -> None:
        self._entries: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._size = size
        self._ttl = ttl
        self._clock = clock

    def get(self, key: Hashable) -> T | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] < self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Hashable, value: T) -> None:
        entries, now = self._entries, self._clock()
        entries[key] = (now + self._ttl, value)
        entries.move_to_end(key)
        if len(entries) > self._size:
            entries.popitem(last=False)
        # What is too old serves nobody: so many addresses take no more than those of the last half minute.
        while next(iter(entries.values()))[0] < now:
            entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class RewriteClient:
    """One a process. All methods raise BusError (Unavailable and kin): try again later."""

    def __init__(
        self,
        client: Client,
        *,
        ttl: float = 30.0,
        size: int = 4096,
        by_sender: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``client``: of private/rewrite. ``ttl`` in seconds, ``size`` in answers of each kind.

        ``by_sender`` False: no sender_dependent_* parameter is set, so answers to ``resolve`` hold for all senders.
        """
        self._client = client
        self._by_sender = by_sender
        self._rewritten: _Cache[str] = _Cache(size, ttl, clock)
        self._resolved: _Cache[Resolved] = _Cache(size, ttl, clock)
        self._rewrites: dict[tuple[str, str], asyncio.Future[str]] = {}
        self._resolves: dict[Question, asyncio.Future[Resolved]] = {}
        self._waiting: tuple[list[tuple[str, str]], list[Question]] = ([], [])
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def rewrite(self, context: Context, address: str) -> str:
        """The standard form of an address (external form, without angle brackets)."""
        known = self.known(context, address)
        return known if known is not None else await asyncio.shield(self._ask_rewrite(context, address))

    async def rewrite_all(self, context: Context, addresses: Sequence[str]) -> list[str]:
        """Several addresses, in order, with one question at most."""
        if all(map(_STANDARD.fullmatch, addresses)):
            return list(addresses)
        results = [self.known(context, address) for address in addresses]
        asked = [
            (index, self._ask_rewrite(context, addresses[index]))
            for index, result in enumerate(results)
            if result is None
        ]
        for index, future in asked:
            results[index] = await asyncio.shield(future)
        return [result for result in results if result is not None]

    def known(self, context: Context, address: str) -> str | None:
        """The answer without asking, or None."""
        if not address or _STANDARD.fullmatch(address):
            return address
        return self._rewritten.get((context, address))

    async def resolve(self, sender: str, address: str, probe: bool = False) -> Resolved:
        """Transport, next hop, recipient and class for mail from ``sender`` to ``address``.

        ``probe``: of address verification, for which the address_verify_… parameters count.
        """
        known = self.known_route(sender, address, probe)
        return known if known is not None else await asyncio.shield(self._ask_resolve(sender, address, probe))

    async def resolve_all(self, sender: str, addresses: Sequence[str], probe: bool = False) -> list[Resolved]:
        """Several recipients, in order."""
        results = [self.known_route(sender, address, probe) for address in addresses]
        asked = [
            (index, self._ask_resolve(sender, addresses[index], probe))
            for index, result in enumerate(results)
            if result is None
        ]
        for index, future in asked:
            results[index] = await asyncio.shield(future)
        return [result for result in results if result is not None]

    def known_route(self, sender: str, address: str, probe: bool = False) -> Resolved | None:
        """The answer to ``resolve`` without asking, or None."""
        return self._resolved.get((sender if self._by_sender else "", address, probe))

    def _ask_rewrite(self, context: Context, address: str) -> "asyncio.Future[str]":
        key = (context, address)
        future = self._rewrites.get(key)
        if future is None:
            _need_text(address)
            future = self._rewrites[key] = asyncio.get_running_loop().create_future()
            self._waiting[0].append(key)
            self._schedule()
        return future

    def _ask_resolve(self, sender: str, address: str, probe: bool) -> "asyncio.Future[Resolved]":
        key = (sender if self._by_sender else "", address, probe)
        future = self._resolves.get(key)
        if future is None:
            _need_text(sender)
            _need_text(address)
            future = self._resolves[key] = asyncio.get_running_loop().create_future()
            self._waiting[1].append(key)
            self._schedule()
        return future

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            # Not at once: the questions of this loop turn go together.
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        (rewrites, resolves), self._waiting = self._waiting, ([], [])
        for place in range(0, max(len(rewrites), len(resolves)), _BATCH):
            task = asyncio.get_running_loop().create_task(
                self._exchange(rewrites[place : place + _BATCH], resolves[place : place + _BATCH])
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _exchange(self, rewrites: list[tuple[str, str]], resolves: list[Question]) -> None:
        batch = Batch(
            rewrites=tuple(Rewrite(context=_context(context), address=address) for context, address in rewrites),
            resolves=tuple(Resolve(sender=sender, address=address, probe=probe) for sender, address, probe in resolves),
        )
        try:
            answers = await self._client.call(batch, Answers)
            if len(answers.rewrites) != len(rewrites) or len(answers.resolves) != len(resolves):
                raise Unavailable("the rewrite service answered other questions than it was asked")
        except BusError as error:
            self._fail(rewrites, resolves, error)
            return
        except asyncio.CancelledError:
            self._fail(rewrites, resolves, Unavailable("this process is ending"))
            raise
        except Exception as error:
            # Whatever it is, nobody may wait for ever.
            self._fail(rewrites, resolves, Unavailable(f"the rewrite service cannot be asked: {error}"))
            return
        for key, rewritten in zip(rewrites, answers.rewrites, strict=True):
            self._rewritten.put(key, rewritten.address)
            _settle(self._rewrites.pop(key), rewritten.address)
        for question, resolved in zip(resolves, answers.resolves, strict=True):
            # What could not be told now is asked anew the next time.
            if resolved.error != "table_failure":
                self._resolved.put(question, resolved)
            _settle(self._resolves.pop(question), resolved)

    def _fail(self, rewrites: list[tuple[str, str]], resolves: list[Question], error: BusError) -> None:
        for key in rewrites:
            _break(self._rewrites.pop(key), error)
        for question in resolves:
            _break(self._resolves.pop(question), error)


def _need_text(address: str) -> None:
    """What cannot be sent would take the other questions of its batch with it. Raises Unavailable."""
    if not is_text(address):
        raise Unavailable(f"{address!a} is not UTF-8")


def _context(name: str) -> Context:
    return "local" if name == "local" else "remote"


def _settle(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)


def _break(future: "asyncio.Future[T]", error: BusError) -> None:
    if not future.done():
        future.set_exception(error)
        # Nobody may be left to look at it.
        future.exception()
