"""Results that a client keeps, and what is added to them and removed from them (UPDATE, RFC 5267 4.3)."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.search import Key
from tubepost.common.imap.write import compact, compact_ordered, esearch, quoted

from tubepost.common.mailbox.values import Context
from tubepost.common.mailbox.view import ranges

from tubepost.services.imapd import searching, sorting
from tubepost.services.imapd.selected import Selected
from tubepost.services.imapd.sorting import Criteria

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

_LIMIT = 16
"""Results that a session may keep at one time."""
# A sorted result is sorted anew for each change: not when it is longer than this.
_SORTED_LIMIT = 20_000


@dataclass(slots=True)
class SearchContext:
    """``key`` without message numbers; ``criteria``: of SORT, empty for SEARCH. ``members``: UIDs in the order of the
    result. ``mailbox``: of the ESEARCH command, for the correlator."""

    tag: bytes
    uid: bool
    key: Key
    criteria: Criteria
    members: list[int]
    mailbox: bytes = b""


def check(selected: Selected, tag: bytes) -> None:
    """Raises BadCommand for a tag that such a search has already (RFC 5267 4.3)."""
    if tag in selected.contexts:
        raise BadCommand("The tag is in use by another search with UPDATE")


def keep(session: "Session", selected: Selected, context: SearchContext) -> None:
    """Tell of changes from now on, or say that it is not done (RFC 5267 4.3.1)."""
    reason = b""
    if len(selected.contexts) >= _LIMIT:
        reason = b"Too many results are kept already"
    elif context.criteria and len(context.members) > _SORTED_LIMIT:
        reason = b"The sorted result is too long"
    elif any(name == b"RELEVANCY" for name, _ in context.criteria):
        reason = b"Relevancy changes with every message"
    if reason:
        session.send(b"* NO [NOUPDATE %b] %b\r\n" % (quoted(context.tag), reason))
        return
    selected.contexts[context.tag] = context


def tell_gone(session: "Session", selected: Selected, gone: Iterable[int]) -> None:
    """Before messages are told as removed, while their numbers are still right (RFC 5267 4.3.4)."""
    removed = set(gone)
    for context in selected.contexts.values():
        if context.criteria:
            _remove_sorted(session, selected, context, removed)
        else:
            _remove(session, selected, context, removed)


async def tell(session: "Session", selected: Selected) -> None:
    """After changes were told: what they are to the results that the client keeps."""
    news, selected.context_news = selected.context_news, set()
    among = sorted(uid for uid in news if selected.view.number(uid))
    if not among:
        return
    for context in tuple(selected.contexts.values()):
        reporter = searching.Reporter(session)
        about = Context(time(), selected.view.uids, (), selected.recents, among)
        found = set(await searching.find(selected.mailbox, selected.folder, context.key, about, reporter))
        if context.criteria:
            _remove_sorted(session, selected, context, news - found)
            await _add_sorted(session, selected, context, found, reporter)
        else:
            _remove(session, selected, context, news - found)
            _add(session, selected, context, found)


def _remove(session: "Session", selected: Selected, context: SearchContext, gone: set[int]) -> None:
    removed = [uid for uid in sorted(gone) if _has(context.members, uid)]
    if removed:
        away = set(removed)
        context.members = [uid for uid in context.members if uid not in away]
        numbers = compact(_numbers(selected, context, removed))
        _send(session, context, b"REMOVEFROM", [(0, numbers)])


def _add(session: "Session", selected: Selected, context: SearchContext, found: set[int]) -> None:
    added = [uid for uid in sorted(found) if not _has(context.members, uid)]
    if added:
        if not context.members or added[0] > context.members[-1]:
            context.members += added
        else:
            context.members = sorted((*context.members, *added))
        _send(session, context, b"ADDTO", [(0, compact(_numbers(selected, context, added)))])


def _has(ascending: Sequence[int], uid: int) -> bool:
    place = bisect_left(ascending, uid)
    return place < len(ascending) and ascending[place] == uid


def _remove_sorted(session: "Session", selected: Selected, context: SearchContext, gone: set[int]) -> None:
    places = [place for place, uid in enumerate(context.members) if uid in gone]
    pairs = []
    # From the last to the first, so that each place is what it was.
    for first, last in reversed(_runs(places)):
        some = context.members[first : last + 1]
        pairs.append((first + 1, compact_ordered(_numbers(selected, context, some))))
    if pairs:
        context.members = [uid for uid in context.members if uid not in gone]
        _send(session, context, b"REMOVEFROM", pairs)


async def _add_sorted(
    session: "Session", selected: Selected, context: SearchContext, found: set[int], reporter: searching.Reporter
) -> None:
    fresh = found.difference(context.members)
    if not fresh:
        return
    uids = sorted((*context.members, *fresh))
    ordered = await sorting.sort(session, selected.mailbox, selected.folder, uids, context.criteria, {}, reporter)
    # Removed by another client, which this one was not told yet.
    _remove_sorted(session, selected, context, set(context.members).difference(ordered))
    context.members = ordered
    places = [place for place, uid in enumerate(context.members) if uid in fresh]
    pairs = []
    # From the first to the last: each comes to stand where it stands in the end.
    for first, last in _runs(places):
        some = context.members[first : last + 1]
        pairs.append((first + 1, compact_ordered(_numbers(selected, context, some))))
    if pairs:
        _send(session, context, b"ADDTO", pairs)


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    return list(ranges(places))


def _numbers(selected: Selected, context: SearchContext, uids: Sequence[int]) -> Sequence[int]:
    return uids if context.uid else searching.numbers_of(selected.view, uids)


def _send(session: "Session", context: SearchContext, name: bytes, pairs: Sequence[tuple[int, bytes]]) -> None:
    value = b"(%b)" % b" ".join(b"%d %b" % pair for pair in pairs)
    session.send(esearch(context.tag, uid=context.uid, items=[(name, value)], mailbox=context.mailbox))
