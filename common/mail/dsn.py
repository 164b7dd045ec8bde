"""Enhanced status codes (RFC 3463): what is one, taken off a text, in another class. Pure."""

import re

# RFC 3463 2: class 2, 4 or 5; subject and detail of up to three digits without leading zeros.
_CODE = re.compile(r"([245])\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})")


def is_valid(code: str) -> bool:
    """Whether ``code`` is one whole enhanced status code."""
    return _CODE.fullmatch(code) is not None


def split(text: str, default: str = "") -> tuple[str, str]:
    """``("5.1.1", "no such user")`` of ``"5.1.1 no such user"``; ``(default, text)`` when no code stands before it."""
    match = _CODE.match(text)
    if match is None or text[match.end() : match.end() + 1] not in ("", " ", "\t"):
        return default, text
    return match.group(), text[match.end() :].lstrip(" \t")


def with_class(code: str, first: str) -> str:
    """The same subject and detail in another class: ``with_class("5.1.1", "4")`` → ``"4.1.1"``."""
    return first + code[1:]


def for_reply(code: int) -> str:
    """The undefined status of a reply code's class: 250 → 2.0.0, 451 → 4.0.0; empty for 3xx (RFC 2034 3)."""
    first = code // 100
    return f"{first}.0.0" if first in (2, 4, 5) else ""
