"""Fuzzes the scanners of content: header block, address lists, MIME structure, downgrading.

The invariant: whatever a message holds, the scanners raise nothing, lose and invent no byte, and find the same whether
the bytes came whole or one by one; a downgraded message whose parts are labelled is 7-bit.

    python tests/fuzz/fuzz_header_scanner.py -max_total_time=20

Without atheris it makes up messages of its own from pieces that matter, by a fixed seed.
"""

import random
import sys
import time
from typing import Any

from tubepost.common.mail import addresslist, date, encode, header, mime
from tubepost.common.mail.downgrade import Downgrade
from tubepost.common.mail.mime import Kind

PIECES = [
    b"From: ", b"To: a@b, <c@d>;\n", b"Subject:", b"A: 1\n", b" fold\n", b"\t", b"\n", b"\r\n", b"\r", b":", b"--",
    b"b", b"--b\n", b"--b--\n", b"\n--b", b"Content-Type: multipart/mixed; boundary=b\n",
    b"Content-Type: message/rfc822\n", b'Content-Type: multipart/digest; boundary="b"; boundary=c\n',
    b"Content-Transfer-Encoding: 8bit\n", b"Content-Transfer-Encoding: binary\n", b"(", b")", b"<", b">", b'"', b"\\",
    b"@", b",", b"[", b"\xff\x00", b"=?utf-8?Q?=41?=", b"x" * 100, b" ",
]  # fmt: skip


def collect(data: bytes, size: int) -> tuple[bytes, bool, bytes]:
    """(block, separated, body)."""
    collector = header.Collector(len(data) + 1)
    for place in range(0, len(data), size):
        if collector.feed(data[place : place + size]):
            return collector.block, collector.separated, collector.rest + data[place + size :]
    collector.finish()
    return collector.block, collector.separated, collector.rest


def structure(data: bytes, size: int) -> list[tuple[Kind, str, bytes]]:
    """The scanner's events, neighbouring body pieces joined."""
    parser = mime.Parser(header_limit=0, nesting_limit=5, look_for_8bit=True)
    events = [event for place in range(0, len(data), size) for event in parser.feed(data[place : place + size])]
    out: list[tuple[Kind, str, bytes]] = []
    for kind, where, raw, _ in events + parser.finish():
        if out and kind is Kind.BODY and out[-1][0] is Kind.BODY:
            out[-1] = (kind, where.value, out[-1][2] + raw)
        else:
            out.append((kind, where.value, raw))
    return out


def downgraded(data: bytes, size: int, binary: bool) -> bytes:
    machine = Downgrade(binary=binary)
    return b"".join(machine.feed(data[place : place + size]) for place in range(0, len(data), size)) + machine.finish()


def check(data: bytes) -> None:
    end, start = header.split_message(data)
    fields = header.scan(data[:end])
    assert b"".join(field.raw for field in fields) == data[:end], "the fields are not the block"
    whole = collect(data, max(1, len(data)))
    assert whole == (data[:end], start > end, data[start:]), "the collector finds another end"
    assert collect(data, 1) == whole, "byte by byte another block"
    for field in fields:
        boxes = addresslist.mailboxes(field.text)
        kept = addresslist.replace(field.text, boxes, [box.address for box in boxes])
        assert kept == field.text, "identity changes a field"
        date.parse_date(field.text)
        encode.decode_words(field.text)
        mime.parse_content_type(field.value)
    events = structure(data, max(1, len(data)))
    assert b"".join(raw for _, _, raw in events) == data, "the MIME scanner loses bytes"
    assert structure(data, 1) == events, "byte by byte another structure"
    for binary in (False, True):
        assert downgraded(data, 1, binary) == downgraded(data, max(1, len(data)), binary), "byte by byte other output"
    labelled = b"Content-Transfer-Encoding: 8bit\n\n" + data
    assert downgraded(labelled, 7, False).isascii(), "labelled 8bit, and not 7-bit after downgrading"


def spelled_out(data: bytes) -> None:
    """The fuzzer reaches deep structures sooner when a byte can stand for a whole piece: so it does behind a 1."""
    if data[:1] == b"\x01":
        data = b"".join(PIECES[byte] if byte < len(PIECES) else bytes([byte]) for byte in data[1:])
    check(data)


def made_up(seconds: float) -> int:
    """Messages of pieces, until the time is over; how many were tried."""
    source = random.Random(1)
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        data = b"".join(source.choices(PIECES, k=source.randrange(25)))
        try:
            check(data)
        except Exception:
            print(f"failed on {data!r}", file=sys.stderr)
            raise
        count += 1
    return count


def main() -> None:
    try:
        import atheris
    except ImportError:
        seconds = next(
            (float(word.partition("=")[2]) for word in sys.argv if word.startswith("-max_total_time=")), 20.0
        )
        print(f"{made_up(seconds)} messages, no failure")
        return
    fuzzer: Any = atheris
    fuzzer.instrument_all()
    fuzzer.Setup(sys.argv, spelled_out)
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
