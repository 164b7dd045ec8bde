"""Sets of flags by number: each combination that occurs is kept once, and a message names it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tubepost.common.mailbox.maildir.database import Database
from tubepost.common.mailbox.values import SYSTEM

_CANONICAL = {flag.lower(): flag for flag in SYSTEM}
# Keywords that clients spell in more than one way (IANA's registry of IMAP keywords).
_CANONICAL |= {
    flag.lower(): flag
    for flag in (
        "$Forwarded",
        "$MDNSent",
        "$Junk",
        "$NotJunk",
        "$Phishing",
        "$SubmitPending",
        "$Submitted",
        "$Important",
    )
}


# Sets that no message has any more are dropped once in so many new ones.
_LOOK = 256
_EPOCH = "flagsets"


class FlagSets:
    """Of one account. Numbers never change their meaning, so what was read once is kept.

    Sets that no message has any more are dropped now and then; their numbers are not used again. What was read within a
    transaction that then failed is forgotten: its numbers are given to other sets.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_number: dict[int, tuple[str, ...]] = {}
        self._by_flags: dict[tuple[str, ...], int] = {}
        self._spelling: dict[str, str] = dict(_CANONICAL)
        self._dropped: dict[int, tuple[str, ...]] = {}
        """Those known until the last time that some were dropped: a session may still have their numbers."""
        self._rollbacks = database.rollbacks
        self._epoch = 0
        self._transaction = -1
        self._given: set[int] = set()
        """Numbers that this transaction has asked for: messages may be about to get them."""

    def flags(self, number: int) -> tuple[str, ...]:
        """In their order: system flags, then keywords."""
        self._forget_untrue()
        found = self._by_number.get(number)
        if found is None:
            row = self._database.one("SELECT flags FROM flagset WHERE id=?", number)
            if row is None:
                return self._dropped.get(number, ())
            found = tuple(row[0].split())
            self._remember(number, found)
        return found

    def spell(self, flag: str) -> str:
        """A flag as it was first written here: flags do not differ by case (RFC 9051 2.3.2).

        One that is in no set yet is not remembered: another process may write it first, in its own way.
        """
        self._forget_untrue()
        key = flag.lower()
        if key not in self._spelling:
            self.all()
        return self._spelling.get(key, flag)

    def number(self, flags: Iterable[str]) -> int:
        """The number of a set; made when it is new, within a transaction of the caller."""
        self._forget_dropped()
        once: dict[str, str] = {}
        for flag in flags:
            once.setdefault(flag.lower(), flag)
        wanted = tuple(sorted({self.spell(flag) for flag in once.values()}, key=_order))
        number = self._by_flags.get(wanted)
        if number is None:
            text = " ".join(wanted)
            row = self._database.one("SELECT id FROM flagset WHERE flags=?", text)
            fresh = row is None
            if row is None:
                row = self._database.one("INSERT INTO flagset (flags) VALUES (?) RETURNING id", text)
            number = int(row[0])
            self._remember(number, wanted)
            if fresh and number % _LOOK == 0:
                self._given.add(number)
                self._drop_unused()
        self._given.add(number)
        return number

    def _forget_dropped(self) -> None:
        """At the first look within a transaction: has another process dropped some?"""
        if self._transaction == self._database.transactions:
            return
        self._transaction = self._database.transactions
        self._given.clear()
        row = self._database.one("SELECT value FROM account WHERE key=?", _EPOCH)
        epoch = 0 if row is None else int(row[0])
        if epoch != self._epoch:
            self._begin_anew(epoch)

    def _begin_anew(self, epoch: int) -> None:
        self._epoch = epoch
        self._dropped = self._by_number
        self._by_number, self._by_flags, self._spelling = {}, {}, dict(_CANONICAL)

    def _drop_unused(self) -> None:
        """A client may give each message another set, again and again. Within a transaction."""
        given = ",".join(map(str, self._given))
        # The last one stays: it is what keeps SQLite from giving a number twice.
        dropped = self._database.connection.execute(
            f"DELETE FROM flagset WHERE id NOT IN (SELECT flagset FROM message) AND id NOT IN ({given})"
            " AND id<(SELECT max(id) FROM flagset)"
        ).rowcount
        if not dropped:
            return
        self._database.connection.execute(
            "INSERT INTO account (key, value) VALUES (?,1) ON CONFLICT (key) DO UPDATE SET value=value+1", (_EPOCH,)
        )
        self._begin_anew(self._epoch + 1)

    def all(self) -> Mapping[int, tuple[str, ...]]:
        """Every set there is."""
        self._forget_untrue()
        known = self._by_number
        for number, flags in self._database.connection.execute("SELECT id, flags FROM flagset"):
            if number not in known:
                self._remember(number, tuple(flags.split()))
        return MappingProxyType(known)

    def _forget_untrue(self) -> None:
        if self._rollbacks != self._database.rollbacks:
            self._rollbacks = self._database.rollbacks
            self._by_number, self._by_flags, self._spelling = {}, {}, dict(_CANONICAL)
            self._dropped = {}
            self._transaction = -1

    def _remember(self, number: int, flags: tuple[str, ...]) -> None:
        self._by_number[number] = flags
        self._by_flags[flags] = number
        for flag in flags:
            self._spelling.setdefault(flag.lower(), flag)


def _order(flag: str) -> tuple[bool, str]:
    return not flag.startswith("\\"), flag
