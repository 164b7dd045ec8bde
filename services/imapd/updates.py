"""What changed in the selected mailbox, told to the client (RFC 9051 7.4, 7.5; RFC 7162 3.2.10)."""

from typing import TYPE_CHECKING

from tubepost.common.imap.write import compact

from tubepost.common.mailbox.store import NoSuchFolder

from tubepost.services.imapd import contexts
from tubepost.services.imapd.commands.table import Updates
from tubepost.services.imapd.rights import permitted
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def announce(session: "Session", expunges: Updates) -> None:
    """Look at the files, and tell what is new. The mailbox may turn out to be gone: then the session is told BYE."""
    selected = session.selected
    if selected is None:
        return
    folder, mailbox = selected.folder, selected.mailbox
    try:
        async with mailbox.lock:
            stale = folder.stale()
        if stale:
            await mailbox.work(folder.sync)
        async with mailbox.lock:
            state = mailbox.account.state()
            pending = selected.gone_modseq != selected.seen_modseq and expunges is Updates.ALL
            if state != selected.state or pending:
                tell(session, selected, expunges)
                selected.state = state
        if selected.context_news:
            await contexts.tell(session, selected)
    except NoSuchFolder:
        # RFC 9051 6.3.4: of a selected mailbox that another client removed; the session cannot go on with it.
        session.unselect()
        session.send(b"* OK [CLOSED] The mailbox was removed\r\n")


def tell(session: "Session", selected: Selected, expunges: Updates) -> None:
    """The differences since the client was last told; under the lock of the account."""
    folder = selected.folder
    status = folder.status()
    if status.modseq == selected.seen_modseq and selected.gone_modseq == selected.seen_modseq:
        return
    changes = folder.changes(selected.seen_modseq)
    # A list that was not read until now has the new flags already, and the client has not.
    unread = not selected.is_loaded
    view = selected.view
    if expunges is Updates.ALL:
        _tell_gone(session, selected, status.modseq)
    fresh = [row for row in changes.changed if row[0] >= selected.uidnext]
    if fresh:
        view.extend((row[0] for row in fresh), (row[1] for row in fresh))
        selected.uidnext = fresh[-1][0] + 1
    if len(view) != selected.count and (fresh or len(view) > selected.count):
        session.send(b"* %d EXISTS\r\n" % len(view))
        if b"IMAP4REV2" not in session.enabled:
            session.send(b"* %d RECENT\r\n" % count_recent(selected))
    selected.count = len(view)
    tell_keywords(session, selected)
    known = [row for row in changes.changed if row not in fresh] if fresh else changes.changed
    tell_flags(session, selected, known, always=unread)
    if fresh and not selected.read_only:
        # This session has them as \\Recent, and no other will (RFC 3501 2.3.2).
        folder.settle_new()
        session.server.flush_soon(selected)
        status = status._replace(recent=selected.uidnext)
    if selected.contexts:
        selected.context_news.update(row[0] for row in changes.changed)
    selected.seen_modseq = status.modseq
    selected.told = status


def _tell_gone(session: "Session", selected: Selected, modseq: int) -> None:
    view = selected.view
    gone = selected.folder.changes(selected.gone_modseq).gone
    if gone is None:
        there = {uid for uid, _ in selected.folder.uids()}
        gone = [uid for uid in view.uids if uid not in there]
    selected.gone_modseq = modseq
    if selected.contexts:
        contexts.tell_gone(session, selected, gone)
    removed = view.remove(gone)
    if not removed:
        return
    selected.count -= len(removed)
    if b"QRESYNC" in session.enabled or b"UIDONLY" in session.enabled:
        # RFC 7162 3.2.10.2: VANISHED in the place of EXPUNGE.
        session.send(b"* VANISHED %b\r\n" % compact(sorted(uid for _, uid in removed)))
    else:
        session.send(b"".join(b"* %d EXPUNGE\r\n" % number for number, _ in removed))


def tell_flags(
    session: "Session", selected: Selected, rows: list[tuple[int, int, int]], *, always: bool = False
) -> None:
    """FETCH responses for messages whose flags are others than the client was told. ``rows``: (uid, flagset, modseq).

    ``always``: also when the flags are the same (a client that asked is told).
    """
    view = selected.view
    lines = []
    condstore = b"CONDSTORE" in session.enabled
    # RFC 9051 6.4.9: every FETCH response of a UID command has it; RFC 7162 3.2.4: with QRESYNC, every one.
    with_uid = session.with_uid or b"QRESYNC" in session.enabled
    only_uid = b"UIDONLY" in session.enabled
    for uid, flagset, modseq in rows:
        number = view.flag(uid, flagset)
        if not number and always:
            number = view.number(uid)
        if not number:
            continue
        flags = flags_of(session, selected, uid, flagset)
        extra = b" MODSEQ (%d)" % modseq if condstore else b""
        if only_uid:
            lines.append(b"* %d UIDFETCH (FLAGS %b%b)\r\n" % (uid, flags, extra))
        elif with_uid:
            lines.append(b"* %d FETCH (UID %d FLAGS %b%b)\r\n" % (number, uid, flags, extra))
        else:
            lines.append(b"* %d FETCH (FLAGS %b%b)\r\n" % (number, flags, extra))
    if lines:
        session.send(b"".join(lines))


def flags_of(session: "Session", selected: Selected, uid: int, flagset: int) -> bytes:
    """``(\\Seen $Forwarded)``; with \\Recent for a client of the older revision (RFC 3501 2.3.2)."""
    flags = selected.mailbox.account.flagsets.flags(flagset)
    if uid >= selected.recent and b"IMAP4REV2" not in session.enabled:
        flags = (*flags, "\\Recent")
    return f"({' '.join(flags)})".encode()


def count_recent(selected: Selected) -> int:
    if not selected.is_loaded:
        # At SELECT: the same without reading the list.
        return selected.folder.count_from(selected.recent)
    return len(selected.view.span(selected.recent, 0xFFFFFFFF))


def tell_keywords(session: "Session", selected: Selected) -> None:
    """FLAGS again when the mailbox has keywords that were not told (RFC 9051 7.3.5)."""
    keywords = set(selected.folder.keywords())
    if keywords == selected.keywords:
        return
    selected.keywords = keywords
    tell_flag_list(session, selected)


_SYSTEM = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")


def tell_flag_list(session: "Session", selected: Selected) -> None:
    """``* FLAGS`` and PERMANENTFLAGS, the latter as the user's rights are (RFC 4314 5.1.1)."""
    names = [*_SYSTEM, *sorted(selected.keywords)]
    session.send(f"* FLAGS ({' '.join(names)})\r\n".encode())
    if selected.read_only:
        session.send(b"* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n")
        return
    kept = permitted(names, selected.rights)
    if "w" in selected.rights:
        kept.append("\\*")
    session.send(f"* OK [PERMANENTFLAGS ({' '.join(kept)})] Flags that are kept\r\n".encode())
