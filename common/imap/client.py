"""What a client reads: a server's responses from bytes as they come, and their values (RFC 9051 7 and 9). Pure.

::

    reader.feed(data)
    while (event := reader.next_event()) is not None:
        match event:
            case Response(b"*", data): …       # untagged: parse_untagged, then parse_list, parse_fetch, …
            case Response(b"+", data): …       # the server waits
            case Response(tag, data): …        # the end of a command: parse_status
            case LiteralBegin() | LiteralData() | LiteralEnd(): …   # a message's content, see ``stream``

Cut as you like, the same bytes give the same events (save where LiteralData is cut). Memory is bounded by the limits.
Other servers are read generously: what can be understood is, and nothing but BadResponse is ever raised.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tubepost.common.imap import names
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import Scanner

RESPONSE_LIMIT = 8 << 20
"""Octets of one response with its literals, those aside that are streamed."""
DEPTH_LIMIT = 100
"""Levels of parentheses in one response."""
_LITERAL = re.compile(rb"~?\{([0-9]{1,18})\+?\}\Z")
# A message's content: not gathered, but handed on as it comes.
_CONTENT = re.compile(rb"BODY\[\](?:<[0-9]+>)? ~?\{[0-9]{1,18}\+?\}\Z|RFC822 ~?\{[0-9]{1,18}\+?\}\Z", re.IGNORECASE)
_STREAMED = re.compile(rb"\x00\{([0-9]{1,18})\}")
_INLINE = re.compile(rb"~?\{([0-9]{1,18})\+?\}\r?\n")
_QUOTED = re.compile(rb'"([^"\\\r\n]*+(?:\\.[^"\\\r\n]*+)*+)"')
_PAIR = re.compile(rb"\\(.)")
# Generous: whatever is no space, parenthesis or string.
_ATOM = re.compile(rb'[^ ()"{\r\n\x00][^ ()"\r\n\x00]*+')
_ITEM = re.compile(rb"[A-Za-z0-9.\-]++(?:\[[^\]\r\n]*+\])?+(?:<[0-9]++>)?+")
_NUMBERED = re.compile(rb"([0-9]{1,10}) ([A-Za-z]++)(?: |\Z)")
_WORD = re.compile(rb"([A-Za-z][A-Za-z0-9\-]*+)(?: |\Z)")
_STATUS = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: |\Z)", re.IGNORECASE)
_CODE = re.compile(rb"\[([^ \]]++)(?: ([^\]]*+))?\] ?")


class BadResponse(ValueError):
    """The server said what no server may say."""


@dataclass(frozen=True, slots=True)
class Response:
    """``tag``: ``*``, ``+`` or that of the command; ``data`` what follows the space, literals as on the wire."""

    tag: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class LiteralBegin:
    """A message of ``size`` octets comes. In the response that it belongs to stands a mark of it: STREAMED."""

    size: int


@dataclass(frozen=True, slots=True)
class LiteralData:
    """The next octets of it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class LiteralEnd:
    """It is complete; the response goes on."""


Event = Response | LiteralBegin | LiteralData | LiteralEnd


class Streamed(NamedTuple):
    """Stands in values for a literal that was streamed."""

    size: int


Value = bytes | None | Streamed | tuple["Value", ...]
"""An atom or a string; NIL; a streamed literal; a list in parentheses."""


