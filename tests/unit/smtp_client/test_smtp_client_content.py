"""What travels: the content whole and in pieces, edited, converted; from a file in memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.smtp import content as content_module
from tubepost.services.smtp.content import Content, ContentError
from tubepost.services.smtp.edits import Checks, Editor


@pytest.fixture
def fd() -> Iterator[int]:
    number = os.memfd_create("queue file")
    yield number
    os.close(number)


async def joined(source: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in source])


def pieces(content: Content) -> bytes:
    return asyncio.run(joined(content.pieces()))


def test_whole_and_pieces_are_the_same(fd: int) -> None:
    data = b"head: x\n\n.dot\n..\nlast line without end"
    os.write(fd, b"skip" + data + b"behind")
    content = Content(fd, 4, len(data))
    assert content.whole() == b"head: x\r\n\r\n..dot\r\n...\r\nlast line without end\r\n.\r\n"
    assert pieces(content) == content.whole()


@pytest.mark.parametrize("data", [b"", b"\n", b".", b".\n"])
def test_small_ends(fd: int, data: bytes) -> None:
    os.write(fd, data)
    content = Content(fd, 0, len(data))
    sent = content.whole()
    assert sent is not None
    assert sent == pieces(content)
    assert sent.endswith(b".\r\n")
    assert sent in (b".\r\n",) or sent.endswith(b"\r\n.\r\n")


def test_bdat_changes_no_byte(fd: int) -> None:
    data = b"a\r\n.\r\n\n\x00\xff"
    os.write(fd, data)
    content = Content(fd, 0, len(data), crlf=True, bdat=True)
    assert content.whole() == b"BDAT 9 LAST\r\n" + data
    assert pieces(content) == content.whole()


def test_a_file_that_shrank_is_no_message(fd: int) -> None:
    os.write(fd, b"short")
    with pytest.raises(ContentError):
        Content(fd, 0, 10).whole()
    with pytest.raises(ContentError):
        pieces(Content(fd, 0, 10))


def test_large_content_is_never_held_whole(fd: int) -> None:
    data = b".x\n" * 100_000
    os.write(fd, data)
    content = Content(fd, 0, len(data))
    assert content.whole() is None

    async def largest() -> int:
        return max([len(piece) async for piece in content.pieces()])

    assert asyncio.run(largest()) <= 2 * content_module._PIECE
    assert pieces(content) == data.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n").replace(b".x", b"..x", 1) + b".\r\n"


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"x"])).map(b"".join), st.integers(1, 5))
def test_crlf_content_through_data_is_the_same_in_any_pieces(data: bytes, size: int) -> None:
    async def source() -> AsyncIterator[bytes]:
        for place in range(0, len(data), size):
            yield data[place : place + size]

    assert asyncio.run(joined(content_module._lines(source()))) == data.replace(b"\r\n", b"\n")


def edited(data: bytes, checks: Checks, size: int = 7) -> bytes:
    async def source() -> AsyncIterator[bytes]:
        for place in range(0, len(data), size):
            yield data[place : place + size]

    return asyncio.run(joined(Editor(checks, "Q").edit(source())))


async def capitals(address: str) -> str:
    return address.upper() if address.endswith("@local") else address


def test_generic_changes_addresses_of_the_header_only() -> None:
    data = (
        b"From: a b <x@local>,\n\ty@local (c)\nX-Other: x@local\nCc: keep@out\n"
        b"\nTo: x@local\n--b\nFrom: x@local\n\nend\n"
    )
    assert edited(data, Checks(generic=capitals)) == data.replace(b"<x@local>", b"<X@LOCAL>").replace(
        b"y@local (c)", b"Y@LOCAL (c)"
    )


@given(st.binary(max_size=60), st.integers(1, 9))
def test_tables_that_match_nothing_change_nothing(data: bytes, size: int) -> None:
    async def nothing(text: str) -> str | None:
        return None

    assert edited(data, Checks(header=nothing), size) == data
    assert edited(data, Checks(header=nothing, body=nothing, mime_header=nothing, nested_header=nothing), size) == data


def test_actions() -> None:
    answers = {
        "Subject: a": "REPLACE Subject: b",
        "X-Gone: 1": "IGNORE",
        "X-Gone: 2": "STRIP reason",
        "To: x": "PREPEND X-New: n",
        "Date: d": "REPLACE no header",
        "From: f": "REJECT no",
        "X-Warn: w": "WARN look",
        "line": "REPLACE other",
    }

    async def table(text: str) -> str | None:
        return answers.get(text)

    data = b"Subject: a\nX-Gone: 1\nX-Gone: 2\nTo: x\nDate: d\nFrom: f\nX-Warn: w\n\nline\nlines\n"
    expected = b"Subject: b\nX-New: n\nTo: x\nDate: d\nFrom: f\nX-Warn: w\n\nother\nlines\n"
    assert edited(data, Checks(header=table, body=table), 1000) == expected
    for size in (1, 2, 3, 50):
        assert edited(data, Checks(header=table, body=table), size) == expected
