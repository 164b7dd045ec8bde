"""SEARCH over one folder (RFC 9051 6.4.4, RFC 5032, RFC 7162, RFC 8474, RFC 8514, RFC 6203).

A tree of ``common.imap.search`` becomes one condition over the index. Texts that the index cannot decide are read: the
candidates that the full-text index names, and of those only the ones that the other keys leave over. All is done in
steps, each short, so that others may use the account between them.
"""

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from dataclasses import field as with_default
from typing import TYPE_CHECKING, Any, NamedTuple

from tubepost.common.imap import search as keys
from tubepost.common.imap.search import Key
from tubepost.common.imap.sets import SequenceSet

from tubepost.common.mail import structure, text
from tubepost.common.mail.crlf import Data
from tubepost.common.mailbox.maildir import fulltext
from tubepost.common.mailbox.maildir.finding import Finder
from tubepost.common.mailbox.maildir.owner import Owner, as_owner
from tubepost.common.mailbox.maildir.reading import read_with
from tubepost.common.mailbox.maildir.summaries import unfinished
from tubepost.common.mailbox.maildir.words import Needle, fold, needle
from tubepost.common.mailbox.values import COMMON_FIELDS, Context, Progress

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.folder import Folder

_DAY = 86400
# Up to so many messages and keys a search takes no longer than a hand-over to a thread.
_QUICK = 2000
_KEYS = 20
# Messages a step: of the index alone, to be summarised, to be read.
_ROWS = 50_000
_SUMMARIES = 100
_READ = 64
# Octets of messages a step, when large ones are read.
_OCTETS = 4 << 20
# Ranges of a set, and sets of flags, that stand in a statement; more are given to it by their numbers.
_RANGES = 50
# Levels of parentheses of one statement; what is deeper is asked first. Conditions side by side in one pair.
_DEPTH = 10
_GROUP = 16
# Up to so many candidates are read without asking first what the other keys leave over.
_FEW = 32

_COLUMNS = {b"SUBJECT": "subject", b"FROM": "sender", b"TO": "receiver", b"CC": "copied", b"BCC": "blind"}
_HEADER_START = 65536


_ALL = ((1, 0xFFFFFFFF),)


class _Uids(NamedTuple):
    """A value of a condition: of ascending UIDs those in the ranges, which ascend too. A key of a few octets may stand
    for all messages, and a search has many keys: each statement is given those of its window alone."""

    uids: Sequence[int]
    ranges: Sequence[tuple[int, int]]

    def within(self, low: int, high: int) -> list[int]:
        found: list[int] = []
        ranges, uids = self.ranges, self.uids
        for place in range(bisect_left(ranges, low, key=lambda one: one[1]), len(ranges)):
            first, last = ranges[place]
            if first > high:
                break
            start = bisect_left(uids, max(first, low))
            found += uids[start : bisect_right(uids, min(last, high), start)]
        return found


class _Others(NamedTuple):
    """The same of values of another column of messages, which stand in no order of UIDs."""

    column: str
    found: Set[int]


class Condition(NamedTuple):
    """``depth``: levels of parentheses."""

    sql: str
    values: tuple[Any, ...] = ()
    depth: int = 0


_TRUE, _FALSE = Condition("1"), Condition("0")


@dataclass(slots=True)
class _Leaf:
    """A key that needs texts. ``field``: in lower case, of HEADER; empty for TEXT and BODY."""

    columns: tuple[str, ...]
    field: bytes
    needle: Needle | None
    found: set[int] = with_default(default_factory=set)
    """Contents that match, once it is decided; beside those that ``words`` answers with."""
    words: str = ""


