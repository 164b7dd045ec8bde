"""What changed in the selected mailbox, told to the client (RFC 9051 7.4, 7.5; RFC 7162 3.2.10)."""

from typing import TYPE_CHECKING, NoReturn

from tubepost.common.imap.write import compact

from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.skeleton.conversation import Gone

from tubepost.services.imapd import contexts, places
from tubepost.services.imapd.commands.table import Updates
from tubepost.services.imapd.rights import permitted
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


# After these the client waits for EXPUNGE, whatever else it wants to hear of (NOTIFY).
_EXPUNGING = frozenset({b"EXPUNGE", b"UID EXPUNGE", b"MOVE", b"UID MOVE", b"REPLACE", b"UID REPLACE"})


async def announce(session: "Session", expunges: Updates) -> None:
    """Look at the files, and tell what is new. The mailbox may turn out to be gone: then the session is told BYE."""
    selected = session.selected
    if selected is None:
        return
    try:
        await _look(session, selected, expunges)
    except NoSuchFolder:
        try:
            await _follow(session, selected)
            await _look(session, selected, expunges)
        except NoSuchFolder:
            _part(session, "The selected mailbox was deleted")


async def _look(session: "Session", selected: Selected, expunges: Updates) -> None:
    mailbox = selected.mailbox
    async with mailbox.lock:
        stale = _is_stale(session, selected)
        state = mailbox.account.state()
        complete = not stale and (state == selected.state or not _is_unclaimed(session, selected))
        if complete:
            _compare(session, selected, expunges, state)
    if not complete:
        if stale:
            await mailbox.work(selected.folder.sync)
        await claim_recent(session, selected)
        async with mailbox.lock:
            _compare(session, selected, expunges, mailbox.account.state())
    if selected.context_news:
        await contexts.tell(session, selected)


def _is_stale(session: "Session", selected: Selected) -> bool:
    folder = selected.folder
    if folder.is_replaced:
        # Its UIDs are others now, and no client expects that of a mailbox that it has selected.
        _part(session, "The index of the mailbox had to be opened again; please come again")
    return folder.stale()


def _compare(session: "Session", selected: Selected, expunges: Updates, state: tuple[int, int]) -> None:
    """With the account as it is now; under its lock."""
    selected.refresh_rights()
    if "r" not in selected.rights:
        # RFC 4314 4: who may not read it any more hears no more of it.
        return
    pending = selected.gone_modseq != selected.seen_modseq and expunges is Updates.ALL
    pending = pending or selected.skipped or bool(selected.untold)
    if state != selected.state or pending:
        tell(session, selected, expunges)
        # What came after ``claim_recent`` is to be claimed the next time.
        selected.state = state if not _is_unclaimed(session, selected) else None


async def prepare(session: "Session", selected: Selected) -> None:
    """Before a command. A mailbox that was renamed meanwhile stays selected (RFC 2180 3.4); raises what
    ``Selected.prepare`` raises."""
    try:
        await selected.prepare()
    except NoSuchFolder:
        try:
            await _follow(session, selected)
            await selected.prepare()
        except NoSuchFolder:
            _part(session, "The selected mailbox was deleted")


async def check_rights(session: "Session", selected: Selected) -> None:
    """The same, for a command that needs no more than that. Raises NoSuchFolder when the mailbox was deleted."""
    try:
        await selected.check_rights()
    except NoSuchFolder:
        await _follow(session, selected)
        await selected.check_rights()


def _part(session: "Session", text: str) -> NoReturn:
    """RFC 2180 3.3: of a selected mailbox that another client removed; the session cannot go on with it."""
    session.send(f"* BYE {text}\r\n".encode())
    raise Gone


async def _follow(session: "Session", selected: Selected) -> None:
    """The mailbox has another name now, or is no more. Raises NoSuchFolder."""
    folder = await selected.mailbox.quick(selected.mailbox.account.renamed, selected.folder)
    if folder is None:
        raise NoSuchFolder(selected.folder.name)
    session.server.unwatch(session, selected)
    selected.folder = folder
    owner = places.split(session, selected.name)[0]
    selected.name = places.join(session, owner, folder.name) if owner else folder.name
    selected.state = None
    session.server.watch_folder(session, selected)


