"""GETMETADATA, SETMETADATA (RFC 5464), and METADATA of LIST (RFC 9590).

Entries below /private are each user's own, also in the mailbox of another; those below /shared are for all who may see
the mailbox. An account's own entries are the server's for its user.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tubepost.common.imap import administration
from tubepost.common.imap.administration import GetMetadata
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import astring, mailbox, quoted

from tubepost.common.mailbox.interface import Account

from tubepost.services.imapd import places
from tubepost.services.imapd.commands.uses import SPECIAL_USES
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.commands.listing import Listed
    from tubepost.services.imapd.session import Session

_PRIVATE = "/private/"
# Octets that the annotations of an account may take: they are no mail, and count for no quota. And those of others who
# see its mailboxes: they are not to take all of it.
_TOTAL = 16 << 20
_OF_OTHERS = 4 << 20
# RFC 6154 4: the special use of a mailbox as an annotation.
_USE = "/private/specialuse"
# RFC 5464 6.2.1.2
_ADMIN = "/shared/admin"


async def get_metadata(session: "Session", command: Command) -> Ok:
    request = administration.get_metadata(session.scanner(command))
    if not request.mailbox:
        known = await _of_server(session)
    else:
        # RFC 5464 3.3: with "l" and one of the rights to look into the mailbox.
        place, folder = await places.find_folder(session, request.mailbox, "l")
        try:
            if not place.may("rswip"):
                raise No("You may not do that in this mailbox", b"NOPERM")
            account = place.mailbox.account
            async with place.mailbox.lock:
                known = _seen_by(session, place.is_own, account.annotations(folder.id))
            if place.is_own:
                infos = await place.mailbox.quick(account.folders)
                known |= _uses(next((info.special for info in infos if info.id == folder.id), ()))
        finally:
            place.release()
    found = _wanted(known, request)
    limit = request.max_size
    told = {entry: value for entry, value in found.items() if limit is None or value is None or len(value) <= limit}
    if told:
        session.send(_line(session, request.mailbox, told))
    longest = max((len(value) for entry, value in found.items() if entry not in told and value is not None), default=0)
    # RFC 5464 4.2.1
    return Ok("", b"METADATA LONGENTRIES %d" % longest if longest else b"")


async def set_metadata(session: "Session", command: Command) -> Ok:
    name, given = administration.set_metadata(session.scanner(command))
    changes = dict(given)
    limit = session.server.config.imapd_metadata_limit
    if any(value is not None and len(value) > limit for value in changes.values()):
        # RFC 5464 4.3
        raise No("The value of an annotation is too long", b"METADATA MAXSIZE %d" % limit)
    if not name:
        if any(not entry.startswith(_PRIVATE) for entry in changes):
            raise No("Annotations of the server that all can see are set by the administrator", b"NOPERM")
        assert session.mailbox is not None
        await session.mailbox.quick(_annotate, session, session.mailbox.account, 0, changes)
        session.server.changed(session.mailbox, (0, "INBOX"))
        return Ok()
    place, folder = await places.find_folder(session, name, "l")
    try:
        shared = any(not entry.startswith(_PRIVATE) for entry in changes)
        if not place.may("w" if shared else "rswip"):
            # RFC 5464 3.3
            raise No("You may not change that annotation", b"NOPERM")
        use = changes.pop(_USE, b"") if place.is_own else b""
        special = _use_of(use) if use != b"" else None
        keys = {_key(session, place.is_own, entry): value for entry, value in changes.items()}
        account = place.mailbox.account
        await place.mailbox.quick(_annotate, session, account, folder.id, keys)
        if special is not None:
            await place.mailbox.quick(account.set_special, place.folder, special)
        session.server.changed(place.mailbox, (folder.id, folder.name))
        return Ok()
    finally:
        place.release()


def _annotate(session: "Session", account: Account, folder: int, changes: Mapping[str, bytes | None]) -> None:
    """All or none. Raises No."""
    _check_count(session, account.annotations(folder), changes)
    _check_size(account, changes)
    account.annotate_all(folder, changes)


def tell(session: "Session", name: str, listed: "Listed", entries: Iterable[str]) -> None:
    """A METADATA response of a mailbox that LIST tells of (RFC 9590 3); under the lock of its account."""
    if not any(letter in listed.rights for letter in "rswip"):
        return
    own = listed.mailbox is session.mailbox
    known = _seen_by(session, own, listed.mailbox.account.annotations(listed.info.id))
    if own:
        known |= _uses(listed.info.special)
    session.send(_line(session, name, {entry: known.get(entry) for entry in entries}))


def visible_entries(session: "Session", own: bool, stored: Mapping[str, bytes]) -> dict[str, bytes]:
    """For NOTIFY: what this user sees of a mailbox's annotations."""
    return _seen_by(session, own, stored)


