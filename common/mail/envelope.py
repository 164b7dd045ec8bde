"""The envelope that IMAP shows of a message: who, to whom, when, about what (RFC 9051 2.3.5, 7.5.2).

Values are the header's own bytes, unfolded: encoded words stay encoded, 8-bit text stays what it is. Addresses are
taken apart here, with their display names, routes and groups; ``addresslist`` finds only the addresses, as ``str``.
What real mail does to the grammar of RFC 5322 3.4 is put up with: nothing raises, and time is linear in the input.
"""

import re
from typing import NamedTuple

from tubepost.common.mail.header import unfold
from tubepost.common.mail.structure import Fields

TOKEN_LIMIT = 100000
"""Tokens of one address field that are read; what comes after is left out."""

# RFC 9051 7.5.2: a NIL host would make a group of it, so an address without one gets a word that says so.
MISSING_HOST = b"MISSING_DOMAIN"
MISSING_MAILBOX = b"MISSING_MAILBOX"


class Address(NamedTuple):
    """``(name, route, mailbox, host)``, None where IMAP has NIL, quotes taken off.

    RFC 9051 7.5.2: the start of a group has its name as ``mailbox`` and no host, its end has neither.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END = Address(None, None, None, None)


class Envelope(NamedTuple):
    """The ten fields in IMAP's order. None: the field is not there; an empty value: it is there and empty."""

    date: bytes | None = None
    subject: bytes | None = None
    from_: tuple[Address, ...] = ()
    sender: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    in_reply_to: bytes | None = None
    message_id: bytes | None = None


_LOCAL = rb"[^\x00-\x20\"(),:;<>@\[\]\\\x7f]++"
_HOST = rb"[A-Za-z0-9._\x80-\xff-]++"
# One address of a list as nearly all are written, with what ends it.
_PLAIN = re.compile(
    rb'[ \t]*+(?:(?:"(?P<quoted>[^"\\]*+)"|(?P<words>' + _LOCAL + rb"(?:[ \t]++" + _LOCAL + rb")*+))?+"
    rb"[ \t]*+<(?P<local>" + _LOCAL + rb")@(?P<host>" + _HOST + rb")>|"
    rb"(?P<bare>" + _LOCAL + rb")@(?P<at>" + _HOST + rb"))[ \t\r]*+(?:,|\Z)"
)
# Each alternative ends by itself at the end of the input: an unclosed one takes the rest, and nothing is tried twice.
_TOKEN = re.compile(
    rb"""(?P<space>[ \t\r\n\0]++)
       | (?P<quoted>"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?)
       | (?P<literal>\[[^]\\]*+(?:\\.[^]\\]*+)*+\\?\]?)
       | (?P<atom>(?:[^ \t\r\n\0()<>,;:@."\[\\]++|\\.|\\\Z)++)
       | (?P<special>[()<>,;:@.])""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_PART = re.compile(rb"\\.|[()]", re.DOTALL)
_BACKSLASH = re.compile(rb"\\(.)", re.DOTALL)
_SPACES = re.compile(rb"[ \t\r\n\0]+")


def read(fields: Fields) -> Envelope:
    """The envelope from a message's header fields (``structure.scan_fields``)."""
    texts: dict[bytes, bytes] = {}
    more: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if name in _WANTED:
            if name not in texts:
                texts[name] = value
            elif name in _ADDRESS_FIELDS:
                # A second From that was left out here would be shown by other readers: all that say who are shown.
                more.setdefault(name, [texts[name]]).append(value)
    for name, values in more.items():
        texts[name] = b",".join(values)
    from_ = _addresses(texts, b"from")
    return Envelope(
        _text(texts, b"date"),
        _text(texts, b"subject"),
        from_,
        # RFC 9051 7.5.2: "absent or present but empty": the server sets what From has.
        _addresses(texts, b"sender") or from_,
        _addresses(texts, b"reply-to") or from_,
        _addresses(texts, b"to"),
        _addresses(texts, b"cc"),
        _addresses(texts, b"bcc"),
        _text(texts, b"in-reply-to"),
        _text(texts, b"message-id"),
    )


_ADDRESS_FIELDS = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))
_WANTED = _ADDRESS_FIELDS | {b"date", b"subject", b"in-reply-to", b"message-id"}


