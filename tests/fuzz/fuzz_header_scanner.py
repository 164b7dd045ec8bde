"""Fuzzes the scanners of content: header block, address lists, MIME structure, downgrading.

The invariant: whatever a message holds, the scanners raise nothing, lose and invent no byte, and find the same whether
the bytes came whole or one by one; a downgraded message whose parts are labelled is 7-bit.

    python -m tests.fuzz header_scanner -max_total_time=20
"""

from tubepost.common.mail import addresslist, date, encode, header, mime
from tubepost.common.mail.downgrade import Downgrade
from tubepost.common.mail.mime import Kind

from tests.fuzz.driver import Harness

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


def check(settings: int, data: bytes) -> None:
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


HARNESS = Harness(check, PIECES)
