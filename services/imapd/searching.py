"""Searches as sessions run them: step by step in threads, telling the client that they go on (RFC 9585)."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.search import And, Fuzzy, Key, Modseq, Not, Numbers, Or
from tubepost.common.imap.sets import of_ranges
from tubepost.common.imap.write import quoted

from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.values import Context, Progress
from tubepost.common.mailbox.view import View, ranges
from tubepost.common.skeleton.conversation import Gone
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import relevance
from tubepost.services.imapd.relevance import Loosened
from tubepost.services.imapd.replies import UidRequired
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

R = TypeVar("R")

# Seconds after which a client is told that a command goes on, and then again.
_PATIENCE = 10.0
# Messages whose rows are read, and whose summaries are made, at a time.
_ROWS = 5000
_SUMMARIES = 100


class Reporter:
    """Of one command, by its tag; without one nothing is told."""

    def __init__(self, session: "Session", tag: bytes = b"") -> None:
        self._session = session
        self._tag = quoted(tag) if tag else b""
        self._due = session.loop.time() + _PATIENCE
        self._told = -1

    def tell(self, progress: Progress) -> None:
        """Say so when it is time. Raises Gone when the client is."""
        session = self._session
        if session.closed or session.leaving:
            raise Gone
        now = session.loop.time()
        if now < self._due or not self._tag:
            return
        self._due = now + _PATIENCE
        # RFC 9585 4: progress only grows, and stays below the goal; NIL where that is not known.
        if progress.goal and self._told < progress.done < progress.goal:
            self._told = progress.done
            numbers = b"%d %d" % (progress.done, progress.goal)
        else:
            numbers = b"NIL NIL"
        session.send(b"* OK [INPROGRESS (%b %b)] Still searching\r\n" % (self._tag, numbers))
        session.flush()


async def find(mailbox: Mailbox, folder: Folder, key: Key, context: Context, reporter: Reporter) -> "array[int]":
    """The UIDs that match, ascending."""
    async with mailbox.lock:
        evaluation = folder.search(key, context)
        if evaluation.is_quick:
            return evaluation.run()
    while (progress := await mailbox.work(evaluation.step)) is not None:
        reporter.tell(progress)
    return evaluation.found


async def find_scores(
    mailbox: Mailbox, folder: Folder, wanted: Loosened, context: Context, uids: Sequence[int], reporter: Reporter
) -> Mapping[int, int]:
    """UID to relevancy (RFC 6203 4)."""
    if not uids:
        return {}
    total = relevance.Total(uids)
    for scale in wanted.scales:
        ranks = []
        for rank in scale:
            some = Context(context.now, context.uids, context.saved, context.recent, uids)
            ranks.append((rank.score, await find(mailbox, folder, rank.key, some, reporter)))
        # Of many messages that takes its time.
        await mailbox.work(total.add, ranks)
    return total.scores()


async def read_rows(
    mailbox: Mailbox, folder: Folder, columns: Sequence[str], uids: Sequence[int], reporter: Reporter
) -> list[tuple[Any, ...]]:
    """Columns of the index for these messages, ascending."""
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(uids), _ROWS):
        some = uids[start : start + _ROWS]
        found += await mailbox.work(_rows, folder, columns, some)
        reporter.tell(Progress(start, len(uids)))
    return found


def _rows(folder: Folder, columns: Sequence[str], uids: Sequence[int]) -> list[tuple[Any, ...]]:
    return list(folder.rows(columns, uids))


async def complete(mailbox: Mailbox, folder: Folder, uids: Sequence[int], reporter: Reporter) -> None:
    """Summaries where there are none, so that all columns are filled."""
    async with mailbox.lock:
        missing = folder.unfinished()
    wanted = sorted(set(missing).intersection(uids)) if missing else []
    for start in range(0, len(wanted), _SUMMARIES):
        await mailbox.work(folder.complete, wanted[start : start + _SUMMARIES])
        reporter.tell(Progress(start, len(wanted)))


async def highest_modseq(mailbox: Mailbox, folder: Folder, uids: Sequence[int], reporter: Reporter) -> int:
    rows = await read_rows(mailbox, folder, ("uid", "modseq"), sorted(uids), reporter)
    return max((row[1] for row in rows), default=0)


def context_of(selected: Selected) -> Context:
    """Of the selected mailbox; under the lock of the account."""
    return Context(time(), selected.view.uids[:], selected.saved, selected.recents)


def numbers_of(view: View, uids: Sequence[int]) -> list[int]:
    """Message numbers of UIDs, in their order; those that are gone are left out."""
    if isinstance(uids, array) and uids == view.uids:
        return list(range(1, len(uids) + 1))
    if len(uids) > len(view) // 8:
        places = {uid: number for number, uid in enumerate(view.uids, 1)}
        return [places[uid] for uid in uids if uid in places]
    return [number for number in map(view.number, uids) if number]


# Keys


def check(session: "Session", key: Key, options: "frozenset[bytes] | None", *, uid: bool, fuzzy: bool) -> None:
    """Raises BadCommand for what cannot be asked for so."""
    if options is not None and b"RELEVANCY" in options and not fuzzy:
        # RFC 6203 4: MUST NOT be used without it.
        raise BadCommand("RELEVANCY is for FUZZY searches")
    if b"UIDONLY" in session.enabled and (not uid or has(key, _is_number)):
        raise UidRequired("Only UIDs can be used now")


def has(key: Key, test: Callable[[Key], bool]) -> bool:
    """Does one of the keys pass a test?"""
    match key:
        case And(inner):
            return any(has(one, test) for one in inner)
        case Or(first, second):
            return has(first, test) or has(second, test)
        case Not(inner) | Fuzzy(inner):
            return has(inner, test)
        case _:
            return test(key)


def _is_number(key: Key) -> bool:
    return isinstance(key, Numbers) and not key.uid and not key.numbers.saved


def is_modseq(key: Key) -> bool:
    return isinstance(key, Modseq)


def freeze(key: Key, context: Context) -> Key:
    """The key with message numbers and ``$`` as UIDs: they mean what they mean now (RFC 5267 4.3)."""
    # It may stand in very many keys, and for very many messages.
    saved = Numbers(of_ranges(list(ranges(context.saved))), True) if has(key, _is_saved) else key
    return _frozen(key, context, saved)


def _is_saved(key: Key) -> bool:
    return isinstance(key, Numbers) and key.numbers.saved


def _frozen(key: Key, context: Context, saved: Key) -> Key:
    match key:
        case And(inner):
            return And(tuple(_frozen(one, context, saved) for one in inner))
        case Or(first, second):
            return Or(_frozen(first, context, saved), _frozen(second, context, saved))
        case Not(inner):
            return Not(_frozen(inner, context, saved))
        case Fuzzy(inner):
            return Fuzzy(_frozen(inner, context, saved))
        case Numbers(numbers) if numbers.saved:
            return saved
        case Numbers(numbers, False):
            uids = context.uids or ()
            found = [(uids[start], uids[stop - 1]) for start, stop in numbers.positions(len(uids))]
            return Numbers(of_ranges(found), True)
        case _:
            return key
