"""A DNS server of the tests' own on loopback: UDP and TCP, answers from a zone in a dict, in a thread of its own.

    with DnsServer() as server:
        server.add("example.test", "MX", "10 mx.example.test.")
        server.add("mx.example.test", "A", "127.0.0.1")
        server.fail("broken.test", "SERVFAIL")       # or "TIMEOUT", "REFUSED", "NXDOMAIN", "TRUNCATED", "DRIP", "SLOW"
        … dns_nameservers = server.address …

    server.lie("liar.test", "WRONG_ID")              # or another of LIES

A name with other records gives NODATA, an unknown one NXDOMAIN, both with a SOA record. ``asked`` lists the questions.
"""

import secrets
import socket
import struct
import threading
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

# The truth, but: with another id, as the answer to another question, in the wrong section, of another name, as rubbish,
# good for 68 years, with 10,000 records more (those that 64 kB hold), or with as many mail hosts, each of a name of a
# hundred labels that stands behind a pointer.
LIES = ("WRONG_ID", "WRONG_QUESTION", "WRONG_SECTION", "OTHER_NAME", "RUBBISH", "HUGE_TTL", "MANY", "TANGLE")
# Seconds that SLOW takes, of the five that a resolver waits.
_LATE = 4.0
_SOA = "ns.test. root.test. 1 3600 600 86400 60"


def _open(host: str) -> tuple[socket.socket, socket.socket]:
    """One port for UDP and TCP: the one that is free for the one may be taken for the other, so try some."""
    for attempt in range(20):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, 0))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(udp.getsockname())
            tcp.listen(16)
        except OSError:
            udp.close()
            tcp.close()
            if attempt == 19:
                raise
        else:
            return udp, tcp
    raise AssertionError("not reached")


