"""Responses of servers, as a client reads them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap import client
from tubepost.common.imap.client import (
    BadResponse,
    Event,
    LiteralBegin,
    LiteralData,
    LiteralEnd,
    Response,
    ResponseReader,
    Streamed,
    Value,
    Values,
)


def events(data: bytes, cuts: list[int] | None = None, *, stream: bool = True, limit: int = 4096) -> list[Event]:
    """The events of these bytes, fed in pieces; data of one literal joined."""
    reader = ResponseReader(stream=stream, limit=limit)
    places = [0, *sorted(cuts or []), len(data)]
    found: list[Event] = []
    for start, end in pairwise(places):
        reader.feed(data[start:end])
        while (event := reader.next_event()) is not None:
            if isinstance(event, LiteralData) and found and isinstance(found[-1], LiteralData):
                event = LiteralData(found.pop().data + event.data)  # type: ignore[union-attr]
            found.append(event)
    return found


SESSION = (
    b"* OK [CAPABILITY IMAP4rev1 SASL-IR] ready\r\n"
    b'* LIST (\\HasNoChildren) "/" {5}\r\nA"B\\C\r\n'
    b'* 7 FETCH (UID 9 FLAGS (\\Seen $x) INTERNALDATE " 1-Feb-2024 12:00:00 +0100" BODY[] {12}\r\n)}\r\nA1 OK x\r)\r\n'
    b"+ \r\n+\r\n"
    b"A1 OK [APPENDUID 1 2] done\r\n"
)


def test_a_session() -> None:
    found = events(SESSION)
    assert found[0] == Response(b"*", b"OK [CAPABILITY IMAP4rev1 SASL-IR] ready")
    assert isinstance(found[1], Response)
    listed = client.parse_list(client.parse_untagged(found[1].data).rest)
    assert (listed.name, listed.separator, listed.raw) == ('A"B\\C', "/", b'A"B\\C')
    assert found[2:5] == [LiteralBegin(12), LiteralData(b")}\r\nA1 OK x\r"), LiteralEnd()]
    assert isinstance(found[5], Response)
    untagged = client.parse_untagged(found[5].data)
    items = client.parse_fetch(untagged.rest)
    assert (untagged.number, untagged.name) == (7, b"FETCH")
    assert items[b"BODY[]"] == Streamed(12)
    assert client.number_of(items[b"UID"]) == 9
    assert client.keep_flags(items[b"FLAGS"]) == ("\\Seen", "$x")
    assert client.parse_date_time(items[b"INTERNALDATE"]) == 1706785200
    assert found[6:8] == [Response(b"+", b""), Response(b"+", b"")]
    assert isinstance(found[8], Response)
    assert client.parse_status(found[8].data) == (b"OK", b"APPENDUID", b"1 2", "done")


@given(st.lists(st.integers(0, len(SESSION)), max_size=len(SESSION)))
def test_cut_as_you_like(cuts: list[int]) -> None:
    assert events(SESSION, cuts) == events(SESSION)


def test_byte_by_byte() -> None:
    assert events(SESSION, list(range(len(SESSION)))) == events(SESSION)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_bytes_are_read_or_refused(data: bytes, cuts: list[int]) -> None:
    """Nothing but BadResponse comes out of the reader and of every parser behind it."""
    try:
        found = events(data, [cut for cut in cuts if cut <= len(data)])
    except BadResponse:
        return
    for event in found:
        if isinstance(event, Response):
            for parse in (client.parse_status, client.parse_untagged, client.parse_capabilities):
                _try(parse, event.data)


@given(st.text('()"\\{}3 \r\nNILa[]<>\x00~').map(str.encode))
def test_any_values_are_read_or_refused(data: bytes) -> None:
    for parse in (client.parse_fetch, client.parse_list, client.parse_namespace):
        _try(parse, data)


def _try(parse: object, data: bytes) -> None:
    try:
        parse(data)  # type: ignore[operator]
    except BadResponse:
        pass


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"NIL", None),
        (b'"NIL"', b"NIL"),
        (b'"a\\"\\\\b"', b'a"\\b'),
        (b"(a (b NIL) ())", (b"a", (b"b", None), ())),
        (b"{3}\r\n(a)", b"(a)"),
        (b"~{3}\r\n\x00a)", b"\x00a)"),
        (b"(\\Seen \\* $Forwarded)", (b"\\Seen", b"\\*", b"$Forwarded")),
        (b'("" NIL)', (b"", None)),
    ],
)
def test_values(text: bytes, value: Value) -> None:
    assert Values(text).next() == value


@pytest.mark.parametrize(
    "text",
    [b"", b"(", b"(a", b")", b'"a', b"{5}\r\nabc", b"{x}\r\n", b"(" * 200 + b")" * 200, b'"\n"'],
)
def test_no_values(text: bytes) -> None:
    with pytest.raises(BadResponse):
        Values(text).next()


def test_many_items_in_a_fetch() -> None:
    items = client.parse_fetch(
        b'(UID 3 RFC822.SIZE 12 BODY[HEADER.FIELDS (MESSAGE-ID "X Y")] {4}\r\na)b\r BODY[]<0> NIL BINARY[1.2] "x")'
    )
    assert items == {
        b"UID": b"3",
        b"RFC822.SIZE": b"12",
        b'BODY[HEADER.FIELDS (MESSAGE-ID "X Y")]': b"a)b\r",
        b"BODY[]<0>": None,
        b"BINARY[1.2]": b"x",
    }


def test_limits() -> None:
    with pytest.raises(BadResponse, match="4096"):
        events(b"* OK " + b"x" * 5000)
    with pytest.raises(BadResponse):
        events(b"* LIST () NIL {5000}\r\n")
    with pytest.raises(BadResponse):
        events(b"* 1 FETCH (" + b"BODY[1] {1000}\r\n" + b"x" * 1000 + b" BODY[2] {4000}\r\n")
    with pytest.raises(BadResponse):
        events(b"* 1 FETCH (BODY[] {5000}\r\n", stream=False)
    # A message has no limit here: it is handed on.
    begun = events(b"* 1 FETCH (BODY[] {99999999999}\r\nabc")
    assert begun == [LiteralBegin(99999999999), LiteralData(b"abc")]


def test_an_empty_message() -> None:
    found = events(b"* 1 FETCH (BODY[] {0}\r\n UID 4)\r\n")
    assert found[:2] == [LiteralBegin(0), LiteralEnd()]
    assert isinstance(found[2], Response)
    assert client.parse_fetch(client.parse_untagged(found[2].data).rest) == {b"BODY[]": Streamed(0), b"UID": b"4"}


def test_names() -> None:
    assert client.parse_list(b'(\\Noselect) "." INBOX.Entw&APw-rfe').name == "INBOX.Entwürfe"
    assert client.parse_list('() "/" "Entwürfe"'.encode()).name == "Entwürfe"
    assert client.parse_list(b'() "/" "\xff"').name == "ÿ"
    assert client.parse_list(b"(\\Sent \\HasNoChildren) NIL inbox") == (
        frozenset({b"\\sent", b"\\hasnochildren"}),
        "",
        b"inbox",
        "INBOX",
    )
    found = client.parse_namespace(b'(("INBOX." ".")) (("user." ".")) NIL')
    assert found == ([("INBOX.", ".")], [("user.", ".")], [])
    assert client.parse_namespace(b"NIL NIL NIL") == ([], [], [])


def test_flags_and_dates() -> None:
    value = (b"\\Recent", b"\\SEEN", b"\\Whatever", b"$Label1", b"NonJunk", b"\\*")
    assert client.keep_flags(value) == ("\\Seen", "$Label1", "NonJunk")
    assert client.parse_date_time(b"yesterday") is None
    assert client.parse_date_time(None) is None


def test_any_number_of_literals_in_one_response() -> None:
    assert events(b"* LIST " + b"{0}\r\n" * 5000 + b"x\r\n", limit=100_000) == [
        Response(b"*", b"LIST " + b"{0}\r\n" * 5000 + b"x")
    ]
