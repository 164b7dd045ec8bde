"""Mailbox names: modified UTF-7 both ways, INBOX, parents, and the patterns of LIST. Pure.

Inside, a name is a ``str`` in Unicode, its levels divided by the store's separator, which is an argument wherever it
matters. On the wire it is modified UTF-7 (RFC 3501 5.1.3) or, when the client enabled it, UTF-8 (RFC 6855, RFC 9051).
"""

import binascii
import re
from collections.abc import Iterator, Sequence

from tubepost.common.imap.errors import BadName

_PRINTABLE = re.compile(rb"[ -~]*+")
_TO_ENCODE = re.compile(r"&|[^ -~]+")
_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*+)-")
_CONTROL = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
INBOX = "INBOX"


def encode_utf7(name: str) -> bytes:
    """Modified UTF-7. Raises BadName when the name holds half a surrogate pair."""
    if name.isascii() and "&" not in name and name.isprintable():
        return name.encode("ascii")
    try:
        return _TO_ENCODE.sub(_shift, name).encode("ascii")
    except UnicodeEncodeError:
        raise BadName("Mailbox name holds half a character") from None


def _shift(match: re.Match[str]) -> str:
    text = match.group()
    if text == "&":
        return "&-"
    # RFC 3501 5.1.3: base64 of UTF-16 without padding, "," in the place of "/".
    coded = binascii.b2a_base64(text.encode("utf-16-be"), newline=False).rstrip(b"=")
    return "&" + coded.replace(b"/", b",").decode("ascii") + "-"


def decode_utf7(data: bytes) -> str:
    """The name that modified UTF-7 stands for. Raises BadName.

    RFC 3501 5.1.3 leaves exactly one spelling for a name, so whatever does not encode back to itself is refused:
    printable ASCII in base64, superfluous shifts, bits left over.
    """
    if _PRINTABLE.fullmatch(data) is None:
        raise BadName("Mailbox name is not modified UTF-7")
    if b"&" not in data:
        return data.decode("ascii")
    parts = []
    place = 0
    while (start := data.find(b"&", place)) >= 0:
        parts.append(data[place:start].decode("ascii"))
        match = _SHIFTED.match(data, start)
        if match is None:
            raise BadName("Mailbox name is not modified UTF-7")
        coded = match[1].replace(b",", b"/")
        try:
            raw = binascii.a2b_base64(coded + b"=" * (-len(coded) % 4))
            parts.append(raw.decode("utf-16-be") if coded else "&")
        except ValueError:
            raise BadName("Mailbox name is not modified UTF-7") from None
        place = match.end()
    parts.append(data[place:].decode("ascii"))
    name = "".join(parts)
    if encode_utf7(name) != data:
        raise BadName("Mailbox name is not modified UTF-7")
    return name


def decode(data: bytes, *, utf8: bool = False, separator: str = "/") -> str:
    """A mailbox name as it came, canonical. Raises BadName.

    ``utf8``: the client enabled UTF8=ACCEPT or IMAP4rev2, after which "&" is an ordinary character (RFC 9051 A.1).
    Control characters are refused either way (RFC 9051 5.1, RFC 5198 2).
    """
    if utf8:
        try:
            name = data.decode("utf-8")
        except UnicodeDecodeError:
            raise BadName("Mailbox name is not UTF-8") from None
    else:
        name = decode_utf7(data)
    if _CONTROL.search(name) is not None:
        raise BadName("Mailbox name has a control character")
    return canonical(name, separator)


