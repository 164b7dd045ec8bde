"""STATUS (RFC 9051 6.3.11; RFC 7162, RFC 7889, RFC 8438, RFC 8474, RFC 9208)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import mailbox

from tubepost.common.mailbox.interface import Folder

from tubepost.services.imapd import places
from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def status(session: "Session", command: Command) -> Ok:
    name, items = arguments.status(session.scanner(command))
    place = await places.find(session, name, "r")
    try:
        folder = await place.mailbox.up_to_date(place.folder)
        async with place.mailbox.lock:
            session.send(line(session, name, folder, items))
        if b"HIGHESTMODSEQ" in items:
            # RFC 7162 3.1.2: asking for it enables CONDSTORE.
            session.enable_condstore()
        return Ok()
    finally:
        place.release()


def line(session: "Session", name: str, folder: Folder, items: Iterable[bytes]) -> bytes:
    """``* STATUS``, with what is asked; under the lock of the account."""
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, utf8=session.utf8), values(session, folder, items))


def values(session: "Session", folder: Folder, items: Iterable[bytes]) -> bytes:
    """``MESSAGES 17 UNSEEN 2``."""
    now = folder.status()
    limit = session.server.config.imapd_append_limit
    known = {
        b"MESSAGES": lambda: b"%d" % now.messages,
        b"UIDNEXT": lambda: b"%d" % now.uidnext,
        b"UIDVALIDITY": lambda: b"%d" % folder.uidvalidity,
        b"UNSEEN": lambda: b"%d" % now.unseen,
        b"DELETED": lambda: b"%d" % now.deleted,
        b"SIZE": lambda: b"%d" % now.size,
        b"HIGHESTMODSEQ": lambda: b"%d" % now.modseq,
        b"RECENT": lambda: b"%d" % folder.count_from(now.recent),
        b"MAILBOXID": lambda: b"(%b)" % folder.mailboxid.encode(),
        b"APPENDLIMIT": lambda: b"%d" % limit if limit else b"NIL",
        b"DELETED-STORAGE": lambda: b"%d" % folder.deleted_size(),
    }
    return b" ".join(b"%b %b" % (item, known[item]()) for item in items)
