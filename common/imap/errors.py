"""What is wrong with a command, ready for the tagged answer. Pure.

The three parts of the answer are ``status`` (BAD or NO), ``code`` (a response code without its brackets, or empty) and
``text``.
"""


class BadCommand(ValueError):
    """The client's mistake. Every parser of this package raises this (or a subclass) and nothing else."""

    status = b"BAD"
    code = b""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class BadName(BadCommand):
    """A mailbox name that no mailbox can have (RFC 9051 7.1: CANNOT)."""

    status = b"NO"
    code = b"CANNOT"


class BadCharset(BadCommand):
    """A SEARCH, SORT or THREAD in a character set that is not known (RFC 9051 7.1: BADCHARSET)."""

    status = b"NO"
    code = b"BADCHARSET (US-ASCII UTF-8)"


class TooMuch(BadCommand):
    """A command past a limit of this server (RFC 7888 4, RFC 5530: TOOBIG, LIMIT)."""

    status = b"NO"
    code = b"LIMIT"
