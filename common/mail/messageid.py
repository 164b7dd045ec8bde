"""Message-Id fields (RFC 5322 3.6.4)."""

import re

_ID = re.compile(r"<[^<>\r\n]*>")


def make(queue_id: str, host: str, stamp: str = "") -> str:
    """An id with its angle brackets.

    ``queue_id`` never repeats in long form; for short ids give ``stamp`` (UTC, ``YYYYMMDDhhmmss``) as well, as Postfix.
    """
    return f"<{stamp}.{queue_id}@{host}>" if stamp else f"<{queue_id}@{host}>"


def extract(value: str) -> str:
    """The first id of a field's value, with angle brackets; else the whole value on one line, stripped."""
    match = _ID.search(value)
    return match.group() if match else " ".join(value.split())


def extract_all(value: str) -> list[str]:
    """All ids of a References or In-Reply-To field."""
    return _ID.findall(value)
