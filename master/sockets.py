"""The listening sockets: opened by the master while it may, inherited by the children."""

import os
import socket
import stat
from collections.abc import Sequence
from typing import NamedTuple

from tubepost.common.wire.programs import USER, callers_of, row_of
from tubepost.common.system import log
from tubepost.common.config import Config

from tubepost.master.table import Service

_BACKLOG = 512
# A log line burst waits here while the log program is not there.
_DATAGRAM_BUFFER = 4 * 1024 * 1024


class Owner(NamedTuple):
    """Whose the sockets are: mail_owner's, and the group of the other accounts that knock, if there is one."""

    uid: int
    gid: int
    bus: int | None = None


class ListenError(OSError):
    """Says which service cannot listen, and where."""


def open_service(
    service: Service, config: Config, owner: Owner, leaving: Sequence[socket.socket] = ()
) -> list[socket.socket]:
    """Listening sockets of a service. ``leaving``: others that are about to be closed, and stand in nobody's way.

    Raises ListenError.
    """
    try:
        if service.kind == "inet":
            return _open_inet(service.name, config, leaving)
        return [_open_unix(service, owner)]
    except (OSError, UnicodeError) as error:
        # UnicodeError: a host that no domain name can be made of.
        where = service.path or service.name
        why = getattr(error, "strerror", None) or error
        raise ListenError(f"service {service.name}: cannot listen on {where}: {why}") from error


def split_endpoint(name: str) -> tuple[str, str]:
    """``[host:]port`` to (host, port); the host without brackets, empty when there is none."""
    host, _, port = name.rpartition(":")
    return host.strip("[]"), port


def _addresses(host: str, config: Config) -> Sequence[str]:
    if host:
        return [host]
    wanted = [word.lower() for word in config.inet_interfaces]
    if "all" in wanted:
        return ["0.0.0.0", "::"]
    if "loopback-only" in wanted:
        return ["127.0.0.1", "::1"]
    return [address.strip("[]") for address in config.inet_interfaces]


def _open_inet(name: str, config: Config, leaving: Sequence[socket.socket]) -> list[socket.socket]:
    host, port = split_endpoint(name)
    protocols = {word.lower() for word in config.inet_protocols}
    families = set()
    if protocols & {"all", "ipv4"}:
        families.add(socket.AF_INET)
    if protocols & {"all", "ipv6"} and socket.has_ipv6:
        families.add(socket.AF_INET6)
    found: list[socket.socket] = []
    last: OSError | None = None
    try:
        for address in _addresses(host, config):
            for family, kind, protocol, _, where in socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                if family not in families:
                    continue
                try:
                    found.append(_listen(socket.AddressFamily(family), kind, protocol, where, leaving))
                except OSError as error:
                    # A host without IPv6 (or the other way round) still gets what it has.
                    last = error
                    if host or family == socket.AF_INET:
                        raise
        if not found:
            raise last or OSError(
                f"no address of {name} can be used with inet_protocols = {config.expanded('inet_protocols')}"
            )
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def _listen(
    family: socket.AddressFamily, kind: int, protocol: int, where: object, leaving: Sequence[socket.socket]
) -> socket.socket:
    for other in leaving:
        if other.family == family and other.getsockname() == where:
            # The very same door: who waits before it is let in by the new service.
            return other.dup()
    listener = socket.socket(family, kind, protocol)
    # Their children go on listening until they have heard of the reload. With SO_REUSEPORT on both sides the kernel
    # lets us in beside them; it is taken back at once, as nobody else is to be.
    beside = [other for other in leaving if other.family == family and other.getsockname()[1] == _port(where)]
    try:
        for one in (listener, *beside) if beside else ():
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)  # type: ignore[arg-type]
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    finally:
        for one in (listener, *beside) if beside else ():
            if one.fileno() >= 0:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return listener


def _port(where: object) -> int:
    """Of an address as getaddrinfo gives it."""
    return int(where[1])  # type: ignore[index]


def _open_unix(service: Service, owner: Owner) -> socket.socket:
    kind = socket.SOCK_DGRAM if service.kind == "unix-dgram" else socket.SOCK_STREAM
    return open_path(service.path, owner, mode_of(service.program, owner, private=service.private), kind)


def mode_of(program: str, owner: Owner, *, private: bool = True) -> int:
    """Who may knock at a program's socket, by the table: the kernel refuses others before the program does."""
    callers = callers_of(program)
    if not callers or USER in callers:
        # Other mail servers, people's commands; the log takes anybody's lines. The directory decides, as in Postfix.
        return 0o666
    accounts = {row_of(caller).account for caller in callers}
    if not private and "mailboxes" in accounts:
        # He is in no group of ours; the program refuses all others.
        return 0o666
    shared = not accounts.isdisjoint(("protocol", "auth"))
    return 0o660 if shared and owner.bus is not None else 0o600


def open_path(path: str, owner: Owner, mode: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Below the queue directory, which is the working directory: a path of 100 bytes is all that the kernel takes.

    Raises OSError.
    """
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        listener.bind(path)
        if os.geteuid() == 0:
            os.chown(path, owner.uid, owner.gid if owner.bus is None else owner.bus)
        os.chmod(path, mode)
        if kind == socket.SOCK_DGRAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BUFFER)
        else:
            listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def sweep(directories: tuple[str, ...] = ("private", "public")) -> None:
    """Remove the sockets that workers of a master before us left."""
    for directory in directories:
        for entry in os.scandir(directory):
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                os.unlink(entry.path)


def remove(path: str) -> None:
    """A socket of ``open_path`` that nobody listens on any more; empty: none. What cannot be removed stays."""
    if path:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            # A disk that is read-only now is no reason for the master to end; at the next start it is swept.
            log.warning(f"cannot remove the socket {path}: {error.strerror}")
