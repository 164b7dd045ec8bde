"""DNS for the checks and for client names, with a cache, asynchronously (dnspython)."""

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure

if TYPE_CHECKING:
    from dns.rdtypes.ANY.MX import MX

# Seconds for one question, all servers and repetitions together: a client waits meanwhile.
_PATIENCE = 15.0
_CACHE_SIZE = 10_000


class DnsResolver:
    """``restrictions.world.Resolver`` by the servers of resolv.conf."""

    def __init__(self, *, disabled: bool = False) -> None:
        """``disabled``: disable_dns_lookups; every name is then unsure."""
        self._disabled = disabled
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def _ask(self, name: str, kind: str) -> list[Any]:
        if self._disabled:
            raise NameUnsure("disable_dns_lookups is set")
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
                self._resolver.cache = dns.resolver.LRUCache(_CACHE_SIZE)
                self._resolver.lifetime = _PATIENCE
            answer = await self._resolver.resolve(f"{name.rstrip('.')}.", kind, search=False)
            return list(answer)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise NameUnknown(str(error)) from error
        except dns.exception.Timeout as error:
            raise NameUnsure("no DNS server answered in time") from error
        except (dns.exception.DNSException, OSError, UnicodeError, ValueError) as error:
            raise NameUnsure(f"{type(error).__name__}: {error}") from error

    async def addresses(self, name: str) -> tuple[str, ...]:
        found = await asyncio.gather(self._ask(name, "A"), self._ask(name, "AAAA"), return_exceptions=True)
        addresses = tuple(record.address for answer in found if isinstance(answer, list) for record in answer)
        if addresses:
            return addresses
        for error in found:
            if isinstance(error, NameUnsure):
                raise error
        for error in found:
            if isinstance(error, BaseException):
                raise error
        raise NameUnknown(name)

    async def ipv4(self, name: str) -> tuple[str, ...]:
        return tuple(record.address for record in await self._ask(name, "A"))

    async def texts(self, name: str) -> tuple[str, ...]:
        return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in await self._ask(name, "TXT"))

    async def exchangers(self, name: str) -> tuple[tuple[int, str], ...]:
        records: list[MX] = await self._ask(name, "MX")
        return tuple(sorted((record.preference, record.exchange.to_text(True)) for record in records))

    async def servers(self, name: str) -> tuple[str, ...]:
        return tuple(record.target.to_text(True) for record in await self._ask(name, "NS"))

    async def reverse(self, address: str) -> tuple[str, ...]:
        pointer = ipaddress.ip_address(address).reverse_pointer
        return tuple(record.target.to_text(True) for record in await self._ask(pointer, "PTR"))
