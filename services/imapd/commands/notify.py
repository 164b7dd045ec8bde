"""NOTIFY (RFC 5465)."""

from typing import TYPE_CHECKING

from tubepost.common.imap.notification import Event, Group, Mailboxes, Notify, parse_notify
from tubepost.common.imap.reader import Command

from tubepost.services.imapd.notification import Watching
from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

# RFC 5464 4.1: what ENABLE METADATA asks for.
METADATA_GROUP = Group(Mailboxes(b"PERSONAL"), (Event(b"MAILBOXMETADATACHANGE"), Event(b"SERVERMETADATACHANGE")))


async def notify(session: "Session", command: Command) -> Ok:
    """RFC 5465 3.1. What is new in the selected mailbox is told at the end of the command, as with NOOP."""
    request = parse_notify(session.scanner(command))
    groups = (*request.groups, METADATA_GROUP) if b"METADATA" in session.enabled else request.groups
    await watch(session, Notify(request.status, groups), between=bool(request.groups), filters=True)
    return Ok()


async def watch(session: "Session", request: Notify, *, between: bool, filters: bool) -> None:
    """``between``: also while no command is in progress; ``filters``: of the selected mailbox only what is named.

    Raises No: then all stays as it was.
    """
    watching = Watching(session, request, filters=filters)
    try:
        await watching.begin(status=request.status)
    except BaseException:
        watching.close()
        raise
    session.start_notifying(watching, between=between)
