"""The arguments of APPEND and REPLACE, whole or as far as a message's beginning. Pure.

While a message streams, its literal is a marker (see ``reader``), so the same functions read the arguments twice: of
the LiteralBegin, to decide whether the message is wanted, and of the Command, when all is there.
"""

from typing import NamedTuple

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import Message, Scanner
from tubepost.common.imap.sets import SequenceSet


class Part(NamedTuple):
    """A piece of a message of CATENATE (RFC 4469): text (given as TEXT, or as UTF8 of RFC 6855 4) or the IMAP URL of
    what to take; one of the two is None."""

    text: Message | None = None
    url: bytes | None = None


class NewMessage(NamedTuple):
    """One message of APPEND: ``time`` is (seconds, minutes east of UTC), None for now. ``parts`` are several only with
    CATENATE. ``utf8``: given as ``UTF8 (…)`` (RFC 6855 4). ``whole`` is False where the text stops within it."""

    flags: tuple[bytes, ...]
    time: tuple[int, int] | None
    parts: tuple[Part, ...]
    catenate: bool = False
    utf8: bool = False
    whole: bool = True


class Append(NamedTuple):
    """APPEND, and what follows the number in REPLACE: at a LiteralBegin the last part is the one that begins there."""

    mailbox: str
    messages: tuple[NewMessage, ...]


def append(scanner: Scanner, *, beginning: bool = False) -> Append:
    """APPEND (RFC 9051 6.3.12, RFC 3502, RFC 4469, RFC 6855).

    ``beginning``: these are a LiteralBegin's arguments, which stop at a literal.
    """
    name = scanner.mailbox()
    messages = []
    while True:
        scanner.space()
        messages.append(_new_message(scanner, beginning))
        if scanner.data[scanner.place :].strip(b" ") == b"":
            return Append(name, tuple(messages))


def _new_message(scanner: Scanner, beginning: bool) -> NewMessage:
    flags: tuple[bytes, ...] = ()
    time = None
    if scanner.peek() == b"(":
        flags = scanner.flag_list()
        scanner.space()
    if scanner.peek() == b'"':
        time = scanner.date_time()
        scanner.space()
    if scanner.word(b"CATENATE"):
        scanner.expect(b" (")
        parts: list[Part] = []
        while True:
            if scanner.word(b"URL"):
                scanner.space()
                parts.append(Part(url=scanner.astring()))
            else:
                # RFC 6855 4: cat-part =/ utf8-literal.
                utf8 = scanner.word(b"UTF8")
                if not utf8:
                    scanner.expect_word(b"TEXT")
                    scanner.space()
                parts.append(Part(text=_utf8_literal(scanner) if utf8 else scanner.message()))
                if beginning and scanner.at_end:
                    return NewMessage(flags, time, tuple(parts), catenate=True, whole=False)
                if utf8:
                    scanner.expect(b")")
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
        return NewMessage(flags, time, tuple(parts), catenate=True)
    if scanner.word(b"UTF8"):
        message = _utf8_literal(scanner)
        if beginning and scanner.at_end:
            return NewMessage(flags, time, (Part(text=message),), utf8=True, whole=False)
        scanner.expect(b")")
        return NewMessage(flags, time, (Part(text=message),), utf8=True)
    message = scanner.message()
    return NewMessage(flags, time, (Part(text=message),), whole=not (beginning and scanner.at_end))


def _utf8_literal(scanner: Scanner) -> Message:
    """What follows UTF8, up to the closing parenthesis."""
    scanner.expect(b" (")
    message = scanner.message()
    if not message.binary:
        # RFC 6855 4: "UTF8" SP "(" literal8 ")".
        raise BadCommand("UTF8 takes a literal8")
    return message


class Replace(NamedTuple):
    """REPLACE (RFC 8508): one message's number or UID (a set of one), and what takes its place."""

    number: SequenceSet
    mailbox: str
    message: NewMessage


def replace(scanner: Scanner, *, beginning: bool = False) -> Replace:
    """REPLACE and UID REPLACE; ``beginning`` as for APPEND."""
    number = scanner.sequence_set()
    if number.saved or len(number.ranges) != 1 or number.ranges[0][0] != number.ranges[0][1]:
        raise BadCommand("REPLACE takes one message")
    scanner.space()
    found = append(scanner, beginning=beginning)
    if len(found.messages) != 1:
        raise BadCommand("REPLACE takes one message")
    return Replace(number, found.mailbox, found.messages[0])
