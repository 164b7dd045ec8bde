"""FETCH and UID FETCH (RFC 9051 6.4.5; RFC 7162, 8474, 8514, 8970, 9394, 9586)."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.fetch import Fetch, parse_fetch
from tubepost.common.imap.reader import Command
from tubepost.common.imap.sets import SAVED
from tubepost.common.imap.write import compact, compact_ranges

from tubepost.common.mail.transfer import UnknownEncoding
from tubepost.common.system import log
from tubepost.common.mailbox.store import NoSuchMessage
from tubepost.common.mailbox.view import View
from tubepost.common.mailbox.view import missing as find_missing
from tubepost.common.skeleton.conversation import Gone

from tubepost.services.imapd import limits, results, updates
from tubepost.services.imapd.attributes import Plan
from tubepost.services.imapd.commands.table import Updates
from tubepost.services.imapd.content import read_message
from tubepost.services.imapd.replies import No, Ok
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

# Messages a turn of the loop: of the index, and of files.
_ROWS = 500
# Attributes a turn, and octets of the index that are in memory at a time.
_ATTRIBUTES = 5000
_OCTETS = 4 << 20
_FLAGS = 10_000
_FILES = 32
# Pieces of one message.
_PIECES = 32


async def fetch(session: "Session", command: Command) -> Ok:
    uid = command.verb.startswith(b"UID ")
    selected = session.selected
    assert selected is not None
    request = parse_fetch(session.scanner(command), uid=uid)
    if request.vanished and b"QRESYNC" not in session.enabled:
        # RFC 7162 3.2.6
        raise BadCommand("Enable QRESYNC first")
    if request.changed_since is not None or any(item.name == b"MODSEQ" for item in request.attributes):
        # RFC 7162 3.1: these enable CONDSTORE.
        session.enable_condstore()
    async with selected.mailbox.lock:
        uids = selected.resolve(request.numbers, uid)
        uids = _narrow(session, selected, request, uids)
    limited = b""
    if limits.exceeds(session, len(uids)):
        if request.partial is not None:
            # RFC 9738 3.1: the client can ask for less.
            raise No("Too many messages for one command", limits.code(session))
        uids, limited = limits.cut(session, uids)
    if not uids:
        return Ok()
    plan = Plan(session, selected, request)
    if plan.is_flags_only and not limited:
        await updates.claim_recent(session, selected)
        async with selected.mailbox.lock:
            updates.tell(session, selected, Updates.NO_EXPUNGE)
        for start in range(0, len(uids), _FLAGS):
            if start:
                await session.drain_out()
                await asyncio.sleep(0)
            _tell_flags(session, selected, uids[start : start + _FLAGS], plan)
        return Ok()
    if await _send(session, selected, plan, uids, backwards=bool(limited)):
        if limited:
            # RFC 9738 3.1
            session.send(b"* NO [%b] Not all messages are told\r\n" % limited)
        # RFC 5530 3: removed by another client meanwhile.
        return Ok("Some messages were removed meanwhile", b"EXPUNGEISSUED")
    return Ok("Not all messages are told" if limited else "", limited)


async def tell_arrived(session: "Session", selected: Selected) -> None:
    """NOTIFY (RFC 5465 5.2): what the client wants to know of new messages. It sets no \\Seen."""
    uids, selected.arrived = selected.arrived, []
    watching = session.watching
    event = watching.selected.get(b"MESSAGENEW") if watching is not None else None
    if event is None or not event.attributes:
        return
    quiet = tuple(item._replace(peek=True) for item in event.attributes)
    await _send(session, selected, Plan(session, selected, Fetch(SAVED, quiet)), uids)


async def _send(
    session: "Session", selected: Selected, plan: Plan, uids: Sequence[int], *, backwards: bool = False
) -> int:
    """A response for each message; returns how many of them are no more. ``backwards``: the highest UID first."""
    step = _FILES if plan.files else max(1, min(_ROWS, _ATTRIBUTES // plan.width))
    missing = 0
    # RFC 9051 6.4.5: FLAGS in the same response as the body have \Seen, and are not told again (but for MODSEQ).
    told = plan.marks and plan.tells_flags and (plan.tells_modseq or b"CONDSTORE" not in session.enabled)
    place = len(uids) if backwards else 0
    while place if backwards else place < len(uids):
        some = uids[max(0, place - _FILES) : place] if backwards else uids[place : place + step]
        if plan.marks and not selected.read_only and "s" in selected.rights:
            await _mark_seen(session, selected, some)
        rows, count = await plan.read(some, 0 if backwards else _OCTETS)
        missing += count - len(rows)
        place += -count if backwards else count
        if plan.tells_flags:
            async with selected.mailbox.lock:
                updates.tell_keywords(session, selected)
        pairs = list(zip(_numbers(selected.view, rows), rows, strict=True))
        for number, row in reversed(pairs) if backwards else pairs:
            if not plan.files:
                session.send(plan.line(number, row))
                if told:
                    selected.view.flag(row[0], row[1])
                if session.is_crowded:
                    await session.drain_out()
                continue
            try:
                await _send_content(session, selected, plan, number, row)
            except NoSuchMessage:
                missing += 1
            except UnknownEncoding as error:
                # RFC 3516 4.3
                raise No(str(error), b"UNKNOWN-CTE") from None
            else:
                if told:
                    selected.view.flag(row[0], row[1])
        if len(uids) > count:
            await session.drain_out()
            await asyncio.sleep(0)
    if plan.downgraded and not plan.uid_only:
        # RFC 6858 3: the client may tell its user that there is more to these messages.
        numbers = sorted(filter(None, map(selected.view.number, plan.downgraded)))
        session.send(b"* OK [DOWNGRADED %b] Shown without UTF-8 in their headers\r\n" % compact(numbers))
    return missing


def _narrow(session: "Session", selected: Selected, request: Fetch, uids: Sequence[int]) -> Sequence[int]:
    """CHANGEDSINCE, VANISHED and PARTIAL."""
    since = request.changed_since
    if since is not None:
        changes = selected.folder.changes(since)
        if request.vanished:
            if changes.gone is None:
                there = [uid for uid, _ in selected.folder.uids()]
                limit = selected.uidnext - 1
                runs = [
                    run
                    for low, high in request.numbers.merged(limit)
                    for run in find_missing(there, low, min(high, limit))
                ]
                vanished = compact_ranges(runs)
            else:
                vanished = compact(request.numbers.among(changes.gone))
            if vanished:
                session.send(b"* VANISHED (EARLIER) %b\r\n" % vanished)
        changed = {row[0] for row in changes.changed}
        uids = [uid for uid in uids if uid in changed]
    if request.partial is not None:
        # RFC 9394 3.3
        uids = results.part(uids, request.partial)
    return uids


def _tell_flags(session: "Session", selected: Selected, uids: Sequence[int], plan: Plan) -> None:
    """Only UID and FLAGS: all is in the view."""
    view = selected.view
    span = view.span(uids[0], uids[-1])
    if len(span) == len(uids):
        numbers: Sequence[int] = range(span.start + 1, span.stop + 1)
        sets: Sequence[int] = view.flagsets[span.start : span.stop]
    else:
        numbers = [view.number(uid) for uid in uids]
        sets = [view.flagsets[number - 1] for number in numbers]
    known = {flagset: updates.flags_text(session, selected, flagset) for flagset in set(sets)}
    texts = [known[flagset] for flagset in sets]
    if uids[-1] >= selected.recent and b"IMAP4REV2" not in session.enabled:
        marked = {flagset: updates.with_recent(text) for flagset, text in known.items()}
        texts = [
            marked[flagset] if selected.is_recent(uid) else text
            for uid, flagset, text in zip(uids, sets, texts, strict=True)
        ]
    form = plan.flags_form
    if plan.uid_only:
        session.send(b"".join([form % values for values in zip(uids, texts, strict=True)]))
    elif plan.flags_with_uid:
        session.send(b"".join([form % values for values in zip(numbers, uids, texts, strict=True)]))
    else:
        session.send(b"".join([form % values for values in zip(numbers, texts, strict=True)]))


def _numbers(view: View, rows: Sequence[Sequence[object]]) -> list[int]:
    """Message numbers of rows with ascending UIDs."""
    if not rows:
        return []
    first, last = rows[0][0], rows[-1][0]
    assert isinstance(first, int) and isinstance(last, int)
    span = view.span(first, last)
    if len(span) == len(rows):
        return list(range(span.start + 1, span.stop + 1))
    return [view.number(row[0]) for row in rows]  # type: ignore[arg-type]


async def _mark_seen(session: "Session", selected: Selected, uids: Sequence[int]) -> None:
    """RFC 9051 6.4.5: fetching a body without PEEK sets \\Seen; the client is told at the end of the command."""
    folder = selected.folder
    async with selected.mailbox.lock:
        unseen = [uid for uid, flagset in folder.rows(("uid", "flagset"), uids) if not folder.seen(flagset)]
    if not unseen:
        return
    done = await selected.mailbox.quick(folder.store, unseen, "+", ["\\Seen"])
    if done.changed:
        session.server.changed(selected.mailbox, (folder.id, folder.name))
        session.server.flush_soon(selected)


async def _send_content(session: "Session", selected: Selected, plan: Plan, number: int, row: Sequence[object]) -> None:
    uid = row[0]
    assert isinstance(uid, int)
    message = await selected.mailbox.quick(read_message, selected.folder, uid, *plan.file_of(row))
    sent = 0
    try:
        if not session.utf8 and message.make_ascii():
            plan.downgraded.add(uid)
        if message.is_large:
            await selected.mailbox.work(plan.check, message)
        else:
            plan.check(message)
        pieces = plan.pieces(number, row, message)
        while True:
            # Finding one place in 100 MiB takes its time.
            piece = await selected.mailbox.work(next, pieces, None) if message.is_large else next(pieces, None)
            if piece is None:
                break
            sent += 1
            if isinstance(piece, bytes):
                session.send(piece)
                if session.is_crowded or sent % _PIECES == 0:
                    await session.drain_out()
                    await asyncio.sleep(0)
                continue
            chunks = iter(piece)
            # One may be empty.
            while (chunk := await session.server.mailboxes.in_thread(next, chunks, None)) is not None:
                session.send(chunk)
                await session.drain_out()
    except OSError as error:
        if not sent:
            raise
        # It was said how long it is: what came next would be taken for its content.
        log.error(f"{session.who}: message {uid} of {selected.folder.name} cannot be read to its end: {error}")
        raise Gone from None
    finally:
        message.close()
