"""A large file read in pieces is as its bytes are, and one that gets shorter is an error and not the process's end."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.mail import structure
from tubepost.common.mail.crlf import crlf_chunks, virtual_size
from tubepost.common.mailbox import largefile
from tubepost.common.mailbox.largefile import LargeFile
from tubepost.common.mailbox.maildir import reading

from tubepost.services.pop3d import rendering


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short text has all the edges that a large one has."""
    for name, size in (("_BLOCK", 16), ("_SCAN", 8), ("_SMALL", 6)):
        monkeypatch.setattr(largefile, name, size)
    monkeypatch.setattr(structure, "_WINDOW", 8)


def opened(data: bytes) -> LargeFile:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return LargeFile(os.dup(file.fileno()))


_WORDS = st.lists(
    st.sampled_from([b"a", b"\n", b"\r\n", b":", b" ", b"From ", b">", b"Subject: x\n", b"\n\n", b".", b"--b"])
)
_TEXT = _WORDS.map(b"".join)
_PARTS = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"--", b"--a", b"--a--", b"--ab\n", b"--b\n", b"x", b"a: b\n", b" fold\n"])
    | st.sampled_from([b"Content-Type: multipart/mixed; boundary=%b\n" % name for name in (b"a", b"ab", b"b")])
    | st.sampled_from([b"Content-Type: message/rfc822\n", b"Content-Type: multipart/digest; boundary=a\n"]),
    max_size=40,
).map(b"".join)
_PLACE = st.integers(0, 60)


@given(
    _TEXT, st.lists(st.tuples(_PLACE, _PLACE), max_size=8), st.sampled_from([b"\n", b"\n\n", b"\n\r\n", b"--b", b"aa"])
)
@settings(max_examples=200, deadline=None)
def test_slices_and_searches_are_those_of_bytes(data: bytes, places: list[tuple[int, int]], word: bytes) -> None:
    large = opened(data)
    assert len(large) == len(data)
    for start, end in places:
        assert large[start:end] == data[start:end]
        assert large.find(word, start, end) == data.find(word, start, end)
        assert large.find(word, start) == data.find(word, start)
    large.close()


@given(_TEXT, _PLACE, _PLACE)
@settings(max_examples=300, deadline=None)
def test_a_header_ends_where_it_does_in_bytes(data: bytes, start: int, end: int) -> None:
    start, end = min(start, len(data)), min(max(start, end), len(data))
    large = opened(data)
    assert structure.header_block(large) == structure.header_block(data)
    assert structure.header_block(large, start, end) == structure.header_block(data, start, end)
    assert structure.parse(large) == structure.parse(data)
    large.close()


@given(_PARTS)
@settings(max_examples=200, deadline=None)
def test_parts_are_where_they_are_in_bytes(data: bytes) -> None:
    large = opened(data)
    assert structure.parse(large) == structure.parse(data)
    large.close()


@given(_TEXT, st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_what_pop3_sends_of_it_is_what_it_sends_of_bytes(data: bytes, lines: int) -> None:
    large = opened(data)
    end = rendering.top_end(large, lines)
    assert end == rendering.top_end(data, lines)
    assert b"".join(rendering.pieces(large, end)) == b"".join(rendering.pieces(data, end))
    assert rendering.is_utf8_header(large) == rendering.is_utf8_header(data)
    assert virtual_size(large) == virtual_size(data)
    assert b"".join(crlf_chunks(large, 0, len(data))) == b"".join(crlf_chunks(data, 0, len(data)))
    large.close()


def test_one_that_gets_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"x" * 1000)
    large = LargeFile(os.open(path, os.O_RDONLY))
    os.truncate(path, 100)
    assert large[0:100] == b"x" * 100
    for look in (lambda: large[0:1000], lambda: large[500:503], lambda: large.find(b"y")):
        with pytest.raises(OSError, match="shorter") as raised:
            look()
        assert raised.value.errno == errno.EIO
    large.close()
    large.close()
    with pytest.raises(ValueError, match="closed"):
        large[0:1]


def test_a_message_that_cannot_be_read_to_its_end_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By who searches or indexes."""
    monkeypatch.setattr(reading, "SMALL", 10)
    path = tmp_path / "message"
    path.write_bytes(b"x" * 1000)

    def look(data: object) -> int:
        os.truncate(path, 100)
        assert isinstance(data, LargeFile)
        return data.find(b"y")

    before = set(os.listdir("/proc/self/fd"))
    assert reading.read_with(str(path), look) is None
    assert set(os.listdir("/proc/self/fd")) == before
    assert reading.read_with(str(path), len) == 100
