"""APPEND (RFC 9051 6.3.12), also of several messages (RFC 3502)."""

from typing import TYPE_CHECKING

from tubepost.common.imap.append import append as parse_append
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact_ordered

from tubepost.common.mailbox.maildir.drafts import Draft
from tubepost.common.mailbox.store import NoSuchFolder

from tubepost.services.imapd import places
from tubepost.services.imapd.replies import No, Ok, shorten

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def append(session: "Session", command: Command) -> Ok:
    request = parse_append(session.scanner(command))
    place = await places.find(session, request.mailbox, "i")
    drafts: list[Draft] = []
    try:
        try:
            async with place.mailbox.lock:
                folder = place.open()
        except NoSuchFolder:
            raise No(f"There is no mailbox {shorten(request.mailbox)}", b"TRYCREATE") from None
        assert session.upload is not None
        drafts = session.upload.take()
        if any(draft.octets == 0 for draft in drafts):
            # As other servers: an empty message is a cancelled one (RFC 3502 3).
            raise No("An empty message is not stored")
        for draft, message in zip(drafts, request.messages, strict=True):
            draft.set(
                [flag.decode("ascii") for flag in message.flags], None if message.time is None else message.time[0]
            )
        uids = await place.mailbox.work(folder.append, drafts)
        drafts = []
        session.server.changed(place.mailbox, (folder.id, folder.name))
        return Ok("", b"APPENDUID %d %b" % (folder.uidvalidity, compact_ordered(uids)))
    finally:
        for draft in drafts:
            draft.discard()
        place.release()
