"""Postfix's search for an address, a host or a network in tables of exact keys. Pure: steps, see ``maps``.

An address is asked as a whole first, then by its parts, in the order of the manual pages: canonical(5), virtual(5),
transport(5), access(5). Tables of patterns are asked for the whole address only.
"""

import re
from collections.abc import Callable, Iterable
from enum import Flag, auto
from typing import NamedTuple, Protocol

from tubepost.common.mail.address import join, quote_local, split, strip_extension, unquote_local
from tubepost.common.tables.maps import Maps, Steps, run, run_now


class Strategy(Flag):
    """What is asked besides each other; the order is fixed, as listed here."""

    FULL = auto()
    """user+ext@domain"""
    NO_EXTENSION = auto()
    """user@domain"""
    LOCAL_PART_IF_LOCAL = auto()
    """user+ext, user: when the domain is this system's"""
    LOCAL_PART_AT_IF_LOCAL = auto()
    """user+ext@, user@: when the domain is this system's"""
    AT_DOMAIN = auto()
    """@domain"""
    DOMAIN = auto()
    """domain"""
    PARENT_DOMAINS = auto()
    """with DOMAIN, also parent domains: ``a.b.c``, ``b.c``, ``c``"""
    DOT_PARENT_DOMAINS = auto()
    """with DOMAIN, also parent domains as ``.b.c``, ``.c``"""
    LOCAL_PART_AT = auto()
    """user+ext@, user@: whatever the domain"""


DEFAULT = Strategy.FULL | Strategy.NO_EXTENSION | Strategy.LOCAL_PART_IF_LOCAL | Strategy.AT_DOMAIN
"""canonical, virtual, relocated, generic, sender_dependent_…, bcc maps."""
_TRANSPORT = Strategy.FULL | Strategy.NO_EXTENSION | Strategy.DOMAIN
_ACCESS = _TRANSPORT | Strategy.LOCAL_PART_AT
LOCAL_RECIPIENT = Strategy.FULL | Strategy.NO_EXTENSION | Strategy.LOCAL_PART_IF_LOCAL | Strategy.AT_DOMAIN
"""local_recipient_maps, alias look-ups by address."""


def transport_strategy(parents: bool) -> Strategy:
    """transport(5). ``parents``: transport_maps is in parent_domain_matches_subdomains."""
    return _TRANSPORT | (Strategy.PARENT_DOMAINS if parents else Strategy.DOT_PARENT_DOMAINS)


def access_strategy(parents: bool) -> Strategy:
    """access(5), e-mail patterns. ``parents``: smtpd_access_maps is in parent_domain_matches_subdomains."""
    return _ACCESS | (Strategy.PARENT_DOMAINS if parents else Strategy.DOT_PARENT_DOMAINS)


class Found(NamedTuple):
    """``extension``: what had to be taken off the local part to find it, with its delimiter (``+ext``), or empty."""

    value: str
    extension: str


class Locality(Protocol):
    """Which domains are this system's: ``match.LocalDomains``."""

    @property
    def immediate(self) -> bool: ...

    def search(self, domain: str) -> Steps[bool]: ...

    def find(self, domain: str) -> bool: ...


# Plain numbers: a Flag's own arithmetic would cost more than the search.
_FULL = Strategy.FULL.value
_NO_EXTENSION = Strategy.NO_EXTENSION.value
_LOCAL_PART_IF_LOCAL = Strategy.LOCAL_PART_IF_LOCAL.value
_LOCAL_PART_AT_IF_LOCAL = Strategy.LOCAL_PART_AT_IF_LOCAL.value
_AT_DOMAIN = Strategy.AT_DOMAIN.value
_DOMAIN = Strategy.DOMAIN.value
_PARENT_DOMAINS = Strategy.PARENT_DOMAINS.value
_DOT_PARENT_DOMAINS = Strategy.DOT_PARENT_DOMAINS.value
_LOCAL_PART_AT = Strategy.LOCAL_PART_AT.value
_DEFAULT = DEFAULT.value
# What needs no quoting and no unquoting: nearly every address.
_PLAIN = re.compile(r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)@([A-Za-z0-9.-]+)")


def search(
    maps: Maps, address: str, *, delimiter: str = "", strategy: Strategy = DEFAULT, local: Locality | None = None
) -> Steps[Found | None]:
    """Steps that find an address. ``address`` in external (quoted) form; keys are tried quoted, then unquoted.

    ``delimiter``: recipient_delimiter. ``local``: needed by the ``…_IF_LOCAL`` strategies, which are skipped without.
    """
    if not maps.tables or not address:
        return None
    wanted = strategy.value
    quoted, domain = split(address)
    local_part = unquote_local(quoted)
    base = local_part
    extension = ""
    if delimiter and wanted & _NO_EXTENSION:
        base, ext = strip_extension(local_part, delimiter)
        if ext is None:
            base = local_part
        else:
            extension = local_part[len(base) :]
    names = ((local_part, ""), (base, extension)) if extension else ((local_part, ""),)

    for name, rest in names:
        if rest or wanted & _FULL:
            value = yield from _ask(maps, name, domain, bool(rest))
            if value is not None:
                return Found(value, rest)
    if domain is None:
        return None

    if local is not None and wanted & (_LOCAL_PART_IF_LOCAL | _LOCAL_PART_AT_IF_LOCAL):
        is_local = yield from local.search(domain)
        if is_local:
            for kind, suffix in ((_LOCAL_PART_IF_LOCAL, None), (_LOCAL_PART_AT_IF_LOCAL, "")):
                if wanted & kind:
                    for name, rest in names:
                        value = yield from _ask(maps, name, suffix, True)
                        if value is not None:
                            return Found(value, rest)
    if wanted & _AT_DOMAIN:
        value = yield from maps.search(f"@{domain}", True)
        if value is not None:
            return Found(value, "")
    if wanted & _DOMAIN:
        parents = bool(wanted & (_PARENT_DOMAINS | _DOT_PARENT_DOMAINS))
        dotted = bool(wanted & _DOT_PARENT_DOMAINS)
        for name in parent_names(domain, dotted) if parents else (domain,):
            value = yield from maps.search(name, True)
            if value is not None:
                return Found(value, "")
    if wanted & _LOCAL_PART_AT:
        for name, rest in names:
            value = yield from _ask(maps, name, "", True)
            if value is not None:
                return Found(value, rest)
    return None


