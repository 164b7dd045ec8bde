"""The tree of a stored message's parts (RFC 2045, RFC 2046): where each begins and ends, and what its header says.

``mime`` is the machine for content that streams by; this module is for a message that lies there whole, as a file or
its ``mmap``. Lines are never walked: delimiters are found by searching for them, line ends by counting. Anything may be
in the message; nothing raises. Work is bounded by ``limit_parts`` and ``limit_depth``: what lies deeper is a part of
unknown content (application/octet-stream), and after the last part that is allowed the rest belongs to that one.
"""

import re
from dataclasses import dataclass, field

from tubepost.common.mail import parameters as values
from tubepost.common.mail.crlf import Data, count_lines
from tubepost.common.mail.header import unfold
from tubepost.common.mail.parameters import Parameters

LIMIT_PARTS = 10000
LIMIT_DEPTH = 50
LIMIT_HEADER = 1048576
"""Bytes of one header that are searched for fields; a longer one is still passed by as a whole."""

# Bytes of a large message that are first searched for the end of a header.
_WINDOW = 65536

# As ``header`` has it.
_BLOCK = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+(?:\n|\Z))*+)*+(?:[!-9;-~]++[ \t]*+:[^\n]*+\Z)?+")
# An mbox line before the first field is no field, and still no body.
_MBOX_LINE = re.compile(rb">?From [^\n]*+\n(?=[!-9;-~]++[ \t]*+:)")
_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.MULTILINE)
_ENCODING = re.compile(rb"[ \t\r\n]*+([^\x00-\x20()<>@,;:\\\"/\[\]?=\x7f]++)[ \t\r\n]*+")
_LANGUAGE = re.compile(rb"[A-Za-z0-9]++(?:-[A-Za-z0-9]++)*+")
_LANGUAGE_LIMIT = 50

TEXT_PLAIN = (b"text", b"plain")
MESSAGE_RFC822 = (b"message", b"rfc822")
UNKNOWN = (b"application", b"octet-stream")

Fields = list[tuple[bytes, bytes]]
"""Header fields in order: the name in lower case; the value as it stands behind the colon, without its line end."""


@dataclass(slots=True)
class Part:
    """A message, or a part of one. All ``_start`` and ``_end`` are places in the stored bytes, ends exclusive.

    ``header_end`` is where the empty line is that ends the header; it is the same as ``body_start`` when there is none.
    Sizes are octets in CRLF form, ``lines`` are line ends in the body. ``type``, ``subtype``, ``encoding`` and names of
    parameters are in lower case.
    """

    header_start: int
    header_end: int = 0
    body_start: int = 0
    body_end: int = 0
    type: bytes = b"text"
    subtype: bytes = b"plain"
    parameters: Parameters = ()
    encoding: bytes = b"7bit"
    id: bytes | None = None
    description: bytes | None = None
    disposition: bytes | None = None
    disposition_parameters: Parameters = ()
    languages: tuple[bytes, ...] = ()
    location: bytes | None = None
    md5: bytes | None = None
    header_size: int = 0
    """Octets of the header with its empty line."""
    size: int = 0
    """Octets of the body."""
    lines: int = 0
    children: list["Part"] = field(default_factory=list)
    """Of a multipart."""
    message: "Part | None" = None
    """Of message/rfc822 and message/global: the message within."""
    fields: Fields = field(default_factory=list)
    """All fields of a message's header (the outermost or one within); those of other parts are not kept."""

    @property
    def is_multipart(self) -> bool:
        return self.type == b"multipart"

    def parameter(self, name: bytes) -> bytes | None:
        """A Content-Type parameter's value as it stands; ``name`` in lower case."""
        return next((value for key, value in self.parameters if key == name), None)

    def filename(self) -> str | None:
        """RFC 2183 2.3, else RFC 2046 4.5.1's older ``name``, decoded."""
        found = values.decoded(self.disposition_parameters, b"filename")
        return values.decoded(self.parameters, b"name") if found is None else found


def header_block(data: Data, start: int = 0, end: int | None = None) -> tuple[int, int]:
    """``(header_end, body_start)`` of the header that starts at ``start``; ``end`` is where there can be no more of it.

    A header ends at the first line that is neither a field nor the rest of one; an empty line there belongs to neither.
    """
    stop = len(data) if end is None else end
    if not isinstance(data, bytes):
        return _large_header_block(data, start, stop)
    if data[start : start + 1] in (b"F", b">"):
        match = _MBOX_LINE.match(data, start, stop)
        start = match.end() if match else start
    match = _BLOCK.match(data, start, stop)
    place = match.end() if match else start
    line = data[place : min(place + 2, stop)]
    if line[:1] == b"\n":
        return place, place + 1
    return place, place + 2 if line == b"\r\n" else place


