"""The queue file, format version 1.

::

    preamble    PREAMBLE bytes of ASCII, padded with spaces, ended by LF:
                TUBEPOST-QUEUE 1 <content offset> <content length> <envelope offset> <file size> <recipients> <flags>
    content     headers and body as delivered; lines end in LF (encoding "binary": exactly as received)
    envelope    one line of JSON: common.wire.envelope.Envelope
    recipients  one line each: a status byte, then JSON: common.wire.envelope.Recipient
                R to be delivered, D done

The envelope stands behind the content, so a message is written in one pass while it arrives. A file is *complete*
when its preamble's file size is its size: the preamble of a streamed file is written last, and the kernel never
shows more bytes than were written. After that only single bytes change in place: R to D, and the flags.
Nothing is ever appended.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system.atomic import write_all

MAGIC = b"TUBEPOST-QUEUE 1 "
PREAMBLE = 128
WARNED, EXPIRED = 0, 1
"""Positions in the flags: W a delay warning was sent; E the message is to expire at the next try (postsuper -e)."""
_FLAGS = b"WE"
_FLAGS_OFFSET = len(MAGIC) + 4 * 16 + 9
# An envelope or recipient line: far above what smtpd lets in (line_length_limit), far below what could hurt.
_LINE_LIMIT = 65_536
_CHUNK = 65_536
# Where the writer has not been yet; NUL where the power failed before the sync, with the size on disk and no content.
_UNWRITTEN = b" \n\0"

_envelope_json = Envelope.__pydantic_serializer__.to_json
_recipient_json = Recipient.__pydantic_serializer__.to_json


class Damaged(ValueError):
    """The file cannot be what cleanup wrote: it belongs in corrupt/."""


class Incomplete(Exception):
    """The file is being written, or its writer died: nobody was told that it was accepted."""


def _preamble(content_length: int, envelope_offset: int, size: int, count: int, flags: bytes = b"--") -> bytes:
    text = b"%b%015d %015d %015d %015d %08d %b" % (MAGIC, PREAMBLE, content_length, envelope_offset, size, count, flags)
    return text.ljust(PREAMBLE - 1) + b"\n"


def _tail(envelope: Envelope, recipients: Sequence[Recipient], offset: int) -> tuple[bytes, list[int]]:
    """Envelope and recipient lines that start at ``offset``, and where each recipient's status byte stands."""
    line = _envelope_json(envelope, exclude_defaults=True)
    parts = [line, b"\n"]
    offset += len(line) + 1
    offsets = []
    for recipient in recipients:
        line = _recipient_json(recipient, exclude_defaults=True)
        offsets.append(offset)
        parts += (b"R", line, b"\n")
        offset += len(line) + 2
    return b"".join(parts), offsets


def encode(
    envelope: Envelope, recipients: Sequence[Recipient], content: Sequence[bytes]
) -> tuple[list[bytes], list[int], int]:
    """A whole small message as buffers for one writev; the recipients' offsets; the content's length in bytes."""
    length = sum(map(len, content))
    tail, offsets = _tail(envelope, recipients, PREAMBLE + length)
    head = _preamble(length, PREAMBLE + length, PREAMBLE + length + len(tail), len(recipients))
    return [head, *content, tail], offsets, length


class Writer:
    """Writes a message while it arrives. The file is incomplete until ``finish``; syncing it is the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.length = 0
        """Content bytes so far."""
        write_all(fd, b" " * PREAMBLE)

    def write(self, chunk: bytes | memoryview) -> None:
        write_all(self._fd, chunk)
        self.length += len(chunk)

    def finish(self, envelope: Envelope, recipients: Sequence[Recipient]) -> list[int]:
        """Write envelope and recipients, then the preamble that makes it complete. Returns the recipients' offsets."""
        start = PREAMBLE + self.length
        tail, offsets = _tail(envelope, recipients, start)
        write_all(self._fd, tail)
        _pwrite_all(self._fd, _preamble(self.length, start, start + len(tail), len(recipients)), 0)
        return offsets


def _pwrite_all(fd: int, data: bytes, offset: int) -> None:
    """Half a preamble would be a message that was accepted and is never taken up."""
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


