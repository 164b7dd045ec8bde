"""EHLO keywords: the server's list made, the client's list read (RFC 5321 4.1.1.1, 4.2.1). Pure."""

import re
from collections.abc import Iterable, Mapping

# RFC 5321 4.1.1.1: ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_SEPARATORS = re.compile(r"[,\s]+")

DISCARDABLE = frozenset(
    {
        "8BITMIME",
        "AUTH",
        "BINARYMIME",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "ETRN",
        "LIMITS",
        "PIPELINING",
        "REQUIRETLS",
        "SIZE",
        "SMTPUTF8",
        "STARTTLS",
        "VRFY",
        "XCLIENT",
        "XFORWARD",
    }
)
"""What smtpd_discard_ehlo_keywords and smtp_discard_ehlo_keywords may name."""


def parse_discard(text: str) -> tuple[frozenset[str], bool, tuple[str, ...]]:
    """A ``*_discard_ehlo_keywords`` value: (keywords upper case, silent, names that no server knows)."""
    names = [name for name in _SEPARATORS.split(text) if name]
    silent = any(name.lower() in ("silent-discard", "silent_discard") for name in names)
    wanted = [name.upper() for name in names if name.lower() not in ("silent-discard", "silent_discard")]
    known = frozenset(name for name in wanted if name in DISCARDABLE)
    # RFC 3030 2: BINARYMIME cannot be had without CHUNKING.
    if "CHUNKING" in known:
        known |= {"BINARYMIME"}
    return known, silent, tuple(name for name in wanted if name not in DISCARDABLE)


def format_reply(greeting: str, keywords: Iterable[tuple[str, str]]) -> bytes:
    """The whole 250 answer to EHLO. ``keywords``: (keyword, arguments or ""), in the order to be said."""
    lines = [greeting]
    lines += [f"{keyword} {arguments}" if arguments else keyword for keyword, arguments in keywords]
    last = len(lines) - 1
    return "".join(f"250{' ' if i == last else '-'}{line}\r\n" for i, line in enumerate(lines)).encode("utf-8")


def parse_reply(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The keywords of an EHLO reply (its texts without the code), upper case, each with its arguments.

    The first line is the greeting and is skipped. ``AUTH=LOGIN``, which old servers say, counts as ``AUTH LOGIN``.
    A line that is no keyword is ignored, as Postfix does.
    """
    found: dict[str, tuple[str, ...]] = {}
    iterator = iter(lines)
    next(iterator, None)
    for line in iterator:
        words = line.split()
        if not words:
            continue
        name = words[0].upper()
        arguments = tuple(words[1:])
        if name.startswith("AUTH="):
            name, arguments = "AUTH", (words[0][5:], *words[1:])
        if not _KEYWORD.fullmatch(name):
            continue
        # Servers that say AUTH twice, once in each spelling, mean the union.
        found[name] = found.get(name, ()) + tuple(a for a in arguments if a not in found.get(name, ()))
    return found


def parse_limits(arguments: Iterable[str]) -> dict[str, int]:
    """The LIMITS keyword (RFC 9422 3): ``RCPTMAX=100 MAILMAX=50`` as numbers; what is not understood is ignored."""
    limits: dict[str, int] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        # RFC 9422 3.1: limit values are at most six digits for the registered names; nine is lenient and bounded.
        if equals and value.isascii() and value.isdigit() and len(value) <= 9:
            limits[name.upper()] = int(value)
    return limits


def size_limit(found: Mapping[str, tuple[str, ...]]) -> int | None:
    """The SIZE argument (RFC 1870 4) in bytes, 0 where the server names none; None without the keyword."""
    arguments = found.get("SIZE")
    if arguments is None:
        return None
    if arguments and arguments[0].isascii() and arguments[0].isdigit() and len(arguments[0]) <= 20:
        return int(arguments[0])
    return 0
