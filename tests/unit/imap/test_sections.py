"""Sections by RFC 9051 6.4.5.1: numbering, headers, parts that are not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap.sections import Range, find_part, header_fields, locate, locate_binary

from tubepost.common.mail.structure import Part, parse, walk
from tubepost.common.mail.transfer import UnknownEncoding, decode_chunks

# The tree of RFC 9051 6.4.5.1's example: 1 text, 2 octets, 3 a message (3.1 text, 3.2 octets),
# 4 multipart (4.1 image, 4.2 a message (4.2.1 text, 4.2.2 multipart (4.2.2.1, 4.2.2.2))).
EXAMPLE = b"""Subject: root
Content-Type: multipart/mixed; boundary=r

--r
Content-Type: text/plain

body 1
--r
Content-Type: application/octet-stream

body 2
--r
Content-Type: message/rfc822

Subject: three
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: text/plain

body 3.1
--m
Content-Type: application/octet-stream

body 3.2
--m--
--r
Content-Type: multipart/mixed; boundary=f

--f
Content-Type: image/gif

body 4.1
--f
Content-Type: message/rfc822

Subject: four two
Content-Type: multipart/mixed; boundary=g

--g
Content-Type: text/plain

body 4.2.1
--g
Content-Type: multipart/alternative; boundary=h

--h
Content-Type: text/plain

body 4.2.2.1
--h
Content-Type: text/richtext

