"""The arguments of one command, taken apart token by token (RFC 9051 9). Pure.

A ``Scanner`` walks over ``Command.args`` of the reader: literals stand behind their announcement, a streamed message is
only its marker. Each method reads one thing and moves on, or raises BadCommand; nothing else is ever raised.
"""

import re
from datetime import date as Date
from typing import NamedTuple, NoReturn

from tubepost.common.imap import names
from tubepost.common.imap.errors import BadCommand, BadName
from tubepost.common.imap.sets import SAVED, SET, SequenceSet, parse_set

# RFC 9051 9: ATOM-CHAR leaves out ( ) { SP CTL % * " \ ]; ASTRING-CHAR adds "]"; list-char adds % * ].
_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]++")
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]++")
_LIST_MAILBOX = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]++")
_QUOTED = re.compile(rb'"([^"\\\r\n\x00]*+(?:\\["\\][^"\\\r\n\x00]*+)*+)"')
_PAIR = re.compile(rb'\\(["\\])')
_LITERAL = re.compile(rb"(~?)\{([0-9]{1,20})\+?\}\r\n")
_STREAMED = re.compile(rb"\x00(~?)\{([0-9]{1,20})\+?\}")
_NUMBER = re.compile(rb"[0-9]{1,20}+")
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]++")
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
# RFC 9051 9: date-time, the day with a leading space or two digits.
_DATE_TIME = re.compile(
    rb'"( [0-9]|[0-9]{2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
_EPOCH = Date(1970, 1, 1).toordinal()
# RFC 9051 2.3.2, in the spelling that is always sent.
SYSTEM_FLAGS = {
    flag.lower(): flag for flag in (rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Seen", rb"\Draft")
}  # fmt: skip
KEYWORD_LIMIT = 255
"""Octets of a keyword: what a file name or an index row holds."""
_ENTRY = re.compile(rb"/(?:private|shared)(?:/[^/*%\x00-\x1f\x7f]++)++", re.IGNORECASE)
NUMBER_LIMIT = (1 << 32) - 1
NUMBER64_LIMIT = (1 << 63) - 1


class Message(NamedTuple):
    """A message, or a part of one, given as a literal: streamed (``data`` is None) or in memory."""

    size: int
    binary: bool
    data: bytes | None = None


class Scanner:
    """Reads ``data`` from ``place`` on. ``utf8``: the client enabled UTF-8 names (UTF8=ACCEPT, IMAP4rev2)."""

    __slots__ = ("data", "place", "separator", "utf8")

    def __init__(self, data: bytes, *, utf8: bool = False, separator: str = "/", place: int = 0) -> None:
        self.data = data
        self.place = place
        self.utf8 = utf8
        self.separator = separator

    def fail(self, what: str) -> NoReturn:
        """Raises BadCommand: ``what`` was wanted here."""
        raise BadCommand(f"Expected {what} at octet {self.place + 1} of the arguments")

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.place >= len(self.data)

    def end(self) -> None:
        """Nothing may be left. A blank at the end, as some clients send, is let pass."""
        if self.data[self.place :].strip(b" "):
            self.fail("the end of the command")

    def space(self) -> None:
        """One space."""
        if not self.skip(b" "):
            self.fail("a space")

    def peek(self) -> bytes:
        """The next octet, b"" at the end."""
        return self.data[self.place : self.place + 1]

    def skip(self, octets: bytes) -> bool:
        """Moves over exactly these octets when they are next."""
        if self.data.startswith(octets, self.place):
            self.place += len(octets)
            return True
        return False

    def expect(self, octets: bytes) -> None:
        """Exactly these octets must be next."""
        if not self.skip(octets):
            self.fail(repr(octets.decode("ascii", "replace")))

    def word(self, word: bytes) -> bool:
        """Moves over ``word`` (upper case) when it is next in any case and ends there."""
        match = _ATOM.match(self.data, self.place)
        if match is None or match.end() - self.place != len(word) or match.group().upper() != word:
            return False
        self.place = match.end()
        return True

    def expect_word(self, word: bytes) -> None:
        """``word`` (upper case) must be next, in any case."""
        if not self.word(word):
            self.fail(word.decode("ascii"))

    def atom(self) -> bytes:
        """An atom as it stands."""
        return self._match(_ATOM, "an atom").group()

    def keyword(self) -> bytes:
        """An atom in upper case: the names of options and items."""
        return self._match(_ATOM, "a word").group().upper()

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self.data, self.place)
        if match is None:
            self.fail(what)
        self.place = match.end()
        return match

    def string(self) -> bytes:
        """A quoted string or a literal (RFC 9051 4.3)."""
        found = self._string()
        if found is None:
            self.fail("a string")
        return found

    def _string(self, *, utf8: bool = True) -> bytes | None:
        first = self.data[self.place : self.place + 1]
        if first == b'"':
            match = _QUOTED.match(self.data, self.place)
            if match is None:
                self.fail("a quoted string that ends")
            self.place = match.end()
            text = match[1]
            if utf8 and not text.isascii():
                # RFC 9051 4.3, RFC 6855 3: UTF-8 may be quoted, nothing else beyond ASCII.
                try:
                    text.decode("utf-8")
                except UnicodeDecodeError:
                    raise BadCommand("A quoted string is not UTF-8") from None
            return _PAIR.sub(rb"\1", text) if b"\\" in text else text
        if first == b"{":
            return self._literal()
        return None

    def _literal(self) -> bytes:
        match = self._match(_LITERAL, "a literal")
        size = int(match[2])
        data = self.data[self.place : self.place + size]
        if len(data) != size:
            self.fail("a literal in full length")
        if not match[1] and b"\x00" in data:
            # RFC 9051 9: literal = … *CHAR8; NUL needs literal8.
            raise BadCommand("A literal has a NUL octet")
        self.place += size
        return data

    def literal8(self) -> bytes:
        """A string or ``~{n}`` with any octets (RFC 3516 4.4)."""
        if self.peek() == b"~" and _LITERAL.match(self.data, self.place):
            return self._literal()
        return self.string()

    def astring(self) -> bytes:
        """An atom (with ``]`` allowed) or a string."""
        match = _ASTRING.match(self.data, self.place)
        if match is not None:
            self.place = match.end()
            return match.group()
        found = self._string()
        if found is None:
            self.fail("an atom or a string")
        return found

    def octets(self) -> bytes:
        """An astring in a character set of its own, as SEARCH has. Clients quote what only a literal may bring."""
        match = _ASTRING.match(self.data, self.place)
        if match is not None:
            self.place = match.end()
            return match.group()
        found = self._string(utf8=False)
        if found is None:
            self.fail("an atom or a string")
        return found

    def nstring(self) -> bytes | None:
        """A string or NIL."""
        return None if self.word(b"NIL") else self.string()

    def text(self) -> str:
        """An astring that must be UTF-8: user names, entry values."""
        try:
            return self.astring().decode("utf-8")
        except UnicodeDecodeError:
            raise BadCommand("An argument is not UTF-8") from None

    def number(self, limit: int = NUMBER_LIMIT) -> int:
        """A number from 0 to ``limit`` (32 bits)."""
        value = int(self._match(_NUMBER, "a number").group())
        if value > limit:
            raise BadCommand(f"A number is above {limit}")
        return value

    def nz_number(self, limit: int = NUMBER_LIMIT) -> int:
        """A number from 1 on, without leading zeros."""
        if self.peek() == b"0":
            self.fail("a number that is not zero")
        return self.number(limit)

    def number64(self) -> int:
        """A number from 0 to 2**63 - 1 (RFC 9051 9)."""
        return self.number(NUMBER64_LIMIT)

    def sequence_set(self) -> SequenceSet:
        """A sequence set or ``$``."""
        match = SET.match(self.data, self.place)
        if match is not None:
            self.place = match.end()
            return parse_set(match.group())
        if not self.skip(b"$"):
            self.fail("a sequence set")
        return SAVED

    def plain_set(self) -> SequenceSet:
        """A set without ``*`` and ``$``, as QRESYNC's known UIDs (RFC 7162 3.2.5.2)."""
        found = self.sequence_set()
        if found.saved or found.has_star:
            raise BadCommand("A set of known numbers has a * or $")
        return found

    def mailbox(self) -> str:
        """A mailbox name, canonical. Raises BadName (answered NO) when it is no name."""
        return self.name_of(self.astring())

    def name_of(self, raw: bytes) -> str:
        """Decoded as the session's state wants it; UTF-8 that was not enabled is taken where it cannot be mistaken."""
        return names.decode(raw, utf8=self.utf8 or not raw.isascii(), separator=self.separator)

    def list_mailbox(self) -> str:
        """A LIST pattern: as a mailbox name, ``%`` and ``*`` allowed in the atom. What is no name matches nothing."""
        match = _LIST_MAILBOX.match(self.data, self.place)
        if match is None:
            raw = self.string()
        else:
            self.place = match.end()
            raw = match.group()
        try:
            return self.name_of(raw)
        except BadName:
            # No mailbox has such a name, and none matches (RFC 9051 6.3.9: that is no error).
            return "\x00"

    def flag(self) -> bytes:
        """One flag: system flags in their canonical spelling, keywords as written (RFC 9051 2.3.2)."""
        raw = self._match(_FLAG, "a flag").group()
        return canonical_flag(raw)

    def flag_list(self) -> tuple[bytes, ...]:
        """``(\\Seen $Forwarded)``, possibly empty, without repetitions."""
        self.expect(b"(")
        if self.skip(b")"):
            return ()
        return self._flags(b")")

    def _flags(self, closing: bytes) -> tuple[bytes, ...]:
        found: dict[bytes, bytes] = {}
        while True:
            flag = self.flag()
            found.setdefault(flag.lower(), flag)
            if not self.skip(b" "):
                break
        if closing:
            self.expect(closing)
        return tuple(found.values())

    def flags(self) -> tuple[bytes, ...]:
        """Flags with or without parentheses, as STORE takes them."""
        return self.flag_list() if self.peek() == b"(" else self._flags(b"")

    def date(self) -> int:
        """A date, quoted or not, as days since 1970-01-01."""
        match = self._match(_DATE, "a date such as 1-Feb-2024")
        return days(match[2], match[3], match[4])

    def date_time(self) -> tuple[int, int]:
        """``" 1-Feb-2024 12:00:00 +0100"`` as (seconds since the epoch, minutes east of UTC)."""
        match = self._match(_DATE_TIME, 'a date and time such as " 1-Feb-2024 12:00:00 +0000"')
        day = days(match[1], match[2], match[3])
        hour, minute, second = int(match[4]), int(match[5]), int(match[6])
        zone_hours, zone_minutes = int(match[8]), int(match[9])
        if hour > 23 or minute > 59 or second > 60 or zone_minutes > 59 or zone_hours > 14:
            raise BadCommand("Not a time of day or time zone")
        offset = zone_hours * 60 + zone_minutes
        if match[7] == b"-":
            offset = -offset
        return day * 86400 + hour * 3600 + minute * 60 + second - offset * 60, offset

    def message(self) -> Message:
        """The literal of a message: a streamed one's marker, or a literal or literal8 in memory."""
        match = _STREAMED.match(self.data, self.place)
        if match is not None:
            self.place = match.end()
            return Message(int(match[2]), bool(match[1]))
        match = _LITERAL.match(self.data, self.place)
        if match is None:
            self.fail("a literal")
        data = self._literal()
        return Message(len(data), bool(match[1]), data)

    def entry(self, *, above: bool = False) -> str:
        """A METADATA entry name in lower case (RFC 5464 4.1): /private/… or /shared/…; ``above``: these alone too."""
        raw = self.astring()
        if above and raw.lower() in (b"/private", b"/shared"):
            return raw.decode("ascii").lower()
        if _ENTRY.fullmatch(raw) is None or not raw.isascii():
            raise BadCommand("Not an entry name: it begins with /private/ or /shared/ and has no * % or empty level")
        return raw.decode("ascii").lower()

    def parenthesised_words(self) -> tuple[bytes, ...]:
        """``(WORD WORD)``, at least one, in upper case."""
        self.expect(b"(")
        found = [self.keyword()]
        while self.skip(b" "):
            found.append(self.keyword())
        self.expect(b")")
        return tuple(found)


def canonical_flag(raw: bytes) -> bytes:
    """A flag that may be stored, in its canonical spelling. Raises BadCommand."""
    if raw.startswith(b"\\"):
        flag = SYSTEM_FLAGS.get(raw.lower())
        if flag is None:
            # RFC 9051 2.3.2: \Recent cannot be set, and other names with a backslash are reserved.
            raise BadCommand(f"Flag {raw[:40].decode('ascii', 'replace')} cannot be set")
        return flag
    if len(raw) > KEYWORD_LIMIT:
        raise BadCommand(f"A keyword is longer than {KEYWORD_LIMIT} octets")
    return raw


def days(day: bytes, month: bytes, year: bytes) -> int:
    """Days since 1970-01-01. Raises BadCommand for a day that is in no calendar."""
    try:
        return Date(int(year), _MONTHS[month.lower()], int(day)).toordinal() - _EPOCH
    except (KeyError, ValueError):
        raise BadCommand("Not a date of the calendar") from None
