"""Mailbox names: modified UTF-7 both ways, INBOX, parents, and the patterns of LIST. Pure.

Inside, a name is a ``str`` in Unicode, its levels divided by the store's separator, which is an argument wherever it
matters. On the wire it is modified UTF-7 (RFC 3501 5.1.3) or, when the client enabled it, UTF-8 (RFC 6855, RFC 9051).
"""

import binascii
import re
from collections.abc import Iterator

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

    All places where the pattern may stand are held as the bits of one number that each character of the name moves:
    time is linear in the name whatever the pattern.
    """

    __slots__ = ("_accept", "_any", "_folded", "_level", "_masks", "_plain", "_start", "_wild", "separator", "text")

    def __init__(self, text: str, separator: str = "/") -> None:
        self.text = text
        self.separator = separator
        self._plain = "*" not in text and "%" not in text
        self._masks: dict[str, int] = {}
        self._folded: dict[str, int] = {}
        self._any = self._level = 0
        bit = 1
        for character in text:
            if character == "*":
                self._any |= bit
            elif character == "%":
                # "%" beside "*" adds nothing, and neither does a second "%" beside the first: both stay as they are.
                self._level |= bit
            else:
                self._masks[character] = self._masks.get(character, 0) | bit
                folded = character.upper() if character.isascii() else character
                self._folded[folded] = self._folded.get(folded, 0) | bit
            bit <<= 1
        self._accept = bit
        self._wild = self._any | self._level
        self._start = self._spread(1)

    def _spread(self, places: int) -> int:
        """Wildcards match nothing too: a place before one is also a place after it."""
        # Adding a run of wildcards to a place within it carries to the place just behind the run.
        return places | (((places & self._wild) + self._wild) ^ self._wild)

    def match(self, name: str) -> bool:
        """Whether the whole name matches; INBOX, alone or as first level, in whatever case."""
        inbox = name[:5] == INBOX and (len(name) == 5 or name.startswith(self.separator, 5))
        if self._plain and not inbox:
            return name == self.text
        if self.text == "*":
            return True
        return self._run(name, inbox) & self._accept != 0

    def _run(self, name: str, inbox: bool) -> int:
        places = self._start
        masks = self._folded if inbox else self._masks
        for index, character in enumerate(name):
            if index == 5:
                masks = self._masks
            stay = self._any if character == self.separator else self._wild
            places = (places & stay) | ((places & masks.get(character, 0)) << 1)
            if not places:
                return 0
            places = self._spread(places)
        return places


def join_reference(reference: str, pattern: str) -> str:
    """The pattern that a LIST with a reference asks for: the two side by side (RFC 9051 6.3.9)."""
    return reference + pattern
