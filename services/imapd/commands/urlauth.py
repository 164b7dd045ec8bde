"""GENURLAUTH, URLFETCH, RESETKEY (RFC 4467)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import administration
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command
from tubepost.common.imap.url import BadUrl, parse
from tubepost.common.imap.write import nstring, string

from tubepost.services.imapd import assembly, places, urls
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def generate(session: "Session", command: Command) -> Ok:
    """RFC 4467 7."""
    assert session.user is not None
    made = []
    for text, mechanism in administration.generate_urls(session.scanner(command)):
        try:
            found = parse(text)
        except BadUrl as error:
            raise BadCommand(str(error)) from None
        if mechanism != urls.MECHANISM.encode():
            raise BadCommand("That mechanism is not known")
        if not found.host or not found.access or found.token:
            # RFC 4467 7: the argument is an absolute URL without the token.
            raise BadCommand("The URL is not one to be authorized")
        owner = await session.server.user_of_url(found.user, found.host) if found.user else None
        if owner is None or owner.name != session.user.name:
            raise No("Only URLs of your own mailboxes can be authorized", b"NOPERM")
        place, folder = await places.find_folder(session, found.mailbox, "r")
        try:
            async with place.mailbox.lock:
                key = urls.key_of(place.mailbox.account, folder, make=True)
        finally:
            place.release()
        assert key is not None
        made.append(b"%b:%b:%b" % (text, urls.MECHANISM.encode(), urls.token(key, found.rump).encode()))
    session.send(b"* GENURLAUTH " + b" ".join(b'"%b"' % url for url in made) + b"\r\n")
    return Ok()


async def fetch(session: "Session", command: Command) -> Ok:
    """RFC 4467 7: the content of each URL, NIL of one that this user cannot have."""
    for text in administration.urls(session.scanner(command)):
        gathered: list[bytes] = []
        try:
            await assembly.read_authorized(session, parse(text), gathered.append)
            value = nstring(b"".join(gathered))
        except BadUrl:
            value = b"NIL"
        session.send(b"* URLFETCH %b %b\r\n" % (string(text), value))
        await session.drain_out()
    return Ok()


async def reset_key(session: "Session", command: Command) -> Ok:
    """RFC 4467 7: of one mailbox, or of all."""
    name, mechanisms = administration.reset_key(session.scanner(command))
    if any(mechanism != urls.MECHANISM.encode() for mechanism in mechanisms):
        raise No("That mechanism is not known", b"URLMECH " + urls.MECHANISM.encode())
    assert session.mailbox is not None
    if name is None:
        async with session.mailbox.lock:
            for info in session.mailbox.account.folders():
                urls.forget_key(session.mailbox.account, info.id)
        return Ok()
    place, folder = await places.find_folder(session, name, "a")
    try:
        async with place.mailbox.lock:
            urls.forget_key(place.mailbox.account, folder.id)
    finally:
        place.release()
    return Ok("", b"URLMECH " + urls.MECHANISM.encode())