body 4.2.2.2
--h--
--g--
--f--
--r--
"""


def text(data: bytes, path: tuple[int, ...], what: bytes = b"") -> bytes | None:
    found = locate(parse(data), path, what)
    return None if found is None else data[found.start : found.end]


@pytest.mark.parametrize(
    "path", [(1,), (2,), (3, 1), (3, 2), (4, 1), (4, 2, 1), (4, 2, 2, 1), (4, 2, 2, 2)], ids=lambda path: str(path)
)
def test_parts_of_the_example(path: tuple[int, ...]) -> None:
    assert text(EXAMPLE, path) == b"body " + ".".join(map(str, path)).encode()


def test_headers_of_the_example() -> None:
    assert text(EXAMPLE, ()) == EXAMPLE
    assert text(EXAMPLE, (), b"HEADER") == b"Subject: root\nContent-Type: multipart/mixed; boundary=r\n\n"
    assert text(EXAMPLE, (), b"TEXT") == EXAMPLE[EXAMPLE.index(b"--r") :]
    assert text(EXAMPLE, (3,), b"HEADER") == b"Subject: three\nContent-Type: multipart/mixed; boundary=m\n\n"
    assert text(EXAMPLE, (3,), b"MIME") == b"Content-Type: message/rfc822\n\n"
    whole, header, rest = text(EXAMPLE, (4, 2)), text(EXAMPLE, (4, 2), b"HEADER"), text(EXAMPLE, (4, 2), b"TEXT")
    assert whole is not None and header is not None and rest is not None and whole == header + rest
    assert text(EXAMPLE, (4, 2, 2), b"MIME") == b"Content-Type: multipart/alternative; boundary=h\n\n"
    assert text(EXAMPLE, (4,), b"MIME") == b"Content-Type: multipart/mixed; boundary=f\n\n"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ((5,), b""),
        ((0,), b""),
        ((1, 1), b""),
        ((3, 3), b""),
        ((3, 1, 1), b""),
        ((4, 2, 2, 3), b""),
        ((99, 1), b"MIME"),
        ((1,), b"HEADER"),
        ((1,), b"TEXT"),
        ((4,), b"HEADER"),
        ((4, 2, 2), b"TEXT"),
        ((), b"MIME"),
    ],
)
def test_what_is_not_there(path: tuple[int, ...], what: bytes) -> None:
    assert text(EXAMPLE, path, what) is None


def test_single_part_message() -> None:
    data = b"Subject: x\n\nbody\n"
    assert text(data, (1,)) == b"body\n" == text(data, (), b"TEXT")
    assert text(data, (1,), b"MIME") == b"Subject: x\n\n"
    assert text(data, (2,)) is None and text(data, (1, 1)) is None and text(data, (1,), b"HEADER") is None


def test_message_in_a_message_in_a_message() -> None:
    data = b"A: 1\nContent-Type: message/rfc822\n\nA: 2\nContent-Type: message/rfc822\n\nA: 3\n\nHello world\n"
    assert text(data, (1,)) == data[data.index(b"A: 2") :]
    assert text(data, (1,), b"HEADER") == b"A: 2\nContent-Type: message/rfc822\n\n"
    assert text(data, (1, 1)) == b"A: 3\n\nHello world\n" == text(data, (1,), b"TEXT")
    assert text(data, (1, 1), b"HEADER") == b"A: 3\n\n"
    assert text(data, (1, 1, 1)) == b"Hello world\n" == text(data, (1, 1), b"TEXT")
    assert text(data, (1, 1, 1, 1)) is None


def test_header_fields() -> None:
    data = b"From: a\nX-Long: one\n two\nTo: b\nFROM: c\n\nbody\n"
    whole = locate(parse(data), (), b"HEADER")
    assert whole is not None
    assert header_fields(data, whole, {b"from"}) == b"From: a\r\nFROM: c\r\n\r\n"
    assert header_fields(data, whole, {b"to", b"x-long"}) == b"X-Long: one\r\n two\r\nTo: b\r\n\r\n"
    assert header_fields(data, whole, {b"from"}, exclude=True) == b"X-Long: one\r\n two\r\nTo: b\r\n\r\n"
    assert header_fields(data, whole, {b"nothing"}) == b"\r\n"
    assert header_fields(data.replace(b"\n", b"\r\n"), Range(0, 47), {b"to"}) == b"To: b\r\n\r\n"
    # RFC 9051 6.4.5.1: no blank line where the message has none and no body.
    assert header_fields(b"A: b\nC: d", Range(0, 9), {b"c"}) == b"C: d\r\n"
    assert header_fields(b"A: b\n\n", Range(0, 6), {b"c"}) == b"\r\n"


def test_binary() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n"
        b"--b\nContent-Transfer-Encoding: x-odd\n\nabc\n--b--\n"
    )
    root = parse(data)

    def binary(path: tuple[int, ...]) -> bytes | None:
        found = locate_binary(root, path)
        return None if found is None else b"".join(decode_chunks(data, found[0].start, found[0].end, found[1]))

    assert binary((1,)) == b"hello" and binary((3,)) is None
    assert binary(()) == data.replace(b"\n", b"\r\n")
    with pytest.raises(UnknownEncoding):
        binary((2,))
    single = parse(b"Content-Transfer-Encoding: base64\n\naGVsbG8=\n")
    assert locate_binary(single, (1,)) == (Range(35, 44), b"base64")


pieces = st.sampled_from(
    [b"\n", b"--a\n", b"--a--\n", b"--b\n", b"--b--\n", b"x\n", b"A: b\n", b"Content-Type: message/rfc822\n"]
    + [b"Content-Type: multipart/mixed; boundary=%b\n" % name for name in (b"a", b"b")]
)


@given(st.lists(pieces, max_size=30).map(b"".join))
def test_header_and_text_make_the_message(data: bytes) -> None:
    root = parse(data)
    numbered: list[tuple[tuple[int, ...], Part]] = [((), root)]
    while numbered:
        path, part = numbered.pop()
        whole, header, rest = text(data, path), text(data, path, b"HEADER"), text(data, path, b"TEXT")
        if not path or part.message is not None:
            assert whole is not None and header is not None and rest is not None and whole == header + rest
            fields = header_fields(data, Range(*(locate(root, path, b"HEADER") or (0, 0))), (), exclude=True)
            assert fields.rstrip(b"\r\n") == header.replace(b"\n", b"\r\n").rstrip(b"\r\n")
        scope = part if not path else part.message or part
        count = max(1, len(scope.children))
        for number in range(1, count + 1):
            child = find_part(root, (*path, number))
            if child is not None and len(path) < 8:
                assert child in walk(root)
                numbered.append(((*path, number), child))
        assert find_part(root, (*path, count + 1)) is None
