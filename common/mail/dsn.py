"""Enhanced status codes (RFC 3463): named ones, and taking them off and putting them before a text."""

import re
from typing import Final

# RFC 3463 2: class 2, 4 or 5; subject and detail of up to three digits without leading zeros.
_CODE = re.compile(r"([245])\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})")

SUCCESS: Final = "2.0.0"
ADDRESS_UNKNOWN: Final = "5.1.1"
DOMAIN_UNKNOWN: Final = "5.1.2"
ADDRESS_SYNTAX: Final = "5.1.3"
SENDER_SYNTAX: Final = "5.1.7"
SENDER_DOMAIN: Final = "5.1.8"
NULL_MX: Final = "5.1.10"  # RFC 7505 4.2
MAILBOX_FULL: Final = "5.2.2"
MESSAGE_TOO_LONG_FOR_MAILBOX: Final = "5.2.3"
SYSTEM_FULL: Final = "4.3.1"
SYSTEM_TROUBLE: Final = "4.3.0"
SYSTEM_SHUTDOWN: Final = "4.3.2"
MESSAGE_TOO_BIG: Final = "5.3.4"
SYSTEM_CONFIGURATION: Final = "5.3.5"
TEMPORARY_CONFIGURATION: Final = "4.3.5"
NO_ANSWER: Final = "4.4.1"
BAD_CONNECTION: Final = "4.4.2"
DNS_TROUBLE: Final = "4.4.3"
ROUTING_LOOP: Final = "5.4.6"
EXPIRED: Final = "4.4.7"
TOO_MANY_HOPS: Final = "5.4.0"
BAD_SEQUENCE: Final = "5.5.1"
BAD_SYNTAX: Final = "5.5.2"
TOO_MANY_RECIPIENTS: Final = "4.5.3"
BAD_ARGUMENT: Final = "5.5.4"
CONTENT_UNSUPPORTED: Final = "5.6.1"
CONVERSION_FAILED: Final = "5.6.3"
ADDRESS_NOT_ASCII: Final = "5.6.7"  # RFC 6531 3.5
POLICY: Final = "5.7.1"


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