class DnsServer:
    def __init__(self, host: str = "127.0.0.1", ttl: int = 60) -> None:
        self.asked: list[tuple[str, str]] = []
        self._ttl = ttl
        self._zone: dict[tuple[str, str], list[str]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self._lies: dict[tuple[str, str], str] = {}
        self._udp, self._tcp = _open(host)
        self.host, self.port = self._udp.getsockname()
        self._ending = False
        self._ended = threading.Event()
        self.dripped = 0
        """Octets of answers that go by drops."""
        self._threads = [
            threading.Thread(target=self._serve_datagrams, daemon=True),
            threading.Thread(target=self._serve_streams, daemon=True),
        ]

    @property
    def address(self) -> str:
        """For dns_nameservers."""
        return f"{self.host}:{self.port}"

    def add(self, name: str, kind: str, *records: str) -> None:
        self._zone.setdefault((name.lower().rstrip("."), kind), []).extend(records)

    def remove(self, name: str, kind: str) -> None:
        self._zone.pop((name.lower().rstrip("."), kind), None)

    def fail(self, name: str, how: str, kind: str = "") -> None:
        """``how``: an RCODE, or TIMEOUT (no answer), or TRUNCATED (over UDP: come again by TCP), or DRIP (by TCP
        an octet a second), or SLOW (each time an alias, late, without an end); empty: no more.

        ``kind``: only for questions of this type.
        """
        self._failures[(name.lower().rstrip("."), kind)] = how

    def lie(self, name: str, how: str, kind: str = "") -> None:
        self._lies[(name.lower().rstrip("."), kind)] = how

    def _bend(self, response: dns.message.Message, asked: str, kind: str) -> bytes:
        how = self._lies.get((asked, kind)) or self._lies.get((asked, ""), "")
        if how == "WRONG_ID":
            response.id ^= 0x55
        elif how == "WRONG_QUESTION":
            response.question = [dns.rrset.from_text("other.test.", 0, "IN", kind)]
        elif how == "WRONG_SECTION":
            response.authority, response.answer = response.answer, []
        elif how == "OTHER_NAME":
            for records in response.answer:
                records.name = dns.name.from_text("other.test.")
        elif how == "RUBBISH":
            return response.to_wire()[:12] + secrets.token_bytes(60)
        elif how == "HUGE_TTL":
            for records in response.answer:
                records.update_ttl(2**31 - 1)
                records.ttl = 2**31 - 1
        elif how == "MANY" and kind in ("A", "PTR"):
            return self._many(response, kind)
        elif how == "TANGLE" and kind == "MX":
            return self._tangle(response)
        return response.to_wire(max_size=65535)

    def _many(self, response: dns.message.Message, kind: str) -> bytes:
        """Says that there are 10,000 records, and has as many as a message can hold."""
        head = response.to_wire()
        question_end = 12 + sum(len(label) + 1 for label in response.question[0].name.labels) + 4
        if kind == "A":
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4)
            room = (65_535 - question_end) // 16
            records = b"".join(record + struct.pack("!I", 0x7F010000 + number) for number in range(room))
        else:
            # Each is the name itself, behind a pointer.
            record = b"\xc0\x0c" + struct.pack("!HHIH", 12, 1, 60, 2) + b"\xc0\x0c"
            room = (65_535 - question_end) // len(record)
            records = record * room
        return head[:6] + struct.pack("!H", min(10_000, room)) + bytes(4) + head[12:question_end] + records

    def _tangle(self, response: dns.message.Message) -> bytes:
        head = response.to_wire()
        question_end = 12 + sum(len(label) + 1 for label in response.question[0].name.labels) + 4
        labels = b"".join(b"\x01" + bytes([97 + number % 26]) for number in range(100)) + b"\xc0\x0c"
        first = b"\xc0\x0c" + struct.pack("!HHIHH", 15, 1, 60, 2 + len(labels), 10)
        pointer = struct.pack("!H", 0xC000 | (question_end + len(first)))
        room = (65_535 - question_end - len(first) - len(labels)) // 21
        record = b"\xc0\x0c" + struct.pack("!HHIHH", 15, 1, 60, 9, 10)
        records = b"".join(record + b"\x04%04x" % number + pointer for number in range(room))
        counts = struct.pack("!H", room + 1) + bytes(4)
        return head[:6] + counts + head[12:question_end] + first + labels + records

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._ended.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", (self.host, self.port))
        # A blocked accept() does not wake when its socket is closed by another thread.
        with socket.create_connection((self.host, self.port), 5):
            pass
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()

    def answer(self, data: bytes, *, stream: bool) -> bytes | None:
        """The wire form of the answer; None: none is given."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        failure = self._failures.get((name, kind)) or self._failures.get((name, "")) or ""
        if failure == "TIMEOUT":
            return None
        if failure in ("TRUNCATED", "DRIP") and not stream:
            response.flags |= dns.flags.TC
            return response.to_wire()
        if failure == "SLOW":
            self.fail(f"more.{name}", "SLOW", kind)
            response.answer.append(dns.rrset.from_text(f"{name}.", self._ttl, "IN", "CNAME", f"more.{name}."))
            return response.to_wire()
        if failure and failure not in ("TRUNCATED", "DRIP"):
            response.set_rcode(dns.rcode.from_text(failure))
            return response.to_wire()
        seen = {name}
        while alias := self._zone.get((name, "CNAME")):
            response.answer.append(dns.rrset.from_text(f"{name}.", self._ttl, "IN", "CNAME", alias[0]))
            name = alias[0].rstrip(".").lower()
            if name in seen:
                break
            seen.add(name)
        records = self._zone.get((name, kind))
        if records:
            response.answer.append(dns.rrset.from_text(f"{name}.", self._ttl, "IN", kind, *records))
        else:
            if not any(other == name for other, _ in self._zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            response.authority.append(dns.rrset.from_text(".", self._ttl, "IN", "SOA", _SOA))
        wire = self._bend(response, question.name.to_text(omit_final_dot=True).lower(), kind)
        if not stream and len(wire) > 4096:
            response.answer = []
            response.flags |= dns.flags.TC
            return response.to_wire()
        return wire

    def _serve_datagrams(self) -> None:
        while not self._ending:
            data, peer = self._udp.recvfrom(65536)
            try:
                reply = self.answer(data, stream=False)
            except (dns.exception.DNSException, IndexError):
                continue
            if reply is None:
                continue
            if self._failure_of(reply) == "SLOW":
                threading.Thread(target=self._send_late, args=(reply, peer), daemon=True).start()
            else:
                self._udp.sendto(reply, peer)

    def _send_late(self, reply: bytes, peer: tuple[str, int]) -> None:
        if not self._ended.wait(_LATE):
            try:
                self._udp.sendto(reply, peer)
            except OSError:
                return

    def _serve_streams(self) -> None:
        while not self._ending:
            connection, _ = self._tcp.accept()
            with connection:
                connection.settimeout(5)
                try:
                    self._serve_stream(connection)
                except (OSError, dns.exception.DNSException, IndexError, struct.error):
                    continue

    def _serve_stream(self, connection: socket.socket) -> None:
        while head := connection.recv(2, socket.MSG_WAITALL):
            (size,) = struct.unpack("!H", head)
            reply = self.answer(connection.recv(size, socket.MSG_WAITALL), stream=True)
            if reply is None:
                return
            reply = struct.pack("!H", len(reply)) + reply
            if self._failure_of(reply[2:]) == "DRIP":
                # Others are served meanwhile.
                threading.Thread(target=self._drip, args=(connection.dup(), reply), daemon=True).start()
                return
            connection.sendall(reply)

    def _failure_of(self, reply: bytes) -> str:
        if not self._failures:
            return ""
        try:
            # Without its records: those of some answers take seconds.
            head = reply[:4] + struct.pack("!4H", 1, 0, 0, 0)
            question = dns.message.from_wire(head + reply[12:], ignore_trailing=True).question[0]
        except (dns.exception.DNSException, IndexError):
            return ""
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        return self._failures.get((name, kind)) or self._failures.get((name, ""), "")

    def _drip(self, connection: socket.socket, reply: bytes) -> None:
        with connection:
            for octet in reply:
                try:
                    connection.sendall(bytes([octet]))
                except OSError:
                    return
                self.dripped += 1
                if self._ended.wait(1.0):
                    return
