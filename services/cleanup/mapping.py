"""Address rewriting of senders and recipients: canonical(5) maps and masquerading, for envelope and header. Pure."""

from collections.abc import Sequence

from tubepost.common.mail import address as addresses

from tubepost.services.cleanup.policy import HEADER_RECIPIENT, HEADER_SENDER, AddressMap, Policy
from tubepost.services.cleanup.protocol import Message

_NESTING = 10
"""A canonical entry may lead to another, so many times (Postfix the same)."""


async def map_address(message: Message, policy: Policy, address: str, kind: str) -> str:
    """One address (already in standard form) through the tables and masquerading of its kind. Raises Trouble."""
    if not message.deposit.aliases or not address:
        return address
    for table in policy.sender_maps if kind.endswith("sender") else policy.recipient_maps:
        if kind in table.classes:
            address = await _canonical(message, policy, address, table)
    if policy.masquerade_domains and kind in policy.masquerade_classes:
        address = await masquerade(policy, address)
    return address


async def _canonical(message: Message, policy: Policy, address: str, table: AddressMap) -> str:
    for _ in range(_NESTING):
        result = await table.expand(address)
        if not result:
            return address
        if len(result) > 1:
            message.warn(f"multi-valued {table.title} entry for {address}: only the first address is used")
        new = (await policy.rewrite("local", result[:1]))[0]
        if new.casefold() == address.casefold():
            return new
        address = new
    message.warn(f"unreasonable {table.title} map nesting for {address}: does an entry lead back to itself?")
    return address


async def masquerade(policy: Policy, address: str) -> str:
    """Postfix masquerade_domains: cut the domain down to the first listed one that it is below; ``!`` leaves it."""
    local, domain = addresses.split(address)
    if domain is None:
        return address
    if policy.masquerade_exceptions is not None and await policy.masquerade_exceptions(local):
        return address
    lower = domain.lower()
    for entry in policy.masquerade_domains:
        parent = entry.lstrip("!").lower()
        cut = (len(entry) - len(entry.lstrip("!"))) % 2 == 0
        if not parent:
            continue
        if lower == parent:
            break
        if lower.endswith(f".{parent}"):
            return f"{local}@{parent}" if cut else address
    return address


async def map_header_addresses(
    message: Message, policy: Policy, context: str, found: Sequence[str], sender: bool
) -> dict[str, str]:
    """Each address of header fields to what is to stand there. One question to the rewrite service for all."""
    unique = list(dict.fromkeys(found))
    kind = HEADER_SENDER if sender else HEADER_RECIPIENT
    standard = await policy.rewrite(context, unique)
    tables = policy.sender_maps if sender else policy.recipient_maps
    if message.deposit.aliases and (tables or policy.masquerade_domains):
        standard = [await map_address(message, policy, address, kind) for address in standard]
    return dict(zip(unique, standard, strict=True))
