"""DNS block and allow lists of addresses (RFC 5782) and of domains.

A list is named ``domain`` or ``domain=filter``; the filter is an address or a pattern such as ``127.0.0.[2;4..8]``.
"""

import ipaddress
import re
import time
from collections.abc import Awaitable, Callable

from tubepost.common.mail import dsn as status_codes
from tubepost.common.config.expand import ExpandError, expand
from tubepost.common.tables import TableError

from tubepost.services.smtpd.restrictions import relay
from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.routes import awaited, route
from tubepost.services.smtpd.restrictions.words import (
    CLIENT,
    DUNNO,
    HELO,
    RECIPIENT,
    REVERSE_CLIENT,
    SENDER,
    fit_status,
)
from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure
from tubepost.services.smtpd.xclient import is_hostname

Check = Callable[[Evaluation, str, str, str], int | Awaitable[int]]

_FILTER_PART = re.compile(r"\[([^\]]*)\]|([0-9]+)")
_TEXT_LIMIT = 500


def matches_filter(pattern: str, address: str) -> bool:
    """``127.0.0.[2;4..8]`` against ``127.0.0.5``. Raises ValueError for a pattern that is none."""
    parts = _split_filter(pattern)
    return all(
        any(low <= int(octet) <= high for low, high in ranges)
        for ranges, octet in zip(parts, address.split("."), strict=True)
    )


def _split_filter(pattern: str) -> list[list[tuple[int, int]]]:
    parts = []
    position = 0
    while position < len(pattern):
        found = _FILTER_PART.match(pattern, position)
        if found is None:
            raise ValueError(pattern)
        ranges = []
        for item in (found.group(1) or found.group(2)).split(";"):
            low, dots, high = item.partition("..")
            ranges.append((int(low), int(high if dots else low)))
        parts.append(ranges)
        position = found.end()
        if position < len(pattern):
            if pattern[position] != ".":
                raise ValueError(pattern)
            position += 1
    if len(parts) != 4:
        raise ValueError(pattern)
    return parts


def address_query(address: str, domain: str) -> str:
    """``2.0.0.127.list.example``; IPv6 by nibbles (RFC 5782 2.1, 2.4)."""
    pointer = ipaddress.ip_address(address).reverse_pointer
    return f"{pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{domain}"


async def _listed(evaluation: Evaluation, query: str, pattern: str, listing: str) -> bool:
    addresses = await evaluation.world.resolver.ipv4(query)
    if not pattern:
        return True
    try:
        return any(matches_filter(pattern, address) for address in addresses)
    except ValueError:
        raise evaluation.misconfigured(f"bad DNS list filter: {listing}") from None


async def _find(evaluation: Evaluation, listing: str, what: str, *, domain: bool) -> str | None:
    """The query that found ``what`` in the list; None when it is not there. Raises NameUnsure."""
    zone, _, pattern = listing.partition("=")
    if domain:
        name = _in_ascii(what.rpartition("@")[2])
        if not is_hostname(name) or name.rpartition(".")[2].isdigit():
            return None
        query = f"{name}.{zone}"
    else:
        try:
            query = address_query(what, zone)
        except ValueError:
            return None
    try:
        return query if await _listed(evaluation, query, pattern, listing) else None
    except NameUnknown:
        return None


def _in_ascii(domain: str) -> str:
    """As DNS knows it (RFC 5890 2.3.2.1); lists have no other form."""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


async def _reject(evaluation: Evaluation, listing: str, what: str, kind: str, *, domain: bool) -> int:
    try:
        query = await _find(evaluation, listing, what, domain=domain)
    except NameUnsure as error:
        # A list that does not answer must not stop mail.
        evaluation.world.warn(f"{what}: DNS list lookup error for {listing.partition('=')[0]}: {error}")
        return DUNNO
    if query is None:
        return DUNNO
    try:
        reason = " / ".join(await evaluation.world.resolver.texts(query))[:_TEXT_LIMIT]
    except (NameUnknown, NameUnsure):
        reason = ""
    return await _reply(evaluation, listing, what, kind, reason)


