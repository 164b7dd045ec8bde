"""A preamble that contradicts itself: the file is damaged, whatever its numbers would let be read."""

import os

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.spool import queuefile


def read(data: bytes) -> queuefile.QueueFile:
    fd = os.memfd_create("queue")
    try:
        os.write(fd, data)
        return queuefile.read_queue_file(fd)
    finally:
        os.close(fd)


WHOLE = b"".join(
    queuefile.encode(Envelope(sender="", arrival_time=1.0), [Recipient(address="a@b")], [b"x: y\n\nz\n"])[0]
)


def test_as_it_was_written() -> None:
    assert read(WHOLE).content_length == 8


@pytest.mark.parametrize("length", [0, 7, 9, 20, 10**14])
def test_the_content_does_not_end_where_the_envelope_begins(length: int) -> None:
    with pytest.raises(queuefile.Damaged):
        read(WHOLE.replace(b"%015d" % 8, b"%015d" % length, 1))
