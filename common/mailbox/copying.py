"""A message on its way into a file or a pipe: a chunk at a time, lines ended by LF, marked as the receiver wants it."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from tubepost.common.mailbox.store import Content

_CHUNK = 1 << 18
_FROM = b"From "


@dataclass(frozen=True, slots=True)
class Form:
    """What is done to the lines. ``quote_from``: ``>`` before ``From `` at the start of a line of the message.

    ``stuff_dots``: a second dot before one at the start of a line. ``eol``: the end of each line, also of the head.
    ``blank``: an empty line at the end.
    """

    quote_from: bool = False
    stuff_dots: bool = False
    eol: bytes = b"\n"
    blank: bool = False


PLAIN = Form()
MBOX = Form(quote_from=True, blank=True)


def read(content: Content, size: int = _CHUNK) -> Iterator[bytes]:
    """The content without its head, CRLF turned into LF where it has them. Raises OSError when it is cut short."""
    position, end = content.offset, content.offset + content.length
    held = b""
    while position < end:
        piece = content.pread(min(size, end - position), position)
        if not piece:
            raise OSError(errno.EIO, "the queue file is shorter than it says")
        position += len(piece)
        if content.crlf:
            piece = held + piece
            held = b""
            if piece.endswith(b"\r") and position < end:
                piece, held = piece[:-1], b"\r"
            piece = piece.replace(b"\r\n", b"\n")
        if piece:
            yield piece
    if held:
        yield held


def render(content: Content, form: Form = PLAIN, size: int = _CHUNK) -> Iterator[bytes]:
    """Head and content as ``form`` says; the last line is always ended. Raises OSError."""
    last = b"\n"
    pieces = read(content, size)
    if form.quote_from or form.stuff_dots:
        pieces = _mark(pieces, form)
    if content.head:
        yield content.head.replace(b"\n", form.eol) if form.eol != b"\n" else content.head
    for piece in pieces:
        last = piece[-1:]
        yield piece.replace(b"\n", form.eol) if form.eol != b"\n" else piece
    if last != b"\n":
        yield form.eol
    if form.blank:
        yield form.eol


def _mark(pieces: Iterator[bytes], form: Form) -> Iterator[bytes]:
    """Only what may still be the beginning of ``From `` is held back, so no line is ever held as a whole."""
    held = b""
    at_start = True
    for piece in pieces:
        data = held + piece
        if at_start and len(data) < len(_FROM):
            held = data
            continue
        newline = data.rfind(b"\n", -len(_FROM))
        held = data[newline + 1 :] if newline >= 0 else b""
        data = data[: newline + 1] if newline >= 0 else data
        if data:
            yield _marked(data, form, at_start)
        at_start = newline >= 0
    if held:
        yield _marked(held, form, at_start)


def _marked(data: bytes, form: Form, at_start: bool) -> bytes:
    if form.quote_from:
        if at_start and data.startswith(_FROM):
            data = b">" + data
        data = data.replace(b"\nFrom ", b"\n>From ")
    if form.stuff_dots:
        if at_start and data.startswith(b"."):
            data = b"." + data
        data = data.replace(b"\n.", b"\n..")
    return data