class ResponseReader:
    """``stream``: hand messages (``BODY[]``) on as they come; else they stand in the response, within the limit."""

    __slots__ = ("_buffer", "_gathered", "_left", "_limit", "_scanned", "_size", "_state", "_stream")

    def __init__(self, *, stream: bool = True, limit: int = RESPONSE_LIMIT) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        # Pieces of the response at hand.
        self._gathered: list[bytes] = []
        self._size = 0
        self._left = 0
        self._state: Callable[[], Event | None] = self._line

    def feed(self, data: bytes) -> None:
        """Octets as they were received."""
        self._buffer += data

    @property
    def buffered(self) -> bytes:
        """What was received and not yet read. After STARTTLS it must be nothing (RFC 9051 11.1)."""
        return bytes(self._buffer)

    def next_event(self) -> Event | None:
        """None: more octets are needed. Raises BadResponse; the connection is then of no more use."""
        return self._state()

    def _take(self, count: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return data

    def _gather(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise BadResponse(f"the server sent a response of more than {self._limit} octets")
        self._gathered.append(piece)

    def _line(self) -> Event | None:
        while True:
            end = self._buffer.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(self._buffer)
                if self._size + len(self._buffer) > self._limit:
                    raise BadResponse(f"the server sent a line of more than {self._limit} octets")
                return None
            line = self._take(end + 1)
            self._scanned = 0
            text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            if b"\x00" in text:
                raise BadResponse("the server sent a NUL outside of a literal")
            match = _LITERAL.search(text) if text.endswith(b"}") else None
            if match is None:
                self._gather(text)
                whole = b"".join(self._gathered)
                self._gathered.clear()
                self._size = 0
                return _response(whole)
            size = int(match[1])
            if self._stream and _CONTENT.search(text):
                self._gather(text[: match.start()] + b"\x00{%d}" % size)
                self._left = size
                self._state = self._content
                return LiteralBegin(size)
            if self._size + size > self._limit:
                raise BadResponse(f"the server announced {size} octets where none so large are expected")
            self._gather(text + b"\r\n")
            if len(self._buffer) < size:
                self._left = size
                self._state = self._literal
                return None
            # Here, and not by a call: one response may have very many of them.
            self._gather(self._take(size))

    def _literal(self) -> Event | None:
        if len(self._buffer) < self._left:
            return None
        self._gather(self._take(self._left))
        self._state = self._line
        return self._line()

    def _content(self) -> Event | None:
        if not self._left:
            self._state = self._line
            return LiteralEnd()
        if not self._buffer:
            return None
        data = self._take(min(self._left, len(self._buffer)))
        self._left -= len(data)
        return LiteralData(data)


def _response(line: bytes) -> Response:
    tag, _, rest = line.partition(b" ")
    # Some servers say "+" alone; everything else has a text.
    if not tag or (not rest and tag != b"+"):
        raise BadResponse(f"the server sent {_shown(line)}")
    return Response(tag, rest)


def _shown(data: bytes) -> str:
    return '"' + data[:80].decode("utf-8", "replace") + ('"' if len(data) <= 80 else '…"')


class Status(NamedTuple):
    """``word`` in upper case: OK NO BAD BYE PREAUTH; ``code`` in upper case, empty for none; ``value`` behind it."""

    word: bytes
    code: bytes
    value: bytes
    text: str


def parse_status(data: bytes) -> Status | None:
    """Of a tagged response, or of an untagged one; None for one that tells no status."""
    match = _STATUS.match(data)
    if match is None:
        return None
    rest = data[match.end() :]
    code = _CODE.match(rest)
    if code is None:
        return Status(match[1].upper(), b"", b"", rest.decode("utf-8", "replace"))
    text = rest[code.end() :].decode("utf-8", "replace")
    return Status(match[1].upper(), code[1].upper(), code[2] or b"", text)


class Untagged(NamedTuple):
    """``number`` is 0 where the response has none; ``name`` in upper case; ``rest`` follows it."""

    number: int
    name: bytes
    rest: bytes


def parse_untagged(data: bytes) -> Untagged:
    """``5 EXISTS``, ``LIST (…) "/" x``. Raises BadResponse."""
    match = _NUMBERED.match(data)
    if match is not None:
        return Untagged(int(match[1]), match[2].upper(), data[match.end() :])
    match = _WORD.match(data)
    if match is None:
        raise BadResponse(f"the server sent {_shown(data)}")
    return Untagged(0, match[1].upper(), data[match.end() :])


class Values:
    """Reads values one after the other."""

    __slots__ = ("data", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    @property
    def at_end(self) -> bool:
        return not self.data[self.place :].strip(b" ")

    def skip_spaces(self) -> None:
        while self.data.startswith(b" ", self.place):
            self.place += 1

    def next(self) -> Value:
        """Raises BadResponse."""
        # Lists that are open, the outermost first: no recursion, however deep they are.
        open_lists: list[list[Value]] = []
        while True:
            self.skip_spaces()
            first = self.data[self.place : self.place + 1]
            if first == b"(":
                self.place += 1
                if len(open_lists) >= DEPTH_LIMIT:
                    raise BadResponse("the server sent lists too deep within each other")
                open_lists.append([])
                continue
            if first == b")" and open_lists:
                self.place += 1
                value: Value = tuple(open_lists.pop())
            else:
                value = self._scalar(first)
            if not open_lists:
                return value
            open_lists[-1].append(value)

    def _scalar(self, first: bytes) -> Value:
        if first == b'"':
            match = self._match(_QUOTED)
            return _PAIR.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1]
        if first == b"\x00":
            return Streamed(int(self._match(_STREAMED)[1]))
        if first == b"{" or self.data.startswith(b"~{", self.place):
            size = int(self._match(_INLINE)[1])
            data = self.data[self.place : self.place + size]
            if len(data) != size:
                raise BadResponse("the server sent a literal that is cut short")
            self.place += size
            return data
        atom = self._match(_ATOM).group()
        return None if atom.upper() == b"NIL" else atom

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        match = pattern.match(self.data, self.place)
        if match is None:
            raise BadResponse(f"the server sent {_shown(self.data[self.place :])} where a value was expected")
        self.place = match.end()
        return match

    def item(self) -> bytes:
        """The name of a FETCH item with its section, in upper case: ``BODY[HEADER.FIELDS (…)]``. Raises BadResponse."""
        self.skip_spaces()
        return self._match(_ITEM).group().upper()


def parse_fetch(rest: bytes) -> dict[bytes, Value]:
    """What stands behind FETCH: item names in upper case to their values. Raises BadResponse."""
    values = Values(rest)
    values.skip_spaces()
    if not rest.startswith(b"(", values.place):
        raise BadResponse(f"the server sent FETCH {_shown(rest)}")
    values.place += 1
    found: dict[bytes, Value] = {}
    while True:
        values.skip_spaces()
        if rest.startswith(b")", values.place):
            return found
        name = values.item()
        found[name] = values.next()


def number_of(value: Value) -> int:
    """A number that came as an atom. Raises BadResponse."""
    if isinstance(value, bytes) and value.isdigit() and len(value) <= 20:
        return int(value)
    raise BadResponse("the server sent something else where a number was expected")


def words_of(value: Value) -> list[bytes]:
    """The atoms of a list; what else stands in it is left out."""
    return [word for word in value if isinstance(word, bytes)] if isinstance(value, tuple) else []


class Listed(NamedTuple):
    """A mailbox. ``attributes`` in lower case; ``separator`` empty where there are no levels; ``raw``: as it goes back
    to the server; ``name``: decoded."""

    attributes: frozenset[bytes]
    separator: str
    raw: bytes
    name: str


def parse_list(rest: bytes) -> Listed:
    """What stands behind LIST or LSUB (RFC 9051 7.3.1). Raises BadResponse."""
    values = Values(rest)
    attributes = frozenset(word.lower() for word in words_of(values.next()))
    separator = values.next()
    name = values.next()
    if name is None:
        name = b"NIL"
    if not isinstance(name, bytes) or isinstance(separator, (tuple, Streamed)):
        raise BadResponse(f"the server sent LIST {_shown(rest)}")
    divided = (separator or b"").decode("utf-8", "replace")
    return Listed(attributes, divided, name, decode_name(name, divided))


def decode_name(raw: bytes, separator: str) -> str:
    """A mailbox name in modified UTF-7, in UTF-8 where it is none, and whatever it is at last."""
    for utf8 in (False, True):
        try:
            return names.decode(raw, utf8=utf8, separator=separator or "/")
        except BadCommand:
            continue
    return raw.decode("latin-1")


def parse_capabilities(rest: bytes) -> frozenset[bytes]:
    """What stands behind CAPABILITY, in upper case."""
    return frozenset(rest.upper().split())


class Namespaces(NamedTuple):
    """Each a list of (prefix, separator)."""

    personal: list[tuple[str, str]]
    others: list[tuple[str, str]]
    shared: list[tuple[str, str]]


def parse_namespace(rest: bytes) -> Namespaces:
    """What stands behind NAMESPACE (RFC 9051 7.3.3). Raises BadResponse."""
    values = Values(rest)
    return Namespaces(*(_namespaces(values.next()) for _ in range(3)))


def _namespaces(value: Value) -> list[tuple[str, str]]:
    found = []
    for one in value if isinstance(value, tuple) and not isinstance(value, Streamed) else ():
        if isinstance(one, tuple) and len(one) >= 2 and isinstance(one[0], bytes):
            separator = one[1].decode("utf-8", "replace") if isinstance(one[1], bytes) else ""
            found.append((decode_name(one[0], separator), separator))
    return found


def parse_date_time(value: Value) -> int | None:
    """INTERNALDATE in seconds since the epoch; None for what is no date."""
    if not isinstance(value, bytes):
        return None
    try:
        return Scanner(b'"' + value + b'"').date_time()[0]
    except BadCommand:
        return None


def keep_flags(value: Value) -> tuple[str, ...]:
    """Of a message's flags those that another server may be given: not ``\\Recent`` and what only servers set."""
    kept = []
    for word in words_of(value):
        try:
            flag = Scanner(word)
            found = flag.flag()
            flag.end()
        except BadCommand:
            continue
        kept.append(found.decode("ascii"))
    return tuple(kept)
