"""Sections of a message (RFC 9051 6.4.5.1): what BODY[…] and BINARY[…] mean, as ranges of the stored bytes.

A path is a tuple of part numbers, ``()`` for the message itself. Ranges are turned into what goes over the wire by
``common.mail.crlf`` (BODY) or ``common.mail.transfer`` (BINARY); only lists of header fields are made here.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from tubepost.common.mail.crlf import Data, to_crlf
from tubepost.common.mail.structure import LIMIT_HEADER, Part
from tubepost.common.mail.transfer import IDENTITY, KNOWN, UnknownEncoding

_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+\n?+", re.MULTILINE)


_HEADERS = frozenset((b"HEADER", b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"))


class Range(NamedTuple):
    """A stretch of the stored bytes, end exclusive."""

    start: int
    end: int


def find_part(root: Part, path: tuple[int, ...]) -> Part | None:
    """The part that a path names, None when there is none. An empty path names the message itself.

    RFC 9051 6.4.5.1: part 1 of a message that is not multipart is its body: the Part of the message is given for it.
    Below a message/rfc822 the numbers are those of the message within.
    """
    part = root
    # Where the next number counts: the message or multipart it is taken in, and whether that is a message.
    scope: Part | None = root
    is_message = True
    for number in path:
        if scope is None:
            return None
        if scope.is_multipart:
            if not 0 < number <= len(scope.children):
                return None
            part = scope.children[number - 1]
        elif is_message and number == 1:
            part = scope
        else:
            return None
        if part.message is not None:
            scope, is_message = part.message, True
        elif part is not scope and part.is_multipart:
            scope, is_message = part, False
        else:
            scope = None
    return part


def locate(root: Part, path: tuple[int, ...], what: bytes = b"") -> Range | None:
    """The range of a section; ``what`` is as ``fetch.Section`` has it. None: the message has no such part.

    A header's range has its empty line. HEADER.FIELDS and HEADER.FIELDS.NOT have the range of HEADER: give it to
    ``header_fields``.
    """
    part = find_part(root, path)
    if part is None:
        return None
    if what == b"":
        return Range(part.body_start, part.body_end) if path else Range(part.header_start, part.body_end)
    if what == b"MIME":
        # RFC 9051 6.4.5.1: "The MIME part specifier MUST be prefixed by one or more numeric part specifiers."
        return Range(part.header_start, part.body_start) if path else None
    # RFC 9051 6.4.5.1: behind a number HEADER and TEXT are those of the message within a message/rfc822 part.
    message = part.message if path else part
    if message is None:
        return None
    if what in _HEADERS:
        return Range(message.header_start, message.body_start)
    if what == b"TEXT":
        return Range(message.body_start, message.body_end)
    raise ValueError(f"{what!r} is not a section: give HEADER, TEXT, MIME or nothing")


def locate_binary(root: Part, path: tuple[int, ...]) -> tuple[Range, bytes] | None:
    """``(range, encoding)`` for BINARY[…] and BINARY.SIZE[…]: give both to ``transfer.decode_chunks``.

    RFC 9051 6.4.5: a whole message, a multipart and a message/rfc822 are given as they stand. Raises UnknownEncoding.
    """
    part = find_part(root, path)
    if part is None:
        return None
    if not path:
        return Range(part.header_start, part.body_end), b"binary"
    found = Range(part.body_start, part.body_end)
    if part.message is not None or part.is_multipart or part.encoding in IDENTITY:
        return found, b"binary"
    if part.encoding not in KNOWN:
        name = part.encoding.decode("ascii", "replace")[:60]
        raise UnknownEncoding(f"the content-transfer-encoding {name!r} is not known")
    return found, part.encoding


def header_fields(data: Data, header: Range, names: Collection[bytes], exclude: bool = False) -> bytes:
    """HEADER.FIELDS, or with ``exclude`` HEADER.FIELDS.NOT, in CRLF form.

    ``names`` in lower case (a set, or something as quick to look into). Fields come in the message's order with their
    folds. Of a header that is larger than ``structure.LIMIT_HEADER`` only the beginning is looked through.
    """
    block = data[header.start : min(header.end, header.start + LIMIT_HEADER)]
    found = [match[0] for match in _FIELD.finditer(block) if (match[1].lower() in names) is not exclude]
    out = b"".join(found)
    if out and not out.endswith(b"\n"):
        out += b"\n"
    # RFC 9051 6.4.5.1: "Subsetting does not exclude the … delimiting blank line", which is there in any case but that
    # of a message without one and without a body.
    if header.end < len(data) or block.endswith((b"\n\n", b"\n\r\n")) or block in (b"\n", b"\r\n"):
        out += b"\n"
    return to_crlf(out)
