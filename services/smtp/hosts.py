"""Finds the servers for a next hop by MX and address records, or says why there are none (Postfix smtp_addr(3)).

Asks a resolver and the system's name service; decides nothing that ``routing`` can decide.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from tubepost.common.system import log
from tubepost.common.net.dns import Answer, Outcome, Resolver

from tubepost.services.smtp.routing import Candidate, Target, before_self, find_self, loop_trouble, numeric, order
from tubepost.services.smtp.stages import Trouble

# Postfix dns_rr_list_limit: a domain with more servers is not made to be tried at all of them.
_MX_LIMIT = 100
# Of them so many are looked up at one time: each costs two sockets.
_AT_ONCE = 16
_PREFERENCE_NONE = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """Values of parameters."""

    dns: bool = True
    """Not disable_dns_lookups: look for MX, and smtp_host_lookup counts."""
    lookup_dns: bool = True
    lookup_native: bool = False
    versions: tuple[int, ...] = (4, 6)
    shuffle: bool = True
    prefer: str = "any"
    limit: int = 5
    balance: bool = True
    ignore_mx_error: bool = False
    defer_without_address: bool = False
    own: frozenset[str] = frozenset()
    lmtp: bool = False
    loop_port: int = 25


@dataclass(frozen=True, slots=True)
class Found:
    """``trouble`` says why ``candidates`` is empty. ``myself``: this host is one of the domain's MX hosts."""

    candidates: tuple[Candidate, ...] = ()
    trouble: Trouble | None = None
    myself: bool = False


# RFC 7505 4.2 has 5.1.10 for a recipient whose domain has a null MX.
_MX_TROUBLE = {
    Outcome.TRY_AGAIN: "4.4.3",
    Outcome.REFUSED: "5.4.3",
    Outcome.INVALID: "5.4.4",
    Outcome.FILTERED: "4.7.0",
}
_HOST_TROUBLE = {
    Outcome.TRY_AGAIN: "4.4.3",
    Outcome.REFUSED: "5.4.3",
    Outcome.INVALID: "5.4.4",
    Outcome.FILTERED: "4.7.0",
    Outcome.NO_DOMAIN: "5.4.4",
    Outcome.NO_RECORD: "5.4.4",
}


async def find(target: Target, resolver: Resolver, rules: Rules) -> Found:
    """The servers of a next hop in the order in which they are tried."""
    watch = not rules.lmtp and target.port == rules.loop_port
    own = rules.own if watch else frozenset[str]()
    if rules.lmtp or target.literal or not rules.dns:
        return await _by_host(target, resolver, rules, own)
    answer = await resolver.ask(target.host, "MX")
    if answer.found:
        return await _by_exchangers(target, answer, resolver, rules, own)
    if answer.absent:
        # RFC 5321 5.1: without MX records, the domain is its own mail host.
        return await _by_host(target, resolver, rules, own)
    if rules.ignore_mx_error and answer.outcome is not Outcome.FILTERED:
        return await _by_host(target, resolver, rules, own)
    return Found(trouble=Trouble(_MX_TROUBLE[answer.outcome], answer.why))


async def _by_exchangers(
    target: Target, answer: Answer, resolver: Resolver, rules: Rules, own: frozenset[str]
) -> Found:
    pairs = sorted(zip(answer.preferences, answer.values, strict=True))[:_MX_LIMIT]
    if all(host == "" for _, host in pairs):
        # RFC 7505 3: a null MX says that the domain takes no mail.
        return Found(trouble=Trouble("5.1.10", f"Domain {target.host} does not accept mail (nullMX)"))
    # Beside others, the root is no host (RFC 7505 3: a null MX must stand alone).
    pairs = [(preference, host) for preference, host in pairs if host]
    few = asyncio.Semaphore(_AT_ONCE)

    async def addresses_of(host: str) -> tuple[tuple[str, ...], Trouble | None]:
        async with few:
            return await _addresses(host, resolver, rules)

    # Once each: a host may stand there with several preferences.
    hosts = list(dict.fromkeys(host for _, host in pairs))
    results = dict(zip(hosts, await asyncio.gather(*map(addresses_of, hosts)), strict=True))
    candidates: list[Candidate] = []
    trouble: Trouble | None = None
    for preference, host in pairs:
        addresses, why = results[host]
        candidates += [Candidate(preference, host, address, target.port) for address in addresses]
        # A passing trouble counts more than a lasting one: there may be a server after all.
        if why is not None and (trouble is None or not trouble.soft):
            trouble = why
    if not candidates:
        log.warning(f"no MX host for {target.host} has a valid address record")
        trouble = trouble or Trouble("4.4.4", f"no MX host for {target.host} has an address")
        if rules.defer_without_address and not trouble.soft:
            trouble = Trouble("4" + trouble.dsn[1:], trouble.text)
        return Found(trouble=trouble)
    best = min(candidate.preference for candidate in candidates)
    nearer, myself = before_self(candidates, own)
    if not nearer:
        return Found(trouble=loop_trouble(target.host, pairs[0][0] == best), myself=myself)
    return Found(tuple(_ordered(nearer, rules)), myself=myself)


async def _by_host(target: Target, resolver: Resolver, rules: Rules, own: frozenset[str]) -> Found:
    addresses, trouble = await _addresses(target.host, resolver, rules)
    candidates = [Candidate(_PREFERENCE_NONE, target.host, address, target.port) for address in addresses]
    if not candidates:
        return Found(trouble=trouble)
    if find_self(candidates, own) is not None:
        return Found(trouble=loop_trouble(target.host, True))
    return Found(tuple(_ordered(candidates, rules)))


def _ordered(candidates: Sequence[Candidate], rules: Rules) -> list[Candidate]:
    return order(candidates, shuffle=rules.shuffle, prefer=rules.prefer, limit=rules.limit, balance=rules.balance)


async def _addresses(host: str, resolver: Resolver, rules: Rules) -> tuple[tuple[str, ...], Trouble | None]:
    address = numeric(host)
    if address:
        version = ipaddress.ip_address(address).version
        if version in rules.versions:
            return (address,), None
        return (), Trouble("5.4.4", f"host {host}: IPv{version} is not among inet_protocols")
    if not rules.versions:
        return (), Trouble("4.4.4", "all network protocols are disabled")
    trouble: Trouble | None = None
    if rules.dns and rules.lookup_dns:
        addresses, answer = await resolver.addresses(host, rules.versions)
        if addresses:
            return addresses, None
        trouble = Trouble(_HOST_TROUBLE[answer.outcome], answer.why)
        if not answer.absent:
            return (), trouble
    if rules.lookup_native or not rules.dns:
        return await _native(host, rules)
    return (), trouble or Trouble("4.3.5", f"no way to look up host {host}: see smtp_host_lookup")


async def _native(host: str, rules: Rules) -> tuple[tuple[str, ...], Trouble | None]:
    """The system's name service, which also knows /etc/hosts."""
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        soft = error.errno in (socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM)
        missing = error.errno in (socket.EAI_AGAIN, socket.EAI_NODATA, socket.EAI_NONAME)
        status = f"{4 if soft else 5}.{'4.4' if missing else '3.0'}"
        return (), Trouble(status, f"unable to look up host {host}: {error.strerror}")
    except UnicodeError:
        return (), Trouble("5.4.4", f"unable to look up host {host}: not a host name")
    families = {socket.AF_INET: 4, socket.AF_INET6: 6}
    found = dict.fromkeys(str(info[4][0]) for info in infos if families.get(info[0]) in rules.versions)
    if not found:
        return (), Trouble("5.4.4", f"{host}: host not found")
    return tuple(found), None
