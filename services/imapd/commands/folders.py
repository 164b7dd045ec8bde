"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 6.3.4 to 6.3.8, RFC 6154)."""

import unicodedata
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.names import is_below
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import mailbox

from tubepost.common.mailbox.interface import Account, Folder
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.mailbox.values import SEPARATOR

from tubepost.services.imapd import places
from tubepost.services.imapd.commands.uses import SPECIAL_USES
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def create(session: "Session", command: Command) -> Ok:
    request = arguments.create(session.scanner(command))
    # RFC 9051 6.3.4: a separator at the end says that there will be names below it.
    given = request.mailbox.removesuffix(SEPARATOR)
    name = unicodedata.normalize("NFC", given)
    uses = []
    for raw in request.uses:
        use = SPECIAL_USES.get(raw.decode("ascii", "replace").lower())
        if use is None:
            # RFC 6154 3
            raise No("A mailbox for that use cannot be made", b"USEATTR")
        uses.append(use)
    limit = session.server.config.imapd_folder_limit
    place = await places.find(session, name, "k")
    try:
        if limit and len(await place.mailbox.quick(place.mailbox.account.folders)) >= limit:
            raise No(f"There are {limit} mailboxes already", b"LIMIT")
        folder = await place.mailbox.work(_create, place, uses)
        session.server.changed(place.mailbox, (folder.id, folder.name))
        if name != given:
            _tell_name(session, name, given)
        # RFC 8474 4.1
        return Ok("", f"MAILBOXID ({folder.mailboxid})".encode())
    finally:
        place.release()


def _tell_name(session: "Session", name: str, old: str) -> None:
    """RFC 9051 6.3.4: a name that is no Net-Unicode MUST be converted (or refused); the client SHOULD be told.

    Those of IMAP4rev1 do not expect what an extended LIST has.
    """
    if b"IMAP4REV2" in session.enabled:
        names = (mailbox(name, utf8=session.utf8), mailbox(old, utf8=session.utf8))
        session.send(b'* LIST () "/" %b ("OLDNAME" (%b))\r\n' % names)


def _create(place: places.Place, uses: list[str]) -> Folder:
    """RFC 4314 4: a new mailbox SHOULD inherit the list of the one above."""
    account = place.mailbox.account
    acl = places.inherited(account, place.folder)
    if not acl and not place.is_own:
        acl = account.rights_of("INBOX") or {}
    folder = account.create(place.folder, uses if place.is_own else ())
    for identifier, granted in acl.items():
        account.grant(folder.id, identifier, granted)
    return folder


async def delete(session: "Session", command: Command) -> Ok:
    name = arguments.mailbox(session.scanner(command))
    if name == "INBOX":
        raise No("INBOX cannot be deleted", b"CANNOT")
    place = await places.find(session, name, "x")
    try:
        try:
            folder = await place.mailbox.quick(place.open)
        except NoSuchFolder:
            there = await place.mailbox.quick(place.mailbox.account.folders)
            if any(is_below(info.name, place.folder) for info in there):
                # RFC 9051 6.3.5
                raise No("There are only mailboxes below that name", b"HASCHILDREN") from None
            raise
        selected = session.selected
        if selected is not None and selected.mailbox is place.mailbox and selected.folder.id == folder.id:
            session.unselect()
        await place.mailbox.work(place.mailbox.account.delete, place.folder)
        session.server.changed(place.mailbox, (folder.id, folder.name))
        return Ok()
    finally:
        place.release()


async def rename(session: "Session", command: Command) -> Ok:
    old, given = arguments.two_mailboxes(session.scanner(command))
    given = given.removesuffix(SEPARATOR)
    # RFC 9051 6.3.6
    new = unicodedata.normalize("NFC", given)
    place = await places.find(session, old, "x")
    try:
        target = await places.find(session, new, "k")
    except BaseException:
        place.release()
        raise
    try:
        if place.mailbox is not target.mailbox:
            raise No("A mailbox cannot be given to another user", b"CANNOT")
        await place.mailbox.work(place.mailbox.account.rename, place.folder, target.folder)
        # A name that only has names below it is renamed with them, and is no mailbox before and after.
        session.server.changed(place.mailbox, (0, target.folder))
        if new != given:
            _tell_name(session, new, old)
        return Ok()
    finally:
        place.release()
        target.release()


async def subscribe(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.3.7: of a name, not of a mailbox; but a name that there is none of is refused, as others do."""
    name = arguments.mailbox(session.scanner(command))
    place, _ = await places.find_folder(session, name, "l")
    place.release()
    assert session.mailbox is not None
    limit = 2 * session.server.config.imapd_folder_limit
    await session.mailbox.quick(_subscribe, session.mailbox.account, name, limit)
    session.server.changed(session.mailbox, (0, "INBOX"))
    return Ok()


def _subscribe(account: Account, name: str, limit: int) -> None:
    # Subscriptions outlive their mailboxes.
    if limit and len(account.subscriptions()) >= limit:
        raise No("There are too many subscriptions", b"LIMIT")
    account.subscribe(name)


async def unsubscribe(session: "Session", command: Command) -> Ok:
    name = arguments.mailbox(session.scanner(command))
    assert session.mailbox is not None
    await session.mailbox.quick(session.mailbox.account.subscribe, name, False)
    session.server.changed(session.mailbox, (0, "INBOX"))
    return Ok()
