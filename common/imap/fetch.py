"""FETCH arguments: attributes, sections, macros and modifiers (RFC 9051 6.4.5). Pure.

Attributes are named tuples; ``echo`` is what the response says before the value, in the client's own spelling of header
names. RFC 3501's RFC822, RFC822.HEADER and RFC822.TEXT keep their own names in the answer.
"""

import re
from typing import NamedTuple

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import NUMBER64_LIMIT, Scanner
from tubepost.common.imap.sets import SequenceSet
from tubepost.common.imap.write import astring

_ITEM = re.compile(rb"[A-Za-z][A-Za-z0-9.]*+")
_PARTIAL = re.compile(rb"<([0-9]{1,19})\.([1-9][0-9]{0,18})>")
_PATH = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*+")
_TEXT = re.compile(rb"[A-Za-z]++(?:\.[A-Za-z]++)*+")

_SIMPLE = frozenset(
    (b"FLAGS", b"UID", b"INTERNALDATE", b"ENVELOPE", b"BODYSTRUCTURE", b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT",
     b"RFC822.SIZE", b"MODSEQ", b"EMAILID", b"THREADID", b"SAVEDATE")
)  # fmt: skip


class Section(NamedTuple):
    """What stands in ``BODY[…]``: ``path`` the part numbers, ``text`` one of b"", HEADER, TEXT, MIME, HEADER.FIELDS,
    HEADER.FIELDS.NOT, and ``fields`` the header names of the last two as written."""

    path: tuple[int, ...] = ()
    text: bytes = b""
    fields: tuple[bytes, ...] = ()

    @property
    def echo(self) -> bytes:
        """The section as the response repeats it."""
        parts = [b"%d" % number for number in self.path]
        if self.text:
            parts.append(self.text)
        echo = b".".join(parts)
        if self.fields:
            # A name that needed a literal is given back as the shortest string that has it.
            echo += b" (" + b" ".join(astring(field) for field in self.fields) + b")"
        return echo


class Attribute(NamedTuple):
    """One thing to fetch.

    ``name``: FLAGS, UID, INTERNALDATE, ENVELOPE, BODY (the structure without extensions), BODYSTRUCTURE, RFC822,
    RFC822.HEADER, RFC822.TEXT, RFC822.SIZE, MODSEQ, EMAILID, THREADID, SAVEDATE, PREVIEW, or with a ``section``:
    ``BODY[]``, BINARY, BINARY.SIZE. ``partial`` is (first octet from 0, octets).
    """

    name: bytes
    echo: bytes
    section: Section | None = None
    partial: tuple[int, int] | None = None
    peek: bool = True
    lazy: bool = False

    @property
    def sets_seen(self) -> bool:
        """Whether fetching it sets \\Seen (RFC 9051 6.4.5; RFC 3501 6.4.5 for RFC822 and RFC822.TEXT)."""
        return not self.peek


class Fetch(NamedTuple):
    """FETCH: whose attributes, and the modifiers of RFC 7162 and RFC 9394 (None or False where absent)."""

    numbers: SequenceSet
    attributes: tuple[Attribute, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: tuple[int, int] | None = None


def _plain(name: bytes) -> Attribute:
    return Attribute(name, name, None, None, name not in (b"RFC822", b"RFC822.TEXT"))


_PLAIN = {name: _plain(name) for name in (*_SIMPLE, b"BODY")}
# RFC 1730 6.4.5, dropped by its successors; Outlook still asks for it ([MS-STANOIMAP] 2.2.34). Answered as RFC822.
_PLAIN[b"RFC822.PEEK"] = Attribute(b"RFC822", b"RFC822")
# RFC 9051 6.4.5: macros stand alone, never in a list.
_FAST = (_PLAIN[b"FLAGS"], _PLAIN[b"INTERNALDATE"], _PLAIN[b"RFC822.SIZE"])
MACROS = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, _PLAIN[b"ENVELOPE"]),
    b"FULL": (*_FAST, _PLAIN[b"ENVELOPE"], _PLAIN[b"BODY"]),
}


def parse_fetch(scanner: Scanner, *, uid: bool = False) -> Fetch:
    """The arguments of FETCH and UID FETCH to their end; a UID FETCH always has UID (RFC 9051 6.4.9).

    Raises BadCommand.
    """
    numbers = scanner.sequence_set()
    scanner.space()
    attributes = parse_attributes(scanner)
    changed_since: int | None = None
    vanished = False
    partial: tuple[int, int] | None = None
    if scanner.skip(b" ("):
        while True:
            word = scanner.keyword()
            if word == b"CHANGEDSINCE" and changed_since is None:
                scanner.space()
                # RFC 7162 7: mod-sequence-value, 1*DIGIT; 0 asks for all.
                changed_since = scanner.number64()
            elif word == b"VANISHED" and not vanished:
                vanished = True
            elif word == b"PARTIAL" and partial is None:
                scanner.space()
                partial = parse_partial_range(scanner)
            else:
                raise BadCommand("Unknown or repeated FETCH modifier")
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    scanner.end()
    # RFC 7162 3.2.6: VANISHED is for UID FETCH and needs CHANGEDSINCE.
    if vanished and (changed_since is None or not uid):
        raise BadCommand("VANISHED is for UID FETCH with CHANGEDSINCE")
    # RFC 9394 3.3: PARTIAL is a modifier of UID FETCH.
    if partial is not None and not uid:
        raise BadCommand("PARTIAL is for UID FETCH")
    if uid and _PLAIN[b"UID"] not in attributes:
        attributes = (_PLAIN[b"UID"], *attributes)
    if changed_since is not None and _PLAIN[b"MODSEQ"] not in attributes:
        # RFC 7162 3.1.4.1: CHANGEDSINCE implies MODSEQ.
        attributes = (*attributes, _PLAIN[b"MODSEQ"])
    return Fetch(numbers, attributes, changed_since, vanished, partial)