def tell(session: "Session", selected: Selected, expunges: Updates) -> None:
    """The differences since the client was last told, after ``claim_recent``; under the lock of the account."""
    folder = selected.folder
    status = folder.status()
    watching = session.watching
    wants_new = _wants_new(session)
    wants_flags = watching is None or watching.wants(b"FLAGCHANGE")
    late = (selected.skipped and wants_new) or (selected.untold and wants_flags)
    if status.modseq == selected.seen_modseq and selected.gone_modseq == selected.seen_modseq and not late:
        return
    changes = folder.changes(selected.seen_modseq)
    # A list that was not read until now has the new flags already, and the client has not.
    unread = not selected.is_loaded
    view = selected.view
    if expunges is Updates.ALL and (
        watching is None or watching.wants(b"MESSAGEEXPUNGE") or session.verb in _EXPUNGING
    ):
        _tell_gone(session, selected, status.modseq)
    uidnext = selected.uidnext
    fresh = [row for row in changes.changed if row[0] >= uidnext]
    if not wants_new:
        selected.skipped = selected.skipped or bool(fresh)
        fresh = []
    elif selected.skipped:
        fresh = [(uid, flagset, 0) for uid, flagset in folder.uids() if uid >= uidnext]
        selected.skipped = False
    if fresh:
        view.extend((row[0] for row in fresh), (row[1] for row in fresh))
        selected.uidnext = fresh[-1][0] + 1
        if watching is not None and watching.filters and watching.selected[b"MESSAGENEW"].attributes:
            # RFC 5465 5.2: SHOULD NOT for what this client has itself put there.
            selected.arrived += [row[0] for row in fresh if row[0] not in selected.mine]
    if len(view) != selected.count and (fresh or len(view) > selected.count):
        session.send(b"* %d EXISTS\r\n" % len(view))
        if fresh and selected.read_only:
            # It sees what is \Recent, and takes it from nobody (RFC 3501 6.3.2).
            selected.add_recent(max(fresh[0][0], status.recent), fresh[-1][0])
        if b"IMAP4REV2" not in session.enabled:
            session.send(b"* %d RECENT\r\n" % selected.count_recent())
    selected.count = len(view)
    tell_keywords(session, selected)
    known = [row for row in changes.changed if row[0] < uidnext]
    if not wants_flags:
        selected.untold.update(row[0] for row in known if view.flag(row[0], row[1]) or unread)
    else:
        if selected.untold:
            told = {row[0] for row in known}
            missed = [uid for uid in sorted(selected.untold) if uid not in told]
            selected.untold.clear()
            tell_flags(session, selected, list(folder.rows(("uid", "flagset", "modseq"), missed)), always=True)
        tell_flags(session, selected, known, always=unread)
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
    # RFC 9051 7.5.2: "If the server chooses to send unsolicited FETCH responses, they MUST include UID".
    with_uid = with_uid or b"IMAP4REV2" in session.enabled
    # RFC 5465 5.1: and those that NOTIFY asks for.
    with_uid = with_uid or (session.watching is not None and session.watching.filters)
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


def flags_text(session: "Session", selected: Selected, flagset: int) -> bytes:
    """``(\\Seen $Forwarded)``."""
    return f"({' '.join(selected.mailbox.account.flagsets.flags(flagset))})".encode()


def flags_of(session: "Session", selected: Selected, uid: int, flagset: int) -> bytes:
    """The same of a message; with \\Recent for a client of the older revision (RFC 3501 2.3.2)."""
    text = flags_text(session, selected, flagset)
    if uid < selected.recent or b"IMAP4REV2" in session.enabled or not selected.is_recent(uid):
        return text
    return with_recent(text)


def with_recent(text: bytes) -> bytes:
    """Flags in parentheses with one more."""
    return b"(\\Recent)" if text == b"()" else text[:-1] + b" \\Recent)"


def _wants_new(session: "Session") -> bool:
    return session.watching is None or session.watching.wants(b"MESSAGENEW")


def _is_unclaimed(session: "Session", selected: Selected) -> bool:
    """Are there messages that no session was told of? Under the lock of the account."""
    if selected.read_only or not _wants_new(session):
        return False
    selected.refresh_rights()
    status = selected.folder.status()
    # Who may not read it any more is told of none, and takes none from others.
    return "r" in selected.rights and status.recent < status.uidnext


async def claim_recent(session: "Session", selected: Selected) -> None:
    """Before the client is told of new messages: of those that no other session was told of this one says \\Recent.

    What another process brings between this and ``tell`` is claimed the next time.
    """
    async with selected.mailbox.lock:
        if not _is_unclaimed(session, selected):
            return
    low, end = await selected.mailbox.quick(selected.folder.settle_new)
    selected.add_recent(low, end - 1)
    session.server.flush_soon(selected)


def tell_keywords(session: "Session", selected: Selected) -> None:
    """FLAGS again when the mailbox has keywords that were not told (RFC 9051 7.3.5): before a FETCH that has them."""
    state = selected.mailbox.account.state()
    if state == selected.keywords_state:
        return
    selected.keywords_state = state
    keywords = set(selected.folder.keywords())
    if keywords == selected.keywords and selected.rights == selected.rights_told:
        return
    selected.keywords = keywords
    tell_flag_list(session, selected)


_SYSTEM = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")


def tell_flag_list(session: "Session", selected: Selected) -> None:
    """``* FLAGS`` and PERMANENTFLAGS, the latter as the user's rights are (RFC 4314 5.1.1)."""
    selected.rights_told = selected.rights
    names = [*_SYSTEM, *sorted(selected.keywords)]
    session.send(f"* FLAGS ({' '.join(names)})\r\n".encode())
    if selected.read_only:
        session.send(b"* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n")
        return
    kept = permitted(names, selected.rights)
    if "w" in selected.rights:
        kept.append("\\*")
    session.send(f"* OK [PERMANENTFLAGS ({' '.join(kept)})] Flags that are kept\r\n".encode())
