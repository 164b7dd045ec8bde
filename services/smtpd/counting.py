"""What anvil counts of a session's client: connections, and events a time unit. Steps over a session.

Counting is a courtesy to others, not a condition for mail: where anvil does not answer, nothing is limited.
"""

from typing import TYPE_CHECKING, Literal

from tubepost.common.wire import anvil
from tubepost.common.system import log
from tubepost.common.bus.client import Talk
from tubepost.common.bus.errors import BusError, Unavailable
from tubepost.common.tables import TableError
from tubepost.common.skeleton.process import Process

from tubepost.services.smtpd.steps import Steps

if TYPE_CHECKING:
    from tubepost.services.smtpd.session import Session

Event = Literal["message", "recipient", "newtls", "auth"]
_LOGGED: dict[Event, str] = {
    "message": "Message delivery request rate",
    "recipient": "Recipient address rate",
    "newtls": "New TLS session rate",
    "auth": "AUTH command rate",
}
# The client waits meanwhile: better no limit than no mail. Seconds.
_DEADLINE = 2.0
# After it did not answer, until it is asked again.
_PAUSE = 10.0


class Anvil:
    """As one smtpd process asks it."""

    def __init__(self, process: Process) -> None:
        self._loop = process.loop
        self._client = process.client("anvil")
        self._talk: Talk | None = None
        self._away_until = 0.0
        """A time of the event loop."""

    def ask(self, message: anvil.Connect | anvil.Count) -> Steps[tuple[anvil.Counts, Talk]]:
        """The counts, and by whom: another anvil knows nothing of this one's. Raises BusError."""
        now = self._loop.time()
        if now < self._away_until:
            raise Unavailable("anvil did not answer")
        talk = self._talk
        if talk is None or talk.ended:
            talk = self._talk = self._client.talk()
        try:
            counts = yield talk.ask(message, anvil.Counts, deadline=_DEADLINE)
        except BusError:
            # It hangs. One that died is there again at once.
            if self._loop.time() - now >= _DEADLINE:
                self._away_until = self._loop.time() + _PAUSE
                if isinstance(message, anvil.Connect):
                    # It will read the question when it goes on, and is to forget it.
                    talk.tell(anvil.Disconnect(service=message.service, client=message.client))
            raise
        return counts, talk


def connection(session: "Session") -> Steps[None]:
    """How many connections this client has, and how often it comes; one too many is turned away.

    A proxy that may use XCLIENT is not counted, but its clients are.
    """
    server, config, client, machine = session.server, session.config, session.client, session.machine
    if not server.counts_clients or machine.xclient_allowed or session.counted_as:
        return
    counted_as = server.aggregate(client.address)
    try:
        if (yield from session.is_among(server.outside.limit_exceptions)):
            return
        counts, talk = yield from server.anvil.ask(anvil.Connect(service=server.process.name, client=counted_as))
    except (TableError, BusError) as error:
        log.warning(f"cannot count connections of {client.identity}: {error}")
        return
    session.counted_as, session.counted_by = counted_as, talk
    service = server.process.name
    limit = config.smtpd_client_connection_count_limit
    if limit and counts.connections > limit:
        log.warning(
            f"Connection concurrency limit exceeded: {counts.connections} from {client.identity} for service {service}"
        )
    elif config.smtpd_client_connection_rate_limit and counts.rate > config.smtpd_client_connection_rate_limit:
        log.warning(f"Connection rate limit exceeded: {counts.rate} from {client.identity} for service {service}")
    else:
        return
    machine.turn_away(f"421 4.7.0 {config.myhostname} Error: too many connections from {client.address}")


def disconnected(session: "Session") -> None:
    if session.counted_by is not None:
        session.counted_by.tell(anvil.Disconnect(service=session.server.process.name, client=session.counted_as))


def exceeds(session: "Session", event: Event, limit: int) -> Steps[bool]:
    """Count one; is it one too many? ``limit`` 0: nothing is counted."""
    if not limit or not session.counted_as:
        return False
    service = session.server.process.name
    try:
        counts, _ = yield from session.server.anvil.ask(
            anvil.Count(service=service, client=session.counted_as, event=event)
        )
    except BusError as error:
        log.warning(f"cannot count {event}s of {session.client.identity}: {error}")
        return False
    rate = counts.rate
    if rate <= limit:
        return False
    log.warning(f"{_LOGGED[event]} limit exceeded: {rate} from {session.client.identity} for service {service}")
    return True