@dataclass(slots=True)
class QueueFile:
    """An open, complete queue file. ``close`` it, or use it in a with statement."""

    fd: int
    content_offset: int
    content_length: int
    envelope_offset: int
    size: int
    recipient_count: int
    flags: bytes
    envelope: Envelope
    first_recipient: int
    """Offset of the first recipient's status byte."""

    def __enter__(self) -> "QueueFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def warned(self) -> bool:
        return self.flags[WARNED : WARNED + 1] == b"W"

    @property
    def expired(self) -> bool:
        return self.flags[EXPIRED : EXPIRED + 1] == b"E"

    def recipients(self, start: int = 0) -> Iterator[tuple[int, bool, Recipient, int]]:
        """(offset, done, recipient, offset of the next one) from ``start`` (0: the first). Raises Damaged.

        Reads a piece at a time: a list of 100,000 recipients is never in memory as a whole.
        """
        offset = start or self.first_recipient
        buffer = b""
        position = offset
        while offset < self.size:
            end = buffer.find(b"\n")
            while end < 0:
                piece = os.pread(self.fd, _CHUNK, position)
                if not piece or len(buffer) > _LINE_LIMIT:
                    raise Damaged("a recipient line does not end")
                position += len(piece)
                buffer += piece
                end = buffer.find(b"\n")
            line, buffer = buffer[:end], buffer[end + 1 :]
            status = line[:1]
            if status not in (b"R", b"D"):
                raise Damaged(f"recipient status {status!r} at byte {offset}")
            try:
                recipient = Recipient.model_validate_json(line[1:])
            except ValidationError as error:
                raise Damaged(f"recipient at byte {offset}: {error.errors()[0]['msg']}") from None
            following = offset + end + 1
            yield offset, status == b"D", recipient, following
            offset = following

    def content(self, size: int = _CHUNK) -> Iterator[bytes]:
        """The message, a chunk at a time. Raises Damaged when the file is shorter than it says."""
        position, left = self.content_offset, self.content_length
        while left:
            piece = os.pread(self.fd, min(size, left), position)
            if not piece:
                raise Damaged("the content is shorter than the preamble says")
            position += len(piece)
            left -= len(piece)
            yield piece


def open_queue_file(path: str, *, writable: bool = False) -> QueueFile:
    """Open and check. Raises FileNotFoundError and other OSErrors, Incomplete, Damaged."""
    # In maildrop everybody makes files: at a FIFO, opening would wait for somebody to write.
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags)
    try:
        return read_queue_file(fd)
    except BaseException:
        os.close(fd)
        raise


def read_queue_file(fd: int) -> QueueFile:
    """The same for a file that is open already; ``fd`` is the caller's when this raises."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Damaged("not a regular file")
    head = os.pread(fd, PREAMBLE, 0)
    size = os.fstat(fd).st_size
    if len(head) < PREAMBLE or not head.strip(_UNWRITTEN):
        raise Incomplete
    fields = head[len(MAGIC) :].split()
    if not head.startswith(MAGIC) or len(fields) != 6 or not all(field.isdigit() for field in fields[:5]):
        raise Damaged("the preamble is not that of a queue file of version 1")
    content_offset, content_length, envelope_offset, total, count = map(int, fields[:5])
    if size < total:
        raise Incomplete
    if size != total or content_offset != PREAMBLE or envelope_offset != content_offset + content_length:
        raise Damaged("the preamble contradicts the file's size")
    if envelope_offset >= total:
        raise Damaged("there is no envelope")
    line = os.pread(fd, _LINE_LIMIT, envelope_offset)
    end = line.find(b"\n")
    if end < 0:
        if not line.strip(b"\0"):
            raise Incomplete
        raise Damaged("the envelope line does not end")
    try:
        envelope = Envelope.model_validate_json(line[:end])
    except ValidationError as error:
        raise Damaged(f"envelope: {error.errors()[0]['msg']}") from None
    return QueueFile(
        fd,
        content_offset,
        content_length,
        envelope_offset,
        total,
        count,
        fields[5],
        envelope,
        envelope_offset + end + 1,
    )


def mark_done(fd: int, offset: int) -> None:
    """This recipient needs no more work. One byte in place: it survives the death of any process."""
    os.pwrite(fd, b"D", offset)


def mark_waiting(fd: int, offset: int) -> None:
    """The reverse, where a failure was never told to the sender."""
    os.pwrite(fd, b"R", offset)


def set_flag(fd: int, position: int) -> None:
    """Set WARNED or EXPIRED."""
    os.pwrite(fd, _FLAGS[position : position + 1], _FLAGS_OFFSET + position)
