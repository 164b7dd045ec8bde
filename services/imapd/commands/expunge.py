"""EXPUNGE, UID EXPUNGE, CLOSE, UNSELECT (RFC 9051 6.4.1 to 6.4.3, RFC 4315)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command

from tubepost.common.mailbox.store import NoSuchFolder

from tubepost.services.imapd import limits, updates
from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def expunge(session: "Session", command: Command) -> Ok:
    """The removals are told with all other news at the end of the command."""
    selected = session.selected
    assert selected is not None
    uids = None
    limited = b""
    if command.verb == b"UID EXPUNGE":
        numbers = arguments.expunge(session.scanner(command))
        async with selected.mailbox.lock:
            marked = set(selected.folder.flagsets_with("\\Deleted"))
            uids = selected.resolve(numbers, True)
            if limits.exceeds(session, len(uids)):
                # RFC 9738 3.1: of those with \Deleted; EXPUNGE and CLOSE know no limit.
                uids = [row[0] for row in selected.folder.rows(("uid", "flagset"), uids) if row[1] in marked]
                uids, limited = limits.cut(session, uids)
    else:
        arguments.nothing(session.scanner(command))
    selected.writable()
    selected.need("e")
    gone = await selected.mailbox.work(selected.folder.expunge, uids)
    if not gone:
        return Ok()
    session.server.changed(selected.mailbox, (selected.folder.id, selected.folder.name))
    # RFC 7162 3.2.7
    if limited:
        return Ok("Some messages are left", limited)
    return Ok("", await selected.highest() if b"CONDSTORE" in session.enabled else b"")


async def close(session: "Session", command: Command) -> Ok:
    """Removes what has \\Deleted without telling, where that may be done."""
    arguments.nothing(session.scanner(command))
    selected = session.selected
    assert selected is not None
    try:
        await updates.check_rights(session, selected)
    except NoSuchFolder:
        # What another client has deleted is as closed as it can be.
        session.unselect()
        return Ok()
    if not selected.read_only and "e" in selected.rights:
        gone = await selected.mailbox.work(selected.folder.expunge)
        if gone:
            session.server.changed(selected.mailbox, (selected.folder.id, selected.folder.name))
    session.unselect()
    return Ok()


async def unselect(session: "Session", command: Command) -> Ok:
    arguments.nothing(session.scanner(command))
    session.unselect()
    return Ok()
