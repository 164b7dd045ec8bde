"""The MIME structure of a message (RFC 2045, RFC 2046), found by a machine that is pushed chunks of content.

It knows header and body, that ``multipart`` has parts with both, and that ``message/rfc822`` starts with another
header. Everything else is body. What it reports, joined, is what it was given. Memory is bounded by the limits: a
part's field is cut at ``header_limit``, nesting at ``nesting_limit``, boundary strings at ``boundary_limit`` bytes.
"""

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from tubepost.common.mail import header

# RFC 2045 5.1: token, or quoted-string; comments and white space between. Each alternative eats what it starts.
_PARAMETER_TOKEN = re.compile(
    rb'[ \t\r\n]++|(?P<quoted>"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?)|(?P<token>[^ \t\r\n()<>@,;:\\"/\[\]?=]++)|(?P<other>.)',
    re.DOTALL,
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_LINE = re.compile(rb"[^\n]*+\n")
# A header or delimiter line is held back until its end is there, or this much of it.
_PARTIAL_LINE = 65536
_PARAMETER_LIMIT = 1000

IDENTITY_ENCODINGS = (b"7bit", b"8bit", b"binary")
ENCODINGS = frozenset((*IDENTITY_ENCODINGS, b"quoted-printable", b"base64"))


class ContentType(NamedTuple):
    """Type and subtype in lower case; parameters in order, names in lower case, values without quotes."""

    type: bytes
    subtype: bytes
    parameters: tuple[tuple[bytes, bytes], ...] = ()

    def parameter(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.parameters if key == name), None)


# RFC 2045 5.2, RFC 2046 5.1.5
PLAIN = ContentType(b"text", b"plain")
_DIGEST_PART = ContentType(b"message", b"rfc822")
_OTHER = ContentType(b"", b"")


class Where(enum.Enum):
    """What a header field heads: the message, a body part, or a message within it."""

    PRIMARY = "primary"
    MIME = "mime"
    NESTED = "nested"


class Kind(enum.Enum):
    FIELD = "field"
    SEPARATOR = "separator"
    """The end of a header: an empty line, or nothing where it was missing."""
    BODY = "body"
    """Whole lines; a last one may be cut where it is very long or the content ends."""
    BOUNDARY = "boundary"
    """A delimiter line of a multipart."""


class Entity(NamedTuple):
    """What the header said so far of the part at hand. ``domain`` is 7bit, 8bit or binary (RFC 2045 6.2)."""

    content_type: ContentType = PLAIN
    encoding: bytes = b"7bit"
    domain: bytes = b"7bit"


class Event(NamedTuple):
    kind: Kind
    where: Where
    raw: bytes
    entity: Entity


class Fault(enum.Enum):
    """What a site may refuse (strict_* parameters); the text as Postfix's mime_state(3) puts it."""

    NESTING = "MIME nesting exceeds safety limit"
    EIGHT_BIT_HEADER = "improper use of 8-bit data in message header"
    EIGHT_BIT_BODY = "improper use of 8-bit data in message body"
    ENCODING_DOMAIN = "invalid message/* or multipart/* encoding domain"
    TRUNCATED_HEADER = "message header length exceeds safety limit"


def parse_content_type(value: bytes) -> ContentType:
    """A Content-Type field's value, leniently; what cannot be understood is ``("", "")`` (treated as opaque)."""
    groups: list[list[bytes]] = [[]]
    depth = 0
    place = 0
    while place < len(value) and len(groups) <= _PARAMETER_LIMIT:
        match = _PARAMETER_TOKEN.match(value, place)
        if match is None:
            break
        place = match.end()
        kind = match.lastgroup
        if kind == "other":
            text = match[0]
            # RFC 2045 5.1, RFC 5322 3.2.2: comments may stand anywhere.
            if text == b"(":
                depth += 1
            elif text == b")" and depth:
                depth -= 1
            elif text == b"\\" and depth:
                place += 1
            elif depth == 0 and text == b";":
                groups.append([])
            elif depth == 0:
                groups[-1].append(text)
        elif kind is not None and depth == 0:
            text = match[0]
            if kind == "quoted":
                text = _unquote(text)
            groups[-1].append(text)
    head = groups[0]
    if not head:
        return _OTHER
    subtype = head[2].lower() if len(head) > 2 and head[1] == b"/" else b""
    parameters = tuple((group[0].lower(), group[2]) for group in groups[1:] if len(group) > 2 and group[1] == b"=")
    return ContentType(head[0].lower(), subtype, parameters)


