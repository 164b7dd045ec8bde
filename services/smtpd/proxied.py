"""XCLIENT: a client by proxy takes the place of the one that connected (Postfix: XCLIENT_README). Steps."""

from typing import TYPE_CHECKING

from tubepost.common.system import log
from tubepost.common.tables import TableError

from tubepost.services.smtpd import counting, events
from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.steps import Steps
from tubepost.services.smtpd.xclient import TEMPORARY, UNAVAILABLE

if TYPE_CHECKING:
    from tubepost.services.smtpd.session import Session


def take_place(session: "Session", event: events.Xclient) -> Steps[None]:
    """XCLIENT was said: from here on another client is judged, counted and logged."""
    client, machine = session.client, session.machine
    found = event.attributes
    if (name := found.get("NAME")) is not None:
        client.name, client.name_status = _name_status(name)
        if client.name_status == "ok":
            client.reverse_name, client.reverse_status = client.name, "ok"
    if (name := found.get("REVERSE_NAME")) is not None:
        client.reverse_name, client.reverse_status = _name_status(name)
    for attribute, field in (("ADDR", "address"), ("PORT", "port"), ("DESTADDR", "local_address")):
        if attribute in found:
            setattr(client, field, "unknown" if found[attribute] == UNAVAILABLE else found[attribute])
    if "DESTPORT" in found:
        client.local_port = "0" if found["DESTPORT"] == UNAVAILABLE else found["DESTPORT"]
    login = found.get("LOGIN", UNAVAILABLE)
    # Who logged in before was another client.
    machine.user = client.user = "" if login == UNAVAILABLE else login
    client.method = "XCLIENT" if client.user else ""
    helo = found.get("HELO")
    machine.client = client.identity
    session.evaluation = Evaluation(session.server.outside, client)
    try:
        yield from session.know_client()
    except TableError as error:
        log.warning(str(error))
        machine.break_down()
        return
    session.forget_mail()
    session.evaluation.protocol = found.get("PROTO", "SMTP")
    session.evaluation.where = machine.where
    yield from counting.connection(session)
    denied = yield from session.judge_client()
    if machine.over:
        return
    if denied:
        machine.deny(denied)
        return
    machine.accept()
    if helo is not None:
        machine.helo = session.evaluation.helo = "" if helo == UNAVAILABLE else helo


def _name_status(name: str) -> tuple[str, str]:
    if name == TEMPORARY:
        return "unknown", "temp"
    return ("unknown", "perm") if name == UNAVAILABLE else (name, "ok")
