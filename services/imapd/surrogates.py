"""Messages with UTF-8 in their headers, for clients that have not said that they take it (RFC 9755 7, RFC 6858; pure).

What such a client gets is a surrogate: the same message with headers in ASCII. All that it asks of one message fits
together. Of a large message only the header itself is changed, for it is nowhere as a whole: headers of its parts that
are not in ASCII go as they are, and are changed in BODYSTRUCTURE alone.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

from tubepost.common.imap.bodystructure import encode_structures
from tubepost.common.imap.envelope import encode_envelope

from tubepost.common.mail import envelope, structure, surrogate
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.parameters import Parameters
from tubepost.common.mail.structure import Part

# Content whose parts may have headers of their own.
_NESTING = re.compile(rb"^content-type[ \t]*+:\s*+(?:multipart|message)/", re.MULTILINE | re.IGNORECASE)


def of_message(data: bytes) -> bytes | None:
    """The surrogate of a message with LF line ends; None where none is needed."""
    if data.isascii():
        return None
    header = data[: structure.header_block(data)[1]]
    if header.isascii():
        if _NESTING.search(header) is None:
            # The content may be 8bit, and stays so.
            return None
        parts = structure.walk(structure.parse(data))
        if all(data[part.header_start : part.body_start].isascii() for part in parts):
            return None
    made = surrogate.message(data.replace(b"\r\n", b"\n"))
    return made if made != data else None


def of_header(data: Data) -> tuple[bytes, int] | None:
    """The surrogate of the header of a message alone, with LF line ends, and where the header ends that it is of."""
    end = structure.header_block(data, 0, min(len(data), structure.LIMIT_HEADER))[1]
    header = bytes(data[:end])
    made = ascii_fields(header)
    return None if made == header else (made, end)


def ascii_fields(header: bytes) -> bytes:
    """A header, or some lines of one, with LF or CRLF line ends: with LF where something was changed."""
    if header.isascii():
        return header
    plain = header.replace(b"\r\n", b"\n")
    made = surrogate.header(plain)
    return made if made != plain else header


def summary(data: Data) -> tuple[bytes, bytes, bytes]:
    """ENVELOPE, BODY and BODYSTRUCTURE as they are sent; ``data``: a large message, or what ``of_message`` made."""
    root = structure.parse(data)
    for part in structure.walk(root):
        _make_ascii(part)
    return encode_envelope(envelope.read(root.fields)), *encode_structures(root)


def _make_ascii(part: Part) -> None:
    part.parameters = _parameters(part.parameters)
    part.disposition_parameters = _parameters(part.disposition_parameters)
    if part.description is not None and not part.description.isascii():
        made = surrogate.field(b"Content-Description: " + part.description + b"\n")
        part.description = made.partition(b": ")[2].rstrip(b"\n").replace(b"\n ", b" ")
    part.fields = list(_fields(part.fields))


def _fields(fields: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in fields:
        if not value.isascii():
            value = surrogate.field(name + b":" + value + b"\n").partition(b":")[2].rstrip(b"\n")
        yield name, value


def _parameters(parameters: Parameters) -> Parameters:
    if all(value.isascii() for _, value in parameters):
        return parameters
    return tuple(_parameter(name, value) for name, value in parameters)


def _parameter(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """RFC 2231 4."""
    if value.isascii():
        return name, value
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return name, value
    return name.rstrip(b"*") + b"*", b"utf-8''" + quote(value, safe="").encode("ascii")
