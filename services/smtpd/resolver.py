"""``restrictions.world.Resolver`` over the resolver that all programs share: what is no answer becomes an exception."""

from tubepost.common.net.dns import Answer, Resolver
from tubepost.common.net.peer import PeerName, peer_name

from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure


def _found(answer: Answer) -> Answer:
    if answer.found:
        return answer
    if answer.absent:
        raise NameUnknown(answer.why)
    raise NameUnsure(answer.why)


class DnsResolver:
    """See ``restrictions.world.Resolver``."""

    def __init__(self, resolver: Resolver, *, disabled: bool = False) -> None:
        """``disabled``: disable_dns_lookups; every name is then unsure."""
        self._resolver = resolver
        self._disabled = disabled

    async def _ask(self, name: str, kind: str) -> Answer:
        if self._disabled:
            raise NameUnsure("disable_dns_lookups is set")
        return _found(await self._resolver.ask(name, kind))

    async def addresses(self, name: str) -> tuple[str, ...]:
        if self._disabled:
            raise NameUnsure("disable_dns_lookups is set")
        addresses, answer = await self._resolver.addresses(name)
        return addresses or _found(answer).values

    async def ipv4(self, name: str) -> tuple[str, ...]:
        return (await self._ask(name, "A")).values

    async def texts(self, name: str) -> tuple[str, ...]:
        return (await self._ask(name, "TXT")).values

    async def exchangers(self, name: str) -> tuple[tuple[int, str], ...]:
        answer = await self._ask(name, "MX")
        return tuple(sorted(zip(answer.preferences, answer.values, strict=True)))

    async def servers(self, name: str) -> tuple[str, ...]:
        return (await self._ask(name, "NS")).values

    async def reverse(self, address: str) -> tuple[str, ...]:
        if self._disabled:
            raise NameUnsure("disable_dns_lookups is set")
        return _found(await self._resolver.reverse(address)).values

    async def peer_name(self, address: str) -> PeerName:
        """The name of a client, believed when it leads back to the address."""
        if self._disabled:
            return PeerName("unknown", "unknown", "temp", "temp")
        return await peer_name(self._resolver, address)