def encode(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name as it goes out, unquoted. Raises BadName."""
    if not utf8:
        return encode_utf7(name)
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        raise BadName("Mailbox name holds half a character") from None


def canonical(name: str, separator: str = "/") -> str:
    """INBOX in upper case, alone or as the first level (RFC 9051 5.1); other names as they are."""
    if name[:5].upper() == INBOX and (len(name) == 5 or name.startswith(separator, 5)):
        return INBOX + name[5:]
    return name


def parent(name: str, separator: str = "/") -> str:
    """The name one level up; "" for a name at the top."""
    return name.rpartition(separator)[0]


def parents(name: str, separator: str = "/") -> Iterator[str]:
    """All names above, nearest first."""
    while (cut := name.rfind(separator)) > 0:
        name = name[:cut]
        yield name


def is_below(name: str, above: str, separator: str = "/") -> bool:
    """Whether ``name`` stands somewhere below ``above``."""
    return name.startswith(above) and name.startswith(separator, len(above)) and len(name) > len(above) + 1


class Pattern:
    """A LIST pattern: ``*`` stands for anything, ``%`` for anything without the separator (RFC 9051 6.3.9).

    What stands between two ``*`` is looked for from the left, each piece at the first place where it can be: no later
    one could serve better, so nothing is tried twice. Time is at most that of the name's length by itself, whatever the
    pattern, and most names are turned down by one look.
    """

    __slots__ = ("_exact", "_least", "_levels", "_segments", "separator", "text")

    def __init__(self, text: str, separator: str = "/") -> None:
        self.text = text
        self.separator = separator
        self._exact: _Places | None = None
        self._levels = [level.split("%") for level in text.split(separator)] if "*" not in text else []
        self._segments: _Segments | None = None
        # A name that is shorter than what is literal cannot match.
        self._least = len(text) - text.count("*") - text.count("%")

    def match(self, name: str) -> bool:
        """Whether the whole name matches; INBOX, alone or as first level, in whatever case."""
        if self.text == "*":
            return True
        if len(name) < self._least:
            return False
        if name[:5] == INBOX and (len(name) == 5 or name.startswith(self.separator, 5)):
            if self._exact is None:
                self._exact = _Places(self.text, self.separator)
            return self._exact.match(name)
        if self._levels:
            return self._in_levels(name)
        if self._segments is None:
            self._segments = _Segments(self.text.split("*"), self.separator)
        return self._segments.match(name)

    def _in_levels(self, name: str) -> bool:
        """Without ``*`` each level stands for one level."""
        levels = name.split(self.separator)
        return len(levels) == len(self._levels) and all(map(_is_level, levels, self._levels))


class _Segments:
    """What stands between the ``*`` of a pattern: literal pieces, with ``%`` between them."""

    __slots__ = ("_first", "_last", "_middle", "_separator")

    def __init__(self, segments: Sequence[str], separator: str) -> None:
        self._separator = separator
        self._first = segments[0].split("%")
        # Looked for from the end of the name.
        self._last = segments[-1][::-1].split("%")
        self._middle = [segment.split("%") for segment in segments[1:-1] if segment]

    def match(self, name: str) -> bool:
        place = self._at_start(self._first, name)
        last = self._at_start(self._last, name[::-1]) if place >= 0 else -1
        if last < 0:
            return False
        end = len(name) - last
        for pieces in self._middle:
            place = self._find(pieces, name, place, end)
            if place < 0:
                return False
        return place <= end

    def _at_start(self, pieces: Sequence[str], name: str) -> int:
        """Where they end that begin with the name, -1 when they do not."""
        if not name.startswith(pieces[0]):
            return -1
        return self._follow(pieces, name, len(pieces[0]), len(name))[0]

    def _find(self, pieces: Sequence[str], name: str, place: int, end: int) -> int:
        """Where they end that begin at the first possible place, -1 when there is none."""
        first = pieces[0]
        while (start := name.find(first, place, end)) >= 0:
            after, barrier = self._follow(pieces, name, start + len(first), end)
            if after >= 0 or barrier < 0:
                return after
            # What was missing before this separator is missing for each beginning before it.
            place = max(start + 1, barrier + 1 - len(first))
        return -1

    def _follow(self, pieces: Sequence[str], name: str, place: int, end: int) -> tuple[int, int]:
        """Where the other pieces end; or -1, and the separator (-1: the end) before which one is missing."""
        for piece in pieces[1:]:
            barrier = name.find(self._separator, place, end)
            found = name.find(piece, place, end if barrier < 0 else min(end, barrier + len(piece)))
            if found < 0:
                return -1, barrier
            place = found + len(piece)
        return place, -1


def _is_level(level: str, pieces: Sequence[str]) -> bool:
    if len(pieces) == 1:
        return level == pieces[0]
    place, end = len(pieces[0]), len(level) - len(pieces[-1])
    if place > end or not level.startswith(pieces[0]) or not level.endswith(pieces[-1]):
        return False
    for piece in pieces[1:-1]:
        place = level.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return True


class _Places:
    """The same for names below INBOX, where some letters are compared without case.

    All places where the pattern may stand are held as the bits of one number that each character of the name moves.
    """

    __slots__ = ("_accept", "_any", "_folded", "_masks", "_separator", "_start", "_wild")

    def __init__(self, text: str, separator: str) -> None:
        self._separator = separator
        self._masks: dict[str, int] = {}
        self._folded: dict[str, int] = {}
        self._any = level = 0
        bit = 1
        for character in text:
            if character == "*":
                self._any |= bit
            elif character == "%":
                # "%" beside "*" adds nothing, and neither does a second "%" beside the first: both stay as they are.
                level |= bit
            else:
                self._masks[character] = self._masks.get(character, 0) | bit
                folded = character.upper() if character.isascii() else character
                self._folded[folded] = self._folded.get(folded, 0) | bit
            bit <<= 1
        self._accept = bit
        self._wild = self._any | level
        self._start = self._spread(1)

    def _spread(self, places: int) -> int:
        """Wildcards match nothing too: a place before one is also a place after it."""
        # Adding a run of wildcards to a place within it carries to the place just behind the run.
        return places | (((places & self._wild) + self._wild) ^ self._wild)

    def match(self, name: str) -> bool:
        places = self._start
        masks = self._folded
        for index, character in enumerate(name):
            if index == 5:
                masks = self._masks
            stay = self._any if character == self._separator else self._wild
            places = (places & stay) | ((places & masks.get(character, 0)) << 1)
            if not places:
                return False
            places = self._spread(places)
        return places & self._accept != 0


def join_reference(reference: str, pattern: str) -> str:
    """The pattern that a LIST with a reference asks for: the two side by side (RFC 9051 6.3.9)."""
    return reference + pattern
