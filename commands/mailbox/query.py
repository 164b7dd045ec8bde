"""A search as a person types it: IMAP's SEARCH (RFC 9051 6.4.4), with the shell's quoting put up with."""

import re
import time
from collections.abc import Sequence

import click
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import Scanner
from tubepost.common.imap.search import Key, parse_search
from tubepost.common.imap.write import quoted

from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.values import Context

QUERY = click.argument("query", nargs=-1, required=True, metavar="QUERY...")
HELP = (
    "QUERY is a search as IMAP has it: all; unseen; from alice; subject 'two words' since 1-Feb-2026; "
    "or (larger 1000000) (not seen); text 会议; uid 1:100; older 2592000."
)
# An atom, a set, or something with parentheses or quotes of its own.
_AS_IT_IS = re.compile(r"[!#$&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~\\]+")
_LARGEST = (1 << 32) - 1
_IN_QUOTES = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s()"]+|[\s()]+|"')


def parse(words: Sequence[str]) -> Key:
    """Words of a command line as a search. A word with a space or letters beyond ASCII in it is one string.

    Raises ValueError.
    """
    text = _requote(words[0]) if len(words) == 1 else " ".join(_word(word) for word in words)
    scanner = Scanner(text.encode("utf-8", "replace"), utf8=True)
    try:
        found = parse_search(scanner)
    except BadCommand as error:
        raise ValueError(f"{error.text} of the search: {text}") from None
    if found.options is not None:
        raise ValueError("RETURN has no meaning here")
    return found.key


def _word(word: str) -> str:
    if _AS_IT_IS.fullmatch(word):
        return word
    if " " in word and not word.startswith("(") and not _IN_QUOTES.fullmatch(word):
        # ``Photos (old)`` after ``subject`` are words to be found, and not all old messages.
        return _quote(word)
    if word and (word[0] in '("' or word[-1] in ')"') and word.isascii():
        return word
    if word.startswith("(") or word.endswith(")"):
        return _requote(word)
    return _quote(word)


def _requote(text: str) -> str:
    """A whole search in one word: only what is not ASCII needs quotes."""
    pieces = []
    for piece in _WORDS.findall(text):
        pieces.append(_quote(piece) if not piece.isascii() and not piece.startswith('"') else piece)
    return "".join(pieces).strip()


def _quote(word: str) -> str:
    if "\r" in word or "\n" in word or "\0" in word:
        raise ValueError("a search has a line end in it")
    return quoted(word).decode("utf-8", "replace")


def find(folder: Folder, key: Key) -> list[int]:
    """UIDs of the messages that match, ascending. Raises OSError, IndexTrouble."""
    folder.sync()
    recent = folder.status().recent
    return list(folder.search(key, Context(now=time.time(), recent=[(recent, _LARGEST)])).run())