def _text(texts: dict[bytes, bytes], name: bytes) -> bytes | None:
    value = texts.get(name)
    return None if value is None else unfold(value).strip()


def _addresses(texts: dict[bytes, bytes], name: bytes) -> tuple[Address, ...]:
    value = texts.get(name)
    return () if value is None else parse_addresses(value)


def parse_addresses(value: bytes) -> tuple[Address, ...]:
    """All addresses of a field's value, in order, groups with their start and end."""
    if b"\n" in value:
        value = unfold(value)
    found: list[Address] = []
    place = 0
    while True:
        match = _PLAIN.match(value, place)
        if match is None:
            break
        quoted, words, local, host, bare, at = match.groups()
        if bare is not None:
            found.append(Address(None, None, bare, at))
        else:
            name = words if quoted is None else quoted.strip()
            if name and (b"  " in name or b"\t" in name):
                name = _SPACES.sub(b" ", name) if quoted is None else name
            found.append(Address(name or None, None, local, host))
        place = match.end()
        if place == len(value):
            return tuple(found)
    # From the first one that is not plain on; what came before cannot have been within a group or quotes.
    found.extend(_Parser(value, place).parse())
    return tuple(found)


class _Token(NamedTuple):
    kind: str
    start: int
    end: int
    spaced: bool
    """White space or a comment stands before it."""


