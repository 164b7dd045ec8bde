"""Access tables of the hosts behind a name: check_{client,helo,sender,…}_{mx,ns,a}_access."""

import ipaddress
from collections.abc import Awaitable, Callable

from tubepost.common.tables import TableError
from tubepost.common.tables import address as search
from tubepost.common.tables.maps import Steps, run

from tubepost.services.smtpd.restrictions import access
from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.words import CLIENT, DUNNO, HELO, RECIPIENT, REVERSE_CLIENT, SENDER
from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure

# Postfix: dns_rr_list_limit. A stranger's DNS must not keep this server busy.
_ADDRESSES_LIMIT = 100

Check = Callable[[Evaluation, str, str, str], Awaitable[int]]


def _subject(evaluation: Evaluation, kind: str) -> tuple[str, str]:
    """(the name to look behind, the name in the reply); empty where there is none."""
    client = evaluation.client
    match kind:
        case "client":
            return ("" if client.name == "unknown" else client.name), client.identity
        case "reverse":
            return ("" if client.reverse_name == "unknown" else client.reverse_name), client.reverse_name
        case "helo":
            return evaluation.helo, evaluation.helo
        case "sender":
            return evaluation.sender or "", evaluation.sender or ""
        case _:
            return evaluation.recipient or "", evaluation.recipient or ""


def _make(subject: str, kind: str, record: str, restriction: str) -> Check:
    async def check(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
        name, shown = _subject(evaluation, subject)
        if not name:
            return DUNNO
        status = await _check(evaluation, argument, name, record, shown, kind)
        return access.forbid_permit(evaluation, restriction, status, shown)

    return check


async def _check(evaluation: Evaluation, spec: str, name: str, record: str, shown: str, kind: str) -> int:
    domain = name.rpartition("@")[2]
    maps = evaluation.world.table(spec)
    if domain.startswith("["):
        address = domain[1:].removesuffix("]")
        address = address[5:] if address[:5].lower() == "ipv6:" else address
        if record == "ns" or not _is_address(address):
            return DUNNO
        found = await _apply(evaluation, spec, search.search_network(maps, address), address, shown, kind)
        return DUNNO if found is None else found
    try:
        hosts = await _hosts(evaluation, domain, record)
    except NameUnknown:
        return DUNNO
    except NameUnsure as error:
        evaluation.world.warn(f"Unable to look up {record.upper()} host for {domain}: {error}")
        return DUNNO
    count = 0
    parents = evaluation.world.access_parents
    for host in hosts:
        if _is_address(host):
            status = await _apply(evaluation, spec, search.search_network(maps, host), host, shown, kind)
            if status is not None:
                return status
            continue
        if record != "a":
            status = await _apply(evaluation, spec, access.search_domain(maps, host, parents), host, shown, kind)
            if status is not None:
                return status
        try:
            addresses = await evaluation.world.resolver.addresses(host)
        except (NameUnknown, NameUnsure) as error:
            if record != "a":
                evaluation.world.warn(
                    f"Unable to look up {record.upper()} host {host} for {kind} {shown}: {error or 'not found'}"
                )
            continue
        for address in addresses:
            count += 1
            if count > _ADDRESSES_LIMIT:
                return DUNNO
            status = await _apply(evaluation, spec, search.search_network(maps, address), address, shown, kind)
            if status is not None:
                return status
    return DUNNO


async def _apply(
    evaluation: Evaluation, spec: str, steps: "Steps[str | None]", datum: str, shown: str, kind: str
) -> int | None:
    """None where the table does not have the key; DUNNO is an answer that ends the search."""
    try:
        value = await run(steps)
    except TableError as error:
        evaluation.world.warn(str(error))
        value = "451 4.3.5 Server configuration error"
    if value is None:
        return None
    return await access.act(evaluation, spec, value, datum, shown, kind)


async def _hosts(evaluation: Evaluation, domain: str, record: str) -> tuple[str, ...]:
    resolver = evaluation.world.resolver
    if record == "a":
        return (domain,)
    if record == "mx":
        try:
            exchangers = await resolver.exchangers(domain)
        except NameUnknown:
            # RFC 5321 5.1: without MX the domain itself is the exchanger.
            return (domain,)
        return tuple(host for _, host in exchangers if host not in ("", "."))
    while True:
        try:
            return await resolver.servers(domain)
        except NameUnknown:
            # The servers of the zone that the name is in.
            _, dot, parent = domain.partition(".")
            if not dot or not parent:
                raise
            domain = parent


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_SUBJECTS = {
    "client": ("client", CLIENT),
    "reverse_client_hostname": ("reverse", REVERSE_CLIENT),
    "helo": ("helo", HELO),
    "sender": ("sender", SENDER),
    "recipient": ("recipient", RECIPIENT),
}

CHECKS: dict[str, Check] = {
    f"check_{label}_{record}_access": _make(subject, kind, record, f"check_{label}_{record}_access")
    for label, (subject, kind) in _SUBJECTS.items()
    for record in ("a", "mx", "ns")
}
