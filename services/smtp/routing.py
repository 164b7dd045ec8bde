"""From a next hop to servers in the order they are tried: parsing, sorting, loops. Pure; ``hosts`` asks DNS."""

import ipaddress
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tubepost.services.smtp.stages import Trouble


class Target(NamedTuple):
    """One next hop. ``literal``: written in brackets, its MX is not looked up. ``path``: a UNIX socket."""

    text: str
    host: str
    port: int
    literal: bool = False
    path: str = ""


class Candidate(NamedTuple):
    """One address of one server."""

    preference: int
    host: str
    address: str
    port: int

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4


class RoutingError(Exception):
    """A next hop that cannot be understood: a mistake in the configuration."""


Service = Callable[[str], int]
"""The port of a service name. Raises OSError."""


def known_ports(texts: Iterable[str]) -> dict[str, int]:
    """known_tcp_ports: ``smtp=25``, ``smtps=submissions=465``; what has no number is left out."""
    ports: dict[str, int] = {}
    for text in texts:
        *names, number = text.split("=")
        if number.isascii() and number.isdigit() and 0 < int(number) < 65536:
            ports.update((name.strip().lower(), int(number)) for name in names)
    return ports


def parse_target(
    text: str, default_service: str, ports: Mapping[str, int], service: Service, *, lmtp: bool = False
) -> Target:
    """``example.com``, ``[mx.example.com]:587``, ``[192.0.2.1]``, ``[ipv6:2001:db8::1]``; for LMTP also ``inet:…``,
    ``unix:path``. Raises RoutingError.
    """
    rest = text
    if lmtp:
        if text.startswith("unix:"):
            if not text[5:]:
                raise RoutingError(f"no path in {text}")
            return Target(text, "", 0, path=text[5:])
        rest = text.removeprefix("inet:")
    literal = rest.startswith("[")
    if literal:
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise RoutingError(f"missing ']' or ':' in server description: {text}")
        name = tail[1:]
    elif rest.count(":") > 1:
        # An IPv6 address without brackets has no room for a port.
        host, name = rest, ""
    else:
        host, _, name = rest.partition(":")
    if host[:5].lower() == "ipv6:":
        host = host[5:]
    if not host:
        raise RoutingError(f"missing host in server description: {text}")
    return Target(text, host, parse_port(name or default_service, ports, service, text), literal)


def parse_port(name: str, ports: Mapping[str, int], service: Service, text: str) -> int:
    """A number, a name of known_tcp_ports, or one of the system's. Raises RoutingError."""
    number = ports.get(name.lower())
    if number is not None:
        return number
    if name.isascii() and name.isdigit():
        if not 0 < int(name) < 65536:
            raise RoutingError(f"bad network port: {name} for destination: {text}")
        return int(name)
    try:
        return service(name)
    except OSError:
        raise RoutingError(f"unknown service: {name}/tcp for destination: {text}") from None


def numeric(host: str) -> str:
    """The address, where a host is written as one; else "" ."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def find_self(candidates: Sequence[Candidate], own: frozenset[str]) -> Candidate | None:
    """The first candidate that is this host (inet_interfaces, proxy_interfaces)."""
    return next((candidate for candidate in candidates if candidate.address in own), None)


def before_self(candidates: Sequence[Candidate], own: frozenset[str]) -> tuple[list[Candidate], bool]:
    """RFC 5321 5.1: hosts as near as this one or farther must be left out. Second: whether this host is among them."""
    ordered = sorted(candidates, key=lambda candidate: candidate.preference)
    me = find_self(ordered, own)
    if me is None:
        return ordered, False
    return [candidate for candidate in ordered if candidate.preference < me.preference], True


def loop_trouble(name: str, best_known: bool) -> Trouble:
    """``best_known``: the nearest host was found, and it is this one."""
    if best_known:
        return Trouble("5.4.6", f"mail for {name} loops back to myself")
    return Trouble("4.4.4", f"unable to find primary relay for {name}")


def order(
    candidates: Sequence[Candidate],
    *,
    shuffle: bool,
    prefer: str = "any",
    limit: int = 0,
    balance: bool = True,
    rng: random.Random | None = None,
) -> list[Candidate]:
    """By preference, equal ones shuffled (RFC 5321 5.1), then by family (smtp_address_preference).

    ``limit`` (smtp_mx_address_limit) with ``balance``: neither family uses up all of it.
    """
    found = list(candidates)
    if len(found) < 2:
        return found
    if shuffle:
        (rng or random).shuffle(found)
    first = {"ipv4": 4, "ipv6": 6}.get(prefer)
    if first is None:
        found.sort(key=lambda candidate: candidate.preference)
    else:
        found.sort(key=lambda candidate: (candidate.preference, candidate.version != first))
    if limit > 0 and balance:
        found = _balanced(found, limit)
    return found


def _balanced(candidates: list[Candidate], limit: int) -> list[Candidate]:
    counts = {version: sum(candidate.version == version for candidate in candidates) for version in (4, 6)}
    if not counts[4] or not counts[6] or len(candidates) <= limit:
        return candidates
    half = limit // 2
    if counts[6] <= half:
        room = {6: counts[6], 4: limit - counts[6]}
    elif counts[4] <= half:
        room = {4: counts[4], 6: limit - counts[4]}
    else:
        # The odd place goes to the family that comes first.
        four = (limit + (candidates[0].version == 4)) // 2
        room = {4: four, 6: limit - four}
    kept = []
    for candidate in candidates:
        if room[candidate.version]:
            room[candidate.version] -= 1
            kept.append(candidate)
    return kept
