"""What a lookup table is: the interface that all types share, and what they may ask of the program that opens them.

A table maps a key to a value (Postfix: DATABASE_README). Tables on this machine are *immediate*: ``find`` answers
without waiting and costs a few microseconds. Others (tcp, socketmap, memcache, proxy …) answer through ``lookup``
only. ``lookup`` works for both.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tubepost.common.system import log

ProxyAsk = Callable[[str, str], Awaitable[str | None]]
"""``await ask("hash:/etc/aliases", key)``: the proxymap service's answer, None for no such key; raises TableError."""

ProxyWrite = Callable[[str, str, str | None], Awaitable[None]]
"""``await write("lmdb:/var/x", key, value)``; value None deletes the key."""


PATTERNED = frozenset({"cidr", "fail", "pcre", "randmap", "regexp", "socketmap", "tcp"})
"""Types that match patterns, for where there is only the name of a table to go by."""


class TableError(Exception):
    """The table cannot tell now: unreadable, unreachable, damaged, misconfigured. The caller defers; never 'not found'.

    ``str(error)`` is one line of plain English that names the table.
    """


class Table:
    """One open table. Subclasses override ``_find`` (immediate) or ``_ask`` (not immediate)."""

    __slots__ = ("fold", "kind", "name")

    patterned = False
    """True for tables that match patterns (regexp, cidr, tcp …): ask them whole keys only, no parts of an address."""
    immediate = True
    """True when ``find`` works: no waiting for a network or a disk that may be slow."""
    writable = False
    """True when ``update`` and ``delete`` work."""
    volatile = False
    """True when the same key may give another answer the next time by design (randmap)."""

    def __init__(self, kind: str, name: str, fold: bool = True) -> None:
        self.kind = kind
        self.name = name
        # Keys of exact tables are lower case since postmap folded them; patterns fold for themselves.
        self.fold = fold and not self.patterned

    @property
    def spec(self) -> str:
        return f"{self.kind}:{self.name}"

    def find(self, key: str) -> str | None:
        """The value of ``key``, None when there is none. Only for immediate tables. Raises TableError."""
        return self._find(key.casefold() if self.fold else key)

    async def lookup(self, key: str) -> str | None:
        """As ``find``, for every table."""
        if self.fold:
            key = key.casefold()
        if self.immediate:
            return self._find(key)
        return await self._ask(key)

    async def update(self, key: str, value: str) -> None:
        """Set a key. Raises TableError where the type is read-only."""
        raise TableError(f"{self.spec}: this type of table cannot be written to")

    async def delete(self, key: str) -> bool:
        """Remove a key; False when it was not there. Raises TableError where the type is read-only."""
        raise TableError(f"{self.spec}: this type of table cannot be written to")

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values as stored (postmap -s). Raises TableError where the type has no such thing."""
        raise TableError(f"table {self.spec}: sequence operation is not supported")

    def forbid_substitution(self) -> None:
        """Drop rules whose value takes text from the key (``$1``): not where a value may name a command or file."""

    def close(self) -> None:
        """Give back descriptors and connections; looking up afterwards is an error of the caller."""

    def _find(self, key: str) -> str | None:
        raise TableError(f"{self.spec}: this table answers over a connection: it must be awaited")

    async def _ask(self, key: str) -> str | None:
        return self._find(key)


@dataclass(slots=True)
class TableEnvironment:
    """What tables may need from the program that opens them, and the tables that it has open."""

    config_directory: str = ""
    accounts_directory: str = ""
    """Of the built-in accounts, for ``accounts:`` tables."""
    default_type: str = "hash"
    """For a spec without ``type:`` (default_database_type)."""
    proxy: ProxyAsk | None = None
    """Asks the proxymap service; without it ``proxy:`` tables cannot be opened."""
    proxy_write: ProxyWrite | None = None
    warn: Callable[[str], None] = log.warning
    """Where to tell of bad lines in a source, of a database older than its source …"""
    files: list[str] | None = None
    """Not None: values name files, and tables whose source is read when they are opened hold the content of these as
    base64 text, as ``postmap -F`` stores it in the others. The names of what was read are added.
    """
    subject_limit: int = 8192
    """Characters; a longer key is not tried against regular expressions (their time grows with it)."""
    utf8: bool = True
    """Keys and values must be UTF-8 (smtputf8_enable); off: other bytes pass as surrogate escapes (postmap -u)."""
    opened: dict[tuple[str, bool, bool], Table] = field(default_factory=dict)
    """By (spec, fold, substitution): two parameters that name the same table share it."""

    def close(self) -> None:
        """Close every table opened through this environment."""
        for table in self.opened.values():
            table.close()
        self.opened.clear()


class Broken(Table):
    """Stands for a table that could not be opened: each lookup raises, and opening is tried again, once a second.

    So a program starts though one of its tables is missing, defers what depends on it, and recovers without help.
    """

    __slots__ = ("_current", "_open", "_reason", "_retry_at", "patterned")
    immediate = False

    def __init__(self, kind: str, name: str, reason: str, open_again: Callable[[], Table]) -> None:
        self.patterned = kind in PATTERNED
        # The table that it may become folds keys itself.
        super().__init__(kind, name, False)
        self._reason = reason
        self._open = open_again
        self._retry_at = 0.0
        self._current: Table | None = None

    async def _ask(self, key: str) -> str | None:
        if self._current is None:
            now = asyncio.get_running_loop().time()
            if now < self._retry_at:
                raise TableError(self._reason)
            self._retry_at = now + 1.0
            try:
                self._current = self._open()
            except TableError as error:
                self._reason = str(error)
                raise
        return await self._current.lookup(key)

    def close(self) -> None:
        if self._current is not None:
            self._current.close()
