"""REPLACE and UID REPLACE (RFC 8508): a new message in the place of an old one."""

from typing import TYPE_CHECKING

from tubepost.common.imap.append import Append
from tubepost.common.imap.append import replace as parse_replace
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command

from tubepost.services.imapd.commands.append import store
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def replace(session: "Session", command: Command) -> Ok:
    request = parse_replace(session.scanner(command))
    selected = session.selected
    assert selected is not None
    selected.writable()
    # RFC 8508 4.1: the rights of STORE of \Deleted, EXPUNGE and APPEND.
    selected.need("t")
    selected.need("e")
    async with selected.mailbox.lock:
        uids = selected.resolve(request.number, command.verb.startswith(b"UID "))
    if not uids:
        raise No("There is no such message", b"NONEXISTENT")
    if len(uids) > 1:
        raise BadCommand("REPLACE takes one message")
    code = await store(session, Append(request.mailbox, (request.message,)))
    # RFC 8508 4.3: before the EXPUNGE.
    session.send(b"* OK [%b] Replacement message is there\r\n" % code)
    await selected.mailbox.work(selected.folder.remove, uids)
    session.server.changed(selected.mailbox, (selected.folder.id, selected.folder.name))
    # RFC 8508 4.5: as after UID EXPUNGE (RFC 7162 3.2.9).
    return Ok("", await selected.highest() if b"QRESYNC" in session.enabled else b"")
