"""Address lists as they stand in header fields: find each mailbox's address, or put another in its place.

The grammar is RFC 5322 3.4 with what real mail does to it: comments that nest, groups, quoted strings, domain literals,
obsolete routes (4.4), display names that should have been quoted, missing commas, unclosed quotes, comments and angle
brackets. Nothing is thrown away: text outside of a replaced address stays as it was. Time is linear in the input.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tubepost.common.mail import address as addresses

TOKEN_LIMIT = 10240
"""Postfix header_address_token_limit: what comes after so many tokens is left as it is."""

# Each alternative ends by itself at the end of the input: an unclosed one takes the rest, and nothing is tried twice.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\0]++)
      | (?P<quoted>"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?)
      | (?P<literal>\[[^]\\]*+(?:\\.[^]\\]*+)*+\\?\]?)
      | (?P<atom>(?:[^ \t\r\n\0()<>,;:@."\[\\]++|\\.|\\\Z)++)
      | (?P<dot>\.)
      | (?P<special>[()<>,;:@])""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_PART = re.compile(r"\\.|[()]", re.DOTALL)
_SPACES = re.compile(r"[ \t\r\n]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = frozenset({"atom", "quoted", "literal"})
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)
# The whole of most fields: one plain address, with or without a plain display name.
_PLAIN = re.compile(
    r"[ \t]*+(?:(?:[A-Za-z0-9_'-]++[ \t]++)*+<)?"
    r"(?P<address>[A-Za-z0-9_=+/*'-]++(?:\.[A-Za-z0-9_=+/*'-]++)*+@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*+)"
    r"(?P<close>>?)[ \t\r\n]*+"
)


class Mailbox(NamedTuple):
    """One address in a list: its external form and the text span that stands for it (route included)."""

    address: str
    start: int
    end: int
    comma_missing: bool
    """True when nothing but space divides it from the mailbox before it."""


class _Token(NamedTuple):
    kind: str
    start: int
    end: int


def mailboxes(value: str, limit: int = TOKEN_LIMIT) -> list[Mailbox]:
    """The mailboxes of an address-list field's value, in order. Groups are gone into; ``<>`` is not an address."""
    plain = _PLAIN.fullmatch(value)
    if plain is not None and (plain["close"] == ">") == ("<" in value):
        return [Mailbox(plain["address"], plain.start("address"), plain.end("address"), False)]
    return _Parser(value, limit).parse()


def extract_addresses(value: str, limit: int = TOKEN_LIMIT) -> list[str]:
    """The addresses only, in external form."""
    return [mailbox.address for mailbox in mailboxes(value, limit)]


def replace(value: str, found: Sequence[Mailbox], new: Sequence[str]) -> str:
    """Put ``new[i]`` in the place of ``found[i]``; where both are the same the text stays, to the byte.

    Once anything changes, commas that were missing are put in (Postfix does so), for the result would be misread.
    """
    if all(mailbox.address == address for mailbox, address in zip(found, new, strict=True)):
        return value
    parts = []
    done = 0
    for mailbox, address in zip(found, new, strict=True):
        parts.append(value[done : mailbox.start])
        if mailbox.comma_missing:
            parts.append(", ")
        if mailbox.address == address:
            parts.append(value[mailbox.start : mailbox.end])
        else:
            parts.append(address)
        done = mailbox.end
    parts.append(value[done:])
    return "".join(parts)


def is_text(address: str) -> bool:
    """False for an address with bytes that were not UTF-8 (surrogates, from ``surrogateescape``)."""
    return address.isascii() or _SURROGATE.search(address) is None


