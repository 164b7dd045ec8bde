"""Network patterns: ``192.0.2.0/24``, ``2001:db8::/32``, ``[::1]/128``. Pure. Source: cidr_table(5)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from tubepost.common.tables.words import SyntaxFault

Network = tuple[int, int, int]
"""(version, network number, mask)."""


def parse_network(pattern: str) -> Network:
    """Raises SyntaxFault, also for bits behind the prefix that are not zero: a slip that would match too much."""
    text = pattern
    if text.startswith("["):
        inner, closing, after = text[1:].partition("]")
        if not closing:
            raise SyntaxFault(f"missing ']' character after \"{pattern}\"")
        if "/" in inner:
            if after:
                raise SyntaxFault(f'garbage after "[{inner}]"')
            text = inner
        elif after and not after.startswith("/"):
            raise SyntaxFault(f'garbage after "[{inner}]"')
        else:
            text = inner + after
    host, slash, prefix = text.partition("/")
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
        if "%" in host:
            raise ValueError
    except ValueError:
        what = f'bad network value in "{text}"' if slash else f'bad address pattern: "{text}"'
        raise SyntaxFault(what) from None
    width = 32 if address.version == 4 else 128
    if not slash:
        return address.version, int(address), (1 << width) - 1
    if not (prefix.isascii() and prefix.isdigit()):
        raise SyntaxFault(f'bad mask value in "{text}"')
    length = int(prefix[:4])
    if length > width:
        raise SyntaxFault(f'bad mask length in "{text}"')
    mask = ((1 << length) - 1) << (width - length)
    number = int(address)
    if number & mask != number:
        kind = IPv4Address if width == 32 else IPv6Address
        raise SyntaxFault(
            f'non-null host address bits in "{text}", perhaps you should use "{kind(number & mask)}/{length}" instead'
        )
    return address.version, number, mask
