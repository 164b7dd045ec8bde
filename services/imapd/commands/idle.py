"""IDLE (RFC 9051 6.3.13)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Bad, Bye, Command, Line

from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def idle(session: "Session", command: Command) -> Ok:
    """Tells what is new as it comes, until the client says DONE."""
    arguments.nothing(session.scanner(command))
    session.reader.expect_line()
    session.send(b"+ idling\r\n")
    session.flush()
    session.idling = True
    # RFC 9051 6.3.13: the timeout of inactivity holds; clients come back every 29 minutes.
    try:
        await session.tell_news()
        while True:
            event = await session.next_event(wakeable=True)
            if event is not None:
                break
            await session.tell_news()
    finally:
        session.idling = False
    if isinstance(event, Bad | Bye):
        raise BadCommand(event.text)
    if not isinstance(event, Line) or event.data.upper() != b"DONE":
        raise BadCommand("IDLE is ended by DONE")
    return Ok()
