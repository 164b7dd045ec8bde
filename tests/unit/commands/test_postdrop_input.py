"""What postdrop reads: all of it or nothing."""

import io

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.postdrop import CHUNK_LIMIT, Posting

from tubepost.commands.console import Fatal
from tubepost.commands.postdrop import Cancelled, read_chunks, read_posting

POSTING = Posting(envelope=Envelope(sender="a@b", arrival_time=0), recipients=(Recipient(address="c@d"),))
WHOLE = b"5\nab\ncd3\n\n0\n0\n" + POSTING.model_dump_json(exclude_defaults=True).encode() + b"\n"


def read(data: bytes) -> tuple[bytes, Posting]:
    source = io.BytesIO(data)
    content = b"".join(read_chunks(source))
    return content, read_posting(source)


def test_the_whole_is_read() -> None:
    assert read(WHOLE) == (b"ab\ncd\n0\n", POSTING)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_input_that_ends_at_any_byte_before_the_last_is_given_up(length: int) -> None:
    with pytest.raises(Cancelled):
        read(WHOLE[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"x\n", b"-1\n", b"\n", b"%d\n" % (CHUNK_LIMIT + 1), b"99999999999999", b"0\n{}\n", b"0\nnothing\n",
        b"0\n" + POSTING.model_dump_json().replace('"a@b"', "1").encode() + b"\n",
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(Fatal):
        read(data)
