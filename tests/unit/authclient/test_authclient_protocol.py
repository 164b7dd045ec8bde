"""Lines of Dovecot's protocol, as Postfix and Exim write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.authclient import protocol
from tubepost.services.authclient.protocol import Auth, Cancel, Continue, ProtocolError


def test_what_postfix_says() -> None:
    assert protocol.parse(b"VERSION\t1\t0") is None
    assert protocol.parse(b"CPID\t123") is None
    command = protocol.parse(
        b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=192.0.2.1\trip=192.0.2.2\tsecured\tresp=AGFsaWNlAHNlY3JldA=="
    )
    assert isinstance(command, Auth)
    assert (command.number, command.mechanism, command.initial) == (1, "PLAIN", b"\0alice\0secret")
    assert command.secured
    assert command.parameters["rip"] == "192.0.2.2"
    assert protocol.parse(b"CONT\t1\tc2VjcmV0") == Continue(1, b"secret")
    assert protocol.parse(b"CONT\t1\t") == protocol.parse(b"CONT\t1") == Continue(1, b"")
    assert protocol.parse(b"CANCEL\t7") == Cancel(7)


def test_an_empty_response_is_one_and_none_is_none() -> None:
    empty, none = protocol.parse(b"AUTH\t1\tEXTERNAL\tresp="), protocol.parse(b"AUTH\t1\tEXTERNAL\tservice=imap")
    assert isinstance(empty, Auth)
    assert isinstance(none, Auth)
    assert (empty.initial, none.initial) == (b"", None)


@pytest.mark.parametrize(
    "line",
    [
        b"VERSION\t2\t0",
        b"AUTH\tx\tPLAIN",
        b"AUTH\t\tPLAIN",
        b"AUTH\t99999999999\tPLAIN",
        b"AUTH\t1\tPLAIN\tresp=*",
        b"CONT\t-1\t",
        b"CONT\t1\t=",
    ],
)
def test_what_is_not_the_protocol(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse(line)


def test_the_greeting_has_all_that_a_client_waits_for() -> None:
    lines = protocol.greeting(["PLAIN", "SCRAM-SHA-256"], 5, 6, "c").decode().splitlines()
    assert lines[0] == "VERSION\t1\t2"
    assert "MECH\tPLAIN\tplaintext" in lines
    assert lines[-4:] == ["SPID\t5", "CUID\t6", "COOKIE\tc", "DONE"]


def test_answers() -> None:
    assert protocol.ok(3, "a\tb\nc", None) == b"OK\t3\tuser=a\x01tb\x01nc\n"
    assert protocol.ok(3, "alice", b"v=x") == b"OK\t3\tuser=alice\tresp=dj14\n"
    assert protocol.challenge(4, b"") == b"CONT\t4\t\n"
    assert protocol.fail(5, "credentials") == b"FAIL\t5\n"
    assert b"\ttemp" in protocol.fail(5, "temporary")


@given(st.text())
def test_escapes_can_be_undone_and_part_nothing(text: str) -> None:
    escaped = protocol.escape(text)
    assert not set(escaped) & set("\t\n\r\0")
    assert protocol.unescape(escaped) == text


@given(st.binary(max_size=200))
def test_no_line_does_more_than_end_the_connection(line: bytes) -> None:
    try:
        protocol.parse(line)
    except ProtocolError:
        pass


@pytest.mark.parametrize("value", [b"192.0.2.1\x01tuser=bob", b"192.0.2.1\x01nx", b"1" * 101, b"a b"])
@pytest.mark.parametrize("name", [b"rip", b"lip"])
def test_an_address_with_more_in_it_is_none(name: bytes, value: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse(b"AUTH\t1\tPLAIN\t" + name + b"=" + value + b"\tresp=")
    for fine in (b"192.0.2.1", b"2001:db8::1", b"fe80::1%eth0", b"unknown", b""):
        assert isinstance(protocol.parse(b"AUTH\t1\tPLAIN\t" + name + b"=" + fine + b"\tresp="), Auth)
