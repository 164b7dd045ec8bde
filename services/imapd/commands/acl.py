"""SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 3)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import administration, arguments
from tubepost.common.imap.administration import SetAcl
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import astring, mailbox

from tubepost.common.mailbox.interface import Account

from tubepost.services.imapd import places, rights, shares
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.places import Place
    from tubepost.services.imapd.session import Session

# Of one mailbox: people, not a directory service.
_ENTRIES = 1000
_LONGEST = 255


async def set_acl(session: "Session", command: Command) -> Ok:
    request = administration.set_acl(session.scanner(command))
    if not rights.KNOWN.issuperset(request.rights):
        # RFC 4314 3.1: MUST NOT silently ignore unrecognized rights.
        raise BadCommand("There is no such right")
    identifier = await _canonical(session, request.identifier)
    place, folder = await places.find_folder(session, request.mailbox, "a")
    try:
        await place.mailbox.quick(_change, place, folder.id, identifier, request)
        await _tell_sharing(session, place, identifier)
        await _publish(session, place)
        return Ok()
    finally:
        place.release()


def _change(place: "Place", folder: int, identifier: str, request: SetAcl) -> None:
    account, owner = place.mailbox.account, place.owner.name
    acl = account.rights(folder)
    before = acl.get(identifier, rights.ALL if identifier == owner else "")
    after = rights.changed(before, request.mode, request.rights)
    if identifier not in acl and len(acl) >= _ENTRIES:
        raise No("The list of this mailbox is full", b"LIMIT")
    # An entry without rights is none (a client takes the last right away so).
    keeps = bool(after) or identifier == owner
    account.grant(folder, identifier, after if keeps else None)


async def delete_acl(session: "Session", command: Command) -> Ok:
    name, given = administration.mailbox_and_identifier(session.scanner(command))
    identifier = await _canonical(session, given)
    place, folder = await places.find_folder(session, name, "a")
    try:
        await place.mailbox.quick(place.mailbox.account.grant, folder.id, identifier, None)
        await _tell_sharing(session, place, identifier)
        await _publish(session, place)
        return Ok()
    finally:
        place.release()


async def get_acl(session: "Session", command: Command) -> Ok:
    name = arguments.mailbox(session.scanner(command))
    place, folder = await places.find_folder(session, name, "a")
    try:
        async with place.mailbox.lock:
            acl = place.mailbox.account.rights(folder.id)
        owner = place.owner.name
        acl = {owner: rights.effective(acl, owner, owner), **{k: v for k, v in acl.items() if k != owner}}
        pairs = b"".join(b" %b %b" % (_text(session, k), astring(rights.shown(v))) for k, v in acl.items())
        session.send(b"* ACL %b%b\r\n" % (mailbox(name, utf8=session.utf8), pairs))
        return Ok()
    finally:
        place.release()


async def list_rights(session: "Session", command: Command) -> Ok:
    name, identifier = administration.mailbox_and_identifier(session.scanner(command))
    who = await _canonical(session, identifier)
    place, _ = await places.find_folder(session, name, "a")
    try:
        required = rights.ALWAYS if who == place.owner.name else ""
        optional = " ".join(letter for letter in (*rights.ALL, "c", "d") if letter not in required)
        session.send(
            b"* LISTRIGHTS %b %b %b %b\r\n"
            % (mailbox(name, utf8=session.utf8), _text(session, identifier), astring(required), optional.encode())
        )
        return Ok()
    finally:
        place.release()


async def my_rights(session: "Session", command: Command) -> Ok:
    name = arguments.mailbox(session.scanner(command))
    # RFC 4314 4: any of these.
    place, _ = await places.find_folder(session, name, "lrikxa")
    place.release()
    session.send(b"* MYRIGHTS %b %b\r\n" % (mailbox(name, utf8=session.utf8), astring(rights.shown(place.rights))))
    return Ok()


def _text(session: "Session", identifier: str) -> bytes:
    return astring(identifier, utf8=session.utf8)


async def _canonical(session: "Session", identifier: str) -> str:
    """As it is kept: a user by the one spelling that auth knows, whatever the client wrote. Raises BadCommand."""
    sign = "-" if identifier.startswith("-") else ""
    name = identifier[len(sign) :]
    # RFC 4314 3: an identifier that cannot be prepared is BAD.
    if not name or not name.isprintable() or len(name) > _LONGEST:
        raise BadCommand("That cannot be an identifier")
    if name.lower() == rights.ANYONE:
        return sign + rights.ANYONE
    assert session.user is not None
    user = session.user if name == session.user.name else await session.server.user(name)
    return sign + (user.name if user is not None else name)


def _grants(account: Account, identifier: str) -> bool:
    return any("l" in acl.get(identifier, "") for acl in account.all_rights().values())


async def _tell_sharing(session: "Session", place: "Place", identifier: str) -> None:
    """Let the other's own account know whose mailboxes LIST is to show there."""
    if identifier == rights.ANYONE:
        async with place.mailbox.lock:
            grants = _grants(place.mailbox.account, identifier)
        shares.note(session.server.config.imapd_shares_directory, place.owner.name, grants)
        return
    if identifier.startswith("-") or identifier == place.owner.name:
        return
    user = await session.server.user(identifier)
    if user is None:
        return
    async with place.mailbox.lock:
        path = place.mailbox.path if _grants(place.mailbox.account, identifier) else None
    if session.user is not None and user.name == session.user.name and session.mailbox is not None:
        await session.mailbox.quick(session.mailbox.account.note_shared, place.owner.name, path)
        return
    try:
        other = await session.server.mailboxes.open(user)
    except OSError:
        # It is not listed there, and can be had by its name.
        return
    try:
        await other.quick(other.account.note_shared, place.owner.name, path)
    finally:
        session.server.mailboxes.release(other)


async def _publish(session: "Session", place: "Place") -> None:
    """Sessions that watch names hear of it (RFC 5465 5.9)."""
    folder = await place.mailbox.quick(place.open)
    session.server.changed(place.mailbox, (folder.id, folder.name))
