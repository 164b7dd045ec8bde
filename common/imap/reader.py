"""Commands read from bytes as they come: lines, literals, the messages of APPEND, the lines of SASL and IDLE. Pure.

The session feeds what it received and takes events until there is none::

    reader.feed(data)
    while (event := reader.next_event()) is not None:
        ...

=================== ===================================================================================================
Command             a whole command; its literals stand in ``args`` behind their ``{n}`` CRLF, as on the wire
Continue            a literal is accepted and the client waits: send "+ OK"
LiteralBegin        a message is announced that must not stand in memory: answer with ``accept()`` or ``refuse()``;
                    no event comes before that. After ``accept()`` send "+ OK" when ``sync``
LiteralData/-End    the message; ``refuse()`` here too drops the rest of it and of the command
Line                a line asked for with ``expect_line()`` (SASL, IDLE's DONE)
Bad                 not a command: answer ``tag status text`` and go on
Bye                 the session must end: say BYE with the text and close
=================== ===================================================================================================

A streamed literal stands in ``args`` as NUL followed by its announcement, which no client can write: NUL is refused in
lines. Cut as you like, the same bytes give the same events (save where LiteralData is cut), and memory is bounded by
the limits given, whatever is announced.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass

# RFC 9051 9: tag = 1*<any ASTRING-CHAR except "+">; a verb is an atom.
_COMMAND = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]++) ([A-Za-z0-9!#$&'+,\-./:;<=>?@\[^_`|}~]++)(?: |\Z)")
_TAG = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,64}+)(?: |\Z)")
_UID = re.compile(rb"([A-Za-z]++)(?: |\Z)")
# RFC 9051 4.3, RFC 7888 3, RFC 3516 4.4 ("~"). 20 digits: more than any 63-bit number has.
_LITERAL = re.compile(rb"(~?)\{([0-9]{1,20})(\+?)\}\Z")
_FORBIDDEN = re.compile(rb"[\x00\r]")
_BEFORE_URL = re.compile(rb"(?:[( ])URL \Z", re.IGNORECASE)
_REPLACE_TARGET = re.compile(rb"[0-9*]+ \Z")

LINE_LIMIT = 65536
"""Octets of one command without its literals; RFC 9051 4.4 wants 8192 at least, Dovecot has 64 KiB."""
LITERAL_LIMIT = 131072
"""Octets of all literals of a command that stand in memory."""
LITERALS_LIMIT = 1000
"""Literals of one command that stand in memory."""
SWALLOW_LIMIT = 1 << 27
"""Octets of a refused literal that are read and dropped; past that the connection ends, as RFC 7888 4 allows."""


@dataclass(frozen=True, slots=True)
class Command:
    """``verb`` in upper case, ``UID`` and the next word together; ``args`` is what follows the space after it."""

    tag: bytes
    verb: bytes
    args: bytes


@dataclass(frozen=True, slots=True)
class Continue:
    """The client waits for leave to send a literal that stands in memory."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class LiteralBegin:
    """A message of ``size`` octets is announced. ``args`` ends with its marker: what can be known so far."""

    tag: bytes
    verb: bytes
    args: bytes
    size: int
    binary: bool
    sync: bool


@dataclass(frozen=True, slots=True)
class LiteralData:
    """The next octets of the message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class LiteralEnd:
    """The message is complete; the command is not."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Bad:
    """Answer ``tag status [code] text``; ``tag`` is ``*`` where none could be read."""

    tag: bytes
    text: str
    status: bytes = b"BAD"
    code: bytes = b""


@dataclass(frozen=True, slots=True)
class Bye:
    """Say BYE and close: going on is not possible."""

    text: str


Event = Command | Continue | LiteralBegin | LiteralData | LiteralEnd | Line | Bad | Bye


def is_message(verb: bytes, before: bytes) -> bool:
    """Whether a literal that follows ``before`` in the arguments of ``verb`` is a message (or a part: RFC 4469).

    Mailbox names and URLs may be literals too; those stand in memory.
    """
    if verb == b"APPEND":
        return before != b"" and _BEFORE_URL.search(before) is None
    if verb in (b"REPLACE", b"UID REPLACE"):
        return _REPLACE_TARGET.fullmatch(before) is None and before != b"" and _BEFORE_URL.search(before) is None
    return False