def parse_partial_range(scanner: Scanner) -> tuple[int, int]:
    """``1:100`` or ``-1:-100`` (RFC 9394 4), as (nearer to zero, farther), both with their sign."""
    negative = scanner.skip(b"-")
    first = scanner.nz_number()
    scanner.expect(b":")
    if scanner.skip(b"-") != negative:
        raise BadCommand("The ends of a PARTIAL range have different signs")
    second = scanner.nz_number()
    low, high = min(first, second), max(first, second)
    return (-low, -high) if negative else (low, high)


def parse_attributes(scanner: Scanner) -> tuple[Attribute, ...]:
    """A macro, one attribute, or a list in parentheses, without repetitions."""
    if not scanner.skip(b"("):
        match = _ITEM.match(scanner.data, scanner.place)
        if match is not None:
            macro = MACROS.get(match.group().upper())
            if macro is not None and scanner.data[match.end() : match.end() + 1] in (b"", b" "):
                scanner.place = match.end()
                return macro
        return (parse_attribute(scanner),)
    return parse_list(scanner)


def parse_list(scanner: Scanner) -> tuple[Attribute, ...]:
    """Attributes up to the closing parenthesis; the opening one is behind us."""
    found: dict[Attribute, None] = {}
    while True:
        found[parse_attribute(scanner)] = None
        if not scanner.skip(b" "):
            break
    scanner.expect(b")")
    return tuple(found)


def parse_attribute(scanner: Scanner) -> Attribute:
    """One attribute. Raises BadCommand."""
    match = _ITEM.match(scanner.data, scanner.place)
    if match is None:
        scanner.fail("a FETCH attribute")
    name = match.group().upper()
    following = scanner.data[match.end() : match.end() + 1]
    if following != b"[":
        scanner.place = match.end()
        plain = _PLAIN.get(name)
        if plain is not None:
            return plain
        if name == b"PREVIEW":
            return _preview(scanner)
        raise BadCommand(f"Unknown FETCH attribute {name[:40].decode('ascii')}")
    if name not in (b"BODY", b"BODY.PEEK", b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"):
        raise BadCommand(f"Unknown FETCH attribute {name[:40].decode('ascii')} with a section")
    scanner.place = match.end() + 1
    binary = name.startswith(b"BINARY")
    section = _path_only(scanner) if binary else parse_section(scanner)
    scanner.expect(b"]")
    partial = None
    if name != b"BINARY.SIZE" and scanner.peek() == b"<":
        partial = _partial(scanner)
    peek = name not in (b"BODY", b"BINARY")
    shown = name.removesuffix(b".PEEK")
    echo = shown + b"[" + section.echo + b"]"
    if partial is not None:
        # RFC 9051 7.5.2: the answer has the origin octet alone.
        echo += b"<%d>" % partial[0]
    return Attribute(shown if binary else b"BODY[]", echo, section, partial, peek)


def _partial(scanner: Scanner) -> tuple[int, int]:
    match = _PARTIAL.match(scanner.data, scanner.place)
    if match is None:
        scanner.fail("a partial range such as <0.1024>")
    scanner.place = match.end()
    first, count = int(match[1]), int(match[2])
    if first > NUMBER64_LIMIT or count > NUMBER64_LIMIT:
        raise BadCommand("A partial range is too large")
    return first, count


def _preview(scanner: Scanner) -> Attribute:
    lazy = False
    # RFC 8970 6: "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"].
    if scanner.skip(b" ("):
        for word in _words(scanner):
            if word != b"LAZY":
                raise BadCommand("Unknown PREVIEW modifier")
        lazy = True
    return Attribute(b"PREVIEW", b"PREVIEW", lazy=lazy)


def _words(scanner: Scanner) -> list[bytes]:
    found = [scanner.keyword()]
    while scanner.skip(b" "):
        found.append(scanner.keyword())
    scanner.expect(b")")
    return found


def _numbers(scanner: Scanner) -> tuple[int, ...]:
    match = _PATH.match(scanner.data, scanner.place)
    if match is None:
        return ()
    scanner.place = match.end()
    return tuple(int(number) for number in match.group().split(b"."))


def _path_only(scanner: Scanner) -> Section:
    # RFC 3516 4.2: section-binary has part numbers alone.
    return Section(_numbers(scanner))


def parse_section(scanner: Scanner) -> Section:
    """What stands between the brackets of BODY (RFC 9051 9: section-spec); the closing one is left. Raises BadCommand.

    Also the SECTION of an IMAP URL (RFC 5092), which has the same grammar.
    """
    path = _numbers(scanner)
    if path and not scanner.skip(b"."):
        return Section(path)
    match = _TEXT.match(scanner.data, scanner.place)
    if match is None:
        if path:
            scanner.fail("a section after the dot")
        return Section()
    text = match.group().upper()
    scanner.place = match.end()
    if text in (b"HEADER", b"TEXT") or (text == b"MIME" and path):
        return Section(path, text)
    if text not in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"):
        raise BadCommand("Unknown section")
    scanner.expect(b" (")
    fields = [_field_name(scanner)]
    while scanner.skip(b" "):
        fields.append(_field_name(scanner))
    scanner.expect(b")")
    return Section(path, text, tuple(fields))


def _field_name(scanner: Scanner) -> bytes:
    name = scanner.astring()
    if not name:
        scanner.fail("a header field's name")
    return name
