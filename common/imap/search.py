"""SEARCH, SORT, THREAD and ESEARCH arguments as trees of small values (RFC 9051 6.4.4). Pure.

Every key is a small value below; a program is one key, ``And`` of them when several stand side by side. Depth and
number of keys are bounded, so whoever walks the tree may recurse.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tubepost.common.imap import charset as charsets
from tubepost.common.imap.errors import BadCommand, TooMuch
from tubepost.common.imap.fetch import parse_partial_range
from tubepost.common.imap.parse import NUMBER64_LIMIT, Scanner
from tubepost.common.imap.sets import SequenceSet, of_ranges

DEPTH_LIMIT = 100
"""Levels of parentheses, NOT, OR and FUZZY: twice the recursion stays far below Python's 1000 frames."""
KEYS_LIMIT = 2000
"""Keys of one program."""


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    """All of these; never empty."""

    keys: tuple["Key", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the two, or both."""

    first: "Key"
    second: "Key"


@dataclass(frozen=True, slots=True)
class Not:
    """All but these."""

    key: "Key"


@dataclass(frozen=True, slots=True)
class Flag:
    """With the flag: canonical system flag (``\\Recent`` too) or keyword, which is compared without case."""

    flag: bytes


@dataclass(frozen=True, slots=True)
class Text:
    """``field`` is BODY, TEXT, or a header field's name in upper case: SUBJECT FROM TO CC BCC."""

    field: bytes
    value: str


@dataclass(frozen=True, slots=True)
class Header:
    """HEADER: ``name`` as written; with an empty ``value`` all messages that have the field."""

    name: bytes
    value: str


@dataclass(frozen=True, slots=True)
class On:
    """A date: ``clock`` is INTERNAL, SENT or SAVED; ``relation`` is ``<`` (BEFORE), ``=`` (ON) or ``>`` (SINCE, which
    includes the day itself); ``day`` in days since 1970-01-01, the time and the zone left out of account."""

    clock: str
    relation: str
    day: int


@dataclass(frozen=True, slots=True)
class Size:
    """LARGER (``relation`` ``>``) or SMALLER (``<``), in octets."""

    relation: str
    octets: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """Message sequence numbers, or UIDs; ``numbers.saved`` is ``$``."""

    numbers: SequenceSet
    uid: bool


@dataclass(frozen=True, slots=True)
class Within:
    """OLDER or YOUNGER (RFC 5032): the internal date is that many seconds ago."""

    older: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class Modseq:
    """MODSEQ (RFC 7162 3.1.5): changed at or after ``value``; ``entry``, ``kind`` (priv, shared, all) may be empty."""

    value: int
    entry: bytes = b""
    kind: bytes = b""


@dataclass(frozen=True, slots=True)
class SaveDateSupported:
    """All messages where the mailbox keeps save dates, else none (RFC 8514 4.3)."""


@dataclass(frozen=True, slots=True)
class ObjectId:
    """EMAILID or THREADID (RFC 8474 5.3): ``name`` and the id."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """FUZZY (RFC 6203): the key, matched as loosely as the server sees fit."""

    key: "Key"


Key = (
    All | And | Or | Not | Flag | Text | Header | On | Size | Numbers | Within | Modseq | SaveDateSupported | ObjectId
    | Fuzzy
)  # fmt: skip


class Search(NamedTuple):
    """A search: ``options`` is None where RETURN was not given (an untagged SEARCH answers), else upper-case words of
    MIN MAX ALL COUNT SAVE PARTIAL UPDATE CONTEXT RELEVANCY; ``partial`` the range of PARTIAL."""

    key: Key
    options: frozenset[bytes] | None = None
    partial: tuple[int, int] | None = None
    charset: str = charsets.DEFAULT


class Sort(NamedTuple):
    """SORT: ``criteria`` are (name, reverse) with names ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO
    RELEVANCY."""

    criteria: tuple[tuple[bytes, bool], ...]
    search: Search


class Thread(NamedTuple):
    """THREAD: ``algorithm`` in upper case, one of THREADS."""

    algorithm: bytes
    search: Search


_FLAGS: dict[bytes, Key] = {
    b"ALL": All(),
    b"ANSWERED": Flag(rb"\Answered"),
    b"DELETED": Flag(rb"\Deleted"),
    b"DRAFT": Flag(rb"\Draft"),
    b"FLAGGED": Flag(rb"\Flagged"),
    b"SEEN": Flag(rb"\Seen"),
    b"RECENT": Flag(rb"\Recent"),
    b"UNANSWERED": Not(Flag(rb"\Answered")),
    b"UNDELETED": Not(Flag(rb"\Deleted")),
    b"UNDRAFT": Not(Flag(rb"\Draft")),
    b"UNFLAGGED": Not(Flag(rb"\Flagged")),
    b"UNSEEN": Not(Flag(rb"\Seen")),
    # RFC 3501 6.4.4: NEW is (RECENT UNSEEN), OLD is NOT RECENT.
    b"NEW": And((Flag(rb"\Recent"), Not(Flag(rb"\Seen")))),
    b"OLD": Not(Flag(rb"\Recent")),
    b"SAVEDATESUPPORTED": SaveDateSupported(),
}
_TEXTS = frozenset((b"BCC", b"BODY", b"CC", b"FROM", b"SUBJECT", b"TEXT", b"TO"))
_DATES = {
    prefix + word: (clock, relation)
    for prefix, clock in ((b"", "INTERNAL"), (b"SENT", "SENT"), (b"SAVED", "SAVED"))
    for word, relation in ((b"BEFORE", "<"), (b"ON", "="), (b"SINCE", ">"))
}
RETURN_OPTIONS = frozenset(
    (b"MIN", b"MAX", b"ALL", b"COUNT", b"SAVE", b"PARTIAL", b"UPDATE", b"CONTEXT", b"RELEVANCY")
)  # fmt: skip
CRITERIA = frozenset(
    (b"ARRIVAL", b"CC", b"DATE", b"FROM", b"SIZE", b"SUBJECT", b"TO", b"DISPLAYFROM", b"DISPLAYTO", b"RELEVANCY")
)
THREADS = frozenset((b"ORDEREDSUBJECT", b"REFERENCES", b"REFS"))
_OBJECT_ID_LIMIT = 255
_LARGEST = (1 << 32) - 1


def parse_search(scanner: Scanner, *, default_charset: str = charsets.DEFAULT) -> Search:
    """The arguments of SEARCH and UID SEARCH (and what follows IN in ESEARCH) to their end. Raises BadCommand."""
    options, partial = parse_return(scanner)
    charset = default_charset
    if scanner.word(b"CHARSET"):
        scanner.space()
        charset = charsets.find(scanner.astring())
        scanner.space()
    key = _program(scanner, charset)
    scanner.end()
    return Search(key, options, partial, charset)


def parse_sort(scanner: Scanner) -> Sort:
    """The arguments of SORT and UID SORT, RETURN of RFC 5267 too. Raises BadCommand."""
    options, partial = parse_return(scanner)
    scanner.expect(b"(")
    criteria = [_criterion(scanner)]
    while scanner.skip(b" "):
        criteria.append(_criterion(scanner))
        if len(criteria) > 2 * len(CRITERIA):
            raise TooMuch("Too many sort criteria")
    scanner.expect(b")")
    scanner.space()
    return Sort(tuple(criteria), _with_charset(scanner, options, partial))


def _criterion(scanner: Scanner) -> tuple[bytes, bool]:
    word = scanner.keyword()
    reverse = word == b"REVERSE"
    if reverse:
        scanner.space()
        word = scanner.keyword()
    if word not in CRITERIA:
        raise BadCommand("Unknown sort criterion")
    return word, reverse


def parse_thread(scanner: Scanner) -> Thread:
    """The arguments of THREAD and UID THREAD. Raises BadCommand."""
    algorithm = scanner.keyword()
    if algorithm not in THREADS:
        raise BadCommand("Unknown threading algorithm")
    scanner.space()
    return Thread(algorithm, _with_charset(scanner, None, None))


def _with_charset(
    scanner: Scanner, options: frozenset[bytes] | None, partial: tuple[int, int] | None
) -> Search:  # fmt: skip
    # RFC 5256 5: sort-criteria SP charset SP search keys; the charset is not optional here.
    charset = charsets.find(scanner.astring())
    scanner.space()
    key = _program(scanner, charset)
    scanner.end()
    return Search(key, options, partial, charset)


def parse_return(scanner: Scanner) -> tuple[frozenset[bytes] | None, tuple[int, int] | None]:
    """``RETURN (…) `` with the space behind it, when it is there. ``RETURN ()`` is ALL (RFC 4731 3.1)."""
    if not scanner.word(b"RETURN"):
        return None, None
    scanner.expect(b" (")
    found: set[bytes] = set()
    partial = None
    if not scanner.skip(b")"):
        while True:
            word = scanner.keyword()
            if word not in RETURN_OPTIONS:
                raise BadCommand("Unknown search return option")
            if word == b"PARTIAL":
                scanner.space()
                if partial is not None:
                    # RFC 9394 3.1: at most one of PARTIAL and ALL.
                    raise BadCommand("PARTIAL is given twice")
                partial = parse_partial_range(scanner)
            found.add(word)
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    scanner.space()
    if partial is not None and b"ALL" in found:
        raise BadCommand("PARTIAL and ALL exclude each other")
    return frozenset(found or (b"ALL",)), partial


class _Budget:
    """How many keys may still come."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = KEYS_LIMIT

    def spend(self, depth: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooMuch(f"A search with more than {KEYS_LIMIT} keys")
        if depth > DEPTH_LIMIT:
            raise TooMuch(f"A search nested more than {DEPTH_LIMIT} levels deep")


def _program(scanner: Scanner, charset: str) -> Key:
    return _keys(scanner, charset, 0, _Budget())


def _keys(scanner: Scanner, charset: str, depth: int, budget: _Budget) -> Key:
    """Keys side by side, up to what is no space."""
    found = [_key(scanner, charset, depth, budget)]
    while scanner.peek() == b" " and scanner.place + 1 < len(scanner.data):
        scanner.place += 1
        found.append(_key(scanner, charset, depth, budget))
    return found[0] if len(found) == 1 else And(tuple(found))


def _key(scanner: Scanner, charset: str, depth: int, budget: _Budget) -> Key:
    budget.spend(depth)
    if scanner.skip(b"("):
        key = _keys(scanner, charset, depth + 1, budget)
        scanner.expect(b")")
        return key
    first = scanner.peek()
    if first == b"*" or first == b"$" or first.isdigit():
        return Numbers(scanner.sequence_set(), False)
    word = scanner.keyword()
    simple = _FLAGS.get(word)
    if simple is not None:
        return simple
    if word in (b"NOT", b"OR", b"FUZZY"):
        scanner.space()
        inner = _key(scanner, charset, depth + 1, budget)
        if word == b"NOT":
            return Not(inner)
        if word == b"FUZZY":
            return Fuzzy(inner)
        scanner.space()
        return Or(inner, _key(scanner, charset, depth + 1, budget))
    return _with_argument(scanner, word, charset)


def _with_argument(scanner: Scanner, word: bytes, charset: str) -> Key:
    if word in _TEXTS:
        scanner.space()
        return Text(word, _search_string(scanner, charset))
    if word in _DATES:
        scanner.space()
        clock, relation = _DATES[word]
        return On(clock, relation, scanner.date())
    if word == b"HEADER":
        scanner.space()
        name = scanner.astring()
        if not name:
            scanner.fail("a header field's name")
        scanner.space()
        return Header(name, _search_string(scanner, charset))
    if word in (b"KEYWORD", b"UNKEYWORD"):
        scanner.space()
        flag = scanner.atom()
        return Flag(flag) if word == b"KEYWORD" else Not(Flag(flag))
    if word in (b"LARGER", b"SMALLER"):
        scanner.space()
        return Size(">" if word == b"LARGER" else "<", scanner.number64())
    if word == b"UID":
        scanner.space()
        return Numbers(scanner.sequence_set(), True)
    if word in (b"UIDAFTER", b"UIDBEFORE"):
        # RFC 9738 3.2: unlike in "UID n:*" the last message is no exception.
        scanner.space()
        uid = scanner.nz_number()
        span = (uid + 1, _LARGEST) if word == b"UIDAFTER" else (1, uid - 1)
        return Numbers(of_ranges([span] if span[0] <= span[1] else []), True)
    if word in (b"OLDER", b"YOUNGER"):
        scanner.space()
        # RFC 5032 4: nz-number.
        return Within(word == b"OLDER", scanner.nz_number())
    if word == b"MODSEQ":
        scanner.space()
        return _modseq(scanner)
    if word in (b"EMAILID", b"THREADID"):
        scanner.space()
        value = scanner.astring()
        if len(value) > _OBJECT_ID_LIMIT:
            # RFC 8474 7: an objectid has at most 255 characters, so nothing can match.
            raise BadCommand("An object id is longer than 255 octets")
        return ObjectId(word, value)
    raise BadCommand(f"Unknown search key {word[:40].decode('ascii')}")


def _search_string(scanner: Scanner, charset: str) -> str:
    return charsets.decode(scanner.octets(), charset)


def _modseq(scanner: Scanner) -> Modseq:
    entry = kind = b""
    if not scanner.peek().isdigit():
        # RFC 7162 7: search-modsequence = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer.
        entry = scanner.string()
        scanner.space()
        kind = scanner.keyword().lower()
        if kind not in (b"priv", b"shared", b"all"):
            raise BadCommand("A MODSEQ entry type is none of priv, shared, all")
        scanner.space()
    return Modseq(scanner.number(NUMBER64_LIMIT), entry, kind)
