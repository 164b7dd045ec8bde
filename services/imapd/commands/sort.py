"""SORT, UID SORT (RFC 5256, RFC 5957; with RETURN: RFC 5267), THREAD, UID THREAD, CANCELUPDATE."""

from typing import TYPE_CHECKING

from tubepost.common.imap import administration
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command
from tubepost.common.imap.search import parse_sort, parse_thread

from tubepost.services.imapd import searching, sorting
from tubepost.services.imapd.commands.search import answer, forget_saved, keep, prepare, reset_saved, told_modseq
from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def sort(session: "Session", command: Command) -> Ok:
    selected = session.selected
    assert selected is not None
    try:
        request = parse_sort(session.scanner(command))
    except BadCommand as error:
        forget_saved(session, selected, command, error)
        raise
    uid = command.verb.startswith(b"UID ")
    asked, options = request.search, request.search.options
    wanted = prepare(session, selected, asked, command.tag, uid=uid)
    by_relevancy = any(name == b"RELEVANCY" for name, _ in request.criteria)
    if by_relevancy and not wanted.fuzzy:
        # RFC 6203 6: MUST NOT be used without it.
        raise BadCommand("RELEVANCY is for FUZZY searches")
    async with selected.mailbox.lock:
        context = searching.context_of(selected)
    reset_saved(selected, options)
    reporter = searching.Reporter(session, command.tag)
    mailbox, folder = selected.mailbox, selected.folder
    found = await searching.find(mailbox, folder, wanted.key, context, reporter)
    by_uid: dict[int, int] = {}
    if by_relevancy or (options is not None and b"RELEVANCY" in options):
        by_uid = dict(await searching.find_scores(mailbox, folder, wanted, context, found, reporter))
    uids = await sorting.sort(session, mailbox, folder, found, request.criteria, by_uid, reporter)
    modseq = await told_modseq(session, selected, asked, uids, options, reporter)
    numbers = uids if uid else searching.numbers_of(selected.view, uids)
    if options is None:
        # RFC 7162 3.1.6
        tail = b" (MODSEQ %d)" % modseq if modseq else b""
        session.send(b"* SORT%b%b\r\n" % (b"".join([b" %d" % number for number in numbers]), tail))
        return Ok()
    scores = [by_uid.get(one, 1) for one in uids] if by_uid or b"RELEVANCY" in options else None
    answer(
        session,
        selected,
        command.tag,
        numbers,
        uids,
        asked,
        options,
        uid=uid,
        ordered=True,
        scores=scores,
        modseq=modseq,
    )
    if b"UPDATE" in options:
        keep(session, selected, wanted, context, command.tag, uids, uid=uid, criteria=request.criteria)
    return Ok()


async def thread(session: "Session", command: Command) -> Ok:
    selected = session.selected
    assert selected is not None
    request = parse_thread(session.scanner(command))
    uid = command.verb.startswith(b"UID ")
    wanted = prepare(session, selected, request.search, command.tag, uid=uid)
    async with selected.mailbox.lock:
        context = searching.context_of(selected)
    reporter = searching.Reporter(session, command.tag)
    mailbox, folder = selected.mailbox, selected.folder
    uids = await searching.find(mailbox, folder, wanted.key, context, reporter)
    if searching.has(request.search.key, searching.is_modseq):
        session.enable_condstore()
    numbers = None if uid else {one: number for number, one in enumerate(selected.view.uids, 1)}
    threads = await sorting.thread(session, mailbox, folder, request.algorithm, uids, numbers, reporter)
    # RFC 5256 4: no space between threads.
    session.send(b"* THREAD %b\r\n" % threads if threads else b"* THREAD\r\n")
    return Ok()


async def cancel_update(session: "Session", command: Command) -> Ok:
    """RFC 5267 4.3.5."""
    selected = session.selected
    assert selected is not None
    tags = administration.cancel_update(session.scanner(command))
    unknown = [tag for tag in tags if tag not in selected.contexts]
    if unknown:
        raise BadCommand("There is no search with UPDATE of that tag")
    for tag in tags:
        selected.contexts.pop(tag, None)
    return Ok("No further updates")
