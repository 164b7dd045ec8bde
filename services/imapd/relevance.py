"""FUZZY (RFC 6203): what matches loosely, and how well it does (pure).

A text of several words is found by all of them, in whatever order and wherever they stand. The score tells how close a
message comes: the whole text as it was written, in the subject or elsewhere, or its words here and there.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tubepost.common.imap.search import And, Fuzzy, Header, Key, Not, Or, Text

# Words that one text is taken apart into.
_WORDS = 20
_LOOSE, _WORDS_IN_SUBJECT, _EXACT, _EXACT_IN_SUBJECT = 30, 55, 80, 100


class Rank(NamedTuple):
    """A key, and the score of the messages that it finds."""

    key: Key
    score: int


class Loosened(NamedTuple):
    """``key`` finds all; ``scales`` has one scale for each text, its ranks in ascending order. Without FUZZY none."""

    key: Key
    scales: tuple[tuple[Rank, ...], ...]
    fuzzy: bool


def loosen(key: Key) -> Loosened:
    """The key with its texts under FUZZY taken loosely."""
    scales: list[tuple[Rank, ...]] = []
    result, found = _walk(key, False, scales)
    return Loosened(result, tuple(scales), found)


def _walk(key: Key, fuzzy: bool, scales: list[tuple[Rank, ...]]) -> tuple[Key, bool]:
    """The loosened key, and whether there is FUZZY in it. ``fuzzy``: it stands under one already."""
    match key:
        case Fuzzy(inner):
            return _walk(inner, True, scales)[0], True
        case And(inner):
            walked = [_walk(each, fuzzy, scales) for each in inner]
            return And(tuple(one for one, _ in walked)), any(found for _, found in walked)
        case Or(first, second):
            (first, in_first), (second, in_second) = _walk(first, fuzzy, scales), _walk(second, fuzzy, scales)
            return Or(first, second), in_first or in_second
        case Not(inner):
            # What is not wanted is taken at its word.
            inner, found = _walk(inner, False, scales)
            return Not(inner), found
        case Text(name, value) if fuzzy and value:
            subject = name in (b"SUBJECT", b"TEXT")
            return _loose(value, lambda word: Text(name, word), scales, subject=subject), False
        case Header(name, value) if fuzzy and value:
            return _loose(value, lambda word: Header(name, word), scales, subject=False), False
        case _:
            return key, False


def _loose(value: str, make: Callable[[str], Key], scales: list[tuple[Rank, ...]], *, subject: bool) -> Key:
    words = tuple(dict.fromkeys(value.split()))[:_WORDS] or (value,)
    loose = And(tuple(make(word) for word in words)) if len(words) > 1 else make(words[0])
    exact = make(value)
    ranks = [Rank(loose, _LOOSE)]
    if subject:
        ranks.append(Rank(And(tuple(Text(b"SUBJECT", word) for word in words)), _WORDS_IN_SUBJECT))
    ranks.append(Rank(exact, _EXACT if subject else _EXACT_IN_SUBJECT))
    if subject:
        ranks.append(Rank(Text(b"SUBJECT", value), _EXACT_IN_SUBJECT))
    scales.append(tuple(ranks))
    return loose


class Total:
    """Scores of messages, scale by scale: a search may have very many scales, and there may be very many messages."""

    def __init__(self, uids: Iterable[int]) -> None:
        self._sums = dict.fromkeys(uids, 0)
        self._count = 0

    def add(self, scale: Iterable[tuple[int, Iterable[int]]]) -> None:
        """(score, UIDs) of its ranks, ascending."""
        best: dict[int, int] = {}
        for score, matching in scale:
            best.update((uid, score) for uid in matching)
        self._count += 1
        for uid in self._sums:
            self._sums[uid] += best.get(uid, 1)

    def scores(self) -> Mapping[int, int]:
        """UID to score, 1 to 100."""
        count = self._count
        return {uid: total // count if count else 100 for uid, total in self._sums.items()}


def scores(uids: Iterable[int], found: Iterable[Iterable[tuple[int, Iterable[int]]]]) -> Mapping[int, int]:
    """The same of all scales together."""
    total = Total(uids)
    for scale in found:
        total.add(scale)
    return total.scores()
