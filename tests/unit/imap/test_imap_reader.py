"""The reader of commands: literals, streamed messages, limits, and that cutting the input changes nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap.reader import (
    Bad,
    Bye,
    Command,
    Continue,
    Event,
    Line,
    LiteralBegin,
    LiteralData,
    LiteralEnd,
    Reader,
)


def play(data: bytes, cut: int, *, refuse: bool = False, **limits: Any) -> list[Event]:
    """The events of ``data`` fed in pieces of ``cut`` octets; neighbouring LiteralData are joined."""
    reader = Reader(**limits)
    found: list[Event] = []
    for start in range(0, len(data), cut):
        reader.feed(data[start : start + cut])
        while (event := reader.next_event()) is not None:
            if isinstance(event, LiteralData) and found and isinstance(found[-1], LiteralData):
                found[-1] = LiteralData(found[-1].data + event.data)
                continue
            found.append(event)
            if isinstance(event, LiteralBegin):
                if refuse:
                    reader.refuse()
                else:
                    reader.accept()
    return found


CASES: list[tuple[bytes, list[Event]]] = [
    (b"a001 NOOP\r\n", [Command(b"a001", b"NOOP", b"")]),
    (b"a noop\na2 uid  fetch\r\n", [Command(b"a", b"NOOP", b""), Command(b"a2", b"UID", b" fetch")]),
    (b"a uid fetch 1 FLAGS\r\n", [Command(b"a", b"UID FETCH", b"1 FLAGS")]),
    # RFC 3501 4.3 and 6.2.3
    (
        b"A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man\r\n",
        [Continue(b"A001"), Continue(b"A001"), Command(b"A001", b"LOGIN", b"{11}\r\nFRED FOOBAR {7}\r\nfat man")],
    ),
    # RFC 7888 3
    (
        b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man\r\n",
        [Command(b"A001", b"LOGIN", b"{11+}\r\nFRED FOOBAR {7+}\r\nfat man")],
    ),
    (
        b"a APPEND {3+}\r\nabc (\\Seen) ~{4}\r\n\x00\n\r\n (\\Draft) {0+}\r\n\r\n",
        [
            LiteralBegin(b"a", b"APPEND", b"{3+}\r\nabc (\\Seen) \x00~{4}", 4, True, True),
            LiteralData(b"\x00\n\r\n"),
            LiteralEnd(),
            LiteralBegin(b"a", b"APPEND", b"{3+}\r\nabc (\\Seen) \x00~{4} (\\Draft) \x00{0+}", 0, False, False),
            LiteralEnd(),
            Command(b"a", b"APPEND", b"{3+}\r\nabc (\\Seen) \x00~{4} (\\Draft) \x00{0+}"),
        ],
    ),
    (
        b"a APPEND x CATENATE (URL {3+}\r\n/x/ TEXT {2+}\r\nhi)\r\n",
        [
            LiteralBegin(b"a", b"APPEND", b"x CATENATE (URL {3+}\r\n/x/ TEXT \x00{2+}", 2, False, False),
            LiteralData(b"hi"),
            LiteralEnd(),
            Command(b"a", b"APPEND", b"x CATENATE (URL {3+}\r\n/x/ TEXT \x00{2+})"),
        ],
    ),
    (
        b"a uid replace 4 {1+}\r\nx {2+}\r\nhi\r\n",
        [
            LiteralBegin(b"a", b"UID REPLACE", b"4 {1+}\r\nx \x00{2+}", 2, False, False),
            LiteralData(b"hi"),
            LiteralEnd(),
            Command(b"a", b"UID REPLACE", b"4 {1+}\r\nx \x00{2+}"),
        ],
    ),
    (b"\r\na b\r\n", [Bad(b"*", "Empty command line"), Command(b"a", b"B", b"")]),
    (b"+ b\r\n", [Bad(b"*", "Command has no valid tag")]),
    (b"tag\r\n", [Bad(b"tag", "Command has no valid name")]),
    (b"tag (\r\n", [Bad(b"tag", "Command has no valid name")]),
    (b"tag NOOP \x00\r\n", [Bad(b"tag", "Command has a NUL or a CR in its line")]),
    (b"tag NOOP \r \r\n", [Bad(b"tag", "Command has a NUL or a CR in its line")]),
    # The literal of a bad command does not become a command.
    (b"t (x {8+}\r\nb LOGOUT\r\nc NOOP\r\n", [Bad(b"t", "Command has no valid name"), Command(b"c", b"NOOP", b"")]),
    (b"t {3}\r\nc NOOP\r\n", [Bad(b"t", "Command has no valid name"), Command(b"c", b"NOOP", b"")]),
    # Too large: refused when the client waits, swallowed when it does not.
    (b"t LOGIN {500}\r\nc NOOP\r\n", [Bad(b"t", "Literal too large", b"NO", b"TOOBIG"), Command(b"c", b"NOOP", b"")]),
    (
        b"t LOGIN {500+}\r\n" + b"c NOOP\r\n" * 62 + b"1234 x\r\nc NOOP\r\n",
        [Bad(b"t", "Literal too large", b"NO", b"TOOBIG"), Command(b"c", b"NOOP", b"")],
    ),
    (b"t LOGIN {5000000000+}\r\nc NOOP\r\n",
     [Bad(b"t", "Literal too large", b"NO", b"TOOBIG"), Bye("Literal too large")]),
    (b"t LOGIN {99999999999999999999}\r\n", [Bad(b"t", "Literal too large", b"NO", b"TOOBIG")]),
    (b"t X " + b"y" * 300 + b"\r\nc NOOP\r\n", [Bad(b"t", "Command line too long"), Command(b"c", b"NOOP", b"")]),
    (
        b"t X " + b"y" * 300 + b" {8+}\r\nb LOGOUT\r\nc NOOP\r\n",
        [Bad(b"t", "Command line too long"), Command(b"c", b"NOOP", b"")],
    ),
    (b"t X " + b"y" * 300 + b" {9999999+}\r\n", [Bad(b"t", "Command line too long"), Bye("Literal too large")]),
    (b"t X " + b"y" * 196 + b"\r\n", [Command(b"t", b"X", b"y" * 196)]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "events"), CASES)
@pytest.mark.parametrize("cut", [1, 2, 7, 100000])
def test_events(data: bytes, events: list[Event], cut: int) -> None:
    assert play(data, cut, line_limit=200, literal_limit=100, swallow_limit=1000) == events


@pytest.mark.parametrize("cut", [1, 3, 100000])
def test_a_refused_message_is_dropped_with_its_command(cut: int) -> None:
    data = b"a APPEND x {10+}\r\na LOGOUT\r\n (x) {4+}\r\nabcd\r\nb NOOP\r\n"
    begin, last = play(data, cut, refuse=True)
    assert isinstance(begin, LiteralBegin)
    assert last == Command(b"b", b"NOOP", b"")
    # With a synchronising literal the client sends nothing more.
    assert play(b"a APPEND x {10}\r\nb NOOP\r\n", cut, refuse=True)[1:] == [Command(b"b", b"NOOP", b"")]


def test_refusing_within_a_message_drops_the_rest() -> None:
    reader = Reader()
    reader.feed(b"a APPEND x {10}\r\n")
    assert isinstance(reader.next_event(), LiteralBegin)
    reader.accept()
    reader.feed(b"12345")
    assert reader.next_event() == LiteralData(b"12345")
    reader.refuse()
    reader.feed(b"67890)\r\nb NOOP\r\n")
    assert reader.next_event() == Command(b"b", b"NOOP", b"")
    assert reader.idle


def test_four_gibibytes_cost_nothing() -> None:
    reader = Reader()
    reader.feed(b"a APPEND x {4294967296}\r\n")
    begin = reader.next_event()
    assert isinstance(begin, LiteralBegin) and begin.size == 1 << 32
    assert reader.next_event() is None
    reader.accept()
    for _ in range(100):
        reader.feed(bytes(65536))
        assert isinstance(reader.next_event(), LiteralData)
        assert reader.next_event() is None
        assert reader.waiting == 0


def test_lines_of_sasl_and_what_stands_behind_starttls() -> None:
    reader = Reader()
    reader.feed(b"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb STARTTLS\r\nc NOOP\r\n")
    assert reader.next_event() == Command(b"a", b"AUTHENTICATE", b"PLAIN")
    reader.expect_line()
    assert reader.next_event() == Line(b"AGEAYg==")
    assert reader.next_event() == Command(b"b", b"STARTTLS", b"")
    assert reader.take_rest() == b"c NOOP\r\n"
    assert reader.next_event() is None


def test_an_endless_line_is_held_in_bounds() -> None:
    reader = Reader(line_limit=1000)
    found = []
    for _ in range(1000):
        reader.feed(b"x" * 1000)
        while (event := reader.next_event()) is not None:
            found.append(event)
        assert reader.waiting <= 2000
    assert found == [Bad(b"*", "Command line too long")]


_WORDS = st.sampled_from(
    [b"a ", b"NOOP", b"APPEND x ", b"REPLACE 1 x ", b"{3}\r\n", b"{3+}\r\n", b"{300+}\r\n", b"{99999+}\r\n",
     b"~{5}\r\n",
     b"\r\n", b"\n", b"\r", b"\x00", b"URL ", b"UID ", b"y" * 90, b" ", b"(", b"abc"]
)  # fmt: skip


@given(st.lists(_WORDS | st.binary(max_size=6), max_size=30), st.integers(1, 9), st.booleans())
def test_cutting_changes_nothing(words: list[bytes], cut: int, refuse: bool) -> None:
    data = b"".join(words)
    limits: dict[str, Any] = {"line_limit": 200, "literal_limit": 100, "swallow_limit": 1000, "literals_limit": 3}
    assert play(data, cut, refuse=refuse, **limits) == play(data, len(data) or 1, refuse=refuse, **limits)


def test_the_literal_of_an_unknown_command_is_not_asked_for() -> None:
    # RFC 9051 7.6
    reader = Reader(verbs={b"NOOP"})
    reader.feed(b"A044 BLURDYBLOOP {102856}\r\nA045 NOOP\r\nA046 BLURDYBLOOP {3+}\r\nabc\r\nA047 NOOP\r\n")
    assert reader.next_event() == Bad(b"A044", "There is no such command")
    assert reader.next_event() == Command(b"A045", b"NOOP", b"")
    assert reader.next_event() == Bad(b"A046", "There is no such command")
    assert reader.next_event() == Command(b"A047", b"NOOP", b"")
