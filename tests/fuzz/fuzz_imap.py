"""Fuzzes the IMAP grammar: the reader of commands and the parsers of their arguments.

The invariant: whatever a client sends, nothing but BadCommand is raised, the reader holds no more than its limits, and
comes to the same events whether the bytes came whole or one by one.

    python -m tests.fuzz imap -max_total_time=20
"""

from collections.abc import Callable
from typing import Any

from tubepost.common.imap import administration, append, arguments, client, fetch, notification, search
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import Scanner
from tubepost.common.imap.reader import Command, LiteralBegin, LiteralData, Reader

from tests.fuzz.driver import Harness, one_by_one

WORDS = [
    b"a ", b"UID ", b"FETCH ", b"SEARCH ", b"SORT ", b"THREAD ", b"STORE ", b"APPEND x ", b"REPLACE 1 x ", b"LIST ",
    b"SELECT ", b"LOGIN ", b"NOTIFY ", b"ESEARCH ", b"GETMETADATA ", b"SETMETADATA ", b"AUTHENTICATE ", b"ID ",
    b"1:* ", b"$ ", b"(", b")", b" ", b"\r\n", b"\n", b"\r", b"{3}\r\n", b"{3+}\r\n", b"~{5+}\r\n", b"{900+}\r\n",
    b"{99999999999+}\r\n", b"abc", b"CATENATE (", b"URL ", b"TEXT ", b"UTF8 (", b"RETURN (", b"PARTIAL 1:2", b"OR ",
    b"NOT ", b"BODY[", b"HEADER.FIELDS (", b"]", b"<0.1>", b"CHARSET UTF-7 ", b'"', b"\\Seen", b"\xff", b"\x00", b"&",
    b"x" * 200, b"IN (", b"mailboxes ", b"SET ", b"QRESYNC (", b'"" ', b"MODSEQ ", b"1-Jan-2020 ", b"/shared/a ",
    b"* ", b"a OK [", b"FETCH (UID 1 BODY[] {3}\r\n", b"BODY[] ", b"NIL", b"+ ", b"NAMESPACE ", b"1 EXISTS",
]  # fmt: skip


def parsers() -> dict[bytes, Callable[[Any], Any]]:

    return {
        b"FETCH": fetch.parse_fetch,
        b"SEARCH": search.parse_search,
        b"SORT": search.parse_sort,
        b"THREAD": search.parse_thread,
        b"STORE": arguments.store,
        b"APPEND": append.append,
        b"REPLACE": append.replace,
        b"LIST": arguments.list_mailboxes,
        b"SELECT": arguments.select,
        b"LOGIN": arguments.login,
        b"NOTIFY": notification.parse_notify,
        b"ESEARCH": notification.parse_esearch,
        b"GETMETADATA": administration.get_metadata,
        b"SETMETADATA": administration.set_metadata,
        b"AUTHENTICATE": arguments.authenticate,
        b"ID": arguments.identity,
    }


def play(data: bytes, whole: bool, seed: int) -> list[object]:
    """The events, neighbouring LiteralData joined."""

    known = parsers()
    reader = Reader(line_limit=256, literal_limit=300, literals_limit=4, swallow_limit=1000)
    events: list[object] = []
    count = 0
    for piece in [data] if whole else one_by_one(data):
        reader.feed(piece)
        while (event := reader.next_event()) is not None:
            if isinstance(event, LiteralData) and isinstance(events[-1], LiteralData):
                events[-1] = LiteralData(events[-1].data + event.data)
                continue
            events.append(event)
            if isinstance(event, LiteralBegin):
                count += 1
                try:
                    append.append(Scanner(event.args), beginning=True)
                except BadCommand:
                    pass
                if count % 3 == seed % 3:
                    reader.refuse()
                else:
                    reader.accept()
            elif isinstance(event, Command):
                parser = known.get(event.verb.removeprefix(b"UID "))
                if parser is not None:
                    try:
                        parser(Scanner(event.args, utf8=bool(seed & 4)))
                    except BadCommand as fault:
                        assert fault.text and "\n" not in fault.text
                elif seed & 8:
                    reader.expect_line()
        assert reader.waiting <= 700
    return events


def replies(data: bytes, whole: bool) -> list[object]:
    """What a server says, as our import of other servers' mail reads it."""
    reader = client.ResponseReader(stream=True, limit=2000)
    events: list[object] = []
    try:
        for piece in [data] if whole else one_by_one(data):
            reader.feed(piece)
            while (found := reader.next_event()) is not None:
                if isinstance(found, client.LiteralData) and isinstance(events[-1], client.LiteralData):
                    events[-1] = client.LiteralData(events[-1].data + found.data)
                    continue
                events.append(found)
    except client.BadResponse as error:
        # Which of two limits is met first depends on how it came.
        assert str(error)
        events.append("bad")
    for event in events:
        if isinstance(event, client.Response):
            understand(event.data)
    return events


def understand(rest: bytes) -> None:
    client.parse_status(rest)
    client.parse_capabilities(rest)
    for function in (client.parse_untagged, client.parse_fetch, client.parse_list, client.parse_namespace):
        try:
            found = function(rest)
        except client.BadResponse:
            continue
        if isinstance(found, dict):
            for value in found.values():
                client.parse_date_time(value)
                client.keep_flags(value)
                client.words_of(value)


def check(settings: int, data: bytes) -> None:
    if settings & 64:
        assert replies(data, True) == replies(data, False)
        return
    whole = play(data, True, settings)
    pieces = play(data, False, settings)
    assert whole == pieces, f"{whole} != {pieces}"


SEED = b"\0a UID FETCH 1:* (FLAGS BODY.PEEK[1.HEADER.FIELDS (To)]<0.9>)\r\nb SEARCH OR FROM {3}\r\nabc NOT SEEN\r\n"
ANSWERS = (
    b'\x40* 1 FETCH (UID 7 FLAGS (\\Seen $x) INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {3}\r\nabc)\r\n'
    b'* LIST (\\HasNoChildren) "/" "a b"\r\n* NAMESPACE (("" "/")) NIL NIL\r\n+ go\r\na OK [UIDVALIDITY 3] x\r\n'
)
HARNESS = Harness(check, WORDS, [SEED, ANSWERS])
