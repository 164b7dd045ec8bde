"""Transfer encodings undone, in pieces of any size."""

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import crlf, transfer


def decode(data: bytes, encoding: bytes) -> bytes:
    decoded = b"".join(transfer.decode_chunks(data, 0, len(data), encoding))
    assert transfer.decoded_size(data, 0, len(data), encoding) == len(decoded)
    return decoded


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        (b"\naGVs\nbG8gd29y\nbGQ=\n", b"hello world"),
        (b"  aGVs    \n bG8g  \n   d29y  \t \n    bGQ= \n\n", b"hello world"),
        (b"aGVsbG8g\ndG8geW91IHRv\nbw==", b"hello to you too"),
        (b"YWJjZGVmZw1oaWprbA0KbW5vCnBxcnN0dXZxeHl6\n", b"abcdefg\rhijkl\r\nmno\npqrstuvqxyz"),
        (b"bw==garbage", b"o"),
        (b"bw", b"o"),
        (b"b", b""),
        (b"b!w@=#=", b"o"),
        (b"", b""),
        (b"=", b""),
    ],
)
def test_base64(text: bytes, decoded: bytes) -> None:
    assert decode(text, b"base64") == decoded


def test_quoted_printable() -> None:
    text = b"hello  \nbar=\n\nfoo\t=\nbar\nfoo\t \t= \n=62\nfoo = \t\nbar\nfoo =\n=62\nfoo  \nbar=\n\nfoo_bar\n"
    decoded = b"hello\r\nbar\r\nfoo\tbar\r\nfoo\t \tb\r\nfoo bar\r\nfoo b\r\nfoo\r\nbar\r\nfoo_bar\r\n"
    assert len(decoded) == 65
    assert decode(text, b"quoted-printable") == decoded == decode(text.replace(b"\n", b"\r\n"), b"quoted-printable")
    assert decode(b"a=0Ab=zz=C3=a4 ", b"quoted-printable") == b"a\nb=zz\xc3\xa4"


def test_identity_and_unknown() -> None:
    assert decode(b"a\nb\r\n", b"8bit") == b"a\r\nb\r\n"
    with pytest.raises(transfer.UnknownEncoding, match="x-uuencode"):
        transfer.decode_chunks(b"", 0, 0, b"x-uuencode")
    assert transfer.decode_start(b"abc", 0, 3, b"x-uuencode", 2) == b"ab"


@given(st.binary(max_size=300), st.integers(1, 40))
def test_pieces_do_not_matter(data: bytes, size: int) -> None:
    encoded = base64.encodebytes(data)
    quoted = quopri.encodestring(data.replace(b"\r", b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "PIECE", size)
        patch.setattr(crlf, "PIECE", size)
        assert decode(encoded, b"base64") == data
        assert decode(quoted, b"quoted-printable") == data.replace(b"\r", b"").replace(b"\n", b"\r\n")


@given(st.lists(st.sampled_from([b"=", b"\n", b"\r", b" ", b"4", b"1", b"a", b"\0"]), max_size=40).map(b"".join))
def test_anything_is_decoded(data: bytes) -> None:
    decode(data, b"base64")
    decode(data, b"quoted-printable")


@given(st.lists(st.binary(max_size=5)), st.integers(0, 30), st.integers(0, 30))
def test_window(chunks: list[bytes], offset: int, length: int) -> None:
    assert b"".join(transfer.window(chunks, offset, length)) == b"".join(chunks)[offset : offset + length]
