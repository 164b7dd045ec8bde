"""SELECT and EXAMINE (RFC 9051 6.3.2, 6.3.3; RFC 7162 3.2.5 for QRESYNC)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.arguments import Resync
from tubepost.common.imap.errors import BadCommand, BadName
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact, compact_ranges, mailbox

from tubepost.common.mailbox.view import missing

from tubepost.services.imapd import places, updates
from tubepost.services.imapd.replies import Ok, UidRequired
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def select(session: "Session", command: Command) -> Ok:
    return await _open(session, command, read_only=False)


async def examine(session: "Session", command: Command) -> Ok:
    return await _open(session, command, read_only=True)


async def _open(session: "Session", command: Command, *, read_only: bool) -> Ok:
    try:
        request = arguments.select(session.scanner(command))
    except BadName:
        # RFC 9051 6.3.2: after a SELECT that fails (which this is, not a BAD one) no mailbox is selected.
        _close(session)
        raise
    if request.resync is not None and b"QRESYNC" not in session.enabled:
        # RFC 7162 3.2.5
        raise BadCommand("Enable QRESYNC first")
    if request.resync is not None and request.resync.matching is not None and b"UIDONLY" in session.enabled:
        # RFC 9586 3.5
        raise UidRequired("Only UIDs can be used now")
    if request.condstore:
        session.enabled.add(b"CONDSTORE")
    _close(session)
    place = await places.find(session, request.mailbox, "r")
    try:
        folder = await place.mailbox.up_to_date(place.folder)
        # RFC 4314 5.2: who may change nothing has it read-only.
        read_only = read_only or not any(letter in place.rights for letter in "iestw")
        recent = await place.mailbox.quick(folder.settle_new) if not read_only else None
        user = session.user
        assert user is not None
        async with place.mailbox.lock:
            selected = Selected(
                place.mailbox, folder, request.mailbox, read_only, place.rights, user.name, place.owner.name
            )
            # What came since is claimed with the next news: another session may have been quicker.
            low, end = recent or (folder.status().recent, selected.uidnext)
            selected.add_recent(low, end - 1)
            session.selected = selected
            _describe(session, selected)
            if request.resync is not None:
                _resynchronise(session, selected, request.resync)
    except BaseException:
        session.selected = None
        place.release()
        raise
    session.server.watch_folder(session, selected)
    session.server.flush_soon(selected)
    return Ok("EXAMINE completed" if read_only else "SELECT completed", b"READ-ONLY" if read_only else b"READ-WRITE")


def _close(session: "Session") -> None:
    if session.selected is not None:
        session.unselect()
        # RFC 9051 7.1: what comes now is of the new mailbox.
        session.send(b"* OK [CLOSED] Previous mailbox closed\r\n")


def _describe(session: "Session", selected: Selected) -> None:
    """RFC 9051 6.3.2: what must be told; RECENT and UNSEEN for clients of the older revision."""
    folder, status = selected.folder, selected.told
    rev2 = b"IMAP4REV2" in session.enabled
    selected.keywords = set(folder.keywords())
    updates.tell_flag_list(session, selected)
    lines = [b"* %d EXISTS\r\n" % status.messages]
    if not rev2:
        lines.append(b"* %d RECENT\r\n" % selected.count_recent())
        unseen = folder.first_unseen() if b"UIDONLY" not in session.enabled else 0
        if unseen:
            # RFC 3501 7.1: the number of the first message without \Seen.
            number = status.messages - folder.count_from(unseen) + 1
            lines.append(b"* OK [UNSEEN %d] First unseen\r\n" % number)
    lines.append(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % folder.uidvalidity)
    lines.append(b"* OK [UIDNEXT %d] Predicted next UID\r\n" % status.uidnext)
    # RFC 7162 3.1.2.1: told to everybody.
    lines.append(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % status.modseq)
    # RFC 8474 4.2
    lines.append(b"* OK [MAILBOXID (%b)] Ok\r\n" % folder.mailboxid.encode())
    if rev2:
        lines.append(b'* LIST () "/" %b\r\n' % mailbox(selected.name, utf8=session.utf8))
    session.send(b"".join(lines))


def _resynchronise(session: "Session", selected: Selected, resync: Resync) -> None:
    """RFC 7162 3.2.5: what has changed since the client was here."""
    folder = selected.folder
    if resync.uid_validity != folder.uidvalidity:
        return
    changes = folder.changes(resync.modseq)
    view = selected.view
    agreed = _agreed(selected, resync)
    if changes.gone is None:
        vanished = compact_ranges(_missing(selected, resync, agreed))
    else:
        gone = [uid for uid in changes.gone if uid > agreed]
        vanished = compact(gone if resync.known is None else resync.known.among(gone))
    if vanished:
        session.send(b"* VANISHED (EARLIER) %b\r\n" % vanished)
    known = changes.changed
    if resync.known is not None:
        wanted = set(resync.known.among([row[0] for row in known]))
        known = [row for row in known if row[0] in wanted]
    known = [row for row in known if row[0] < selected.uidnext and view.number(row[0])]
    updates.tell_flags(session, selected, known, always=True)


def _agreed(selected: Selected, resync: Resync) -> int:
    """RFC 7162 3.2.5.2: the highest UID that still has the message number that the client knows: up to it the client
    has heard of all removals. 0 for none."""
    found = 0
    if resync.matching is not None:
        uids = selected.view.uids
        for number, uid in zip(resync.matching[0].each(), resync.matching[1].each(), strict=True):
            if number > len(uids):
                break
            if uids[number - 1] == uid:
                found = uid
    return found


def _missing(selected: Selected, resync: Resync, agreed: int) -> list[tuple[int, int]]:
    """Which of the client's UIDs are not there: all that may be, where removals are forgotten (RFC 7162 3.2.6)."""
    limit = selected.uidnext - 1
    known = resync.known.merged(limit) if resync.known is not None else [(1, limit)]
    uids = selected.view.uids
    return [
        run for low, high in known for run in missing(uids, max(low, agreed + 1), min(high, limit)) if run[0] <= run[1]
    ]