async def _of_server(session: "Session") -> dict[str, bytes]:
    assert session.mailbox is not None
    async with session.mailbox.lock:
        known = session.mailbox.account.annotations()
    known = {entry: value for entry, value in known.items() if entry.startswith("/")}
    known[_ADMIN] = f"mailto:postmaster@{session.server.config.mydomain}".encode()
    return known


def _line(session: "Session", name: str, found: Mapping[str, bytes | None]) -> bytes:
    pairs = b" ".join(b"%b %b" % (astring(entry), _value(value)) for entry, value in found.items())
    shown = mailbox(name, utf8=session.utf8) if name else b'""'
    return b"* METADATA %b (%b)\r\n" % (shown, pairs)


def _value(value: bytes | None) -> bytes:
    """RFC 5464 5: value = nstring / literal8."""
    if value is None:
        return b"NIL"
    if b"\0" in value:
        return b"~{%d}\r\n%b" % (len(value), value)
    if len(value) > 512 or not value.isascii() or b"\r" in value or b"\n" in value:
        return b"{%d}\r\n%b" % (len(value), value)
    return quoted(value)


def _wanted(known: Mapping[str, bytes], request: GetMetadata) -> dict[str, bytes | None]:
    """RFC 5464 4.2.2: the entries named, and those below them as far as DEPTH goes."""
    found: dict[str, bytes | None] = {}
    for wanted in request.entries:
        if wanted in known:
            found[wanted] = known[wanted]
        elif request.depth == 0:
            # An entry that has no value has the value NIL.
            found[wanted] = None
        if request.depth:
            for entry in sorted(known):
                if entry.startswith(wanted + "/") and (request.depth < 0 or "/" not in entry[len(wanted) + 1 :]):
                    found[entry] = known[entry]
    return found


def _key(session: "Session", own: bool, entry: str) -> str:
    """Private entries in another's mailbox are kept beside the owner's, under the user's name."""
    assert session.user is not None
    return entry if own or not entry.startswith(_PRIVATE) else f"{session.user.name}:{entry}"


def _seen_by(session: "Session", own: bool, stored: Mapping[str, bytes]) -> dict[str, bytes]:
    assert session.user is not None
    mine = f"{session.user.name}:/"
    found = {}
    for key, value in stored.items():
        if key.startswith("/"):
            if own or not key.startswith(_PRIVATE):
                found[key] = value
        elif not own and key.startswith(mine):
            found[key[len(mine) - 1 :]] = value
    return found


def _uses(special: Iterable[str]) -> dict[str, bytes]:
    text = " ".join(special)
    return {_USE: text.encode()} if text else {}


def _use_of(value: bytes | None) -> list[str]:
    """RFC 6154 4: the uses that a value names. Raises No."""
    found = []
    for word in (value or b"").decode("utf-8", "replace").split():
        use = SPECIAL_USES.get(word.lower())
        if use is None:
            raise No("There is no such special use", b"USEATTR")
        found.append(use)
    return found


def _check_size(account: Account, changes: Mapping[str, bytes | None]) -> None:
    more = sum(len(value) for value in changes.values() if value is not None)
    octets, others = account.annotated_octets() if more else (0, 0)
    foreign = any(not entry.startswith("/") for entry in changes)
    if more and (octets + more > _TOTAL or (foreign and others + more > _OF_OTHERS)):
        raise No("The annotations of this account take too much room", b"METADATA TOOMANY")


def _check_count(session: "Session", known: Mapping[str, bytes], changes: Mapping[str, bytes | None]) -> None:
    """Each user has as many of a mailbox: nobody keeps its owner from having some."""
    owners = set(map(_owner_of, changes))
    mine = {entry for entry in known if _owner_of(entry) in owners}
    after = mine | {entry for entry, value in changes.items() if value is not None}
    after -= {entry for entry, value in changes.items() if value is None}
    if len(after) > max(len(mine), session.server.config.imapd_metadata_count_limit):
        # RFC 5464 4.3
        raise No("There are too many annotations", b"METADATA TOOMANY")


def _owner_of(entry: str) -> str:
    """Of an entry as it is kept; empty for the owner's own and those for all."""
    return "" if entry.startswith("/") else entry.partition(":/")[0]
