"""APPEND (RFC 9051 6.3.12), also of several messages (RFC 3502) and of parts of others (RFC 4469)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap.append import Append
from tubepost.common.imap.append import append as parse_append
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact_ordered

from tubepost.common.mailbox.interface import Draft, Folder
from tubepost.common.mailbox.store import NoSuchFolder

from tubepost.services.imapd import limits, places
from tubepost.services.imapd.assembly import drafts_of
from tubepost.services.imapd.replies import No, Ok, shorten

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def append(session: "Session", command: Command) -> Ok:
    return Ok("", await store(session, parse_append(session.scanner(command))))


async def store(session: "Session", request: Append) -> bytes:
    """All messages or none; the code APPENDUID. Raises No."""
    if limits.exceeds(session, len(request.messages)):
        # RFC 9738 3.1: as MULTIAPPEND is all or nothing.
        raise No("Too many messages at once", limits.code(session))
    if any(message.utf8 for message in request.messages) and not session.utf8:
        # RFC 6855 4
        raise No("Enable UTF8=ACCEPT first", b"CANNOT")
    try:
        place = await places.find(session, request.mailbox, "i")
    except No as error:
        if error.code == b"NONEXISTENT":
            raise No(error.text, b"TRYCREATE") from None
        raise
    drafts: list[Draft] = []
    try:
        try:
            folder = await place.mailbox.quick(place.open)
        except NoSuchFolder:
            raise No(f"There is no mailbox {shorten(request.mailbox)}", b"TRYCREATE") from None
        drafts = await drafts_of(session, place, folder, request.messages)
        uids = await place.mailbox.work(folder.append, drafts)
        drafts = []
        note_own(session, place, folder, uids)
        session.server.changed(place.mailbox, (folder.id, folder.name))
        return b"APPENDUID %d %b" % (folder.uidvalidity, compact_ordered(uids))
    finally:
        for draft in drafts:
            draft.discard()
        place.release()


def note_own(session: "Session", place: places.Place, folder: Folder, uids: Sequence[int]) -> None:
    """If it is the selected mailbox, NOTIFY need not tell what is in these messages (RFC 5465 5.2)."""
    selected = session.selected
    if selected is None or session.watching is None or selected.mailbox is not place.mailbox:
        return
    if selected.folder.id == folder.id:
        selected.mine.update(uids)
