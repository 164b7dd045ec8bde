"""GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). Each account is one quota root, its limits are those of ``auth``.

The user's own root has no name, that of another is named as their INBOX is.
"""

from typing import TYPE_CHECKING

from tubepost.common.imap import administration, arguments
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import astring, mailbox

from tubepost.services.imapd import places
from tubepost.services.imapd.replies import No, Ok, nonexistent

if TYPE_CHECKING:
    from tubepost.services.imapd.places import Place
    from tubepost.services.imapd.session import Session

# RFC 9208 5.1
_UNIT = 1024


async def get_quota(session: "Session", command: Command) -> Ok:
    name = administration.quota_root(session.scanner(command))
    owner, folder = places.split(session, name) if name else ("", "INBOX")
    if folder != "INBOX" or (name and not owner):
        raise No("There is no such quota root", b"NONEXISTENT")
    # RFC 9208 6: what another has used shows how much mail there is, so "r" is needed.
    place = await places.find(session, name or "INBOX", "" if not name else "r")
    try:
        session.send(await _line(place, name))
        return Ok()
    finally:
        place.release()


async def get_quota_root(session: "Session", command: Command) -> Ok:
    """RFC 9208 4.1.2: of a mailbox that need not be there."""
    name = arguments.mailbox(session.scanner(command))
    place = await places.find(session, name)
    try:
        if not place.may("r"):
            raise No("You may not do that in this mailbox", b"NOPERM") if place.may("l") else nonexistent(name)
        root = "" if place.is_own else places.join(session, place.owner.name, "INBOX")
        session.send(b"* QUOTAROOT %b %b\r\n" % (mailbox(name, utf8=session.utf8), astring(root)))
        session.send(await _line(place, root))
        return Ok()
    finally:
        place.release()


async def set_quota(session: "Session", command: Command) -> Ok:
    """Limits are the administrator's: QUOTASET is not announced."""
    administration.set_quota(session.scanner(command))
    raise No("Quotas are set by the administrator", b"NOPERM")


async def _line(place: "Place", root: str) -> bytes:
    owner = place.owner
    async with place.mailbox.lock:
        usage = place.mailbox.account.usage()
    found = []
    if owner.quota_bytes:
        found.append(b"STORAGE %d %d" % (-(-usage.octets // _UNIT), -(-owner.quota_bytes // _UNIT)))
    if owner.quota_messages:
        found.append(b"MESSAGE %d %d" % (usage.messages, owner.quota_messages))
    # RFC 9208 4.2.1: an empty list means that there are no limits.
    return b"* QUOTA %b (%b)\r\n" % (astring(root), b" ".join(found))