async def _reply(evaluation: Evaluation, listing: str, what: str, kind: str, reason: str) -> int:
    world = evaluation.world
    zone = listing.partition("=")[0]
    template = None
    if world.rbl_replies:
        try:
            template = await world.rbl_replies.lookup(listing)
            if template is None and zone != listing:
                template = await world.rbl_replies.lookup(zone)
        except TableError as error:
            raise evaluation.misconfigured(str(error)) from error
    values = {
        "rbl_code": str(world.rules.maps_rbl_reject_code),
        "rbl_domain": zone,
        "rbl_reason": reason,
        "rbl_txt": reason,
        "rbl_what": what,
        "rbl_class": kind,
        **reply_values(evaluation),
    }
    text = ""
    for candidate in (template, world.rules.default_rbl_reply):
        if candidate is None:
            continue
        try:
            text = expand(candidate, lambda name: world.censor(values.get(name)))
            break
        except ExpandError as error:
            world.warn(f"bad rbl reply template for domain {listing}: {error}")
    code, _, rest = text.partition(" ")
    if not (len(code) == 3 and code.isdigit() and code[0] in "45"):
        world.warn(f"rbl response code configuration error: {text}")
        return evaluation.reject("policy", 450, "4.7.1", "Service unavailable")
    status, rest = status_codes.split(rest, "4.7.1")
    return evaluation.reject("policy", int(code), fit_status(status, kind), rest or "Service unavailable")


def reply_values(evaluation: Evaluation) -> dict[str, str]:
    """``$client_name`` and the like, for templates of replies."""
    client = evaluation.client
    sender, recipient = evaluation.sender or "", evaluation.recipient or ""
    null = "<>" if evaluation.sender == "" else ""
    return {
        "client": client.identity,
        "client_address": client.address,
        "client_name": client.name,
        "client_port": client.port,
        "reverse_client_name": client.reverse_name,
        "helo_name": evaluation.helo,
        "server_name": evaluation.world.rules.myhostname,
        "sender": sender or null,
        "sender_name": sender.rpartition("@")[0] or sender or null,
        "sender_domain": sender.rpartition("@")[2] if "@" in sender else "",
        "recipient": recipient,
        "recipient_name": recipient.rpartition("@")[0] or recipient,
        "recipient_domain": recipient.rpartition("@")[2] if "@" in recipient else "",
        "localtime": time.strftime("%b %d %H:%M:%S"),
    }


async def _permit(evaluation: Evaluation, listing: str, what: str, kind: str, action: str, *, domain: bool) -> int:
    # A list must not permit relaying: at RCPT only for destinations that are ours.
    if evaluation.where == "RCPT" and evaluation.recipient is not None:
        resolved = await awaited(route(evaluation, evaluation.sender, evaluation.recipient))
        if not relay.is_ours(evaluation, resolved):
            return DUNNO
    try:
        query = await _find(evaluation, listing, what, domain=domain)
    except NameUnsure:
        return evaluation.defer_reject("policy", 450, "4.7.1", f"<{what}>: {kind} rejected: Service unavailable")
    return DUNNO if query is None else evaluation.permit(action, kind, evaluation.client.identity)


async def reject_rbl_client(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    return await _reject(evaluation, argument, evaluation.client.address, CLIENT, domain=False)


async def permit_dnswl_client(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    address = evaluation.client.address
    return await _permit(evaluation, argument, address, CLIENT, "permit_dnswl_client", domain=False)


async def permit_rhswl_client(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    name = evaluation.client.name
    if name == "unknown":
        return DUNNO
    return await _permit(evaluation, argument, name, CLIENT, "permit_rhswl_client", domain=True)


def _rhsbl(subject: Callable[[Evaluation], str | None], kind: str) -> Check:
    def check(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int | Awaitable[int]:
        what = subject(evaluation)
        if not what or what == "unknown":
            return DUNNO
        return _reject(evaluation, argument, what, kind, domain=True)

    return check


CHECKS: dict[str, Check] = {
    "reject_rbl_client": reject_rbl_client,
    "reject_rbl": reject_rbl_client,
    "permit_dnswl_client": permit_dnswl_client,
    "permit_rhswl_client": permit_rhswl_client,
    "reject_rhsbl_client": _rhsbl(lambda evaluation: evaluation.client.name, CLIENT),
    "reject_rhsbl_reverse_client": _rhsbl(lambda evaluation: evaluation.client.reverse_name, REVERSE_CLIENT),
    "reject_rhsbl_helo": _rhsbl(lambda evaluation: evaluation.helo, HELO),
    "reject_rhsbl_sender": _rhsbl(lambda evaluation: evaluation.sender, SENDER),
    "reject_rhsbl_recipient": _rhsbl(lambda evaluation: evaluation.recipient, RECIPIENT),
}
