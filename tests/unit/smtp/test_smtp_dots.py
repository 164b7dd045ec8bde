"""Dot-stuffing and the end of data: against a slow model, whole and byte by byte, and the smuggling variants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.smtp.dots import Reader, Writer

# Bytes that matter to the machine, and one that does not.
HOSTILE = st.lists(st.sampled_from([b"\r", b"\n", b".", b"x", b"\r\n", b"\r\n.", b"\r\n.\r\n"]), max_size=24).map(
    b"".join
)
STRICT = ["normalize", "yes", "note", "reject"]


def model(data: bytes, *, lax: bool) -> tuple[bytes, bytes | None, bool]:
    """Line by line, as the manual says: (content of whole lines, rest or None when not ended, bare newline seen)."""
    out: list[bytes] = []
    bare_seen = previous_bare = False
    position = 0
    while (newline := data.find(b"\n", position)) >= 0:
        line = data[position:newline]
        position = newline + 1
        if lax:
            bare = False
            line = line.rstrip(b"\r")
        else:
            bare = not line.endswith(b"\r")
            line = line if bare else line[:-1]
        if line == b"." and not (bare or previous_bare):
            return b"".join(out), data[position:], bare_seen
        bare_seen = bare_seen or bare
        # The end of the previous line counts, whether or not that line was kept.
        was_bare, previous_bare = previous_bare, bare
        if line == b"." and (bare or was_bare):
            continue
        out.append((line[1:] if line.startswith(b".") else line) + b"\n")
    return b"".join(out), None, bare_seen


def play(data: bytes, sizes: list[int], policy: str) -> tuple[bytes, bytes | None, bool]:
    reader = Reader(policy)
    out: list[bytes] = []
    position = 0
    index = 0
    while position < len(data):
        size = sizes[index % len(sizes)]
        index += 1
        content, rest = reader.feed(data[position : position + size])
        assert reader.lines == content.count(b"\n")
        position += size
        out.append(content)
        if reader.finished:
            return b"".join(out), rest + data[position:], reader.bare_newline
    return b"".join(out), None, reader.bare_newline


@given(HOSTILE, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.sampled_from([*STRICT, "no"]))
def test_any_cut_gives_what_the_model_gives(data: bytes, sizes: list[int], policy: str) -> None:
    data = data + b"tail\r\n.\r\nQUIT\r\n"
    assert play(data, sizes, policy) == model(data, lax=policy == "no")
    # Whole, and up to the end alone: the shortest way through the reader.
    assert play(data, [len(data)], policy) == model(data, lax=policy == "no")
    short = data[: -len(b"QUIT\r\n")]
    assert play(short, [len(short)], policy) == model(short, lax=policy == "no")


@given(HOSTILE, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.booleans())
def test_a_stray_cr_never_comes_out_when_replaced(data: bytes, sizes: list[int], whole: bool) -> None:
    reader = Reader(replace_stray_cr=True)
    content = b""
    pieces = [data] if whole else [data[i : i + 1] for i in range(len(data))]
    for piece in pieces:
        if reader.finished:
            break
        content += reader.feed(piece)[0]
    assert b"\r" not in content


@given(
    st.lists(st.sampled_from([b"\n", b".", b"x", b"..", b"\n.", b"long" * 5]), max_size=20).map(b"".join),
    st.integers(1, 9),
)
def test_what_the_writer_says_the_reader_reads(content: bytes, size: int) -> None:
    writer = Writer()
    wire = b"".join(writer.feed(content[i : i + size]) for i in range(0, len(content), size)) + writer.finish()
    reader = Reader("reject")
    read, rest = reader.feed(wire + b"RSET\r\n")
    expected = content if not content or content.endswith(b"\n") else content + b"\n"
    assert (read, rest, reader.bare_newline) == (expected, b"RSET\r\n", False)
    assert wire.count(b"\n") == wire.count(b"\r\n")


@given(
    st.lists(st.sampled_from([b"\n", b".", b"abc", b"z" * 9]), max_size=20).map(b"".join),
    st.integers(1, 9),
    st.integers(2, 8),
)
def test_broken_lines_are_within_the_limit_however_cut(content: bytes, size: int, limit: int) -> None:
    whole = Writer(limit)
    expected = whole.feed(content) + whole.finish()
    pieces = Writer(limit)
    assert (
        b"".join(pieces.feed(content[i : i + size]) for i in range(0, len(content), size)) + pieces.finish() == expected
    )
    for line in expected.split(b"\r\n"):
        assert len(line) <= limit + 1  # a stuffed dot does not count
    assert Reader().feed(expected)[0].replace(b"\n ", b"").rstrip(b"\n") == content.rstrip(b"\n")


@pytest.mark.parametrize(
    "smuggled",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\r\n\x00.\r\n",
        b"\r\r.\r\r",
        b"\n.\r",
    ],
)
@pytest.mark.parametrize("policy", STRICT)
def test_no_lesser_end_of_data_ends_the_data(smuggled: bytes, policy: str) -> None:
    reader = Reader(policy, replace_stray_cr=True)
    content, _ = reader.feed(b"first" + smuggled + b"MAIL FROM:<evil@example.com>\r\n")
    assert not reader.finished
    assert b"MAIL FROM:<evil@example.com>\n" in content
    assert b"\n.\n" not in content
    content, rest = reader.feed(b".\r\nQUIT\r\n")
    assert (reader.finished, rest) == (True, b"QUIT\r\n")
    assert reader.bare_newline == (b"\n" in smuggled.replace(b"\r\n", b""))


def test_a_dot_right_behind_354_ends_empty_data() -> None:
    reader = Reader()
    assert reader.feed(b".\r\nQUIT\r\n") == (b"", b"QUIT\r\n")
    assert reader.finished
    with pytest.raises(RuntimeError):
        reader.feed(b"x")


def test_a_flood_of_cr_is_not_held_in_memory() -> None:
    for policy in ("no", "normalize"):
        reader = Reader(policy)
        sent = came = 0
        for _ in range(50):
            content, _rest = reader.feed(b"\r" * 10_000)
            sent += 10_000
            came += len(content)
        assert sent - came <= 14_096


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="smtpd_forbid_bare_newline"):
        Reader("maybe")
    with pytest.raises(ValueError):
        Writer(1)


def test_without_a_policy_the_earliest_end_ends_the_data() -> None:
    for data, rest in ((b"\n.\n.\r\nx", b".\r\nx"), (b"a\r\n.\r\n\n.\nx", b"\n.\nx"), (b"a\n.\r\r\nx\n.\n", b"x\n.\n")):
        reader = Reader("no")
        assert reader.feed(data)[1] == rest