def parse_encoding(value: bytes) -> bytes:
    """A Content-Transfer-Encoding field's mechanism in lower case; empty when it is none of RFC 2045's."""
    match = re.match(rb"[ \t\r\n]*([A-Za-z0-9-]+)", value)
    mechanism = match[1].lower() if match else b""
    return mechanism if mechanism in ENCODINGS else b""


def domain_of(encoding: bytes) -> bytes:
    """RFC 2045 6.2: what the encoded bytes look like."""
    return encoding if encoding in IDENTITY_ENCODINGS else b"7bit"


def _unquote(text: bytes) -> bytes:
    text = text[1:-1] if len(text) > 1 and text.endswith(b'"') else text[1:]
    text = text.replace(b"\r", b"").replace(b"\n", b"")
    return _QUOTED_PAIR.sub(rb"\1", text) if b"\\" in text else text


class _Level(NamedTuple):
    boundary: bytes
    part: ContentType


class Parser:
    """``feed`` chunks, then ``finish``; both give events. ``faults`` collects what was irregular, with its text."""

    def __init__(
        self,
        *,
        header_limit: int = 102400,
        nesting_limit: int = 100,
        boundary_limit: int = 2048,
        look_for_8bit: bool = False,
    ) -> None:
        """Postfix header_size_limit, mime_nesting_limit, mime_boundary_length_limit; 0 header_limit is none.

        ``look_for_8bit``: also judge 8-bit text (strict_8bitmime); costs a scan of everything.
        """
        self.header_limit = header_limit
        self.nesting_limit = nesting_limit
        self.boundary_limit = boundary_limit
        self.look_for_8bit = look_for_8bit
        self.faults: dict[Fault, bytes] = {}
        self.where = Where.PRIMARY
        self.entity = Entity()
        self._stack: list[_Level] = []
        self._in_header = True
        self._field = bytearray()
        self._field_cut = False
        self._pending = bytearray()
        self._mid_line = False
        self._delimiter_open = False
        self._consumed = True

    def feed(self, chunk: bytes) -> list[Event]:
        """What is known with this chunk."""
        self._pending += chunk
        return list(self._run(False))

    def finish(self) -> list[Event]:
        """What was held back, at the end of the content."""
        events = list(self._run(True))
        if self._field:
            events.append(self._end_field())
        if self._in_header:
            self._in_header = False
            events.append(self._event(Kind.SEPARATOR, b""))
        return events

    def _event(self, kind: Kind, raw: bytes) -> Event:
        return Event(kind, self.where, raw, self.entity)

    def _run(self, last: bool) -> Iterator[Event]:
        data = bytes(self._pending)
        place = 0
        while place < len(data):
            if self._in_header:
                match = _LINE.match(data, place)
                if match is None and not last and len(data) - place < _PARTIAL_LINE:
                    break
                line = match[0] if match else data[place:]
                if self._delimiter_open:
                    self._delimiter_open = not match
                    yield self._event(Kind.BOUNDARY, line)
                    place += len(line)
                    continue
                yield from self._header_line(line)
                if self._in_header or self._consumed:
                    place += len(line)
                continue
            end = self._body_end(data, place, last)
            if end < 0:
                break
            if end > place:
                raw = data[place:end]
                if self.look_for_8bit and self.entity.encoding == b"7bit" and not raw.isascii():
                    self.faults.setdefault(Fault.EIGHT_BIT_BODY, raw[:200])
                self._mid_line = not raw.endswith(b"\n")
                yield self._event(Kind.BODY, raw)
                place = end
                continue
            # A delimiter line starts here.
            match = _LINE.match(data, place)
            if match is None and not last and len(data) - place < _PARTIAL_LINE:
                break
            line = match[0] if match else data[place:]
            yield self._boundary(line)
            self._mid_line = not self._in_header and not match
            self._delimiter_open = self._in_header and not match
            place += len(line)
        self._pending = bytearray(data[place:])

    # Header

    def _header_line(self, line: bytes) -> Iterator[Event]:
        self._consumed = True
        if self._mid_line:
            # The rest of a line that was too long to wait for.
            self._extend(line)
            return
        if self._field and line[:1] in (b" ", b"\t"):
            self._extend(line)
            return
        if self._field:
            yield self._end_field()
        if header.is_header(line):
            self._extend(line)
            return
        self._in_header = False
        self._mid_line = False
        separator = line if line in (b"\n", b"\r\n") else b""
        self._consumed = bool(separator)
        yield self._event(Kind.SEPARATOR, separator)
        self._enter_body(bool(separator))

    def _extend(self, line: bytes) -> None:
        self._mid_line = not line.endswith(b"\n")
        if self.header_limit > 0 and len(self._field) + len(line) > self.header_limit:
            room = max(0, self.header_limit - len(self._field))
            self._field += line[:room]
            self._field_cut = True
        else:
            self._field += line

    def _end_field(self) -> Event:
        raw = bytes(self._field)
        if self._field_cut:
            raw = raw.rstrip(b" \t\r\n") + b"\n"
            self.faults.setdefault(Fault.TRUNCATED_HEADER, raw[:200])
        self._field.clear()
        self._field_cut = False
        name = raw[: raw.index(b":")].rstrip(b" \t").lower()
        if name == b"content-type":
            self._content_type(raw)
        elif name == b"content-transfer-encoding":
            encoding = parse_encoding(raw[raw.index(b":") + 1 :])
            if encoding:
                self.entity = Entity(self.entity.content_type, encoding, domain_of(encoding))
        if self.look_for_8bit and not raw.isascii():
            self.faults.setdefault(Fault.EIGHT_BIT_HEADER, raw[:200])
        return self._event(Kind.FIELD, raw)

    def _content_type(self, raw: bytes) -> None:
        kind = parse_content_type(raw[raw.index(b":") + 1 :])
        self.entity = Entity(kind, self.entity.encoding, self.entity.domain)
        if kind.type != b"multipart":
            return
        # RFC 2046 5.1.5: the parts of a digest are messages.
        part = _DIGEST_PART if kind.subtype == b"digest" else PLAIN
        for name, value in kind.parameters:
            # Several boundaries are against the rules, and hide parts from whoever takes the other one: follow all.
            if name == b"boundary":
                if len(self._stack) > self.nesting_limit:
                    self.faults.setdefault(Fault.NESTING, raw[:200])
                else:
                    self._stack.append(_Level(value[: self.boundary_limit], part))

    def _enter_body(self, separated: bool) -> None:
        kind, encoding, domain = self.entity
        if kind.type == b"message":
            # RFC 2046 5.2: partial and external-body must be 7bit; rfc822 and multipart take no other than identity.
            allowed = (b"7bit",) if kind.subtype in (b"partial", b"external-body") else (domain,)
            if kind.subtype in (b"partial", b"external-body", b"rfc822") and encoding not in allowed:
                self.faults.setdefault(Fault.ENCODING_DOMAIN, encoding)
            # RFC 6532 3.7: message/global may be encoded, and then has no header to be seen.
            if separated and (kind.subtype == b"rfc822" or (kind.subtype == b"global" and encoding == domain)):
                self.where = Where.NESTED
                self.entity = Entity()
                self._in_header = True
        elif kind.type == b"multipart":
            if encoding != domain:
                self.faults.setdefault(Fault.ENCODING_DOMAIN, encoding)
            # RFC 2046 5.1.1: the preamble.
            self.entity = Entity(_OTHER)

    # Body

    def _body_end(self, data: bytes, place: int, last: bool) -> int:
        """Where the body run from ``place`` ends: at a delimiter line (``place`` itself: one starts here); -1: wait."""
        if not self._stack:
            return len(data)
        if not self._mid_line:
            verdict = self._delimiter(data, place, last)
            if verdict:
                return place if verdict > 0 else -1
        at = data.find(b"\n--", place)
        while at >= 0:
            verdict = self._delimiter(data, at + 1, last)
            if verdict:
                return at + 1
            at = data.find(b"\n--", at + 1)
        if last:
            return len(data)
        # A line end, or one with the first hyphen, may be followed by a delimiter: the run goes to the line's end.
        return len(data) - 1 if data.endswith(b"\n-") and len(data) - 1 > place else len(data)

    def _delimiter(self, data: bytes, place: int, last: bool) -> int:
        """1: a delimiter line of a known boundary starts here; 0: none; -1: too little is known."""
        if not data.startswith(b"--", place):
            return -1 if not last and data[place:] in (b"", b"-") else 0
        for level in reversed(self._stack):
            boundary = level.boundary
            if data.startswith(boundary, place + 2):
                return 1
            known = data[place + 2 : place + 2 + len(boundary)]
            if not last and len(known) < len(boundary) and boundary.startswith(known):
                return -1
        return 0

    def _boundary(self, line: bytes) -> Event:
        """RFC 2046 5.1.1; the innermost level that fits, so that parts left open by inner levels end here."""
        for index in range(len(self._stack) - 1, -1, -1):
            level = self._stack[index]
            if line.startswith(level.boundary, 2):
                closing = line.startswith(b"--", 2 + len(level.boundary))
                del self._stack[index if closing else index + 1 :]
                if closing:
                    self.entity = Entity(_OTHER)
                else:
                    self.where = Where.MIME
                    self.entity = Entity(level.part)
                    self._in_header = True
                break
        return self._event(Kind.BOUNDARY, line)
