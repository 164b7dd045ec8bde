"""What a configuration needs to know of the host: its name, its addresses, its networks. Looks, changes nothing."""

import ipaddress
import socket
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tubepost.common.config.declare import Settings

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

# <linux/rtnetlink.h>
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


@lru_cache(1)
def host_name() -> str:
    """As the kernel gives it."""
    return socket.gethostname() or "localhost"


def default_myhostname(settings: "Settings") -> str:
    """The host's name; a bare word gets ``.localdomain`` or a mydomain that was set, as Postfix does."""
    name = host_name()
    if "." in name:
        return name
    domain = settings.unexpanded("mydomain") if _is_set(settings, "mydomain") else ""
    return f"{name}.{domain or 'localdomain'}"


def default_mydomain(settings: "Settings") -> str:
    """myhostname without its first label."""
    name = settings.expanded("myhostname") if _is_set(settings, "myhostname") else host_name()
    return name.partition(".")[2] or "localdomain"


def default_mynetworks(settings: "Settings") -> str:
    """The networks of mynetworks_style: this host's addresses, its subnets, or its address classes."""
    style = settings.expanded("mynetworks_style").lower()
    if style not in ("host", "subnet", "class"):
        raise settings.bad_value("mynetworks_style", f'bad value "{style}": write one of host, subnet, class')
    networks: list[str] = []
    for interface in listening_interfaces(settings):
        network = interface.network
        if style == "host" and not interface.is_loopback:
            network = ipaddress.ip_network(interface.ip)
        elif interface.version == 4 and (style == "class" or interface.is_loopback):
            network = _address_class(ipaddress.IPv4Address(interface.ip))
        text = f"[{network.network_address}]/{network.prefixlen}" if network.version == 6 else str(network)
        if text not in networks:
            networks.append(text)
    return " ".join(networks)


def listening_interfaces(settings: "Settings") -> list[Interface]:
    """The addresses of inet_interfaces that inet_protocols allow, with their networks.

    Raises ConfigError for a name that does not resolve.
    """
    versions = protocol_versions(settings)
    own = [interface for interface in interfaces() if interface.version in versions]
    wanted = settings.expanded("inet_interfaces").replace(",", " ").split()
    if wanted == ["all"] or not wanted:
        return own
    if wanted == ["loopback-only"]:
        return [interface for interface in own if interface.is_loopback]
    by_address = {interface.ip: interface for interface in own}
    chosen: list[Interface] = []
    for name in wanted:
        for address in _resolve(name, settings):
            if address.version in versions:
                chosen.append(by_address.get(address) or ipaddress.ip_interface(address))
    return chosen


def protocol_versions(settings: "Settings") -> set[int]:
    """{4}, {6} or both, of inet_protocols. Raises ConfigError."""
    versions: set[int] = set()
    for word in settings.expanded("inet_protocols").replace(",", " ").split():
        known = {"all": {4, 6}, "ipv4": {4}, "ipv6": {6}}.get(word.lower())
        if known is None:
            raise settings.bad_value("inet_protocols", f'bad value "{word}": write all, ipv4 or ipv6')
        versions |= known
    return versions or {4, 6}


@lru_cache(1)
def interfaces() -> tuple[Interface, ...]:
    """Every address of this host with its prefix length, loopback first. Asked of the kernel once (rtnetlink(7))."""
    found: list[Interface] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
            sock.settimeout(2)
            sock.send(_HEADER.pack(_HEADER.size + 1, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + b"\0")
            while _read_addresses(sock.recv(65536), found):
                pass
    except OSError:
        # A sandbox without netlink: loopback is the one address that is sure to be ours.
        found = []
    if not found:
        found = [ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("::1/128")]
    found.sort(key=lambda interface: (interface.version, not interface.is_loopback))
    return tuple(dict.fromkeys(found))


def _read_addresses(data: bytes, found: list[Interface]) -> bool:
    """Add what one netlink datagram tells; False after the last one."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
            return False
        if kind == _RTM_NEWADDR:
            _, prefix, _, _, _ = _ADDRESS.unpack_from(data, offset + _HEADER.size)
            attributes: dict[int, bytes] = {}
            position = offset + _HEADER.size + _ADDRESS.size
            while position + _ATTRIBUTE.size <= offset + length:
                size, name = _ATTRIBUTE.unpack_from(data, position)
                if size < _ATTRIBUTE.size:
                    break
                attributes[name] = data[position + _ATTRIBUTE.size : position + size]
                position += (size + 3) & ~3
            # On a point-to-point link IFA_ADDRESS is the other end.
            packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if packed and len(packed) in (4, 16):
                found.append(ipaddress.ip_interface((packed, prefix)))
        offset += (length + 3) & ~3
    return True


def _resolve(name: str, settings: "Settings") -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(name.strip("[]"))]
    except ValueError:
        pass
    try:
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise settings.bad_value("inet_interfaces", f'host "{name}" is not found: {error.strerror or error}') from None
    except UnicodeError:
        raise settings.bad_value("inet_interfaces", f'"{name}" is not a host name') from None
    return list(dict.fromkeys(ipaddress.ip_address(info[4][0]) for info in infos))


def _address_class(address: ipaddress.IPv4Address) -> ipaddress.IPv4Network:
    """RFC 791 3.2: class A, B or C by the first bits."""
    first = address.packed[0]
    prefix = 8 if first < 128 else 16 if first < 192 else 24
    return ipaddress.IPv4Network((address, prefix), strict=False)


def _is_set(settings: "Settings", name: str) -> bool:
    explicit: dict[str, object] = getattr(settings, "explicit", {})
    return name in explicit
