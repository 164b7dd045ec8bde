"""BODY and BODYSTRUCTURE as they go over the wire (RFC 9051 7.5.2, 9 ``body``)."""

from tubepost.common.imap.envelope import encode_envelope, encode_nstring, encode_string

from tubepost.common.mail import envelope
from tubepost.common.mail.parameters import Parameters
from tubepost.common.mail.structure import Part

# RFC 9051 9 body-type-mpart wants one part at least: a multipart that has none is shown with an empty one.
_NO_PART = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'
_NO_EXTENSION = b" NIL NIL NIL NIL"


def encode_structure(part: Part, extended: bool) -> bytes:
    """The parenthesised list: BODYSTRUCTURE with ``extended``, else BODY."""
    return encode_structures(part)[1 if extended else 0]


def encode_structures(part: Part) -> tuple[bytes, bytes]:
    """``(BODY, BODYSTRUCTURE)`` in one walk; without recursion, however deep the parts lie."""
    if part.message is None and not part.is_multipart:
        return _encode_leaf(part)
    # Each part is met on the way down (False) and, once its own parts are written, again on the way up (True).
    done: list[tuple[bytes, bytes]] = []
    stack = [(part, False)]
    while stack:
        one, written = stack.pop()
        if one.message is not None:
            if written:
                done.append(_encode_message(one, one.message, *done.pop()))
            else:
                stack.append((one, True))
                stack.append((one.message, False))
        elif one.is_multipart:
            if written:
                count = len(one.children)
                parts = done[len(done) - count :]
                del done[len(done) - count :]
                done.append(_encode_multipart(one, parts))
            else:
                stack.append((one, True))
                stack.extend((child, False) for child in reversed(one.children))
        else:
            done.append(_encode_leaf(one))
    return done[0]


def _encode_leaf(part: Part) -> tuple[bytes, bytes]:
    """RFC 9051 9 body-type-basic, body-type-text."""
    if part.type == b"text":
        start = b"(%b %d" % (_fields(part, _text_parameters(part.parameters)), part.lines)
    else:
        start = b"(" + _fields(part, part.parameters)
    return start + b")", b"%b%b)" % (start, _extension(part))


def _encode_message(part: Part, message: Part, body: bytes, structure: bytes) -> tuple[bytes, bytes]:
    """RFC 9051 9 body-type-msg."""
    start = b"(%b %b " % (_fields(part, part.parameters), encode_envelope(envelope.read(message.fields)))
    lines = b" %d" % part.lines
    return b"%b%b%b)" % (start, body, lines), b"%b%b%b%b)" % (start, structure, lines, _extension(part))


def _encode_multipart(part: Part, parts: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """RFC 9051 9 body-type-mpart, body-ext-mpart."""
    parts = parts or [(_NO_PART + b")", _NO_PART + _NO_EXTENSION + b")")]
    subtype = encode_string(part.subtype)
    return b"(%b %b)" % (b"".join([body for body, _ in parts]), subtype), b"(%b %b %b%b)" % (
        b"".join([structure for _, structure in parts]),
        subtype,
        _parameters(part.parameters),
        _disposition_language_location(part),
    )


def _text_parameters(parameters: Parameters) -> Parameters:
    """RFC 2046 4.1.2: the character set that is not told is us-ascii; clients are told it, as other servers do."""
    if any(name in (b"charset", b"charset*") for name, _ in parameters):
        return parameters
    return (*parameters, (b"charset", b"us-ascii"))


def _fields(part: Part, parameters: Parameters) -> bytes:
    """Media type and RFC 9051 9 body-fields."""
    return b"%b %b %b %b %b %b %d" % (
        encode_string(part.type),
        encode_string(part.subtype),
        _parameters(parameters),
        encode_nstring(part.id),
        encode_nstring(part.description),
        encode_string(part.encoding),
        part.size,
    )


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([encode_string(text) for parameter in parameters for text in parameter])


def _extension(part: Part) -> bytes:
    """RFC 9051 9 body-ext-1part."""
    if part.md5 is None and part.disposition is None and not part.languages and part.location is None:
        return _NO_EXTENSION
    return b" %b%b" % (encode_nstring(part.md5), _disposition_language_location(part))


def _disposition_language_location(part: Part) -> bytes:
    if part.disposition is None:
        disposition = b"NIL"
    else:
        disposition = b"(%b %b)" % (encode_string(part.disposition), _parameters(part.disposition_parameters))
    if part.languages:
        languages = b"(%b)" % b" ".join([encode_string(language) for language in part.languages])
    else:
        languages = b"NIL"
    return b" %b %b %b" % (disposition, languages, encode_nstring(part.location))
