"""Restrictions on the client's name and address."""

from collections.abc import Awaitable

from tubepost.common.tables import TableError

from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.words import CLIENT, DUNNO


def permit_mynetworks(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int | Awaitable[int]:
    networks = evaluation.world.mynetworks
    client = evaluation.client
    if not networks.immediate:
        return _permit_mynetworks_later(evaluation, argument)
    try:
        if networks.match_now(client.name, client.address):
            return evaluation.permit(argument, CLIENT, client.identity)
    except TableError as error:
        raise _cannot_tell(evaluation, error) from error
    return DUNNO


async def _permit_mynetworks_later(evaluation: Evaluation, argument: str) -> int:
    client = evaluation.client
    try:
        if await evaluation.world.mynetworks.match(client.name, client.address):
            return evaluation.permit(argument, CLIENT, client.identity)
    except TableError as error:
        raise _cannot_tell(evaluation, error) from error
    return DUNNO


def _cannot_tell(evaluation: Evaluation, error: TableError) -> Exception:
    evaluation.world.warn(str(error))
    return evaluation.stop("data", 451, "4.3.0", f"<{evaluation.client.identity}>: Temporary lookup failure")


def permit_inet_interfaces(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    if evaluation.client.address in evaluation.world.own_addresses:
        return evaluation.permit(argument, CLIENT, evaluation.client.identity)
    return DUNNO


def reject_unknown_client_hostname(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    """Address to name, name to address, and the address among these: all must hold."""
    client = evaluation.client
    if client.name_status == "ok":
        return DUNNO
    code = evaluation.world.rules.unknown_client_reject_code if client.name_status != "temp" else 450
    # RFC 7372 3.3
    text = f"Client host rejected: cannot find your hostname, [{client.address}]"
    return evaluation.reject("policy", code, "4.7.25", text)


def reject_unknown_reverse_client_hostname(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    """The address has a name."""
    client = evaluation.client
    if client.reverse_status == "ok":
        return DUNNO
    code = evaluation.world.rules.unknown_client_reject_code if client.reverse_status == "perm" else 450
    text = f"Client host rejected: cannot find your reverse hostname, [{client.address}]"
    return evaluation.reject("policy", code, "4.7.1", text)


def reject_unknown_forward_client_hostname(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    """The address has a name, and that name has an address, though perhaps another."""
    client = evaluation.client
    if client.reverse_status != "ok":
        return reject_unknown_reverse_client_hostname(evaluation, name, kind, argument)
    if client.name_status in ("ok", "other"):
        return DUNNO
    return reject_unknown_client_hostname(evaluation, name, kind, argument)
