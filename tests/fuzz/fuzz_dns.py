"""Fuzzes the answers of name servers.

The invariant: whatever bytes come as an answer, ``ask`` gives an Answer; names in it are host names and addresses are
addresses, nothing of them has a control character; of a flood of records no more than a limit is kept.

    python -m tests.fuzz dns -max_total_time=20
"""

import asyncio
import ipaddress
import struct

import dns.message
import dns.name

from tubepost.common.system import log
from tubepost.common.net.dns import Outcome, Resolver
from tubepost.common.net.nameserver import Server as Address

from tests.fuzz.driver import Harness

_KINDS = ("A", "AAAA", "MX", "PTR", "TXT", "NS")
_NAME = b"\x01a\x07example\0"
_NUMBERS = {"A": 1, "NS": 2, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
WORDS = [
    b"\xc0\x0c", _NAME, b"\0", b"\x01a", b"\x07example", b"\0\1\0\1", b"\0\x0f\0\1", b"\0\x1c\0\1", b"\0\5\0\1",
    b"\0\x10\0\1", b"\0\0\0\x3c", b"\0\4", b"\0\x10", b"\x7f\0\0\1", b"\0\x0a", b"\xff", b"\x3f" + b"x" * 63,
    b"\0\6\0\1",
    b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x0c",
    b"\x01.", b"\x03a\nb", b"\x02\xc3\xbc",
    b"\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\4\0\x0a\xc0\x0c", b"\0\x29", b"\0\2", b"\x05hello",
]  # fmt: skip


def answer(kind: str, settings: int, data: bytes, question: dns.message.Message) -> dns.message.Message:
    count = 1 + data.count(b"\xc0\x0c")
    flags = 0x8180 | (settings >> 3 & 3)
    head = struct.pack("!6H", question.id, flags, 1, count & 0xFFFF, settings >> 5 & 1, 0)
    asked = _NAME + struct.pack("!2H", _NUMBERS[kind], 1)
    return dns.message.from_wire(head + asked + data, ignore_trailing=bool(settings & 64))


def check(settings: int, data: bytes) -> None:
    kind = _KINDS[settings % 6]

    async def exchange(question: dns.message.Message, server: Address, patience: float) -> dns.message.Message:
        if settings & 7 == 7:
            return dns.message.from_wire(data)
        return answer(kind, settings, data, question)

    resolver = Resolver([("192.0.2.53", 53)], exchange=exchange, clock=lambda: 0.0, timeout=1)
    found = _LOOP.run_until_complete(resolver.ask("a.example", kind))
    assert isinstance(found.outcome, Outcome)
    assert len(found.values) <= 1000
    for value in found.values:
        if kind in ("A", "AAAA"):
            ipaddress.ip_address(value)
        elif kind != "TXT":
            assert value.isascii() and value.isprintable() and " " not in value, value
    assert found.found == bool(found.values)
    assert not found.preferences or len(found.preferences) == len(found.values)
    name = data.decode("utf-8", "replace")
    asked = _LOOP.run_until_complete(resolver.ask(name, kind))
    assert isinstance(asked.outcome, Outcome)


log.warning = log.debug = log.info = lambda text: None  # type: ignore[assignment, misc]
_LOOP = asyncio.new_event_loop()
HARNESS = Harness(
    check,
    WORDS,
    [
        b"\0\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1",
        b"\2\xc0\x0c\0\x0f\0\1\0\0\0\x3c\0\4\0\x0a\xc0\x0c",
        b"\4\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\6\x05hello",
        b"\3\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\2\xc0\x0c",
    ],
    swollen=16_000,
)
