"""Connections to servers: TCP from a chosen address, UNIX sockets, both with a timeout."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

# sockaddr_un(7): sun_path has 108 bytes, the last one NUL.
_PATH_LIMIT = 107


class BindError(OSError):
    """The address to connect from cannot be used."""


async def connect_tcp(
    factory: Callable[[], P],
    address: str,
    port: int,
    *,
    timeout: float = 0,  # noqa: ASYNC109 - not around the body: the socket must be closed, the error be named
    bind: str = "",
    on_bind_error: Callable[[str], None] | None = None,
) -> P:
    """Connect to a numeric address. ``timeout`` in seconds, 0 for the system's own. ``bind``: the address to come from.

    Raises OSError (TimeoutError among them); BindError only without ``on_bind_error``, which is told instead.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if bind:
            try:
                sock.bind((bind, 0))
            except OSError as error:
                if on_bind_error is None:
                    raise BindError(error.errno, f"bind {bind}: {error.strerror}") from error
                on_bind_error(f"bind {bind}: {error.strerror}")
        # Replies are short and answered at once: never wait for a full segment (RFC 5321 is a chat).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return await _finish(factory, sock, (address, port), timeout)
    except BaseException:
        sock.close()
        raise


async def connect_unix(factory: Callable[[], P], path: str, *, timeout: float = 0) -> P:  # noqa: ASYNC109 - as above
    """Connect to a UNIX stream socket. Raises OSError; ValueError for a path that is too long."""
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise ValueError(f"unix-domain name too long: {path}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        return await _finish(factory, sock, path, timeout)
    except BaseException:
        sock.close()
        raise


async def _finish(
    factory: Callable[[], P],
    sock: socket.socket,
    target: tuple[str, int] | str,
    timeout: float,  # noqa: ASYNC109
) -> P:
    loop = asyncio.get_running_loop()
    if timeout > 0:
        async with asyncio.timeout(timeout):
            await loop.sock_connect(sock, target)
    else:
        await loop.sock_connect(sock, target)
    if isinstance(target, str):
        _, protocol = await loop.create_unix_connection(factory, sock=sock)
    else:
        _, protocol = await loop.create_connection(factory, sock=sock)
    return protocol


def error_text(error: OSError) -> str:
    """The reason in the system's words, as Postfix logs it: ``Connection refused``."""
    if isinstance(error, TimeoutError):
        return "Connection timed out"
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