class Reader:
    """One connection's reading side. After ``Bye`` it gives nothing more."""

    __slots__ = (
        "_buffer", "_deciding", "_dropping", "_ended", "_line", "_literal", "_literal_limit", "_literals", "_memory",
        "_overflow", "_parts", "_scanned", "_streaming", "_streams", "_swallow", "_swallow_limit", "_tag", "_text",
        "_verb", "_verbs", "line_limit", "literals_limit",
    )  # fmt: skip

    def __init__(
        self,
        *,
        line_limit: int = LINE_LIMIT,
        literal_limit: int = LITERAL_LIMIT,
        literals_limit: int = LITERALS_LIMIT,
        swallow_limit: int = SWALLOW_LIMIT,
        streams: Callable[[bytes, bytes], bool] = is_message,
        verbs: Container[bytes] | None = None,
    ) -> None:
        """Limits in octets and literals; ``streams(verb, args so far)`` says which literals come as LiteralBegin.

        ``verbs``: the commands that there are. Literals of others are not asked for.
        """
        self.line_limit = line_limit
        self.literals_limit = literals_limit
        self._literal_limit = literal_limit
        self._swallow_limit = swallow_limit
        self._streams = streams
        self._verbs = verbs
        self._buffer = bytearray()
        self._scanned = 0
        self._line = False
        self._ended = False
        self._overflow = False
        self._deciding: LiteralBegin | None = None
        self._swallow = 0
        self._forget()

    def _forget(self) -> None:
        self._tag = b""
        self._verb = b""
        self._parts: list[bytes] = []
        self._text = 0
        self._memory = 0
        self._literals = 0
        self._literal = 0
        self._streaming = False
        self._dropping = False

    @property
    def waiting(self) -> int:
        """Octets held that no event gave yet."""
        return len(self._buffer)

    @property
    def idle(self) -> bool:
        """Whether nothing of a command has come yet: a session that times out here dies between commands."""
        return not (self._buffer or self._parts or self._literal or self._swallow or self._deciding or self._dropping)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """What the client sent."""
        if not self._ended:
            self._buffer += data

    def expect_line(self) -> None:
        """The next line is the answer to a SASL challenge or IDLE's DONE, not a command; for one line."""
        self._line = True

    def take_rest(self) -> bytes:
        """All that was fed and not used: after STARTTLS it must be dropped, after COMPRESS it is compressed data."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def set_literal_limit(self, octets: int) -> None:
        """From the next command on: small before the login, larger after it."""
        self._literal_limit = octets

    def accept(self) -> None:
        """Take the message that LiteralBegin announced."""
        if self._deciding is None:
            raise RuntimeError("there is no literal to accept")
        self._literal = self._deciding.size
        self._streaming = True
        self._deciding = None

    def refuse(self) -> None:
        """Leave the command, at LiteralBegin or within its message: the caller answers it, the rest is dropped."""
        begun = self._deciding
        if begun is not None:
            self._deciding = None
            if begun.sync:
                # RFC 9051 4.3: without "+" the client sends neither the literal nor the rest of the command.
                self._forget()
                return
            left = begun.size
        elif self._streaming:
            left = self._literal
        else:
            if self._tag and self._parts:
                # Between two messages of MULTIAPPEND: the rest of the line is still to come.
                self._drop(0)
            return
        self._drop(left)

    def _drop(self, left: int) -> None:
        if left > self._swallow_limit:
            self._overflow = True
        self._forget()
        self._dropping = True
        self._swallow = left

    def next_event(self) -> Event | None:
        """The next thing that happened; None when more input, ``accept()`` or ``refuse()`` is needed."""
        while not self._ended and self._deciding is None:
            if self._overflow:
                # RFC 7888 4: the server may close the connection rather than read it all.
                return self._end("Literal too large")
            if self._swallow:
                if not self._swallowed():
                    return None
            elif self._streaming:
                return self._message()
            elif self._literal:
                if len(self._buffer) < self._literal:
                    return None
                self._parts.append(self._take(self._literal))
                self._literal = 0
            else:
                line = self._take_line()
                if line is None:
                    return self._check_length()
                event = self._read_line(line)
                if event is not None:
                    return event
        return None

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._scanned = 0
        return data

    def _swallowed(self) -> bool:
        count = min(self._swallow, len(self._buffer))
        del self._buffer[:count]
        self._scanned = 0
        self._swallow -= count
        return not self._swallow

    def _message(self) -> Event | None:
        if not self._literal:
            self._streaming = False
            return LiteralEnd()
        if not self._buffer:
            return None
        data = self._take(min(self._literal, len(self._buffer)))
        self._literal -= len(data)
        return LiteralData(data)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = self._take(end + 1)
        # Bare LF is put up with, as telnet and old scripts send it.
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _check_length(self) -> Event | None:
        """A line that is too long already is answered before it ends, and dropped as it comes."""
        room = self.line_limit - self._text
        # One more for the CR.
        if len(self._buffer) <= room + 1:
            return None
        if self._dropping:
            # What matters of a dropped line is whether it ends in a literal's announcement.
            del self._buffer[:-64]
            self._scanned = len(self._buffer)
            return None
        if self._line:
            return self._end("Line too long")
        tag = self._tag or self._find_tag(bytes(self._buffer[:128]))
        self._drop(0)
        del self._buffer[:-64]
        self._scanned = len(self._buffer)
        return Bad(tag, "Command line too long")

    def _end(self, text: str) -> Bye:
        self._ended = True
        self._buffer.clear()
        self._forget()
        return Bye(text)

    @staticmethod
    def _find_tag(line: bytes) -> bytes:
        found = _TAG.match(line)
        return found[1] if found is not None else b"*"

    def _read_line(self, line: bytes) -> Event | None:
        if self._dropping:
            self._dropped_line(line)
            return None
        if self._line:
            self._line = False
            if len(line) > self.line_limit:
                return self._end("Line too long")
            return Line(line)
        too_long = len(line) > self.line_limit - self._text
        if not too_long and not self._parts and not line.endswith(b"}"):
            return self._whole(line)
        tag = self._tag or self._find_tag(line)
        if too_long:
            # The same way as a line that is found too long before its end: what matters is left to _dropped_line.
            self._drop(0)
            self._buffer[:0] = line[-64:] + b"\n"
            return Bad(tag, "Command line too long")
        return self._line_of_command(line, tag)

    def _dropped_line(self, line: bytes) -> None:
        found = _LITERAL.search(line[-32:])
        if found is None or not found[3]:
            # The end of the command, or a literal whose sender waits for the answer that was given already.
            self._forget()
            return
        self._drop(int(found[2]))

    def _fault(self, bad: Bad, line: bytes) -> Event:
        """The answer to a command that is wrong where it ends in ``line``, and the fate of what still comes."""
        found = _LITERAL.search(line[-32:])
        self._forget()
        if found is not None and found[3]:
            self._drop(int(found[2]))
        return bad

    def _whole(self, line: bytes) -> Event:
        """A command without literals: nearly every one."""
        found = _COMMAND.match(line)
        if found is None or _FORBIDDEN.search(line) is not None:
            return self._malformed(line)
        tag, verb = found.groups()
        verb = verb.upper()
        place = found.end()
        if verb == b"UID":
            second = _UID.match(line, place)
            if second is not None:
                verb = b"UID " + second[1].upper()
                place = second.end()
        return Command(tag, verb, line[place:])

    def _malformed(self, line: bytes) -> Bad:
        if _FORBIDDEN.search(line) is not None:
            return Bad(self._find_tag(line), "Command has a NUL or a CR in its line")
        tag = self._find_tag(line)
        if not line:
            return Bad(b"*", "Empty command line")
        if tag == b"*":
            return Bad(b"*", "Command has no valid tag")
        return Bad(tag, "Command has no valid name")

    def _line_of_command(self, line: bytes, tag: bytes) -> Event | None:
        if _FORBIDDEN.search(line) is not None:
            return self._fault(Bad(tag, "Command has a NUL or a CR in its line"), line)
        found = _LITERAL.search(line)
        if found is None:
            if not self._parts:
                return self._whole(line)
            self._parts.append(line)
            command = Command(self._tag, self._verb, b"".join(self._parts))
            self._forget()
            return command
        if not self._parts:
            start = self._whole(line)
            if isinstance(start, Bad):
                return self._fault(start, line)
            assert isinstance(start, Command)
            self._tag, self._verb = start.tag, start.verb
            rest = start.args
            if _LITERAL.search(rest) is None:
                # The announcement stands where the tag or the verb should be.
                return self._fault(Bad(tag, "Command has no valid name"), line)
            if self._verbs is not None and self._verb not in self._verbs:
                # RFC 9051 7.6
                return self._fault(Bad(tag, "There is no such command"), line)
        else:
            rest = line
        self._text += len(line)
        return self._announced(found, rest, line)

    def _announced(self, found: re.Match[bytes], rest: bytes, line: bytes) -> Event | None:
        tag = self._tag
        size = int(found[2])
        binary = bool(found[1])
        sync = not found[3]
        before = rest[: len(rest) - len(found.group())]
        if size >= 1 << 63:
            # RFC 9051 9: number64 is a 63-bit number.
            return self._fault(Bad(tag, "Literal too large", b"NO", b"TOOBIG"), line)
        # Only the end of what came before matters; the whole is joined for messages alone.
        if self._verb in (b"APPEND", b"REPLACE", b"UID REPLACE") or self._streams is not is_message:
            sofar = b"".join(self._parts) + before
            if self._streams(self._verb, sofar):
                marked = before + b"\x00" + found.group()
                self._parts.append(marked)
                self._deciding = LiteralBegin(tag, self._verb, sofar + marked[len(before) :], size, binary, sync)
                return self._deciding
        self._literals += 1
        self._memory += size
        if self._memory > self._literal_limit:
            return self._fault(Bad(tag, "Literal too large", b"NO", b"TOOBIG"), line)
        if self._literals > self.literals_limit:
            return self._fault(Bad(tag, "Too many literals in one command"), line)
        self._parts.append(rest + b"\r\n")
        self._literal = size
        return Continue(tag) if sync else None
