"""What sendmail makes of its standard input."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.commands.console import Fatal
from tubepost.commands.sendmail import Content


def read(
    data: bytes, *, dot_ends: bool = True, fix: str = "always", want_header: bool = False
) -> tuple[bytes, Content]:
    content = Content(io.BytesIO(data), dot_ends=dot_ends, fix_line_ends=fix, want_header=want_header)
    return b"".join(content.chunks()), content


@pytest.mark.parametrize(
    ("data", "out"),
    [
        (b"a\nb\n", b"a\nb\n"),
        (b"a\nb", b"a\nb\n"),
        (b"", b""),
        (b"a\n.\nb\n", b"a\n"),
        (b"a\n.", b"a\n"),
        (b".\nb\n", b""),
        (b"a\r\n.\r\nb\r\n", b"a\n"),
        (b"..\n.x\n", b"..\n.x\n"),
        (b"From a@b Mon\n>From x\nFrom: c\nFrom d\n", b"From: c\nFrom d\n"),
        (b">>>From uucp\nx\n", b"x\n"),
        (b"a\r\r\nb\rc\r\n", b"a\nb\rc\n"),
        (b"a\0b\n", b"a\0b\n"),
    ],
)
def test_lines(data: bytes, out: bytes) -> None:
    assert read(data)[0] == out


def test_with_i_a_dot_is_text() -> None:
    assert read(b"a\n.\nb\n", dot_ends=False)[0] == b"a\n.\nb\n"


@pytest.mark.parametrize(
    ("fix", "data", "out"),
    [
        ("never", b"a\r\nb\r\n", b"a\r\nb\r\n"),
        ("strict", b"a\r\nb\r\n", b"a\nb\n"),
        ("strict", b"a\nb\r\n", b"a\nb\r\n"),
    ],
)
def test_line_ends_as_configured(fix: str, data: bytes, out: bytes) -> None:
    assert read(data, fix=fix)[0] == out


def test_a_line_longer_than_a_chunk_is_not_cut_nor_taken_for_an_end() -> None:
    long = b"y" * 65_536 + b".\nz\n"
    assert read(long)[0] == long
    for length in (65_534, 65_535, 65_536, 131_072):
        line = b"x" * length
        assert read(line)[0] == line + b"\n"
        assert read(line + b"\r\nz\r\n")[0] == line + b"\nz\n"
        assert read(line + b"\r")[0] == line + b"\n"


@given(st.lists(st.binary(max_size=30).map(lambda line: b"x" + line.replace(b"\n", b"").replace(b"\r", b"") + b"\n")))
def test_lines_that_are_not_special_pass_unchanged(lines: list[bytes]) -> None:
    data = b"".join(lines)
    out, content = read(data)
    assert out == data
    assert content.ascii == data.isascii()


@given(st.binary(max_size=300), st.booleans())
def test_whatever_comes_the_output_is_whole_lines(data: bytes, dot_ends: bool) -> None:
    out = read(data, dot_ends=dot_ends)[0]
    assert not out or out.endswith(b"\n")
    assert b"\r\n" not in out
    assert not dot_ends or b"\n.\n" not in out


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"To: a@b, C <c@d>\nCc: e\nBcc: f@g\nSubject: To: x@y\n\nTo: not@this\n", ["a@b", "c@d", "e", "f@g"]),
        (b"To: a@b\nResent-To: r@s\n\n", ["r@s"]),
        (b"To: group: a@b, c@d;\n\n", ["a@b", "c@d"]),
        (b"to: a@b\n continued@x\n\n", ["a@b", "continued@x"]),
        (b"Subject: none\n\nTo: a@b\n", []),
        (b"To: last@line", ["last@line"]),
    ],
)
def test_recipients_of_the_header(head: bytes, found: list[str]) -> None:
    assert read(head, want_header=True)[1].header_recipients() == found


def test_an_endless_header_is_refused() -> None:
    with pytest.raises(Fatal):
        read(b"X: y\n" * 400_000, want_header=True)
