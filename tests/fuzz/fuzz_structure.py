"""Fuzzes what reads stored messages: the part tree, sections, the encoders of FETCH, decoding, summary.

The invariant: whatever a message holds, nothing raises; parts lie within their parents and in order; sizes are those of
the CRLF form; a header and its text are the whole; a partial read is a slice of the whole.

    python -m tests.fuzz structure -max_total_time=20
"""

from tubepost.common.imap.bodystructure import encode_structures
from tubepost.common.imap.sections import Range, header_fields, locate

from tubepost.common.mail import crlf, structure, summary, text, transfer

from tests.fuzz.driver import Harness

PIECES = [
    b"From: ", b"To: a@b, <c@d>, g: e@f;\n", b"Subject: =?utf-8?Q?=41?=\n", b" fold\n", b"\t", b"\n", b"\r\n", b"\r",
    b":", b"--", b"--b\n", b"--b--\n", b"--bc\n", b"--bc--", b"\n--b", b"Content-Type: multipart/mixed; boundary=b\n",
    b'Content-Type: multipart/digest; boundary="bc"\n', b"Content-Type: message/rfc822\n", b"Content-Type: text/html\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n", b"=", b"aGVs", b"=\n",
    b"Content-Disposition: attachment; filename*0*=utf-8''%41; filename*1=b\n", b"Content-Language: en\n", b"<p>",
    b"&#", b"(", b")", b"<", b">", b'"', b"\\", b"@", b",", b";", b"\xff\x00", b"x" * 100, b" ",
    b"References: <a@b>\n", b"From x\n",
]  # fmt: skip


def wire(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def check(settings: int, data: bytes) -> None:
    root = structure.parse(data, limit_parts=50, limit_depth=6)
    parts = structure.walk(root)
    assert len(parts) <= 50, "more parts than allowed"
    for part in parts:
        assert part.header_start <= part.header_end <= part.body_start <= part.body_end <= len(data), "ranges"
        body = data[part.body_start : part.body_end]
        assert part.size == len(wire(body)) and part.lines == body.count(b"\n"), "a size is wrong"
        place = part.body_start
        for child in part.children if part.message is None else [part.message]:
            assert place <= child.header_start and child.body_end <= part.body_end, "a part lies outside"
            place = child.body_end
        if part.encoding in transfer.KNOWN:
            decoded = b"".join(transfer.decode_chunks(data, part.body_start, part.body_end, part.encoding))
            size = transfer.decoded_size(data, part.body_start, part.body_end, part.encoding)
            assert len(decoded) == size, "a decoded size is wrong"
    header, body_range = locate(root, (), b"HEADER"), locate(root, (), b"TEXT")
    assert header is not None and body_range is not None and header.end == body_range.start, "header and text"
    header_fields(data, Range(*header), {b"from", b"to"})
    encode_structures(root)
    whole = wire(data)
    middle = len(whole) // 2
    assert b"".join(crlf.crlf_chunks(data, 0, len(data), middle, 7)) == whole[middle : middle + 7], "a partial read"
    found = summary.summarize(data)
    assert found.size == len(whole) and len(found.preview) <= 200, "the summary"
    list(text.header_texts(root))
    list(text.body_texts(data, root, 1000))


HARNESS = Harness(check, PIECES)
