"""A stored message's file, and the sections of it that are asked for."""

from collections.abc import Iterable
from itertools import chain

from tubepost.common.imap.fetch import Attribute, Section
from tubepost.common.imap.sections import Range, header_fields, locate, locate_binary
from tubepost.common.imap.write import binary, literal

from tubepost.common.mail import structure
from tubepost.common.mail.crlf import Data, crlf_chunks, to_crlf, virtual_size
from tubepost.common.mail.structure import Part
from tubepost.common.mail.transfer import decode_chunks, decoded_size, window
from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.largefile import LargeFile

from tubepost.services.imapd import surrogates

# Up to this size a message is read at once, above it is read and sent in pieces.
_WHOLE = 1 << 20

Piece = bytes | Iterable[bytes]


class Message:
    """``data``: as it is in the file, with LF line ends. ``is_large``: work on it may take long."""

    __slots__ = ("_root", "data", "head")

    def __init__(self, data: Data) -> None:
        self.data = data
        self._root: Part | None = None
        self.head: tuple[bytes, int] | None = None
        """Of a large message: what is shown in the place of the first so many octets."""

    def make_ascii(self) -> bool:
        """From now on it has headers in ASCII, for a client that does not know UTF-8. Was there anything to do?"""
        if not isinstance(self.data, bytes):
            self.head = surrogates.of_header(self.data)
            return self.head is not None
        made = surrogates.of_message(self.data)
        if made is None:
            return False
        self.data, self._root = made, None
        return True

    @property
    def root(self) -> Part:
        if self._root is None:
            self._root = structure.parse(self.data)
        return self._root

    @property
    def is_large(self) -> bool:
        return not isinstance(self.data, bytes)

    def close(self) -> None:
        if isinstance(self.data, LargeFile):
            self._root = None
            self.data.close()

    # Sections

    def locate(self, section: Section) -> Range | None:
        """Where it is; of HEADER.FIELDS: the header."""
        text = section.text
        if text.startswith(b"HEADER.FIELDS"):
            text = b"HEADER"
        if section.path:
            return locate(self.root, section.path, text)
        if not text:
            return Range(0, len(self.data))
        end = structure.header_block(self.data)[1]
        return Range(0, end) if text == b"HEADER" else Range(end, len(self.data))


def read_message(folder: Folder, uid: int, size: int, place: int, file: str, info: str) -> Message:
    """By a row of the index; under the lock of the account. Raises NoSuchMessage, OSError."""
    if size <= _WHOLE and (whole := folder.read(uid, size, place, file, info)) is not None:
        return Message(whole)
    return Message(LargeFile(folder.open(uid)))


def body(message: Message, attribute: Attribute, *, utf8: bool) -> list[Piece]:
    """The value of ``BODY[…]<…>``, RFC822 and its kin, behind the item's name and a space (RFC 9051 7.5.2).

    ``utf8``: headers may have it; if not, ``make_ascii`` was called.
    """
    section = attribute.section
    if section is None:
        section = _WHOLE_MESSAGE[attribute.name]
    found = message.locate(section)
    if found is None:
        return [b"NIL"]
    data = message.data
    if section.fields:
        exclude = section.text.endswith(b".NOT")
        text = header_fields(data, found, {field.lower() for field in section.fields}, exclude)
        return [_part(text if utf8 else to_crlf(surrogates.ascii_fields(text)), attribute)]
    size = found.end - found.start
    if message.head is not None and not section.path and not section.text:
        return _large_with(message.head, data, attribute)
    if not utf8 and section.text in (b"HEADER", b"MIME") and size <= structure.LIMIT_HEADER:
        return [_part(to_crlf(surrogates.ascii_fields(data[found.start : found.end])), attribute)]
    if size <= _WHOLE:
        return [_part(to_crlf(data[found.start : found.end]), attribute)]
    return _large(data, found, attribute)


def raw(message: Message, attribute: Attribute) -> Iterable[bytes] | None:
    """What ``body`` would send, without its announcement; None where there is no such part."""
    pieces = body(message, attribute, utf8=True)
    first = pieces[0]
    assert isinstance(first, bytes)
    if first == b"NIL":
        return None
    if len(pieces) > 1:
        rest = pieces[1]
        return [rest] if isinstance(rest, bytes) else rest
    return [first[first.index(b"\r\n") + 2 :]]


_WHOLE_MESSAGE = {
    b"RFC822": Section(),
    b"RFC822.HEADER": Section((), b"HEADER"),
    b"RFC822.TEXT": Section((), b"TEXT"),
}


def _part(text: bytes, attribute: Attribute) -> bytes:
    """As a literal; with <origin.octets> what that leaves of it."""
    if attribute.partial is not None:
        start, count = attribute.partial
        text = text[start : start + count]
    if b"\0" in text:
        # RFC 9051 9: a literal has no NUL. It would be the client's undoing, and old mail has some.
        text = text.replace(b"\0", b"\x80")
    return literal(text)


def _large(data: Data, found: Range, attribute: Attribute) -> list[Piece]:
    size = virtual_size(data, found.start, found.end)
    if attribute.partial is None:
        return [b"{%d}\r\n" % size, _clean(crlf_chunks(data, found.start, found.end))]
    start, count = attribute.partial
    count = max(0, min(count, size - start))
    return [b"{%d}\r\n" % count, _clean(crlf_chunks(data, found.start, found.end, start, count))]


def _large_with(head: tuple[bytes, int], data: Data, attribute: Attribute) -> list[Piece]:
    """The whole message with another header."""
    text, end = to_crlf(head[0]), head[1]
    size = len(text) + virtual_size(data, end, len(data))
    start, count = attribute.partial or (0, size)
    count = max(0, min(count, size - start))
    some = text[start : start + count]
    rest = crlf_chunks(data, end, len(data), max(0, start - len(text)), count - len(some))
    return [b"{%d}\r\n" % count, _clean(chain((some,), rest))]


def _clean(chunks: Iterable[bytes]) -> Iterable[bytes]:
    for chunk in chunks:
        yield chunk.replace(b"\0", b"\x80") if b"\0" in chunk else chunk


def check_encoding(message: Message, attribute: Attribute) -> None:
    """Of what ``BINARY[…]`` and ``BINARY.SIZE[…]`` are to decode. Raises UnknownEncoding."""
    assert attribute.section is not None
    located = locate_binary(message.root, attribute.section.path)
    if located is not None:
        found, encoding = located
        decode_chunks(message.data, found.start, found.end, encoding)


def binary_body(message: Message, attribute: Attribute) -> list[Piece]:
    """``BINARY[…]`` (RFC 3516 4.2). Raises UnknownEncoding."""
    assert attribute.section is not None
    located = locate_binary(message.root, attribute.section.path)
    if located is None:
        return [b"NIL"]
    found, encoding = located
    chunks: Iterable[bytes] = decode_chunks(message.data, found.start, found.end, encoding)
    size = decoded_size(message.data, found.start, found.end, encoding)
    if attribute.partial is not None:
        start, count = attribute.partial
        count = max(0, min(count, size - start))
        chunks, size = window(chunks, start, count), count
    if size <= _WHOLE:
        return [binary(b"".join(chunks))]
    return [b"~{%d}\r\n" % size, chunks]


def binary_size(message: Message, attribute: Attribute) -> bytes:
    """``BINARY.SIZE[…]``. Raises UnknownEncoding."""
    assert attribute.section is not None
    located = locate_binary(message.root, attribute.section.path)
    if located is None:
        return b"0"
    found, encoding = located
    return b"%d" % decoded_size(message.data, found.start, found.end, encoding)