class _Parser:
    """One pass over the tokens. ``words`` and ``comment`` are those since the last separator."""

    def __init__(self, value: bytes, place: int) -> None:
        self.value = value
        self.place = place
        self.words: list[_Token] = []
        self.comment = b""
        self.found: list[Address] = []
        self.in_group = False

    def parse(self) -> list[Address]:
        tokens = self.tokens()
        last_end = max((index for index, token in enumerate(tokens) if token.kind == ";"), default=-1)
        index = 0
        while index < len(tokens):
            token = tokens[index]
            kind = token.kind
            if kind == ",":
                self.flush()
            elif kind == ";":
                self.flush()
                self.end_group()
            elif kind == ":" and (index < last_end or index == len(tokens) - 1):
                # RFC 5322 3.4 group: what came before is its display name.
                name = self.phrase(self.words) or self.comment
                self.clear()
                self.end_group()
                self.found.append(Address(None, None, name, None))
                self.in_group = True
            elif kind == "<":
                index = self.angle(tokens, index + 1)
                continue
            elif kind == "comment":
                self.comment = self.comment or self.comment_text(token)
            elif kind not in (">", ":"):
                self.words.append(token)
            index += 1
        self.flush()
        self.end_group()
        return self.found

    def tokens(self) -> list[_Token]:
        value = self.value
        size = len(value)
        out: list[_Token] = []
        place = self.place
        spaced = False
        while place < size and len(out) < TOKEN_LIMIT:
            match = _TOKEN.match(value, place)
            if match is None:
                # A closing bracket, or a byte that stands for nothing.
                place += 1
                spaced = True
                continue
            kind = match.lastgroup or ""
            end = match.end()
            if kind == "special":
                kind = value[place : place + 1].decode("ascii")
                if kind == "(":
                    end = self.comment_end(place + 1)
                    kind = "comment"
            if kind == "space" or kind == ")":
                spaced = True
            else:
                out.append(_Token(kind, place, end, spaced))
                spaced = kind == "comment"
            place = end
        return out

    def comment_end(self, place: int) -> int:
        """The place behind a comment. RFC 5322 3.2.2: comments nest."""
        depth = 1
        for match in _COMMENT_PART.finditer(self.value, place):
            text = match[0]
            if text == b"(":
                depth += 1
            elif text == b")":
                depth -= 1
                if depth == 0:
                    return match.end()
        return len(self.value)

    def comment_text(self, token: _Token) -> bytes:
        text = self.value[token.start + 1 : token.end]
        text = text[:-1] if text.endswith(b")") else text
        return _SPACES.sub(b" ", _BACKSLASH.sub(rb"\1", text)).strip()

    def angle(self, tokens: list[_Token], index: int) -> int:
        """RFC 5322 3.4 angle-addr; gives the index behind it. A separator ends one that was never closed."""
        inside: list[_Token] = []
        routed = index < len(tokens) and tokens[index].kind == "@"
        route: bytes | None = None
        while index < len(tokens):
            kind = tokens[index].kind
            if kind == ">":
                index += 1
                break
            if kind == ":" and routed:
                # RFC 5322 4.4 obs-route; RFC 9051 7.5.2 addr-adl.
                route = b"".join(self.text(token) if token.kind != "," else b"," for token in inside)
                routed = False
                inside = []
            elif kind == ";" or (kind == "," and not routed) or kind == "<":
                break
            elif kind == "comment":
                self.comment = self.comment or self.comment_text(tokens[index])
            else:
                inside.append(tokens[index])
            index += 1
        # A comment may still come behind the address: "<a@b> (Name)".
        while index < len(tokens) and tokens[index].kind == "comment":
            self.comment = self.comment or self.comment_text(tokens[index])
            index += 1
        at = max((place for place, token in enumerate(inside) if token.kind == "@"), default=-1)
        name = self.phrase(self.words) or self.comment or None
        self.clear()
        if at < 0:
            local, host = self.join(inside), b""
        else:
            local, host = self.join(inside[:at]), self.join(inside[at + 1 :])
        self.found.append(Address(name, route, local or MISSING_MAILBOX, host or MISSING_HOST))
        return index

    def flush(self) -> None:
        """The words since the last separator: an address without brackets, or several with the commas left out."""
        words = self.words
        comment = self.comment or None
        found = len(self.found)
        begin = 0
        for at, token in enumerate(words):
            if token.kind != "@" or at < begin:
                continue
            left = at - 1
            while left > begin and self.joined(words, left):
                left -= 1
            left = max(left, begin)
            right = at + 1
            while right + 1 < len(words) and words[right + 1].kind != "@" and self.joined(words, right + 1):
                right += 1
            local = self.join(words[left:at])
            host = self.join(words[at + 1 : right + 1])
            name = self.phrase(words[begin:left]) or comment
            self.found.append(Address(name, None, local or MISSING_MAILBOX, host or MISSING_HOST))
            begin = right + 1
        if len(self.found) == found:
            if len(words) == 1 or (words and all(self.joined(words, index) for index in range(1, len(words)))):
                self.found.append(Address(comment, None, self.join(words) or MISSING_MAILBOX, MISSING_HOST))
            elif words:
                self.found.append(Address(self.phrase(words), None, MISSING_MAILBOX, MISSING_HOST))
        self.clear()

    def joined(self, words: list[_Token], index: int) -> bool:
        """Whether a word belongs to the one before it: it touches it, or a dot is one of them."""
        return not words[index].spaced or words[index].kind == "." or words[index - 1].kind == "."

    def clear(self) -> None:
        self.words = []
        self.comment = b""

    def end_group(self) -> None:
        if self.in_group:
            self.found.append(GROUP_END)
            self.in_group = False

    def text(self, token: _Token) -> bytes:
        """RFC 9051 7.5.2: after removing RFC 5322 quoting."""
        text = self.value[token.start : token.end]
        if token.kind == "quoted":
            text = text[1:-1] if len(text) > 1 and text.endswith(b'"') else text[1:]
        elif token.kind == "literal" or b"\\" not in text:
            return text
        return _BACKSLASH.sub(rb"\1", text)

    def join(self, words: list[_Token]) -> bytes:
        return b"".join([self.text(token) for token in words])

    def phrase(self, words: list[_Token]) -> bytes:
        pieces: list[bytes] = []
        for token in words:
            if pieces and token.spaced:
                pieces.append(b" ")
            pieces.append(self.text(token))
        return b"".join(pieces).strip()
