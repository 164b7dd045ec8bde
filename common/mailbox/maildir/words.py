"""Texts cut into the terms of the full-text index, and a search string into what it asks of them (pure).

IMAP wants substrings (RFC 9051 6.4.4), an index knows terms. Text is folded (``fold``), then cut where the kind of its
characters changes: words (letters, digits and marks of scripts that put space between words), runs of characters that
stand without space (Chinese, Japanese, Thai, Emoji), and all else, which is not indexed. Of a run every one, two and
three characters side by side are a term; a word is a term, and a very long one several that overlap. So a string that
lies within one word is in just those messages that have a term which contains it, and one of up to three characters of
a run is a term itself: those are answered by the index alone. For any other string the index names candidates, never
too few, and their text decides.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from tubepost.common.mail.text import normalize

PIECE = 40
"""Longest word that is one term, in characters; a longer one is cut into pieces of so many, each begun half of that
after the one before: whatever is no longer than HALF lies within one of them."""
HALF = PIECE // 2
GRAM = 3
TERMS_LIMIT = 100_000
"""Terms that are kept of one message: whoever sends more words makes the index of nobody grow without end."""
WANTS_LIMIT = 24
"""Of one search string, which may have many words."""

# Scripts without space between words, and Emoji.
_RUN = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3040-\u31ff"
    "\u3400-\u9fff\ua000-\ua4cf\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
# What is between words: ASCII that is no letter or digit, punctuation, symbols and space of Unicode.
_BETWEEN = (
    "\x00-/:-`{-\x7f\x80-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb-\xbf\xd7\xf7\u2000-\u206f\u20a0-\u20cf\u2100-\u2bff"
    "\u3000-\u3004\u3008-\u3020\u302a-\u3030\u303d-\u303f\ufe10-\ufe6f\ufeff\ufff0-\uffff"
)
_ASCII_WORD = re.compile(r"[0-9a-z]+")
_WORD = re.compile(f"[^{_BETWEEN}{_RUN}]+")
_RUNS = re.compile(f"[{_RUN}]+")
_PART = re.compile(f"(?P<word>[^{_BETWEEN}{_RUN}]+)|(?P<run>[{_RUN}]+)")


def fold(text: str) -> str:
    """The form in which texts are indexed and compared: i;unicode-casemap, ASCII then in lower case."""
    found = normalize(text)
    if found.isascii():
        return found.lower()
    # Of bytes ``lower`` changes ASCII alone, as the index does.
    return found.encode("utf-8", "replace").lower().decode("utf-8")


class Terms(NamedTuple):
    """``words`` belong to the vocabulary, in which substrings are looked for; ``grams`` do not. ``whole``: all that
    the text has; else the limit was reached."""

    words: set[str]
    grams: set[str]
    whole: bool


def terms(texts: Iterable[str], limit: int = TERMS_LIMIT) -> Terms:
    """Of folded texts."""
    words: set[str] = set()
    grams: set[str] = set()
    for text in texts:
        if text.isascii():
            found = set(_ASCII_WORD.findall(text))
        else:
            found = set(_WORD.findall(text))
            for run in set(_RUNS.findall(text)):
                grams.update(run)
                grams.update(map("".join, pairwise(run)))
                grams.update(map("".join, zip(run, run[1:], run[2:], strict=False)))
        for word in found:
            if len(word) > PIECE:
                words.update(_pieces(word))
            else:
                words.add(word)
        if len(words) + len(grams) > limit:
            return Terms(set(), set(), False)
    return Terms(words, grams, True)


def _pieces(word: str) -> list[str]:
    last = max(0, len(word) - PIECE + HALF - 1) // HALF
    return [word[place * HALF : place * HALF + PIECE] for place in range(last + 1)]


class Want(NamedTuple):
    """Terms of which a message must have one. ``how``: ``is``, ``has`` (contains ``text``), ``begins``, ``ends``;
    all but the first ask the vocabulary."""

    how: str
    text: str


class Needle(NamedTuple):
    """``text`` folded. A message that has it satisfies all of ``wants``; ``exact``: and only such a message does."""

    text: str
    wants: tuple[Want, ...]
    exact: bool


def needle(text: str) -> Needle:
    """Of a search string, which is not empty. No wants: the index cannot tell."""
    # RFC 9051 2.2: line ends are CRLF on the wire; texts are kept with LF.
    folded = fold(text.replace("\r\n", "\n"))
    parts = list(_PART.finditer(folded))
    wants: list[Want] = []
    exact = len(parts) == 1 and len(parts[0][0]) == len(folded)
    for part in parts:
        found = part[0]
        if part.lastgroup == "run":
            if len(found) <= GRAM:
                wants.append(Want("is", found))
            else:
                exact = False
                wants += [Want("is", found[place : place + GRAM]) for place in range(len(found) - GRAM + 1)]
            continue
        first, last = part.start() == 0, part.end() == len(folded)
        if len(found) > HALF:
            exact = False
            wants.append(Want("has", found[:HALF]))
            wants.append(Want("has", found[-HALF:]))
        elif first and last:
            wants.append(Want("has", found))
        elif first:
            wants.append(Want("ends", found))
        elif last:
            wants.append(Want("begins", found))
        else:
            wants.append(Want("is", found))
    different = list(dict.fromkeys(wants))
    if len(different) > WANTS_LIMIT:
        # The long ones are rare. With fewer wants there are more candidates.
        different.sort(key=lambda want: -len(want.text))
        del different[WANTS_LIMIT:]
        exact = False
    return Needle(folded, tuple(different), exact)
