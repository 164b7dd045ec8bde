"""The MIME scanner: structure, limits, nothing lost, chunks of any size the same; encoded words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import encode, mime
from tubepost.common.mail.mime import Fault, Kind, Where

MESSAGE = b"""MIME-Version: 1.0
Content-Type: multipart/mixed; (c) boundary="a b"

preamble
--a b
Content-Type: text/plain
X: y

text
--a bc is a boundary all the same
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/digest; boundary=in

--in

Subject: digest part

x
--in--
--a b--
epilogue
"""


def run(data: bytes, size: int, **limits: int) -> list[tuple[Kind, Where, bytes]]:
    """Events, neighbouring body pieces joined."""
    parser = mime.Parser(**limits)  # type: ignore[arg-type]
    events = []
    for place in range(0, len(data), size):
        events += parser.feed(data[place : place + size])
    events += parser.finish()
    out: list[tuple[Kind, Where, bytes]] = []
    for event in events:
        if out and event.kind is Kind.BODY and out[-1][0] is Kind.BODY:
            out[-1] = (Kind.BODY, out[-1][1], out[-1][2] + event.raw)
        else:
            out.append((event.kind, event.where, event.raw))
    return out


def test_structure() -> None:
    events = run(MESSAGE, 10_000)
    fields = [(where.value, raw.split(b"\n")[0]) for kind, where, raw in events if kind is Kind.FIELD]
    assert fields == [
        ("primary", b"MIME-Version: 1.0"),
        ("primary", b'Content-Type: multipart/mixed; (c) boundary="a b"'),
        ("mime", b"Content-Type: text/plain"),
        ("mime", b"X: y"),
        ("mime", b"Content-Type: message/rfc822"),
        ("nested", b"Subject: inner"),
        ("nested", b"Content-Type: multipart/digest; boundary=in"),
        ("nested", b"Subject: digest part"),
    ]
    bodies = [raw for kind, _, raw in events if kind is Kind.BODY]
    assert bodies == [b"preamble\n", b"text\n", b"x\n", b"epilogue\n"]
    assert b"".join(raw for _, _, raw in events) == MESSAGE


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_chunks_give_the_same(size: int) -> None:
    assert run(MESSAGE, size) == run(MESSAGE, len(MESSAGE))
    crlf = MESSAGE.replace(b"\n", b"\r\n")
    assert run(crlf, size) == run(crlf, len(crlf))
    assert [e[:2] for e in run(crlf, size)] == [e[:2] for e in run(MESSAGE, size)]


pieces = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Transfer-Encoding: 8bit\n",
        b" fold\n",
        b"\n",
        b"--b\n",
        b"--b--\n",
        b"--",
        b"-",
        b"b",
        b"text\n",
        b"\r\n",
        b"X: y",
    ]
)


@given(st.lists(pieces, max_size=14), st.integers(1, 12))
def test_any_pieces_in_any_chunks(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    whole = run(data, max(1, len(data)))
    assert b"".join(raw for _, _, raw in whole) == data
    assert run(data, size) == whole


def test_long_lines_are_not_held() -> None:
    parser = mime.Parser()
    parser.feed(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n")
    for _ in range(100):
        assert sum(len(event.raw) for event in parser.feed(b"x" * 1000)) == 1000
    parser.feed(b"\n--b" + b"y" * 200_000)
    parser.feed(b"y" * 100)
    events = parser.feed(b"\nA: 1\n\n")
    assert [event.kind for event in events] == [Kind.BOUNDARY, Kind.FIELD, Kind.SEPARATOR]


def test_fields_are_cut_at_the_limit() -> None:
    parser = mime.Parser(header_limit=100)
    events = parser.feed(b"A: " + b"x" * 300_000 + b"\n y\nB: 2\n\n")
    events += parser.finish()
    assert [len(event.raw) for event in events] == [101, 5, 1]
    assert Fault.TRUNCATED_HEADER in parser.faults


def test_nesting_is_bounded() -> None:
    parser = mime.Parser(nesting_limit=3)
    for level in range(20):
        parser.feed(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level))
    parser.finish()
    assert Fault.NESTING in parser.faults


def test_several_boundaries_are_all_followed() -> None:
    data = b"Content-Type: multipart/mixed; boundary=one; boundary=two\n\n--two\nA: 1\n\n--one\nB: 2\n\n"
    assert [raw for kind, _, raw in run(data, 100) if kind is Kind.FIELD][1:] == [b"A: 1\n", b"B: 2\n"]


def test_faults() -> None:
    parser = mime.Parser(look_for_8bit=True)
    parser.feed(b"Subject: \xff\nContent-Type: multipart/mixed; boundary=b\n")
    parser.feed(b"Content-Transfer-Encoding: base64\n\n--b\n\n\xff\n--b--\n")
    parser.finish()
    assert set(parser.faults) == {Fault.EIGHT_BIT_HEADER, Fault.EIGHT_BIT_BODY, Fault.ENCODING_DOMAIN}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b" text/plain; charset=UTF-8\n", (b"text", b"plain", ((b"charset", b"UTF-8"),))),
        (b'MULTIPART/Mixed;\n\tboundary="a;\\"b" ; x', (b"multipart", b"mixed", ((b"boundary", b'a;"b'),))),
        (b"(a (b) c) text (x) / (y) html", (b"text", b"html", ())),
        (b"text", (b"text", b"", ())),
        (b"", (b"", b"", ())),
        (b";;;", (b"", b"", ())),
        (b'a/b; c="open', (b"a", b"b", ((b"c", b"open"),))),
        (b"((((", (b"", b"", ())),
    ],
)
def test_content_type(value: bytes, expected: tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...]]) -> None:
    assert tuple(mime.parse_content_type(value)) == expected


def test_encoded_words() -> None:
    assert encode.decode_words("=?utf-8?Q?J=C3=B6rg?= =?ISO-8859-1?B?/A==?= x") == "Jörgü x"
    assert encode.decode_words("=?nonsense?Q?x?=") == "=?nonsense?Q?x?="
    assert encode.decode_words("=?utf-8?Q?a=0Ab?=") == "a b"
    assert encode.phrase("Joe Smith") == "Joe Smith"
    assert encode.phrase("Joe Q. Smith") == '"Joe Q. Smith"'
    assert encode.phrase('a "b" \n c') == '"a \\"b\\" c"'
    assert encode.comment("a (b)") == "a \\(b\\)"


@given(st.text(alphabet=st.characters(exclude_categories=["C"]), max_size=200))
def test_encoded_words_come_back(text: str) -> None:
    encoded = encode.encode_words(text)
    assert encoded.isascii()
    assert all(len(word) <= 75 for word in encoded.split(" "))
    assert encode.decode_words(encoded) == "".join(c if c.isprintable() else " " for c in text)
