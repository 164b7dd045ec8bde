"""Content on its way into a mailbox or pipe: whatever the size of the pieces, the same bytes come out."""

import os
import re
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mailbox import Content
from tubepost.common.mailbox.copying import MBOX, PLAIN, Form, read, render

# What the marks hang on, and little else.
TEXTS = st.lists(st.sampled_from([b"\n", b"From ", b"From", b"F", b".", b"..", b">From ", b"x", b"\r\n", b" "])).map(
    b"".join
)


def _with(data: bytes, head: bytes = b"", before: bytes = b"zz", crlf: bool = False) -> Content:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.write(fd, before + data + b"behind")
    return Content(fd, len(before), len(data), head, crlf)


def _rendered(data: bytes, form: Form, size: int, head: bytes = b"", crlf: bool = False) -> bytes:
    content = _with(data, head, crlf=crlf)
    try:
        return b"".join(render(content, form, size))
    finally:
        os.close(content.fd)


@given(TEXTS, st.integers(1, 9))
def test_marks_do_not_depend_on_where_pieces_end(data: bytes, size: int) -> None:
    expected = re.sub(rb"(?m)^From ", b">From ", data)
    if not expected.endswith(b"\n") and expected:
        expected += b"\n"
    assert _rendered(data, MBOX, size) == expected + b"\n"


@given(TEXTS, st.integers(1, 9))
def test_dots_and_line_ends(data: bytes, size: int) -> None:
    whole = data if data.endswith(b"\n") or not data else data + b"\n"
    expected = re.sub(rb"(?m)^\.", b"..", whole).replace(b"\n", b"|")
    assert _rendered(data, Form(stuff_dots=True, eol=b"|"), size) == expected


@given(TEXTS, st.integers(1, 9))
def test_crlf_becomes_lf_and_nothing_else_changes(data: bytes, size: int) -> None:
    content = _with(data, crlf=True)
    assert b"".join(read(content, size)) == data.replace(b"\r\n", b"\n")
    os.close(content.fd)


def test_the_head_is_not_marked() -> None:
    assert _rendered(b"From b\n", MBOX, 100, b"From a\n.x\n") == b"From a\n.x\n>From b\n\n"


def test_content_that_is_cut_short_is_an_error_not_a_shorter_message() -> None:
    content = _with(b"abc")
    longer = Content(content.fd, content.offset, 100)
    with pytest.raises(OSError, match="shorter"):
        list(render(longer, PLAIN, 4))
    os.close(content.fd)
