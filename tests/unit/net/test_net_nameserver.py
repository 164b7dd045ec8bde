"""One question to one name server: what of an answer is read, and what is not taken for one."""

import asyncio
import socket
import struct
import time

import dns.exception
import dns.flags
import dns.message
import pytest

from tubepost.common.net import nameserver

from tests.fakes.instance import free_port

QUERY = dns.message.make_query("many.test.", "MX")


def answer(count: int, labels: int, query: dns.message.Message = QUERY) -> bytes:
    """``count`` mail hosts, whose names have so many labels and end behind a pointer."""
    head = dns.message.make_response(query).to_wire()
    end = 12 + len(b"\x04many\x04test\x00") + 4
    name = b"".join(b"\x01" + bytes([97 + number % 26]) for number in range(labels)) + b"\xc0\x0c"
    record = b"\xc0\x0c" + struct.pack("!HHIHH", 15, 1, 60, 2 + len(name), 10) + name
    pointer = struct.pack("!H", 0xC000 | (end + 14))
    for number in range(count - 1):
        record += b"\xc0\x0c" + struct.pack("!HHIHH", 15, 1, 60, 9, 10) + b"\x04%04x" % number + pointer
    return head[:6] + struct.pack("!3H", count, 0, 0) + head[12:end] + record


def test_of_thousands_of_records_some_are_read() -> None:
    wire = answer(3100, 100)
    assert 64_000 < len(wire) < 65_536
    started = time.process_time()
    message = nameserver.read(wire)
    assert time.process_time() - started < 1.5
    assert len(message.answer[0]) == 128


@pytest.mark.parametrize("count", [1, 127, 128])
def test_all_of_what_is_of_use_is_read(count: int) -> None:
    assert len(nameserver.read(answer(count, 3)).answer[0]) == count


@pytest.mark.parametrize(
    "wire", [b"", b"\0" * 11, b"\0\0\x80\0\0\x02" + bytes(60), b"\xff" * 60], ids=["none", "short", "twofold", "full"]
)
def test_rubbish_is_no_answer(wire: bytes) -> None:
    with pytest.raises((dns.exception.DNSException, ValueError, struct.error)):
        nameserver.read(wire)


class Server:
    """Says over UDP what it is given, and over TCP what it is given."""

    def __init__(self, datagrams: list[bytes], stream: bytes = b"", pause: float = 0.0) -> None:
        self._datagrams, self._stream, self._pause = datagrams, stream, pause

    async def ask(self, patience: float = 1.0) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            # Free for TCP as well, whoever else takes ports at this moment.
            udp.bind(("127.0.0.1", free_port()))
            udp.setblocking(False)
            tcp = await asyncio.start_server(self._serve, *udp.getsockname())
            task = asyncio.create_task(nameserver.ask(QUERY, udp.getsockname(), patience))
            _, peer = await loop.sock_recvfrom(udp, 65_536)
            for data in self._datagrams:
                udp.sendto(data, peer)
            try:
                return await task
            finally:
                tcp.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(2)
            for octet in len(self._stream).to_bytes(2) + self._stream:
                writer.write(bytes([octet]))
                if self._pause:
                    await writer.drain()
                    await asyncio.sleep(self._pause)
        except OSError:
            pass
        finally:
            writer.close()


CUT = dns.message.make_response(QUERY)
CUT.flags |= dns.flags.TC


def test_what_others_say_is_passed_over() -> None:
    other = dns.message.make_query("other.test.", "MX", id=QUERY.id)
    wrong_id = bytearray(answer(1, 3))
    wrong_id[0] ^= 0xFF
    lies = [b"", b"\0", bytes(wrong_id), QUERY.to_wire(), dns.message.make_response(other).to_wire(), answer(2, 3)[:40]]
    found = asyncio.run(Server([*lies, answer(5, 3)]).ask())
    assert len(found.answer[0]) == 5


@pytest.mark.parametrize(
    "cut", [CUT.to_wire(), answer(50, 3)[:2] + b"\x83\x00" + answer(50, 3)[4:300]], ids=["empty", "anywhere"]
)
def test_an_answer_that_is_cut_is_asked_for_by_tcp(cut: bytes) -> None:
    found = asyncio.run(Server([cut], answer(90, 3)).ask())
    assert len(found.answer[0]) == 90


def test_an_answer_to_another_question_by_tcp() -> None:
    other = dns.message.make_response(dns.message.make_query("other.test.", "MX", id=QUERY.id)).to_wire()
    with pytest.raises(ValueError, match="another question"):
        asyncio.run(Server([CUT.to_wire()], other).ask())


def test_half_an_answer_by_tcp() -> None:
    with pytest.raises((EOFError, dns.exception.DNSException, ValueError)):
        asyncio.run(Server([CUT.to_wire()], answer(3, 3)[:50]).ask())


def test_an_octet_now_and_then_does_not_prolong_the_time() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(Server([CUT.to_wire()], answer(90, 3), pause=0.02).ask(0.3))
    assert time.monotonic() - started < 1.5


def test_silence_and_nobody() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(Server([]).ask(0.1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(nameserver.ask(QUERY, ("127.0.0.1", port), 5.0))
