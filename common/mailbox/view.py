"""What one session sees of a folder: message numbers and UIDs that change only when the session may be told (pure).

RFC 9051 7.5.1: a message number stays what it is until the client was told of an EXPUNGE; so each session has its own
list. 200,000 messages take 1.6 MB.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence


class View:
    """``uids`` ascending; ``flagsets`` beside them: the flags that the client was last told of."""

    __slots__ = ("flagsets", "uids")

    def __init__(self, uids: Iterable[int] = (), flagsets: Iterable[int] = ()) -> None:
        self.uids = array("I", uids)
        self.flagsets = array("I", flagsets)

    def __len__(self) -> int:
        return len(self.uids)

    def number(self, uid: int) -> int:
        """The message number (1 is the first) of a UID, 0 for none that is here."""
        index = bisect_left(self.uids, uid)
        return index + 1 if index < len(self.uids) and self.uids[index] == uid else 0

    def uid(self, number: int) -> int:
        """Raises IndexError for a number that is not here."""
        if number < 1:
            raise IndexError(number)
        return self.uids[number - 1]

    def span(self, low: int, high: int) -> range:
        """The indexes of the UIDs from ``low`` to ``high``, both included."""
        return range(bisect_left(self.uids, low), bisect_left(self.uids, high + 1))

    def extend(self, uids: Iterable[int], flagsets: Iterable[int]) -> int:
        """Messages that came, ascending and above all that are here. Returns how many messages there are now."""
        self.uids.extend(uids)
        self.flagsets.extend(flagsets)
        return len(self.uids)

    def flag(self, uid: int, flagset: int) -> int:
        """Note the flags of a message. Returns its number when they are others than before, else 0."""
        index = bisect_left(self.uids, uid)
        if index == len(self.uids) or self.uids[index] != uid or self.flagsets[index] == flagset:
            return 0
        self.flagsets[index] = flagset
        return index + 1

    def remove(self, gone: Iterable[int]) -> list[tuple[int, int]]:
        """Take UIDs out. Returns (number, uid) in an order in which EXPUNGE can be told one by one: the last first."""
        wanted = set(gone)
        if not wanted:
            return []
        uids = self.uids
        if len(wanted) <= 16:
            told = []
            for uid in sorted(wanted, reverse=True):
                if number := self.number(uid):
                    del uids[number - 1]
                    del self.flagsets[number - 1]
                    told.append((number, uid))
            return told
        told = [(index + 1, uid) for index, uid in enumerate(uids) if uid in wanted]
        kept = [index for index, uid in enumerate(uids) if uid not in wanted]
        self.uids = array("I", [uids[index] for index in kept])
        self.flagsets = array("I", [self.flagsets[index] for index in kept])
        told.reverse()
        return told


def missing(uids: Sequence[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    """The runs of numbers from ``low`` to ``high`` that are not among ascending UIDs: the work is that of the UIDs."""
    for index in range(bisect_left(uids, low), bisect_left(uids, high + 1)):
        uid = uids[index]
        if uid > low:
            yield low, uid - 1
        low = uid + 1
    if low <= high:
        yield low, high


def ranges(uids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, last) runs."""
    if not uids:
        return
    first = last = uids[0]
    for uid in uids[1:]:
        if uid != last + 1:
            yield first, last
            first = uid
        last = uid
    yield first, last
