"""Sequence sets: message numbers and UIDs as ranges, never spelled out (RFC 9051 9: sequence-set). Pure.

What a client writes is kept as ranges and laid over the ascending array of numbers that exist, by bisection: the work
is bounded by the size of the command and of the answer, whatever ``1:4294967295`` may stand for.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tubepost.common.imap.errors import BadCommand

STAR = 1 << 32
"""Stands for ``*``: above every number that RFC 9051 9 (nz-number) allows."""
_LARGEST = STAR - 1

# RFC 9051 9: sequence-set; "*" may stand on either side of the colon.
_NUMBER = rb"(?:[1-9][0-9]{0,9}+|\*)"
_RANGE = _NUMBER + rb"(?::" + _NUMBER + rb")?+"
SET = re.compile(_RANGE + rb"(?:," + _RANGE + rb")*+")


class SequenceSet(NamedTuple):
    """Ranges as written, each (low, high) with low <= high; ``STAR`` for ``*``. ``saved`` is ``$`` (RFC 5182)."""

    ranges: tuple[tuple[int, int], ...]
    saved: bool = False

    def merged(self, largest: int) -> list[tuple[int, int]]:
        """Ascending, disjoint, non-adjacent ranges, ``*`` replaced by ``largest`` (0 when the mailbox is empty).

        RFC 9051 9: ``559:*`` in a mailbox whose largest number is 100 is ``100:559``, so it has the last message.
        """
        found = []
        for low, high in self.ranges:
            if low == STAR:
                low = largest
            if high == STAR:
                high = largest
            if low > high:
                low, high = high, low
            if high:
                found.append((low or 1, high))
        found.sort()
        result: list[tuple[int, int]] = []
        for low, high in found:
            if result and low <= result[-1][1] + 1:
                if high > result[-1][1]:
                    result[-1] = (result[-1][0], high)
            else:
                result.append((low, high))
        return result

    def slices(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """Where the set's members stand in the ascending ``numbers``: disjoint index ranges (start, stop)."""
        if not numbers:
            return []
        result: list[tuple[int, int]] = []
        for low, high in self.merged(numbers[-1]):
            start = bisect_left(numbers, low)
            stop = bisect_right(numbers, high, start)
            if start < stop:
                if result and result[-1][1] == start:
                    result[-1] = (result[-1][0], stop)
                else:
                    result.append((start, stop))
        return result

    def among(self, numbers: Sequence[int]) -> list[int]:
        """Those of the ascending ``numbers`` that the set has, ascending."""
        result: list[int] = []
        for start, stop in self.slices(numbers):
            result.extend(numbers[start:stop])
        return result

    def positions(self, count: int) -> list[tuple[int, int]]:
        """The set read as message sequence numbers of a mailbox of ``count``: index ranges (start, stop) from 0."""
        result = []
        for low, high in self.merged(count):
            stop = min(high, count)
            if low <= stop:
                result.append((low - 1, stop))
        return result

    def beyond(self, count: int) -> bool:
        """Whether the set names a message sequence number that a mailbox of ``count`` messages does not have.

        RFC 9051 9: such a number is an error for message sequence numbers, never for UIDs.
        """
        for low, high in self.ranges:
            if low == STAR or high == STAR:
                if not count or (low != STAR and low > count):
                    return True
            elif high > count:
                return True
        return False

    def has(self, number: int, largest: int) -> bool:
        """Whether ``number`` is a member."""
        for low, high in self.ranges:
            low = largest if low == STAR else low
            high = largest if high == STAR else high
            if low <= number <= high or high <= number <= low:
                return True
        return False

    @property
    def has_star(self) -> bool:
        """Whether ``*`` occurs: forbidden in some places, such as QRESYNC's known UIDs."""
        return any(high == STAR for _low, high in self.ranges)

    @property
    def is_ascending(self) -> bool:
        """Whether each member is written once, the smallest first."""
        return all(before[1] < after[0] for before, after in pairwise(self.ranges))

    def size(self) -> int:
        """An upper bound of the members, ``*`` taken as the largest number that can be."""
        return sum(high - low + 1 for low, high in self.merged(_LARGEST))

    def each(self) -> Iterator[int]:
        """The members in the order written, ranges upwards; only for sets that are known to be small."""
        for low, high in self.ranges:
            yield from range(low, high + 1)


SAVED = SequenceSet((), True)
"""``$``: the result that SEARCH RETURN (SAVE) kept (RFC 5182 2.1)."""


def parse_set(text: bytes) -> SequenceSet:
    """``1:5,7,*`` or ``$``. Raises BadCommand."""
    if text == b"$":
        return SAVED
    if SET.fullmatch(text) is None:
        raise BadCommand("Not a sequence set")
    ranges = []
    for part in text.split(b","):
        first, colon, second = part.partition(b":")
        low = _number(first)
        if colon:
            high = _number(second)
            if low > high:
                # RFC 9051 9: "The two numbers may be in either order".
                low, high = high, low
        else:
            high = low
        ranges.append((low, high))
    return SequenceSet(tuple(ranges))


def _number(text: bytes) -> int:
    if text == b"*":
        return STAR
    number = int(text)
    if number > _LARGEST:
        raise BadCommand("A number of a sequence set is above 4294967295")
    return number


def of_ranges(ranges: Sequence[tuple[int, int]]) -> SequenceSet:
    """A set from ready ranges, low before high."""
    return SequenceSet(tuple(ranges))


def compact(numbers: Sequence[int]) -> bytes:
    """Strictly ascending numbers as the shortest set: ``1:5,7``; b"" for none.

    A run's end is found by doubling steps, so long runs cost their logarithm.
    """
    count = len(numbers)
    parts = []
    index = 0
    while index < count:
        first = numbers[index]
        offset = first - index
        end = index + 1
        if end < count and numbers[end] - end == offset:
            step = 1
            low = end
            while low + step < count and numbers[low + step] - low - step == offset:
                low += step
                step += step
            high = min(low + step, count)
            # The run holds at low and does not at high.
            while high - low > 1:
                middle = (low + high) // 2
                if numbers[middle] - middle == offset:
                    low = middle
                else:
                    high = middle
            end = low + 1
            parts.append(f"{first}:{numbers[low]}")
        else:
            parts.append(str(first))
        index = end
    return ",".join(parts).encode("ascii")


def compact_ranges(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Ranges as a set in the same order."""
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in ranges).encode("ascii")


def compact_ordered(numbers: Sequence[int]) -> bytes:
    """Numbers in any order as a set that keeps the order: UIDs of COPYUID stand side by side (RFC 4315 3, 9051 7.1).

    Only ascending runs are drawn together.
    """
    parts = []
    index = 0
    count = len(numbers)
    while index < count:
        first = last = numbers[index]
        index += 1
        while index < count and numbers[index] == last + 1:
            last += 1
            index += 1
        parts.append(str(first) if first == last else f"{first}:{last}")
    return ",".join(parts).encode("ascii")
