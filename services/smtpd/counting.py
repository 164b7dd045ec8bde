"""What anvil counts of a session's client: connections, and events a time unit. Steps over a session.

Counting is a courtesy to others, not a condition for mail: where anvil does not answer, nothing is limited.
"""

from typing import TYPE_CHECKING, Literal

from tubepost.common.wire import anvil
from tubepost.common.system import log
from tubepost.common.bus.errors import BusError
from tubepost.common.tables import TableError

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
        counts = yield server.anvil.call(anvil.Connect(service=server.process.name, client=counted_as), anvil.Counts)
    except (TableError, BusError) as error:
        log.warning(f"cannot count connections of {client.identity}: {error}")
        return
    session.counted_as = counted_as
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


def exceeds(session: "Session", event: Event, limit: int) -> Steps[bool]:
    """Count one; is it one too many? ``limit`` 0: nothing is counted."""
    if not limit or not session.counted_as:
        return False
    service = session.server.process.name
    try:
        counts = yield session.server.anvil.call(
            anvil.Count(service=service, client=session.counted_as, event=event), anvil.Counts
        )
    except BusError as error:
        log.warning(f"cannot count {event}s of {session.client.identity}: {error}")
        return False
    rate: int = counts.rate
    if rate <= limit:
        return False
    log.warning(f"{_LOGGED[event]} limit exceeded: {rate} from {session.client.identity} for service {service}")
    return True
