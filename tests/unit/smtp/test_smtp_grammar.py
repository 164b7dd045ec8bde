"""Commands, replies, EHLO keywords and xtext."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.smtp import command, extensions, xtext
from tubepost.common.smtp.replies import LINE_LIMIT, LINES_LIMIT, REPLY_LIMIT, Reply, ReplyError, ReplyParser


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<>", ""),
        ("<a@b.example>", "a@b.example"),
        ("<@r.example,@s.example:a@b.example>", "a@b.example"),
        ('<"john doe"@b.example>', '"john doe"@b.example'),
        ('<"john"@b.example>', "john@b.example"),
        ('<"a\\"b"@b.example>', '"a\\"b"@b.example'),
        ('<"a@c"@b.example>', '"a@c"@b.example'),
        ('<"a>b"@b.example>', '"a>b"@b.example'),
        ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
        ("<postmaster>", "postmaster"),
        ("<jürgen@müller.example>", "jürgen@müller.example"),
        ("<a+b=c@d.example>", "a+b=c@d.example"),
        ("<a@b.example.>", "a@b.example."),
    ],
)
def test_paths_that_are_addresses(text: str, address: str) -> None:
    found = command.parse_path_command("FROM:" + text, "FROM:")
    assert (found.address, found.parameters) == (address, ())
    assert command.parse_path_command("from:" + text + " SIZE=1", "FROM:").parameters == (("SIZE", "1"),)


@pytest.mark.parametrize(
    "text",
    [
        "<a@b.example",
        "a@b.example>x<",
        "<a@@>",
        "<@>",
        "<@r.example:>",
        "<a@b..example>",
        "<a@-b.example>",
        "<a@[300.1.1.1]>",
        "<a@[IPv6:zz]>",
        '<"a@b.example>',
        "<a@b.example>SIZE=1",
        "<a\x00@b.example>",
        "<a@b c>",
        "<" + "a" * 1001 + "@b.example>",
        "",
        "<a@b.example> SIZE==1",
        "<a@b.example> =1",
        "<a@b.example> " + "X=1 " * 21,
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_paths_that_are_none(text: str, strict: bool) -> None:
    with pytest.raises(command.CommandError):
        command.parse_path_command("TO:" + text, "TO:", strict=strict)


@pytest.mark.parametrize("text", ["FROM: <a@b.example>", "FROM : <a@b.example>", "FROM:<a@b.example.>", "FROM:<a>"])
def test_what_strict_envelopes_are_not_about(text: str) -> None:
    """As Postfix's manual says of strict_rfc821_envelopes: angle brackets, no comments and phrases; no more."""
    address = command.parse_path_command(text, "FROM:", strict=True).address
    assert address == command.parse_path_command(text, "FROM:").address


def test_delimiters_of_verp_are_any() -> None:
    words = "FROM:<a@b.example> SIZE=1 xverp=+="
    assert command.parse_path_command(words, "FROM:").parameters == (("SIZE", "1"), ("XVERP", "+="))
    with pytest.raises(command.CommandError):
        command.parse_path_command("FROM:<a@b.example> XVERP=" + "=" * 11, "FROM:")


@pytest.mark.parametrize("text", ["FROM:a@b.example", 'FROM:<a"b"@b.example>'])
def test_what_only_strict_envelopes_refuse(text: str) -> None:
    assert command.parse_path_command(text, "FROM:").address in ("a@b.example", "ab@b.example")
    with pytest.raises(command.AddressError):
        command.parse_path_command(text, "FROM:", strict=True)


@pytest.mark.parametrize("text", ["<a b@c.example>", "<a,b@c.example>", '<"a" b@c.example>', "<a, b>"])
def test_two_addresses_are_none(text: str) -> None:
    with pytest.raises(command.AddressError):
        command.parse_path_command("TO:" + text, "TO:")
    assert command.parse_path('<"a, b"@c.example>') == '"a, b"@c.example'


@given(st.text(st.sampled_from('ab.@"\\<> :,[]\t%\u00e9'), max_size=20), st.booleans())
def test_an_address_that_came_out_goes_in_again_unchanged(text: str, strict: bool) -> None:
    try:
        address = command.parse_path_command("TO:" + text, "TO:", strict=strict).address
    except command.CommandError:
        return
    again = command.parse_path_command(f"TO:<{address}>", "TO:", strict=strict)
    assert again.address == address
    assert again.parameters == ()


