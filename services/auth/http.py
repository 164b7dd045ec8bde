"""One HTTPS request at a time, as much of HTTP/1.1 (RFC 9112) as asking an authorization server takes."""

import asyncio
import ssl
from urllib.parse import urlsplit

from tubepost.services.auth.backends.base import Unavailable

_DEADLINE = 10.0
_HEAD_LIMIT = 32_768
_BODY_LIMIT = 1 << 20


async def request(
    url: str, *, headers: dict[str, str] | None = None, body: bytes | None = None, context: ssl.SSLContext | None = None
) -> bytes:
    """The body of a 200 answer; POST with a body, GET without. Raises Unavailable."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        async with asyncio.timeout(_DEADLINE):
            return await _talk(url, headers or {}, body, context)
    except TimeoutError:
        raise Unavailable(f"{host} does not answer within {_DEADLINE:g} s") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise Unavailable(f"cannot ask {host}: {error}") from error


async def _talk(url: str, headers: dict[str, str], body: bytes | None, context: ssl.SSLContext | None) -> bytes:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url} is not a URL that can be asked")
    port = parts.port or (443 if secure else 80)
    tls = (context or ssl.create_default_context()) if secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=_HEAD_LIMIT)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += ["Connection: close", "Accept: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [] if body is None else [f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *rest = head.split("\r\n")
        code = status.split(" ")[1:2]
        if code != ["200"]:
            raise ValueError(f"it answers {status[:60]}")
        told = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return await _body(reader, told)
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """Raises ValueError."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        # RFC 9112 7.1
        found = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            if size < 0 or len(found) + size > _BODY_LIMIT:
                raise ValueError("the answer is too long")
            found += (await reader.readexactly(size + 2))[:-2]
        return found
    length = headers.get("content-length")
    if length is not None:
        if not length.isdigit() or int(length) > _BODY_LIMIT:
            raise ValueError("the answer is too long")
        return await reader.readexactly(int(length))
    # RFC 9112 6.3: until the end of the connection.
    found = b""
    while part := await reader.read(65_536):
        found += part
        if len(found) > _BODY_LIMIT:
            raise ValueError("the answer is too long")
    return found
