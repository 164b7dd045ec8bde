"""Messages of APPEND and REPLACE from what was uploaded, and, with CATENATE, from parts of other messages."""

import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tubepost.common.imap import url
from tubepost.common.imap.append import NewMessage
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.fetch import Attribute, Section, parse_section
from tubepost.common.imap.parse import Scanner

from tubepost.common.mailbox.interface import Draft, Folder
from tubepost.common.mailbox.store import NoSuchFolder, NoSuchMessage

from tubepost.services.imapd import binary, content, limits, places, urls
from tubepost.services.imapd.replies import No
from tubepost.services.imapd.rights import effective, permitted

if TYPE_CHECKING:
    from tubepost.services.imapd.places import Place
    from tubepost.services.imapd.session import Session

_CHUNK = 1 << 18
# A URL that can stand in a response code (RFC 4469 4): of one word, not long.
_SHOWN = re.compile(rb"[!-\\^-~]{1,1000}")


async def drafts_of(session: "Session", place: "Place", folder: Folder, messages: Iterable[NewMessage]) -> list[Draft]:
    """One for each message, its flags those that the user may set (RFC 4314 4). Raises No, OSError."""
    pieces = session.upload.take() if session.upload is not None else []
    made: list[Draft] = []
    rest = iter(pieces)
    try:
        for message in messages:
            draft = await _draft(session, place, folder, message, rest)
            made.append(draft)
            if draft.octets == 0:
                # As other servers: an empty message is a cancelled one (RFC 3502 3).
                raise No("An empty message is not stored")
            flags = permitted([flag.decode("ascii") for flag in message.flags], place.rights)
            await place.mailbox.quick(limits.check_keywords, session, folder, flags)
            draft.set(flags, None if message.time is None else message.time[0])
        return made
    except BaseException:
        for draft in (*made, *pieces):
            draft.discard()
        raise


async def _draft(
    session: "Session", place: "Place", folder: Folder, message: NewMessage, pieces: Iterator[Draft]
) -> Draft:
    if not message.catenate:
        draft = next(pieces)
        if message.parts[0].text is not None and message.parts[0].text.binary:
            draft = await place.mailbox.work(_settle, folder, draft)
        return draft
    async with place.mailbox.lock:
        whole = folder.draft()
    used: list[Draft] = []
    try:
        for part in message.parts:
            if part.url is not None:
                await _copy_url(session, whole, part.url)
            else:
                used.append(next(pieces))
                await place.mailbox.work(_pour, used[-1], whole)
            limit = session.server.config.imapd_append_limit
            if limit and whole.octets > limit:
                raise No(f"The message is larger than the limit of {limit} octets", b"TOOBIG")
        whole.finish()
        # What the literals take was counted when they came; what the URLs brought was not.
        await places.check_room(place, whole.octets)
        return whole
    except BaseException:
        whole.discard()
        raise
    finally:
        for piece in used:
            piece.discard()


def _settle(folder: Folder, draft: Draft) -> Draft:
    """RFC 3516 4.4: parts that are really binary are kept as base64, for files have lines."""
    return binary.settle(draft, folder.draft)


def _pour(draft: Draft, whole: Draft) -> None:
    offset = 0
    while piece := os.pread(draft.fd, _CHUNK, offset):
        offset += len(piece)
        whole.write(piece)


async def _copy_url(session: "Session", target: Draft, text: bytes) -> None:
    """RFC 4469 3: the content that a URL names. Raises No with BADURL."""
    bad = b"BADURL " + text if _SHOWN.fullmatch(text) is not None else b""
    try:
        await with_content(session, text, target.write)
    except url.BadUrl as error:
        raise No(str(error), bad) from None


async def with_content(session: "Session", text: bytes, use: Callable[[bytes], object]) -> None:
    """Call ``use`` with each piece of what a URL names. Raises BadUrl when this user cannot have it."""
    found = url.parse(text)
    if found.token:
        async with authorized(session, found) as (place, folder):
            await read_url(place, folder, found, use)
        return
    name = await urls.where(session, found)
    try:
        place, folder = await places.find_folder(session, name, "r")
    except (No, BadCommand):
        raise url.BadUrl("There is no such mailbox") from None
    try:
        await read_url(place, folder, found, use)
    finally:
        place.release()


@asynccontextmanager
async def authorized(session: "Session", found: url.Url) -> AsyncIterator[tuple["Place", Folder]]:
    """Where a URL leads by its token, whatever rights the user has (RFC 4467): those of the owner count, as they are
    now. Raises BadUrl, always with the same words: why not is no business of who asks."""
    refused = url.BadUrl("That URL cannot be used")
    owner = await session.server.user_of_url(found.user, found.host) if found.token else None
    if owner is None or not urls.may_use(session, found, owner.name):
        raise refused
    try:
        mailbox = await session.server.mailboxes.open(owner)
    except OSError:
        raise refused from None
    place = places.Place(session, mailbox, owner, found.mailbox)
    try:
        try:
            folder = await mailbox.quick(place.open)
        except NoSuchFolder:
            raise refused from None
        async with mailbox.lock:
            key = urls.key_of(mailbox.account, folder, make=False)
            granted = effective(mailbox.account.rights(folder.id), owner.name, owner.name)
        if not urls.is_valid(found, key) or "r" not in granted:
            raise refused
        yield place, folder
    finally:
        session.server.mailboxes.release(mailbox)


async def read_url(place: "Place", folder: Folder, found: url.Url, use: Callable[[bytes], object]) -> None:
    """Raises BadUrl when there is no such message or part."""

    def work() -> None:
        message, attribute = open_url(folder, found)
        try:
            chunks = content.raw(message, attribute)
            if chunks is None:
                raise url.BadUrl("The message has no such part")
            for chunk in chunks:
                use(chunk)
        finally:
            message.close()

    await place.mailbox.work(work)


def open_url(folder: Folder, found: url.Url) -> tuple[content.Message, Attribute]:
    """The message, to be closed, and what of it; under the lock of the account. Raises BadUrl."""
    attribute = _attribute(found)
    if found.uidvalidity and found.uidvalidity != folder.uidvalidity:
        raise url.BadUrl("That mailbox is another one now")
    row = next(iter(folder.rows(("size", "place", "file", "info"), [found.uid])), None)
    try:
        if row is None:
            raise NoSuchMessage
        return content.read_message(folder, found.uid, *row), attribute
    except NoSuchMessage:
        raise url.BadUrl("There is no such message") from None


def _attribute(found: url.Url) -> Attribute:
    section = Section()
    if found.section:
        scanner = Scanner(found.section + b"]")
        try:
            section = parse_section(scanner)
            scanner.expect(b"]")
            scanner.end()
        except BadCommand:
            raise url.BadUrl("The URL has no valid section") from None
    partial = None
    if found.partial is not None:
        start, count = found.partial
        partial = start, count if count is not None else 1 << 62
    return Attribute(b"BODY", b"", section, partial)