def test_verbs() -> None:
    assert command.split_verb("mail  from:<a@b>  ") == ("MAIL", "from:<a@b>")
    assert command.split_verb("QUIT") == ("QUIT", "")
    assert command.split_verb(" \t ") == ("", "")


def test_parameters_without_and_with_empty_value() -> None:
    assert command.parse_parameters("SMTPUTF8 x-y= RET=hdrs") == (("SMTPUTF8", None), ("X-Y", ""), ("RET", "hdrs"))


REPLIES = b"220 mx ESMTP\r\n250-mx\r\n250-SIZE\r\n250 DSN\r\n550-5.1.1 No\r\n550 5.1.1 such user\n354\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_replies_however_cut(size: int) -> None:
    parser = ReplyParser()
    got: list[Reply] = []
    for i in range(0, len(REPLIES), size):
        got += parser.feed(REPLIES[i : i + size])
    assert [(r.code, r.enhanced) for r in got] == [(220, ""), (250, ""), (550, "5.1.1"), (354, "")]
    assert got[1].lines == ("mx", "SIZE", "DSN")
    assert got[2].text == "550-5.1.1 No 550 5.1.1 such user"
    assert got[3].text == "354"
    assert not parser.pending


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"22 x\r\n",
        b"2500 x\r\n",
        b"999 x\r\n",
        b"099 x\r\n",
        b"\r\n",
        b"250:x\r\n",
        b"x" * (LINE_LIMIT + 1),
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyParser().feed(data)


def test_a_reply_costs_bounded_memory() -> None:
    parser = ReplyParser()
    line = b"250-" + b"x" * 2000 + b"\r\n"
    for _ in range(LINES_LIMIT - 1):
        assert parser.feed(line) == []
    (reply,) = parser.feed(b"250 end\r\n")
    assert sum(map(len, reply.lines)) <= REPLY_LIMIT
    for _ in range(LINES_LIMIT):
        parser.feed(b"250-x\r\n")
    with pytest.raises(ReplyError):
        parser.feed(b"250-x\r\n")


def test_an_enhanced_code_of_another_class_counts_nothing() -> None:
    (reply,) = ReplyParser().feed(b"550 2.0.0 odd\r\n")
    assert reply.enhanced == ""


@given(st.text())
def test_xtext_round_trip(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return
    encoded = xtext.encode(text)
    assert encoded.isascii()
    assert not set(encoded) & set(" =\r\n\0")
    assert xtext.decode(encoded) == text


@pytest.mark.parametrize("text", ["a=b", "+4", "+zz", "+4g", "a b", "é", "+FF", "+2b"])
def test_what_is_no_xtext(text: str) -> None:
    with pytest.raises(ValueError):
        xtext.decode(text)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_utf8_address_round_trip(address: str, smtputf8: bool) -> None:
    encoded = xtext.encode_utf8_address(address, smtputf8=smtputf8)
    assert smtputf8 or encoded.isascii()
    assert xtext.decode_utf8_address(encoded) == address


def test_ehlo_both_ways() -> None:
    wire = extensions.format_reply(
        "mx.example", [("PIPELINING", ""), ("SIZE", "1000"), ("LIMITS", "RCPTMAX=5 MAILMAX=x")]
    )
    (reply,) = ReplyParser().feed(wire)
    found = extensions.parse_reply((*reply.lines, "AUTH LOGIN", "AUTH=PLAIN LOGIN", "", "?!"))
    assert extensions.size_limit(found) == 1000
    assert extensions.parse_limits(found["LIMITS"]) == {"RCPTMAX": 5}
    assert found["AUTH"] == ("LOGIN", "PLAIN")
    assert set(found) == {"PIPELINING", "SIZE", "LIMITS", "AUTH"}
    assert extensions.size_limit({}) is None
    assert extensions.size_limit({"SIZE": ()}) == 0


def test_discard_words() -> None:
    assert extensions.parse_discard("chunking, silent-discard dsn nonsense") == (
        frozenset({"CHUNKING", "BINARYMIME", "DSN"}),
        True,
        ("NONSENSE",),
    )
