"""IDLE (RFC 9051 6.3.13)."""

import asyncio
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command

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
    sign = _SignOfLife(session)
    try:
        await session.tell_news()
        while True:
            event = await session.next_event(wakeable=True)
            if event is not None:
                break
            await session.tell_news()
    finally:
        sign.stop()
        session.idling = False
    if session.line_of(event).upper() != b"DONE":
        raise BadCommand("IDLE is ended by DONE")
    return Ok()


class _SignOfLife:
    """A line now and then, so that routers do not forget the connection, and a client that is gone is noticed."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._interval: float = session.server.config.imapd_idle_notify_interval
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def _wait(self) -> None:
        if self._interval:
            self._timer = self._session.loop.call_later(self._interval, self._tell)

    def _tell(self) -> None:
        self._session.send(b"* OK Still here\r\n")
        self._session.flush()
        self._wait()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
