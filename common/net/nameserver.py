"""One question to one name server, by UDP and, where the answer is cut, by TCP (RFC 1035 4.2, RFC 7766, RFC 5452).

An answer is read only so far: a server may put thousands of records into 64 kB, of names that cost milliseconds each,
and the program that asked serves others meanwhile.
"""

import asyncio
import struct
from typing import Any

import dns.exception
import dns.flags
import dns.message

Server = tuple[str, int]
"""Address and port."""

# Of an answer so many records are read, of all sections.
_READ_LIMIT = 128
_HEADER = 12
# The flag TC, in the third octet.
_CUT = 0x02


class _Datagrams(asyncio.DatagramProtocol):
    """The first datagram that is an answer to ``query``."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self.answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self.answer.done() or data[:2] != self._query.id.to_bytes(2):
            return
        try:
            # RFC 2181 9: what is cut may be cut anywhere; it is asked for again.
            message = read(data, 0 if data[2:3] and data[2] & _CUT else _READ_LIMIT)
        except (dns.exception.DNSException, ValueError, struct.error):
            # RFC 5452 9.3: rubbish may come from anybody; the true answer may still come.
            return
        if self._query.is_response(message):
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def ask(query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
    """The answer. ``patience``: seconds for each of UDP and TCP.

    Raises OSError (TimeoutError among them), EOFError, dns.exception.DNSException, ValueError.
    """
    answer = await _by_datagram(query, server, patience)
    if answer.flags & dns.flags.TC:
        return await _by_stream(query, server, patience)
    return answer


async def _by_datagram(query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
    # Connected: the system picks a port (RFC 5452 9.2), and drops what others send.
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(query), remote_addr=server)
    try:
        transport.sendto(query.to_wire())
        async with asyncio.timeout(patience):
            return await protocol.answer
    finally:
        transport.close()
        protocol.answer.cancel()


async def _by_stream(query: dns.message.Message, server: Server, patience: float) -> dns.message.Message:
    wire = query.to_wire()
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(*server)
        try:
            writer.write(len(wire).to_bytes(2) + wire)
            size = int.from_bytes(await reader.readexactly(2))
            message = read(await reader.readexactly(size))
        finally:
            writer.transport.abort()
    if not query.is_response(message):
        raise ValueError("the answer is to another question")
    return message


def read(wire: bytes, limit: int = _READ_LIMIT) -> dns.message.Message:
    """The message, of which no more than ``limit`` records are looked at: the rest is as if it were not there.

    Raises dns.exception.DNSException, ValueError, struct.error.
    """
    if len(wire) < _HEADER:
        raise ValueError("shorter than a header")
    counts = struct.unpack_from("!4H", wire, 4)
    if sum(counts[1:]) <= limit and counts[0] <= 1:
        return dns.message.from_wire(wire, ignore_trailing=True)
    if counts[0] > 1:
        raise ValueError("an answer to several questions")
    left = limit
    kept = [counts[0]]
    for count in counts[1:]:
        kept.append(min(count, left))
        left -= kept[-1]
    return dns.message.from_wire(wire[:4] + struct.pack("!4H", *kept) + wire[_HEADER:], ignore_trailing=True)
