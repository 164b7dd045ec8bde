"""COPY, MOVE and their UID forms (RFC 9051 6.4.7, 6.4.8)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact_ordered

from tubepost.common.mailbox.store import NoSuchFolder, NoSuchMessage

from tubepost.services.imapd import places
from tubepost.services.imapd.replies import No, Ok, shorten

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def copy(session: "Session", command: Command) -> Ok:
    return await _transfer(session, command, moving=False)


async def move(session: "Session", command: Command) -> Ok:
    return await _transfer(session, command, moving=True)


async def _transfer(session: "Session", command: Command, *, moving: bool) -> Ok:
    selected = session.selected
    assert selected is not None
    numbers, name = arguments.copy(session.scanner(command))
    if moving:
        selected.writable()
        selected.need("e")
    mailbox, folder = selected.mailbox, selected.folder
    async with mailbox.lock:
        uids = selected.resolve(numbers, command.verb.startswith(b"UID "))
    place = await places.find(session, name, "i")
    try:
        try:
            async with place.mailbox.lock:
                target = place.open()
        except NoSuchFolder:
            # RFC 9051 6.4.7: the client may create it.
            raise No(f"There is no mailbox {shorten(name)}", b"TRYCREATE") from None
        if not uids:
            return Ok("No messages")
        if not moving or place.mailbox is not mailbox:
            async with mailbox.lock:
                size = sum(row[0] for row in folder.rows(("size",), uids))
            await places.check_room(session, place.mailbox, size, len(uids))

        def work() -> tuple[list[int], list[int]]:
            transfer = folder.move if moving else folder.copy
            try:
                return transfer(uids, target)
            except NoSuchMessage:
                folder.verified = 0.0
                folder.sync()
                return transfer(uids, target)

        if place.mailbox is mailbox:
            old, new = await mailbox.work(work)
        else:
            async with place.mailbox.lock:
                old, new = await mailbox.work(work)
        if not old:
            return Ok("No messages")
        code = b"COPYUID %d %b %b" % (target.uidvalidity, compact_ordered(old), compact_ordered(new))
        session.server.changed(place.mailbox, (target.id, target.name))
        if not moving:
            return Ok("", code)
        session.server.changed(mailbox, (folder.id, folder.name))
        # RFC 9051 6.4.8: before the EXPUNGE responses.
        session.send(b"* OK [%b] Moved\r\n" % code)
        return Ok("")
    finally:
        place.release()