def _large_header_block(data: Data, start: int, stop: int) -> tuple[int, int]:
    """``header_block`` of as much as it takes: of most headers that is little."""
    size = _WINDOW
    while True:
        piece = data[start : min(start + size, stop)]
        header_end, body_start = header_block(piece)
        # What follows the header, and the line after it that says whether an mbox line is one, must have been seen.
        seen = piece.find(b"\n", header_end)
        if not header_end and piece[:1] in (b"F", b">") and seen >= 0:
            seen = piece.find(b"\n", seen + 1)
        if seen >= 0 or len(piece) == stop - start:
            return start + header_end, start + body_start
        size *= 4


def scan_fields(data: Data, start: int, end: int, limit: int = LIMIT_HEADER) -> Fields:
    """The fields of a header block. Of a block of more than ``limit`` bytes only the beginning is searched."""
    return [(name.lower(), value) for name, value in _FIELD.findall(data[start : min(end, start + limit)])]


def parse(
    data: bytes | memoryview | bytearray | Data, *, limit_parts: int = LIMIT_PARTS, limit_depth: int = LIMIT_DEPTH
) -> Part:
    """The tree of a whole message. A memoryview or bytearray is copied, bytes and large files are not."""
    if isinstance(data, memoryview | bytearray):
        data = bytes(data)
    return _Parser(data, limit_parts, limit_depth).parse()


def walk(part: Part) -> list[Part]:
    """The part and all that it contains, in the order of the message, messages within included."""
    out = []
    stack = [part]
    while stack:
        one = stack.pop()
        out.append(one)
        if one.message is not None:
            stack.append(one.message)
        else:
            stack.extend(reversed(one.children))
    return out


class _Level:
    """A multipart that is open: its delimiter with the line end before it, and where that is found next."""

    __slots__ = ("boundary", "depth", "needle", "next", "part")

    def __init__(self, part: Part, boundary: bytes, depth: int) -> None:
        self.part = part
        self.boundary = boundary
        self.needle = b"\n--" + boundary
        # The place in the chain of open parts.
        self.depth = depth
        self.next = -1


class _Parser:
    """One pass from delimiter to delimiter. ``chain`` are the open parts, each within the one before it."""

    def __init__(self, data: Data, limit_parts: int, limit_depth: int) -> None:
        self.data = data
        self.limit_parts = limit_parts
        self.limit_depth = limit_depth
        self.parts: list[Part] = []
        self.chain: list[Part] = []
        self.levels: list[_Level] = []

    def parse(self) -> Part:
        data = self.data
        size = len(data)
        root = Part(0)
        self.open(root, size, TEXT_PLAIN, True)
        if self.levels:
            self.find_parts()
        for part in self.chain:
            part.body_end = size
        if len(self.parts) == 1:
            self.measure_one(root)
        else:
            self.measure()
        return root

    def find_parts(self) -> None:
        data = self.data
        size = len(data)
        levels = self.levels
        place = levels[-1].part.body_start - 1
        while levels:
            at, level = self.delimiter(place)
            if level is None:
                return
            line_end = data.find(b"\n", at + 1)
            if line_end < 0:
                line_end = size
            self.close(level.depth + 1, at)
            while levels[-1] is not level:
                levels.pop()
            tail = at + len(level.needle)
            if data[tail : tail + 2] == b"--":
                # RFC 2046 5.1.1: the close-delimiter; what follows is the epilogue.
                levels.pop()
                place = line_end
                continue
            if len(self.parts) >= self.limit_parts:
                # Reopened: the rest is this part's.
                if level.part.children:
                    self.chain.append(level.part.children[-1])
                return
            start = min(line_end + 1, size)
            part = Part(start)
            level.part.children.append(part)
            # The header ends at the next delimiter at the latest: a boundary may have a colon and look like a field.
            at, _ = self.delimiter(line_end)
            # RFC 2046 5.1.5: in a digest the default is a message.
            default = MESSAGE_RFC822 if level.part.subtype == b"digest" else TEXT_PLAIN
            self.open(part, min(at + 1, size), default, False)
            place = self.chain[-1].body_start - 1

    def delimiter(self, place: int) -> tuple[int, "_Level | None"]:
        """The next delimiter's line end and its level; ``(size, None)`` when there is no more.

        RFC 2046 5.1.1: the boundary need only be the beginning of the line. Where several fit, one that is the whole
        line wins over one that is its beginning, else the longest wins, then the innermost.
        """
        data = self.data
        size = len(data)
        best = size
        for level in self.levels:
            at = level.next
            if at < place:
                at = data.find(level.needle, place)
                level.next = at = size if at < 0 else at
            if at < best:
                best = at
        if best == size:
            return size, None
        fitting = [level for level in self.levels if level.next == best]
        if len(fitting) == 1:
            return best, fitting[0]
        return best, max(
            enumerate(fitting), key=lambda item: (self.is_whole_line(best, item[1]), len(item[1].boundary), item[0])
        )[1]

    def is_whole_line(self, at: int, level: _Level) -> bool:
        tail = at + len(level.needle)
        # The longest boundary that is allowed, white space and the hyphens of a close-delimiter.
        rest = self.data[tail : tail + 80]
        line, newline, _ = rest.partition(b"\n")
        if not newline and len(rest) == 80:
            return False
        return line.strip(b" \t\r") in (b"", b"--")

    def close(self, depth: int, at: int) -> None:
        """End the parts of the chain from ``depth`` on before the line end at ``at``, which is the delimiter's."""
        end = at - 1 if at and self.data[at - 1 : at] == b"\r" else at
        # The line end may have ended a header as well: who holds that header's part ends with it.
        for part in reversed(self.chain[depth:]):
            part.body_end = end = max(part.body_start, end)
        del self.chain[depth:]

    def open(self, part: Part, end: int, default: tuple[bytes, bytes], is_message: bool) -> None:
        """Read a part's header, and those of the messages that it starts with; they join the chain."""
        data = self.data
        while True:
            self.parts.append(part)
            self.chain.append(part)
            start = part.header_start
            part.header_end, part.body_start = header_block(data, start, end)
            part.body_end = part.body_start
            fields = scan_fields(data, start, part.header_end) if part.header_end > start else []
            describe(part, fields, default)
            if is_message:
                part.fields = fields
            deep = len(self.chain) >= self.limit_depth
            if part.type == b"multipart":
                boundary = part.parameter(b"boundary")
                boundary = boundary.rstrip(b" \t") if boundary else b""
                if not boundary:
                    # RFC 2045 5.2: what is not valid is taken as plain text.
                    part.type, part.subtype = TEXT_PLAIN
                    part.parameters = ()
                elif deep:
                    part.type, part.subtype = UNKNOWN
                else:
                    self.levels.append(_Level(part, boundary, len(self.chain) - 1))
                return
            # RFC 2046 5.2.1, RFC 6532 3.7.
            if part.type != b"message" or part.subtype not in (b"rfc822", b"global"):
                return
            if deep or len(self.parts) >= self.limit_parts:
                part.type, part.subtype = UNKNOWN
                return
            part.message = part = Part(part.body_start)
            end = max(end, part.header_start)
            default = TEXT_PLAIN
            is_message = True

    def measure_one(self, part: Part) -> None:
        data = self.data
        lines, pairs = count_lines(data, part.body_start, part.body_end)
        part.lines = lines
        part.size = part.body_end - part.body_start + lines - pairs
        lines, pairs = count_lines(data, 0, part.body_start)
        part.header_size = part.body_start + lines - pairs

    def measure(self) -> None:
        """Every stretch between two edges is counted once, however deep the parts lie in each other."""
        data = self.data
        edges: set[int] = set()
        for part in self.parts:
            edges.update((part.header_start, part.body_start, part.body_end))
        counts: dict[int, tuple[int, int]] = {}
        before = lines = pairs = 0
        for edge in sorted(edges):
            more_lines, more_pairs = count_lines(data, before, edge)
            lines += more_lines
            pairs += more_pairs
            counts[edge] = (lines, lines - pairs + edge)
            before = edge
        for part in self.parts:
            start = counts[part.body_start]
            end = counts[part.body_end]
            part.header_size = start[1] - counts[part.header_start][1]
            part.size = end[1] - start[1]
            part.lines = end[0] - start[0]