class Evaluation:
    """Call ``step`` until it returns None, then read ``found``: UIDs, ascending."""

    def __init__(self, folder: "Folder", key: Key, context: Context) -> None:
        self.owner: Owner = folder.owner
        self.found: array[int] = array("I")
        self._folder = folder
        self._key = key
        self._context = context
        self._leaves: dict[Key, _Leaf] = {}
        self._summaries = self._words = False
        self._made: dict[int, Condition] = {}
        """By the identity of keys: those that have others within."""
        self._count = 0
        self._all: array[int] | None = None
        self._long: dict[int, Condition] = {}
        """By the identity of sets: those of many ranges, of which one may stand in many keys."""
        self._flags: dict[str, Condition] = {}
        self._survey(key)
        # A program of many keys takes fewer messages a step.
        self._window = max(_ROWS * _KEYS // max(_KEYS, self._count), _ROWS // 50)
        self._steps = self._run()
        self._failure: Exception | None = None
        self._begun_anew = False

    @property
    def is_quick(self) -> bool:
        """Of the index alone, nothing is missing there, and few messages."""
        folder = self._folder
        if self._leaves or self._count > _KEYS or folder.status().messages > _QUICK:
            return False
        return not self._summaries or not unfinished(folder)

    @as_owner
    def step(self) -> Progress | None:
        """Raises OSError, sqlite3.Error."""
        if self._failure is not None:
            # Half a search is none: whoever tries again must not take it for the whole.
            raise self._failure
        try:
            return next(self._steps, None)
        except fulltext.Damaged as error:
            if self._begun_anew:
                self._failure = error
                raise
            self._begun_anew = True
            for leaf in self._leaves.values():
                leaf.found.clear()
            self._made.clear()
            del self.found[:]
            self._steps = self._run()
            return Progress(0, 0)
        except Exception as error:
            self._failure = error
            raise

    def run(self) -> "array[int]":
        """All steps. Returns ``found``."""
        while self.step() is not None:
            pass
        return self.found

    # What the keys need

    def _survey(self, key: Key) -> None:
        self._count += 1
        match key:
            case keys.And(inner):
                for one in inner:
                    self._survey(one)
            case keys.Or(first, second):
                self._survey(first)
                self._survey(second)
            case keys.Not(inner) | keys.Fuzzy(inner):
                self._survey(inner)
            case keys.Text(name, value) if name in _COLUMNS:
                self._summaries = True
            case keys.Text(name, value):
                if value:
                    self._words = True
                    columns = ("body",) if name == b"BODY" else ("header", "body")
                    self._leaves.setdefault(key, _Leaf(columns, b"", needle(value)))
            case keys.Header(name, value):
                self._words = True
                self._leaves.setdefault(key, _Leaf(("header",), name.lower(), needle(value) if value else None))
            case keys.On(clock) if clock == "SENT":
                self._summaries = True
            case keys.ObjectId(name) if name == b"THREADID":
                self._summaries = True

    # Steps

    def _run(self) -> Iterator[Progress]:
        if self._summaries:
            yield from self._complete()
        if self._words:
            yield from self._index()
        for leaf in self._leaves.values():
            yield from self._decide(leaf)
        # There may be new sets of flags since.
        self._flags.clear()
        yield from self._prepare(self._key)
        condition = self._condition(self._key)
        for low, high in self._windows():
            self.found.extend(self._select("m.uid", condition, low, high))
            yield Progress(len(self.found), 0)

    def _complete(self) -> Iterator[Progress]:
        uids = unfinished(self._folder)
        for start in range(0, len(uids), _SUMMARIES):
            self._folder.complete(uids[start : start + _SUMMARIES])
            yield Progress(start, len(uids))

    def _index(self) -> Iterator[Progress]:
        goal = fulltext.pending(self._folder)
        place = done = 0
        while goal:
            place, count = self._folder.index(place)
            if not count:
                break
            done += count
            yield Progress(done, max(goal, done))

    def _windows(self) -> list[tuple[int, int]]:
        """Ranges of UIDs, none with more than so many messages."""
        context = self._context
        uids = context.uids if context.among is None else context.among
        if uids is not None:
            starts = range(0, len(uids), self._window)
            return [(uids[start], uids[min(start + self._window, len(uids)) - 1]) for start in starts]
        execute = self._folder.database.connection.execute
        found: list[tuple[int, int]] = []
        low = 1
        while True:
            row = execute(
                "SELECT uid FROM message WHERE folder=? AND uid>=? ORDER BY uid LIMIT 1 OFFSET ?",
                (self._folder.id, low, self._window),
            ).fetchone()
            if row is None:
                return [*found, (low, 0xFFFFFFFF)]
            found.append((low, row[0] - 1))
            low = row[0]

    def _select(self, column: str, condition: Condition, low: int, high: int) -> list[int]:
        source = "message m JOIN content c ON c.id=m.content" if "c." in condition.sql else "message m"
        sql = f"SELECT {column} FROM {source} WHERE m.folder=? AND m.uid BETWEEN ? AND ? AND {condition.sql}"
        if self._context.among is not None:
            sql += " AND m.uid IN (SELECT value FROM json_each(?))"
            condition = Condition("", (*condition.values, _Uids(self._context.among, _ALL)))
        values = (self._folder.id, low, high, *self._values(condition, low, high))
        database = self._folder.database
        with fulltext.mending(database):
            return [value for (value,) in database.connection.execute(f"{sql} ORDER BY m.uid", values)]

    def _values(self, condition: Condition, low: int, high: int) -> Iterator[Any]:
        """As the statement of a window is given them."""
        here: dict[str, set[int]] = {}
        for value in condition.values:
            if isinstance(value, _Uids):
                yield json.dumps(value.within(low, high))
            elif isinstance(value, _Others):
                if value.column not in here:
                    rows = self._folder.database.connection.execute(
                        f"SELECT DISTINCT {value.column} FROM message m WHERE m.folder=? AND m.uid BETWEEN ? AND ?",
                        (self._folder.id, low, high),
                    )
                    here[value.column] = {found for (found,) in rows}
                yield json.dumps(list(here[value.column] & value.found))
            else:
                yield value

    # Texts

    def _decide(self, leaf: _Leaf) -> Iterator[Progress]:
        database = self._folder.database
        wanted = leaf.needle
        if leaf.field:
            # The field's name stands in the header's text before its value.
            name = needle(leaf.field.decode("ascii", "replace"))
            possible = fulltext.candidates(database, name, ("header",))
            if wanted is not None and possible is not None:
                with_value = fulltext.candidates(database, wanted, ("header",))
                possible = possible if with_value is None else possible & with_value
            exact = False
        else:
            assert wanted is not None
            leaf.words = fulltext.answer(database, wanted, leaf.columns) or ""
            possible = set() if leaf.words else fulltext.candidates(database, wanted, leaf.columns)
            exact = wanted.exact
        # Those with too many words, and those whose files were not where they had been.
        rows = database.connection.execute(
            "SELECT id FROM content WHERE indexed=2 UNION ALL"
            " SELECT c.id FROM content c JOIN message m ON m.content=c.id WHERE c.indexed=0 AND m.folder=?",
            (self._folder.id,),
        )
        apart = {content for (content,) in rows}
        if exact and possible is not None:
            leaf.found |= possible
            possible = apart
        elif possible is not None:
            possible |= apart
        if possible is None or possible:
            yield from self._verify(leaf, possible)

    def _verify(self, leaf: _Leaf, possible: set[int] | None) -> Iterator[Progress]:
        """Read the texts of what is in this folder, and was left over by the keys that cost less."""
        if possible is None or len(possible) > _FEW:
            scope: set[int] = set()
            for key in _side_by_side(self._key):
                if not self._needs_text(key):
                    yield from self._prepare(key)
            condition = self._cheap()
            for low, high in self._windows():
                scope.update(self._select("m.content", condition, low, high))
                yield Progress(0, 0)
            possible = scope if possible is None else possible & scope
        contents = sorted(possible)
        execute = self._folder.database.connection.execute
        columns = "m.content, m.size, m.place, m.file, m.info"
        if leaf.field in COMMON_FIELDS:
            # Those are in the index.
            columns += ", c.headers"
        matcher = _matcher(leaf)
        for start in range(0, len(contents), _READ):
            finder = Finder(self._folder)
            some = ",".join(map(str, contents[start : start + _READ]))
            rows = execute(
                f"SELECT {columns} FROM message m JOIN content c ON c.id=m.content"
                f" WHERE m.folder=? AND m.content IN ({some})",
                (self._folder.id,),
            ).fetchall()
            octets = 0
            for content, size, place, file, info, *rest in rows:
                if content in leaf.found:
                    continue
                if rest and rest[0] is not None:
                    matches: bool | None = _header_matches(rest[0], leaf)
                else:
                    path = self._folder.file(place, file, info)
                    matches = read_with(path, matcher)
                    if matches is None:
                        matches = finder.read(content, path, matcher)
                    octets += min(size, text.BODY_LIMIT)
                if matches:
                    leaf.found.add(content)
                if octets > _OCTETS:
                    octets = 0
                    yield Progress(start, len(contents))
            yield Progress(min(start + _READ, len(contents)), len(contents))

    def _cheap(self) -> Condition:
        """The keys side by side with the others that need no texts."""
        return _join("AND", [self._condition(key) for key in _side_by_side(self._key) if not self._needs_text(key)])

    def _needs_text(self, key: Key) -> bool:
        match key:
            case keys.And(inner):
                return any(map(self._needs_text, inner))
            case keys.Or(first, second):
                return self._needs_text(first) or self._needs_text(second)
            case keys.Not(inner) | keys.Fuzzy(inner):
                return self._needs_text(inner)
            case _:
                return key in self._leaves

    # Conditions

    def _prepare(self, key: Key) -> Iterator[Progress]:
        """Make the conditions of a key and of all within; what lies too deep is asked first, step by step.

        Once the texts within are decided.
        """
        match key:
            case keys.And(inner):
                for one in inner:
                    yield from self._prepare(one)
            case keys.Or(first, second):
                yield from self._prepare(first)
                yield from self._prepare(second)
            case keys.Not(inner) | keys.Fuzzy(inner):
                yield from self._prepare(inner)
            case _:
                return
        condition = self._translate(key)
        if condition.depth > _DEPTH:
            found = array("I")
            for low, high in self._windows():
                found.extend(self._select("m.uid", condition, low, high))
                yield Progress(0, 0)
            condition = _among("m.uid", _Uids(found, _ALL))
        self._made[id(key)] = condition

    def _condition(self, key: Key) -> Condition:
        """After ``_prepare``."""
        return self._made.get(id(key)) or self._translate(key)

    def _translate(self, key: Key) -> Condition:
        context = self._context
        match key:
            case keys.All() | keys.SaveDateSupported():
                # RFC 8514 4.3: every mailbox here keeps them.
                return _TRUE
            case keys.And(inner):
                return _join("AND", [self._condition(one) for one in inner])
            case keys.Or(first, second):
                return _join("OR", [self._condition(first), self._condition(second)])
            case keys.Not(inner):
                condition = self._condition(inner)
                return Condition(f"NOT ({condition.sql})", condition.values, condition.depth + 1)
            case keys.Fuzzy(inner):
                return self._condition(inner)
            case keys.Flag(flag):
                return self._flag(flag)
            case keys.Text(name, value) if name in _COLUMNS:
                if not value:
                    return _TRUE
                return Condition(f"ifnull(instr(c.{_COLUMNS[name]},?),0)>0", (text.normalize(value),))
            case keys.Text() | keys.Header():
                leaf = self._leaves.get(key)
                return _TRUE if leaf is None else _matching(leaf)
            case keys.On(clock, relation, day):
                return _on(clock, relation, day)
            case keys.Size(relation, octets):
                return Condition(f"m.size{relation}?", (min(octets, 1 << 62),))
            case keys.Numbers(numbers, uid):
                return self._numbers(numbers, uid)
            case keys.Within(older, seconds):
                # RFC 5032 2: the server's time less the interval, and that second itself for both.
                return Condition(f"m.internal{'<=' if older else '>='}?", (int(context.now) - seconds,))
            case keys.Modseq(value):
                return Condition("m.modseq>=?", (value,))
            case keys.ObjectId(name, value):
                column = "c.emailid" if name == b"EMAILID" else "c.threadid"
                return Condition(f"ifnull({column}=?,0)", (value.decode("ascii", "replace"),))

    def _flag(self, flag: bytes) -> Condition:
        name = flag.decode("ascii", "replace").lower()
        if name == "\\recent":
            return self._in_ranges(self._context.recent)
        # RFC 9051 2.3.2: keywords are compared without case.
        condition = self._flags.get(name)
        if condition is None:
            sets = self._folder.account.flagsets.all()
            found = {number for number, flags in sets.items() if any(name == known.lower() for known in flags)}
            if len(found) > _RANGES:
                condition = _among("m.flagset", _Others("m.flagset", found))
            else:
                condition = Condition(f"m.flagset IN ({','.join(map(str, found))})") if found else _FALSE
            self._flags[name] = condition
        return condition

    def _numbers(self, numbers: SequenceSet, uid: bool) -> Condition:
        uids = self._context.uids
        if numbers.saved:
            return _among("m.uid", _Uids(self._context.saved, _ALL))
        if uids is None:
            row = self._folder.database.one("SELECT max(uid) FROM message WHERE folder=?", self._folder.id)
            uids = [row[0]] if row[0] else []
            if not uid:
                uids = self._every()
        if not uids:
            return _FALSE
        if id(numbers) in self._long:
            return self._long[id(numbers)]
        if uid:
            ranges = numbers.merged(uids[-1])
        else:
            # RFC 7377 2: a number beyond the last is no error, and matches nothing.
            ranges = [(uids[start], uids[stop - 1]) for start, stop in numbers.positions(len(uids))]
        condition = self._in_ranges(ranges)
        if len(ranges) > _RANGES:
            self._long[id(numbers)] = condition
        return condition

    def _in_ranges(self, ranges: Sequence[tuple[int, int]]) -> Condition:
        if len(ranges) > _RANGES:
            uids = self._context.uids
            return _among("m.uid", _Uids(self._every() if uids is None else uids, ranges))
        # Spelled out: a command may have more of them than a statement has parameters.
        return _join("OR", [Condition(f"m.uid BETWEEN {low} AND {high}") for low, high in ranges])

    def _every(self) -> "array[int]":
        """The UIDs of the folder, where no session says which it sees; read once."""
        if self._all is None:
            self._all = array("I", [uid for uid, _ in self._folder.uids()])
        return self._all


def _side_by_side(key: Key) -> Iterator[Key]:
    """Keys that must all match."""
    if isinstance(key, keys.And):
        for inner in key.keys:
            yield from _side_by_side(inner)
    else:
        yield key


def _matching(leaf: _Leaf) -> Condition:
    found = _among("m.content", _Others("m.content", leaf.found)) if leaf.found else _FALSE
    if not leaf.words:
        return found
    answer = Condition("m.content IN (SELECT rowid FROM words WHERE words MATCH ?)", (leaf.words,))
    return _join("OR", [answer, found]) if leaf.found else answer


def _among(column: str, numbers: _Uids | _Others) -> Condition:
    return Condition(f"{column} IN (SELECT value FROM json_each(?))", (numbers,))


def _join(word: str, conditions: Sequence[Condition]) -> Condition:
    """As a tree that is neither high nor deep, however many there are: SQLite takes 1000 levels, 100 in parentheses."""
    if not conditions:
        return _TRUE if word == "AND" else _FALSE
    while len(conditions) > 1:
        groups = [conditions[start : start + _GROUP] for start in range(0, len(conditions), _GROUP)]
        conditions = [
            Condition(
                f"({f' {word} '.join(one.sql for one in group)})",
                tuple(value for one in group for value in one.values),
                max(one.depth for one in group) + 1,
            )
            for group in groups
        ]
    return conditions[0]


def _on(clock: str, relation: str, day: int) -> Condition:
    """RFC 9051 6.4.4: the time and the zone are left out of account.

    Internal dates are shown in UTC (FETCH INTERNALDATE), so it is that date; the Date field's is the one written there.
    """
    column = {"INTERNAL": "m.internal", "SAVED": "m.saved", "SENT": "c.sent+c.sent_offset"}[clock]
    start, end = day * _DAY, (day + 1) * _DAY
    if relation == "<":
        return Condition(f"ifnull({column}<?,0)", (start,))
    if relation == ">":
        return Condition(f"ifnull({column}>=?,0)", (start,))
    return Condition(f"ifnull({column} BETWEEN ? AND ?,0)", (start, end - 1))


# Texts that are read


def _matcher(leaf: _Leaf) -> Callable[[Data], bool]:
    if leaf.field:
        return lambda data: _header_matches(_header_of(data), leaf)
    return lambda data: _text_matches(data, leaf)


def _header_of(data: Data) -> bytes:
    end = structure.header_block(data, 0, min(len(data), _HEADER_START))[0]
    if end >= _HEADER_START - 1:
        end = structure.header_block(data)[0]
    return bytes(data[:end])


def _header_matches(header: bytes, leaf: _Leaf) -> bool:
    wanted = leaf.needle
    for name, value in structure.scan_fields(header, 0, len(header)):
        if name == leaf.field and (wanted is None or wanted.text in fold(text.decode_value(value))):
            return True
    return False


def _text_matches(data: Data, leaf: _Leaf) -> bool:
    assert leaf.needle is not None
    wanted = leaf.needle.text
    texts = fulltext.texts_of(data)
    if any(wanted in found for found in texts.body()):
        return True
    return "header" in leaf.columns and any(wanted in found for found in texts.header())
