"""The name of a client's address: what its reverse record says, believed when that name leads back to the address."""

import ipaddress
import re
from typing import Literal, NamedTuple

from tubepost.common.net.dns import Resolver

Status = Literal["ok", "perm", "temp", "other"]
_NAME = re.compile(r"(?=.{1,255}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*", re.IGNORECASE)


class PeerName(NamedTuple):
    """``status``: of ``name``; ok, perm (there is none), temp (cannot tell now), other (it does not lead back)."""

    name: str
    reverse_name: str
    status: Status
    reverse_status: Status
    detail: str = ""
    """For the log, when the two do not agree."""


async def peer_name(resolver: Resolver, address: str) -> PeerName:
    """Postfix: smtpd_peer(3). ``name`` and ``reverse_name`` are ``unknown`` where there is none to be believed."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if number.is_loopback:
        # RFC 6761 6.3
        return PeerName("localhost", "localhost", "ok", "ok")
    answer = await resolver.reverse(address)
    if not answer.found:
        status: Status = "perm" if answer.absent else "temp"
        return PeerName("unknown", "unknown", status, status)
    reverse = answer.values[0]
    if not _NAME.fullmatch(reverse) or reverse.replace(".", "").isdigit():
        return PeerName(
            "unknown", "unknown", "perm", "perm", f"numeric or malformed hostname: {reverse} for address {address}"
        )
    complaint = f"hostname {reverse} does not resolve to address {address}"
    addresses, forward = await resolver.addresses(reverse)
    if not addresses:
        if forward.absent:
            return PeerName("unknown", reverse, "perm", "ok", f"{complaint}: Name or service not known")
        return PeerName("unknown", reverse, "temp", "ok", f"{complaint}: {forward.outcome.value}")
    if any(ipaddress.ip_address(other) == number for other in addresses):
        return PeerName(reverse, reverse, "ok", "ok")
    return PeerName("unknown", reverse, "other", "ok", complaint)