def describe(part: Part, fields: Fields, default: tuple[bytes, bytes] = TEXT_PLAIN) -> None:
    """Set what the Content- fields say. The first of several fields of one name counts."""
    found: dict[bytes, bytes] = {}
    for name, value in reversed(fields):
        if name.startswith(b"content-"):
            found[name] = value
    part.type, part.subtype = default
    if not found:
        return
    value = found.get(b"content-type", b"")
    if value:
        head, parameters = values.parse_value(value)
        kind, slash, subtype = head.partition(b"/")
        if slash:
            part.type, part.subtype, part.parameters = kind, subtype, parameters
        elif head == b"text":
            # RFC 1049's and later shorthand, which MIME does not know: the parameters are right all the same.
            part.type, part.subtype, part.parameters = b"text", b"plain", parameters
        elif value.strip():
            # RFC 2045 5.2: a field that is not valid stands for text/plain.
            part.type, part.subtype = TEXT_PLAIN
    if b"content-transfer-encoding" in found:
        value = found[b"content-transfer-encoding"]
        if b"(" in value:
            value = values.strip_comments(value)
        match = _ENCODING.fullmatch(value)
        if match is not None:
            part.encoding = match[1].lower()
    if len(found) == 1 and value:
        return
    if b"content-disposition" in found:
        head, parameters = values.parse_value(found[b"content-disposition"])
        if head and b"/" not in head:
            part.disposition, part.disposition_parameters = head, parameters
    if b"content-language" in found:
        # RFC 3282 2
        value = found[b"content-language"]
        part.languages = tuple(
            _LANGUAGE.findall(values.strip_comments(value) if b"(" in value else value)[:_LANGUAGE_LIMIT]
        )
    part.id = _line(found, b"content-id")
    part.description = _line(found, b"content-description")
    part.md5 = _line(found, b"content-md5")
    part.location = _line(found, b"content-location")


def _line(found: dict[bytes, bytes], name: bytes) -> bytes | None:
    value = found.get(name)
    return None if value is None else unfold(value).strip()
