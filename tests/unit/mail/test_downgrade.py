"""Downgrading: the output is 7-bit and decodes to what was put in."""

import email
import email.policy
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import encode
from tubepost.common.mail.downgrade import Downgrade


def run(data: bytes, size: int, binary: bool = False) -> bytes:
    machine = Downgrade(binary=binary)
    out = [machine.feed(data[place : place + size]) for place in range(0, len(data), size)]
    out.append(machine.finish())
    return b"".join(out)


def leaves(data: bytes) -> list[bytes]:
    parsed = email.message_from_bytes(data, policy=email.policy.compat32)
    payloads = [part.get_payload(decode=True) for part in parsed.walk() if not part.is_multipart()]
    return [payload for payload in payloads if isinstance(payload, bytes)]


text_bodies = st.lists(st.binary(max_size=90).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=6).map(
    lambda lines: b"".join(line + b"\n" for line in lines)
)


@given(text_bodies, st.integers(1, 200))
def test_text_becomes_quoted_printable(body: bytes, size: int) -> None:
    head = b"Content-Type: text/plain; charset=x\nContent-Transfer-Encoding: 8bit\nSubject: s\n\n"
    out = run(head + body, size)
    assert out.isascii()
    assert all(len(line) <= 76 for line in out.split(b"\n"))
    assert b"Content-Transfer-Encoding: quoted-printable\n\n" in out
    assert quopri.decodestring(out.partition(b"\n\n")[2]) == body
    assert out == run(head + body, len(head + body))


@given(st.binary(max_size=500), st.integers(1, 200))
def test_binary_becomes_base64(body: bytes, size: int) -> None:
    body = body.replace(b"--b", b"")
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n--b\r\n"
        b"Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n" + body + b"\r\n--b--\r\n"
    )
    out = run(data, size, binary=True)
    assert out.isascii()
    assert b"\r" not in out
    assert leaves(out) == [body]
    assert out.startswith(b"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n")
    assert out == run(data, len(data), binary=True)


def test_a_whole_binary_message_keeps_its_last_line_end() -> None:
    data = b"Content-Transfer-Encoding: binary\r\n\r\n\x00\xff\r\n"
    assert leaves(run(data, 5, binary=True)) == [b"\x00\xff\r\n"]


def test_nested_messages_are_gone_into() -> None:
    data = (
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n--b\n"
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n"
        "Subject: x\nContent-Transfer-Encoding: 8BIT\nContent-Type: text/plain; charset=utf-8\n\n"
        "ü \n--b\n\nplain\n--b--\n"
    ).encode()
    for size in (1, 3, 1000):
        out = run(data, size)
        assert out.isascii()
        assert out.count(b"Content-Transfer-Encoding: 7bit\n") == 2
        assert b"=C3=BC=20\n--b\n" in out
        assert leaves(out)[1] == b"plain"


def test_what_is_7bit_stays_as_it_is() -> None:
    data = b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nAAAA\n"
    assert run(data, 7) == data
    unlabelled = b"Subject: x\n\n\xff\n"
    assert run(unlabelled, 7) == unlabelled


def test_crlf_text_in_binary_content() -> None:
    data = b"A: 1\r\nContent-Transfer-Encoding: 8bit\r\n\r\na \r\n\xff\rb\r\n"
    for size in (1, 2, 100):
        out = run(data, size, binary=True)
        assert out == b"A: 1\nContent-Transfer-Encoding: quoted-printable\n\na=20\n=FF=0Db\n"
    plain = b"A: 1\r\n\r\na\rb\r\n"
    assert run(plain, 1, binary=True) == b"A: 1\n\na\rb\n"


def test_memory_is_bounded() -> None:
    machine = Downgrade()
    machine.feed(b"Content-Transfer-Encoding: 8bit\n\n")
    out = 0
    for _ in range(40):
        out += len(machine.feed(b"x" * 10_000))
        assert len(machine._held) < 20_000
    assert out > 380_000


@pytest.mark.parametrize("line", [b"", b"x" * 75, b"x" * 76, b"x" * 77, b" ", b"=" * 30, b"a\t", b"\xff" * 40])
def test_quoted_lines(line: bytes) -> None:
    out = encode.qp_line(line)
    assert all(len(part) <= 76 for part in out.split(b"\n"))
    assert quopri.decodestring(out) == line + b"\n"
