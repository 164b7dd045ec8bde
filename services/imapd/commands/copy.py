"""COPY, MOVE and their UID forms (RFC 9051 6.4.7, 6.4.8), also into the mailboxes of others (RFC 4314)."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact_ordered

from tubepost.common.mailbox.interface import Draft, Folder
from tubepost.common.mailbox.store import NoSuchFolder, NoSuchMessage

from tubepost.services.imapd import limits, places
from tubepost.services.imapd.commands.append import note_own
from tubepost.services.imapd.replies import No, Ok, shorten
from tubepost.services.imapd.rights import permitted

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

_CHUNK = 1 << 18
# Into another account messages go one by one, and all of them are open files until they are there together.
_ACROSS = 500


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
        # RFC 6851 4.2: as COPY, STORE of \Deleted and EXPUNGE.
        selected.need("t")
        selected.need("e")
    mailbox, folder = selected.mailbox, selected.folder
    async with mailbox.lock:
        uids = selected.resolve(numbers, command.verb.startswith(b"UID "))
    place = await _find(session, name)
    try:
        try:
            target = await place.mailbox.quick(place.open)
        except NoSuchFolder:
            # RFC 9051 6.4.7: the client may create it.
            raise No(f"There is no mailbox {shorten(name)}", b"TRYCREATE") from None
        if not uids:
            return Ok("No messages")
        limited = b""
        if moving:
            uids, limited = limits.cut(session, uids)
        else:
            limits.all_or_none(session, uids)
        if (place.mailbox, target.id) != (mailbox, folder.id):
            await _check_keywords(session, uids, place, target)
        if not moving or place.mailbox is not mailbox:
            async with mailbox.lock:
                size = sum(row[0] for row in folder.rows(("size",), uids))
            await places.check_room(place, size, len(uids))
        if place.mailbox is not mailbox or not all(right in place.rights for right in "swt"):
            old, new = await _across(session, uids, place, target)
            if moving and old:
                await mailbox.work(folder.remove, old)
        else:
            old, new = await mailbox.work(_within, folder, uids, target, moving)
        if not old:
            return Ok("No messages")
        code = b"COPYUID %d %b %b" % (target.uidvalidity, compact_ordered(old), compact_ordered(new))
        note_own(session, place, target, new)
        session.server.changed(place.mailbox, (target.id, target.name))
        if not moving:
            return Ok("", code)
        session.server.changed(mailbox, (folder.id, folder.name))
        # RFC 9051 6.4.8: before the EXPUNGE responses.
        session.send(b"* OK [%b] Moved\r\n" % code)
        if limited:
            return Ok("Some messages are left", limited)
        # RFC 7162 3.2.9: as after UID EXPUNGE.
        return Ok("", await selected.highest() if b"QRESYNC" in session.enabled else b"")
    finally:
        place.release()


async def _find(session: "Session", name: str) -> places.Place:
    try:
        return await places.find(session, name, "i")
    except No as error:
        if error.code == b"NONEXISTENT":
            raise No(error.text, b"TRYCREATE") from None
        raise


async def _check_keywords(session: "Session", uids: Sequence[int], place: places.Place, target: Folder) -> None:
    """Raises No when the target would get more keywords than it may."""
    selected = session.selected
    assert selected is not None
    async with selected.mailbox.lock:
        sets = selected.mailbox.account.flagsets
        numbers = {row[0] for row in selected.folder.rows(("flagset",), uids)}
        flags = {flag for number in numbers for flag in sets.flags(number)}
    await place.mailbox.quick(limits.check_keywords, session, target, permitted(flags, place.rights))


def _within(folder: Folder, uids: Sequence[int], target: Folder, moving: bool) -> tuple[list[int], list[int]]:
    transfer = folder.move if moving else folder.copy
    try:
        return transfer(uids, target)
    except NoSuchMessage:
        folder.sync(force=True)
        return transfer(uids, target)


async def _across(
    session: "Session", uids: Sequence[int], place: places.Place, target: Folder
) -> tuple[list[int], list[int]]:
    """Each message is read as its owner and written as the other; all of them are there at once, or none.

    Only flags that the user may set there are kept (RFC 4314 4).
    """
    selected = session.selected
    assert selected is not None
    mailbox, folder = selected.mailbox, selected.folder
    if len(uids) > _ACROSS:
        raise No(f"Not more than {_ACROSS} messages at once can be copied to another user", b"LIMIT")
    drafts: list[Draft] = []
    kept: list[int] = []
    try:
        async with mailbox.lock:
            rows = list(folder.rows(("uid", "flagset", "internal"), uids))
        for uid, flagset, internal in rows:
            try:
                fd = await mailbox.quick(folder.open, uid)
            except NoSuchMessage:
                continue
            try:
                drafts.append(await place.mailbox.work(_copy_file, fd, target))
            finally:
                os.close(fd)
            drafts[-1].set(permitted(mailbox.account.flagsets.flags(flagset), place.rights), internal)
            kept.append(uid)
        new = await place.mailbox.work(target.append, drafts) if drafts else []
        drafts = []
        return kept, new
    finally:
        for draft in drafts:
            draft.discard()


def _copy_file(fd: int, target: Folder) -> Draft:
    draft = target.draft()
    try:
        offset = 0
        while piece := os.pread(fd, _CHUNK, offset):
            offset += len(piece)
            draft.write(piece)
        draft.finish()
        return draft
    except BaseException:
        draft.discard()
        raise
