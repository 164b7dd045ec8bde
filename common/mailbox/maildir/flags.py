"""Sets of flags by number: each combination that occurs is kept once, and a message names it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tubepost.common.mailbox.maildir.database import Database

SYSTEM = ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")
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


class FlagSets:
    """Of one account. Numbers never change their meaning, so what was read once is kept.

    What was read within a transaction that then failed is forgotten: its numbers are given to other sets.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_number: dict[int, tuple[str, ...]] = {}
        self._by_flags: dict[tuple[str, ...], int] = {}
        self._spelling: dict[str, str] = dict(_CANONICAL)
        self._rollbacks = database.rollbacks

    def flags(self, number: int) -> tuple[str, ...]:
        """In their order: system flags, then keywords."""
        self._forget_untrue()
        found = self._by_number.get(number)
        if found is None:
            row = self._database.one("SELECT flags FROM flagset WHERE id=?", number)
            if row is None:
                return ()
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
        once: dict[str, str] = {}
        for flag in flags:
            once.setdefault(flag.lower(), flag)
        wanted = tuple(sorted({self.spell(flag) for flag in once.values()}, key=_order))
        number = self._by_flags.get(wanted)
        if number is None:
            text = " ".join(wanted)
            row = self._database.one("SELECT id FROM flagset WHERE flags=?", text)
            if row is None:
                row = self._database.one("INSERT INTO flagset (flags) VALUES (?) RETURNING id", text)
            number = int(row[0])
            self._remember(number, wanted)
        return number

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

    def _remember(self, number: int, flags: tuple[str, ...]) -> None:
        self._by_number[number] = flags
        self._by_flags[flags] = number
        for flag in flags:
            self._spelling.setdefault(flag.lower(), flag)


def _order(flag: str) -> tuple[bool, str]:
    return not flag.startswith("\\"), flag
