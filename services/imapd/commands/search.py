"""SEARCH and UID SEARCH (RFC 9051 6.4.4; RFC 4731, 5182, 5267, 6203, 7162, 9394)."""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command
from tubepost.common.imap.search import Search, parse_return, parse_search
from tubepost.common.imap.write import esearch

from tubepost.common.mailbox.values import Context

from tubepost.services.imapd import contexts, limits, results, searching
from tubepost.services.imapd.contexts import SearchContext
from tubepost.services.imapd.relevance import Loosened, loosen
from tubepost.services.imapd.replies import Ok
from tubepost.services.imapd.selected import Selected
from tubepost.services.imapd.sorting import Criteria

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

_ALL = frozenset({b"ALL"})


async def search(session: "Session", command: Command) -> Ok:
    selected = session.selected
    assert selected is not None
    try:
        request = parse_search(session.scanner(command))
    except BadCommand as error:
        forget_saved(session, selected, command, error)
        raise
    if b"UTF8=ACCEPT" in session.enabled and _names_charset(session, command):
        # RFC 6855 3: all is UTF-8 from then on, and a charset MUST be refused.
        raise BadCommand("No CHARSET after ENABLE UTF8=ACCEPT")
    uid = command.verb.startswith(b"UID ")
    wanted = prepare(session, selected, request, command.tag, uid=uid)
    options = request.options
    if options is None and b"IMAP4REV2" in session.enabled:
        # RFC 9051 6.4.4: ESEARCH answers, ALL where nothing else is asked for.
        options = _ALL
    async with selected.mailbox.lock:
        context = searching.context_of(selected)
    reset_saved(selected, options)
    reporter = searching.Reporter(session, command.tag)
    mailbox, folder = selected.mailbox, selected.folder
    key, limited = limits.cut_search(session, selected, wanted.key)
    uids = await searching.find(mailbox, folder, key, context, reporter)
    scores = None
    if options is not None and b"RELEVANCY" in options:
        by_uid = await searching.find_scores(mailbox, folder, wanted, context, uids, reporter)
        scores = [by_uid[found] for found in uids]
    modseq = await told_modseq(session, selected, request, uids, options, reporter)
    numbers = uids if uid else searching.numbers_of(selected.view, uids)
    if options is None:
        # RFC 7162 3.1.5: the highest modification sequence of all that is told.
        tail = b" (MODSEQ %d)" % modseq if modseq else b""
        session.send(b"* SEARCH%b%b\r\n" % (b"".join([b" %d" % number for number in numbers]), tail))
        return Ok("Not all messages were searched" if limited else "", limited)
    answer(session, selected, command.tag, numbers, uids, request, options, uid=uid, scores=scores, modseq=modseq)
    if b"UPDATE" in options:
        keep(session, selected, wanted, context, command.tag, uids, uid=uid)
    return Ok("Not all messages were searched" if limited else "", limited)


def _names_charset(session: "Session", command: Command) -> bool:
    scanner = session.scanner(command)
    parse_return(scanner)
    return scanner.word(b"CHARSET")


# For SORT, THREAD and ESEARCH too


def prepare(session: "Session", selected: Selected, request: Search, tag: bytes, *, uid: bool) -> Loosened:
    """Look at what is asked for. Raises BadCommand."""
    wanted = loosen(request.key)
    searching.check(session, request.key, request.options, uid=uid, fuzzy=wanted.fuzzy)
    if request.options is not None and b"UPDATE" in request.options:
        contexts.check(selected, tag)
    return wanted


def forget_saved(session: "Session", selected: Selected, command: Command, error: BadCommand) -> None:
    """RFC 5182 2.1: a SEARCH with SAVE that is answered NO (BADCHARSET) leaves the empty list."""
    if error.status != b"NO":
        return
    try:
        options, _ = parse_return(session.scanner(command))
    except BadCommand:
        return
    if options is not None and b"SAVE" in options:
        selected.saved = array("I")


def reset_saved(selected: Selected, options: frozenset[bytes] | None) -> None:
    """Whatever becomes of the search, what was saved before is no more (RFC 5182 2.1)."""
    if options is not None and b"SAVE" in options:
        selected.saved = array("I")


async def told_modseq(
    session: "Session",
    selected: Selected,
    request: Search,
    uids: Sequence[int],
    options: frozenset[bytes] | None,
    reporter: searching.Reporter,
) -> int:
    """What MODSEQ tells; 0 when it was not searched for (RFC 7162 3.1.5, 3.1.10)."""
    if not searching.has(request.key, searching.is_modseq):
        return 0
    # RFC 7162 3.1: it enables CONDSTORE.
    session.enable_condstore()
    weighed = uids if options is None else results.weighed(uids, options)
    return await searching.highest_modseq(selected.mailbox, selected.folder, weighed, reporter)


def answer(
    session: "Session",
    selected: Selected,
    tag: bytes,
    numbers: Sequence[int],
    uids: Sequence[int],
    request: Search,
    options: frozenset[bytes],
    *,
    uid: bool,
    ordered: bool = False,
    scores: Sequence[int] | None = None,
    modseq: int = 0,
) -> None:
    """ESEARCH, and what SAVE keeps."""
    if b"SAVE" in options:
        selected.saved = array("I", results.kept(uids, options, request.partial))
    if options == {b"SAVE"}:
        # RFC 5182 1: alone it suppresses the response.
        return
    found = results.items(numbers, options, request.partial, ordered=ordered, scores=scores, modseq=modseq)
    session.send(esearch(tag, uid=uid, items=found))


def keep(
    session: "Session",
    selected: Selected,
    wanted: Loosened,
    context: Context,
    tag: bytes,
    uids: Sequence[int],
    *,
    uid: bool,
    criteria: Criteria = (),
    mailbox: bytes = b"",
) -> None:
    """Tell of changes of the result from now on (RFC 5267 4.3)."""
    key = searching.freeze(wanted.key, context)
    contexts.keep(session, selected, SearchContext(tag, uid, key, criteria, list(uids), mailbox))
