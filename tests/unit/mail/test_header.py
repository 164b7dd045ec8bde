"""Header blocks: where they end, what is in them; chunks of any size give the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import header


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"A: 1\nB: 2\n\nbody\n", (10, 11)),
        (b"A: 1\n folded\n\nbody\n", (13, 14)),
        (b"A: 1\nno header\n", (5, 5)),
        (b"\nbody\n", (0, 1)),
        (b"body\n", (0, 0)),
        (b"", (0, 0)),
        (b"A: 1\n", (5, 5)),
        (b"A: 1", (4, 4)),
        (b"A: 1\n  cut", (10, 10)),
        (b"A : 1\n\n", (6, 7)),
        (b" A: 1\n\n", (0, 0)),
        (b"A: 1\n \n\t\n\nb\n", (9, 10)),
        (b"A\xff: 1\n\n", (0, 0)),
        (b": 1\n\n", (0, 0)),
        (b"A: 1\n\n\n", (5, 6)),
    ],
)
def test_where_the_block_ends(data: bytes, ends: tuple[int, int]) -> None:
    assert header.split_message(data) == ends


def test_fields() -> None:
    block = b"Subject: one\n two\nX-Y : z\nsubject:again\n"
    fields = header.scan(block)
    assert [field.name for field in fields] == [b"subject", b"x-y", b"subject"]
    assert b"".join(field.raw for field in fields) == block
    assert fields[0].text == "one two"
    assert fields[1].value == b" z\n"
    assert header.first(fields, b"x-y") is fields[1]
    assert header.first(fields, b"none") is None


def test_truncation() -> None:
    assert header.truncate(b"A: 12345\n", 5) == b"A: 12\n"
    assert header.truncate(b"A: 12345\n", 9) == b"A: 12345\n"
    assert header.truncate(b"A: 12345\n", 0) == b"A: 12345\n"
    assert header.truncate(b"A: 12\n 45\n", 7) == b"A: 12\n"


def test_is_header() -> None:
    assert header.is_header(b"X-Spam : yes") == 6
    assert header.is_header(b"no colon") == 0


pieces = st.sampled_from(
    [b"A: 1\n", b"Long-Name: x y z\n", b" fold\n", b"\tx\n", b"\n", b"text\n", b"A", b": ", b"\xff"]
)


@given(st.lists(pieces, max_size=8), st.integers(1, 9))
def test_chunks_give_the_same(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    end, start = header.split_message(data)
    collector = header.Collector(10_000)
    fed = len(data)
    for place in range(0, len(data), size):
        if collector.feed(data[place : place + size]):
            fed = min(place + size, len(data))
            break
    else:
        collector.finish()
    assert collector.block == data[:end]
    assert collector.separated == (start > end)
    assert collector.rest + data[fed:] == data[start:]


@given(st.binary(max_size=80))
def test_scan_gives_the_block_back(data: bytes) -> None:
    end, start = header.split_message(data)
    # An empty line between them is LF, or CRLF in binary content.
    assert 0 <= end <= start <= len(data) and data[end:start] in (b"", b"\n", b"\r\n")
    assert b"".join(field.raw for field in header.scan(data[:end])) == data[:end]


def test_the_collector_is_bounded() -> None:
    collector = header.Collector(1000)
    with pytest.raises(ValueError, match="larger than 1000"):
        for _ in range(100):
            collector.feed(b"A: " + b"x" * 50 + b"\n")
    endless = header.Collector(1000)
    with pytest.raises(ValueError, match="larger than 1000"):
        for _ in range(100):
            endless.feed(b"A" * 50)
