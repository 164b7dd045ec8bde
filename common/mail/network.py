"""Whom a client is counted with. Pure."""

import functools
import ipaddress


@functools.lru_cache(4096)
def network_of(address: str, ipv4: int = 32, ipv6: int = 64) -> str:
    """``2001:db8:1:2::/64`` of a numeric address; ``ipv4``, ``ipv6``: lengths of prefixes, bits.

    One customer has a whole /64 of IPv6. An address that is a network of its own stays as it is, and so does what is no
    address.
    """
    if ipv4 >= 32 and ":" not in address:
        return address
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return address
    if number.version == 4:
        return address if ipv4 >= 32 else str(ipaddress.IPv4Network((int(number), ipv4), strict=False))
    return address if ipv6 >= 128 else str(ipaddress.IPv6Network((int(number), ipv6), strict=False))