class _Parser:
    """One pass over the tokens. ``words`` are those since the last separator: a display name or an address."""

    def __init__(self, value: str, limit: int) -> None:
        self.value = value
        self.limit = limit
        self.words: list[_Token] = []
        self.found: list[Mailbox] = []
        # Set by a mailbox, cleared by a separator: tells whether the next one follows without a comma.
        self.open = False

    def parse(self) -> list[Mailbox]:
        tokens = self.tokens()
        last_group_end = max((index for index, token in enumerate(tokens) if token.kind == ";"), default=-1)
        index = 0
        while index < len(tokens):
            token = tokens[index]
            if token.kind in ",;":
                self.flush()
                self.open = False
            elif token.kind == ":" and (index < last_group_end or index == len(tokens) - 1):
                # RFC 5322 3.4 group: what came before was its display name.
                self.words.clear()
                self.open = False
            elif token.kind == "<":
                # RFC 5322 3.4 name-addr: what came before was the display name.
                self.words.clear()
                index = self.angle(tokens, index + 1)
                continue
            elif token.kind != ">":
                self.words.append(token)
            index += 1
        self.flush()
        return self.found

    def tokens(self) -> list[_Token]:
        """Everything but white space and comments; at most ``limit`` tokens."""
        value = self.value
        out: list[_Token] = []
        place = 0
        while place < len(value) and len(out) < self.limit:
            match = _TOKEN.match(value, place)
            if match is None:
                place += 1
                continue
            kind = match.lastgroup or ""
            end = match.end()
            if kind == "special":
                kind = value[place]
                if kind == "(":
                    place = self.comment(place + 1)
                    continue
                if kind == ")":
                    # Closes nothing: "joe@x (Joe))" has one address, not two.
                    kind = "space"
            if kind != "space":
                out.append(_Token(kind, place, end))
            place = end
        return out

    def comment(self, place: int) -> int:
        """The place behind a comment. RFC 5322 3.2.2: comments nest."""
        depth = 1
        for match in _COMMENT_PART.finditer(self.value, place):
            character = match.group()
            if character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
                if depth == 0:
                    return match.end()
        return len(self.value)

    def angle(self, tokens: list[_Token], index: int) -> int:
        """An address in angle brackets; gives the index behind it. A comma ends one that was never closed."""
        words: list[_Token] = []
        routed = index < len(tokens) and tokens[index].kind == "@"
        route_end = 0
        start = tokens[index].start if index < len(tokens) else len(self.value)
        while index < len(tokens):
            kind = tokens[index].kind
            if kind == ">":
                index += 1
                break
            if kind == ":" and routed:
                # RFC 5322 4.4 obs-route: "SHOULD be ignored".
                routed = False
                route_end = len(words) + 1
            elif kind == ";" or (kind == "," and not routed) or kind == "<":
                break
            words.append(tokens[index])
            index += 1
        if words[route_end:]:
            self.add(words[route_end:], start)
        return index

    def flush(self) -> None:
        """The words since the last separator: addresses, divided where two of them touch without an operator."""
        words = self.words
        if not words:
            return
        begin = 0
        for index in range(1, len(words)):
            if words[index - 1].kind in _WORDS and words[index].kind in _WORDS and not self.touching(words, index):
                self.add(words[begin:index], words[begin].start)
                begin = index
        self.add(words[begin:], words[begin].start)
        words.clear()

    def touching(self, words: list[_Token], index: int) -> bool:
        left, right = words[index - 1], words[index]
        if left.end == right.start:
            return True
        return self.value[left.end - 1] in "%!" or self.value[right.start] in "%!"

    def add(self, words: list[_Token], start: int) -> None:
        value = self.value
        at = -1
        for index, token in enumerate(words):
            if token.kind == "@":
                at = index
        if at < 0:
            external = addresses.quote_local("".join(self.internal(token) for token in words))
        else:
            local = "".join(self.internal(token) for token in words[:at])
            domain = "".join(_SPACES.sub("", value[token.start : token.end]) for token in words[at + 1 :])
            external = f"{addresses.quote_local(local)}@{domain}"
        self.found.append(Mailbox(external, start, words[-1].end, self.open))
        self.open = True

    def internal(self, token: _Token) -> str:
        text = self.value[token.start : token.end]
        if token.kind == "quoted":
            text = text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:]
        elif token.kind == "literal" or "\\" not in text:
            return text
        if "\n" in text or "\r" in text:
            # RFC 5322 3.2.2: the line break of a fold is no part of the value.
            text = text.replace("\r", "").replace("\n", "")
        return _BACKSLASH.sub(r"\1", text)