def _ask(maps: Maps, name: str, domain: str | None, partial: bool) -> Steps[str | None]:
    quoted = quote_local(name)
    value = yield from maps.search(join(quoted, domain), partial)
    if value is None and quoted != name:
        value = yield from maps.search(join(name, domain), partial)
    return value


async def find(
    maps: Maps, address: str, *, delimiter: str = "", strategy: Strategy = DEFAULT, local: Locality | None = None
) -> Found | None:
    """The first hit for an address, or None. Raises TableError. See ``search`` for the arguments."""
    if maps.immediate and (local is None or local.immediate):
        return find_now(maps, address, delimiter=delimiter, strategy=strategy, local=local)
    return await run(search(maps, address, delimiter=delimiter, strategy=strategy, local=local))


def find_now(
    maps: Maps, address: str, *, delimiter: str = "", strategy: Strategy = DEFAULT, local: Locality | None = None
) -> Found | None:
    """As ``find``, for immediate tables only."""
    if not maps.tables:
        return None
    plain = _PLAIN.fullmatch(address)
    if plain is not None and strategy.value == _DEFAULT:
        local_part, domain = plain.groups()
        if not any(character in local_part for character in delimiter):
            return _find_plain(maps, address, local_part, domain, local)
    return run_now(search(maps, address, delimiter=delimiter, strategy=strategy, local=local))


def _find_plain(maps: Maps, address: str, local_part: str, domain: str, local: Locality | None) -> Found | None:
    """The DEFAULT search, without generators, for an address that has no extension and nothing to unquote."""
    value = maps.find(address)
    if value is None and local is not None and local.find(domain):
        value = maps.find(local_part, True)
    if value is None:
        value = maps.find(f"@{domain}", True)
    return None if value is None else Found(value, "")


def parent_names(name: str, dotted: bool = False) -> Iterable[str]:
    """``a.b.c``, ``b.c``, ``c``; or dotted ``a.b.c``, ``.b.c``, ``.c``."""
    yield name
    position = name.find(".", 1)
    while position >= 0:
        parent = name[position:] if dotted else name[position + 1 :]
        if not parent or parent == ".":
            return
        yield parent
        position = name.find(".", position + 1)


def search_host(maps: Maps, name: str, parents: bool) -> Steps[str | None]:
    """A host or domain name in an access table (access(5), HOST NAME/ADDRESS PATTERNS)."""
    partial = False
    for key in parent_names(name, not parents):
        value = yield from maps.search(key, partial)
        if value is not None:
            return value
        partial = True
    return None


def search_network(maps: Maps, address: str) -> Steps[str | None]:
    """An address in an access table: whole, then without its last octets or IPv6 groups (``192.0.2``)."""
    separator = ":" if ":" in address else "."
    key = address
    partial = False
    while key:
        value = yield from maps.search(key, partial)
        if value is not None:
            return value
        partial = True
        key = key.rpartition(separator)[0]
    return None


async def find_host(maps: Maps, name: str, parents: bool = True) -> str | None:
    """See ``search_host``; ``parents``: smtpd_access_maps is in parent_domain_matches_subdomains. Raises TableError."""
    return await run(search_host(maps, name, parents))


async def find_network(maps: Maps, address: str) -> str | None:
    """See ``search_network``. Raises TableError."""
    return await run(search_network(maps, address))


def expand(address: str, found: Found, addresses: Callable[[str], list[str]], propagate: bool) -> list[str]:
    """The addresses that a map's result stands for (canonical(5), virtual(5)), external form, not yet rewritten.

    ``addresses`` splits an RFC 5322 address list. A result ``@domain`` keeps the local part of ``address``, with its
    extension. ``propagate``: add the unmatched extension to each (propagate_unmatched_extensions).
    """
    value = found.value.strip()
    if value.startswith("@"):
        return [split(address)[0] + value]
    results = addresses(value)
    if not (propagate and found.extension):
        return results
    return [add_extension(result, found.extension) for result in results]


def add_extension(address: str, extension: str) -> str:
    """``user@domain`` and ``+ext`` to ``user+ext@domain``; ``extension`` has its delimiter and is in internal form."""
    if not extension:
        return address
    local_part, domain = split(address)
    return join(quote_local(unquote_local(local_part) + extension), domain)


__all__ = [
    "DEFAULT",
    "LOCAL_RECIPIENT",
    "Found",
    "Locality",
    "Strategy",
    "access_strategy",
    "add_extension",
    "expand",
    "find",
    "find_host",
    "find_network",
    "find_now",
    "parent_names",
    "search",
    "search_host",
    "search_network",
    "transport_strategy",
]
