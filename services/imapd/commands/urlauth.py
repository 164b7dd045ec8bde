"""GENURLAUTH, URLFETCH, RESETKEY (RFC 4467), URLFETCH of decoded parts and their structure (RFC 5524)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from tubepost.common.imap import administration
from tubepost.common.imap.bodystructure import encode_structure
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.fetch import Attribute
from tubepost.common.imap.reader import Command
from tubepost.common.imap.sections import find_part
from tubepost.common.imap.url import BadUrl, parse
from tubepost.common.imap.write import string

from tubepost.common.mail.structure import Part
from tubepost.common.mail.transfer import IDENTITY, KNOWN, UnknownEncoding, decode_chunks
from tubepost.common.system import log
from tubepost.common.skeleton.conversation import Gone

from tubepost.services.imapd import assembly, content, places, urls
from tubepost.services.imapd.content import Piece
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


class NotYours(BadCommand):
    """RFC 4467 7: what is not to be authorized is answered BAD, also where that is a question of rights."""

    code = b"NOPERM"


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
        if not found.host or not found.user or not found.access or found.token:
            # RFC 4467 7: the argument is an absolute URL with its owner and without the token.
            raise BadCommand("The URL is not one to be authorized")
        owner = await session.server.user_of_url(found.user, found.host) if found.user else None
        if owner is None or owner.name != session.user.name:
            raise NotYours("Only URLs of your own mailboxes can be authorized")
        if places.split(session, found.mailbox)[0]:
            # Its keys are another's, who is not the one that the URL names.
            raise NotYours("Only URLs of your own mailboxes can be authorized")
        try:
            place, folder = await places.find_folder(session, found.mailbox, "r")
        except No as error:
            raise BadCommand(error.text) from None
        try:
            key = await place.mailbox.quick(urls.key_of, place.mailbox.account, folder, make=True)
        finally:
            place.release()
        assert key is not None
        made.append(b"%b:%b:%b" % (text, urls.MECHANISM.encode(), urls.token(key, found.rump).encode()))
    session.send(b"* GENURLAUTH " + b" ".join(b'"%b"' % url for url in made) + b"\r\n")
    return Ok()


async def fetch(session: "Session", command: Command) -> Ok:
    """RFC 4467 7: the content of each URL, NIL of one that this user cannot have."""
    for text, wanted in administration.urls(session.scanner(command)):
        try:
            found = parse(text)
            async with assembly.authorized(session, found) as (place, folder):
                message, attribute = await place.mailbox.quick(assembly.open_url, folder, found)
                try:
                    # To look through a large one takes its time.
                    make = place.mailbox.work if message.is_large else place.mailbox.quick
                    await _send(session, text, await make(_pieces, message, attribute, wanted))
                finally:
                    message.close()
        except BadUrl:
            await _send(session, text, [b"NIL"])
    return Ok()


async def _send(session: "Session", text: bytes, pieces: Iterable[Piece]) -> None:
    session.send(b"* URLFETCH %b " % string(text))
    for piece in pieces:
        if isinstance(piece, bytes):
            session.send(piece)
            continue
        chunks = iter(piece)
        try:
            while (chunk := await session.server.mailboxes.in_thread(next, chunks, None)) is not None:
                session.send(chunk)
                await session.drain_out()
        except OSError as error:
            # It was said how long it is: what came next would be taken for its content.
            log.error(f"{session.who}: what a URL names cannot be read to its end: {error}")
            raise Gone from None
    session.send(b"\r\n")
    await session.drain_out()


def _pieces(message: content.Message, attribute: Attribute, wanted: tuple[bytes, ...]) -> list[Piece]:
    """Raises BadUrl when there is no such part."""
    if content.raw(message, attribute) is None:
        raise BadUrl("The message has no such part")
    if not wanted:
        return content.body(message, attribute, utf8=True)
    section = attribute.section
    assert section is not None
    found: list[Piece] = []
    # RFC 5524 3.2: the structure is of a part, not of a piece of its text.
    if b"BODYPARTSTRUCTURE" in wanted:
        part = find_part(message.root, section.path) if not section.text else None
        if part is not None and b"BINARY" in wanted:
            part = _decoded(message, part)
        structure = encode_structure(part, True) if part is not None else b"NIL"
        found.append(b"(BODYPARTSTRUCTURE " + structure + b")")
    item = next((item for item in wanted if item != b"BODYPARTSTRUCTURE"), None)
    if item is not None:
        if found:
            found.append(b" ")
        found += [b"(" + item + b" ", *_data(message, attribute, item), b")"]
    return found


def _decoded(message: content.Message, part: Part) -> Part:
    """RFC 5524 3.2, 4: the structure is of what is sent, and that is decoded."""
    if part.is_multipart or part.message is not None or part.encoding in IDENTITY or part.encoding not in KNOWN:
        return part
    size = lines = 0
    for chunk in decode_chunks(message.data, part.body_start, part.body_end, part.encoding):
        size += len(chunk)
        lines += chunk.count(b"\n")
    return replace(part, encoding=b"binary", size=size, lines=lines)


def _data(message: content.Message, attribute: Attribute, item: bytes) -> list[Piece]:
    section = attribute.section
    assert section is not None
    if item == b"BODY" or section.text or not section.path:
        return content.body(message, attribute, utf8=True)
    try:
        return content.binary_body(message, attribute)
    except UnknownEncoding:
        # RFC 5524 3.2
        return [b"NIL"]


async def reset_key(session: "Session", command: Command) -> Ok:
    """RFC 4467 7: of one mailbox, or of all."""
    name, mechanisms = administration.reset_key(session.scanner(command))
    if any(mechanism != urls.MECHANISM.encode() for mechanism in mechanisms):
        raise No("That mechanism is not known", b"URLMECH " + urls.MECHANISM.encode())
    assert session.mailbox is not None
    if name is None:
        account = session.mailbox.account
        for info in await session.mailbox.quick(account.folders):
            await session.mailbox.quick(urls.forget_key, account, info.id)
        return Ok()
    place, folder = await places.find_folder(session, name, "a")
    try:
        await place.mailbox.quick(urls.forget_key, place.mailbox.account, folder.id)
    finally:
        place.release()
    return Ok("", b"URLMECH " + urls.MECHANISM.encode())
