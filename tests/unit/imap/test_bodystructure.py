"""ENVELOPE, BODY and BODYSTRUCTURE as bytes: what other servers say of the same messages, and a strict reader."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap.bodystructure import encode_structure, encode_structures
from tubepost.common.imap.envelope import encode_envelope, encode_string

from tubepost.common.mail.envelope import read
from tubepost.common.mail.structure import parse

ATTACHED = b"""From: user@domain.org
Content-Type: multipart/mixed; boundary="foo
 bar"

--foo bar
Content-Type: text/x-myown; charset=us-ascii; foo="quoted\\"string"
Content-ID: <foo@example.com>
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Disposition: inline; foo=bar
Content-Description: hellodescription
Content-Language: en, fi, se
Content-Location: http://example.com/test.txt

hello

--foo bar
Content-Type: message/rfc822

From: sub@domain.org
To: sub-to1@domain.org, sub-to2@domain.org
Date: Sun, 12 Aug 2012 12:34:56 +0300
Subject: submsg
Content-Type: multipart/alternative; boundary="sub1"

Sub MIME prologue
--sub1
Content-Type: text/html
Content-Transfer-Encoding: 8bit

<p>Hello world</p>

--sub1
Content-Type: text/plain
Content-Transfer-Encoding: ?invalid

Hello another world

--sub1--
Sub MIME epilogue

--foo bar--
Root MIME epilogue
"""
SUB = b"((NIL NIL %b %b))" % (b'"sub"', b'"domain.org"')
CASES = [
    (
        b"Mime-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nbody\n\n",
        b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 8 2)',
        b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 8 2 NIL NIL NIL NIL)',
    ),
    (
        b"Subject: x\n\n",
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)',
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)',
    ),
    (
        b'Content-Type: multipart/mixed; boundary="foo"\n\n',
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed")',
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" '
        b'("boundary" "foo") NIL NIL NIL)',
    ),
    (
        b"Content-Type: IMAGE/PNG\nContent-Transfer-Encoding: BASE64\n"
        b'Content-Disposition: attachment; filename="pigeon.png"\n\niVBO\n',
        b'("image" "png" NIL NIL NIL "base64" 6)',
        b'("image" "png" NIL NIL NIL "base64" 6 NIL ("attachment" ("filename" "pigeon.png")) NIL NIL)',
    ),
    (
        ATTACHED,
        b'(("text" "x-myown" ("charset" "us-ascii" "foo" "quoted\\"string") "<foo@example.com>" "hellodescription" '
        b'"7bit" 7 1)("message" "rfc822" NIL NIL NIL "7bit" 412 ("Sun, 12 Aug 2012 12:34:56 +0300" "submsg" '
        + b" ".join([SUB, SUB, SUB])
        + b' ((NIL NIL "sub-to1" "domain.org")(NIL NIL "sub-to2" "domain.org")) NIL NIL NIL NIL) '
        b'(("text" "html" ("charset" "us-ascii") NIL NIL "8bit" 20 1)'
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 21 1) "alternative") 21) "mixed")',
        b'(("text" "x-myown" ("charset" "us-ascii" "foo" "quoted\\"string") "<foo@example.com>" "hellodescription" '
        b'"7bit" 7 1 "Q2hlY2sgSW50ZWdyaXR5IQ==" ("inline" ("foo" "bar")) ("en" "fi" "se") "http://example.com/test.txt")'
        b'("message" "rfc822" NIL NIL NIL "7bit" 412 ("Sun, 12 Aug 2012 12:34:56 +0300" "submsg" '
        + b" ".join([SUB, SUB, SUB])
        + b' ((NIL NIL "sub-to1" "domain.org")(NIL NIL "sub-to2" "domain.org")) NIL NIL NIL NIL) '
        b'(("text" "html" ("charset" "us-ascii") NIL NIL "8bit" 20 1 NIL NIL NIL NIL)'
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 21 1 NIL NIL NIL NIL) "alternative" '
        b'("boundary" "sub1") NIL NIL NIL) 21 NIL NIL NIL NIL) "mixed" ("boundary" "foo bar") NIL NIL NIL)',
    ),
]


@pytest.mark.parametrize(("data", "body", "bodystructure"), CASES)
def test_structures(data: bytes, body: bytes, bodystructure: bytes) -> None:
    root = parse(data)
    assert encode_structures(root) == (body, bodystructure)
    assert (encode_structure(root, False), encode_structure(root, True)) == (body, bodystructure)
    # RFC 9051 9: sizes and lines are those of the CRLF form, whatever lies on the disk.
    assert encode_structures(parse(data.replace(b"\n", b"\r\n"))) == (body, bodystructure)


def test_strings() -> None:
    assert encode_string(b'a"b\\c') == b'"a\\"b\\\\c"'
    assert encode_string(b"") == b'""'
    assert encode_string(b"a\rb") == b"{3}\r\na\rb"
    assert encode_string("ö".encode()) == b"{2}\r\n\xc3\xb6"
    assert encode_string(b"a\0b") == b"{5}\r\na\xef\xbf\xbdb"


def test_envelope() -> None:
    # RFC 9051 8: the example's message.
    data = (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\nFrom: Terry Gray <gray@cac.washington.edu>\n"
        b"Subject: IMAP4rev2 WG mtg summary and minutes\nTo: imap@cac.washington.edu\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\n"
        b"Message-Id: <B27397-0100000@cac.washington.ed>\n\n"
    )
    gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
    assert encode_envelope(read(parse(data).fields)) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" '
        + b" ".join([gray, gray, gray])
        + b' ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")'
        b'("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.ed>")'
    )


TOKEN = re.compile(rb'\(|\)|NIL|[0-9]+|"(?:[^"\\\r\n]|\\["\\])*"| |\{([0-9]+)\}\r\n')


def read_list(wire: bytes) -> object:
    """A strict reader of a parenthesised list: raises where the text is not one, whole."""
    stack: list[list[object]] = [[]]
    place = 0
    while place < len(wire):
        match = TOKEN.match(wire, place)
        assert match is not None, wire[place : place + 20]
        place = match.end()
        token: object = match[0]
        if match[1] is not None:
            place += int(match[1])
            token = wire[match.end() : place]
            assert b"\0" not in wire[match.end() : place]
        if token == b"(":
            stack.append([])
        elif token == b")":
            done = stack.pop()
            stack[-1].append(done)
        elif token != b" ":
            stack[-1].append(None if token == b"NIL" else token)
    assert len(stack) == 1 and len(stack[0]) == 1
    return stack[0][0]


def check_body(body: object, extended: bool) -> None:
    """RFC 9051 9 ``body``."""
    assert isinstance(body, list)
    if isinstance(body[0], list):
        parts = [item for item in body if isinstance(item, list) and (isinstance(item[0], list) or len(item) >= 7)]
        count = next(index for index, item in enumerate(body) if not isinstance(item, list))
        for part in body[:count]:
            check_body(part, extended)
        assert len(body) == count + (5 if extended else 1) and parts
        return
    kind = [item.lower() if isinstance(item, bytes) else item for item in body[:2]]
    length = 7
    if kind[0] == b'"text"':
        length = 8
    elif kind in ([b'"message"', b'"rfc822"'], [b'"message"', b'"global"']):
        length = 10
        assert isinstance(body[7], list) and len(body[7]) == 10
        check_body(body[8], extended)
    assert len(body) == length + (4 if extended else 0)
    assert isinstance(body[6], bytes) and body[6].isdigit()


pieces = st.sampled_from(
    [b"\n", b"--a\n", b"--a--\n", b"--b\n", b"x\n", b"Subject: \xff\n", b"From: a@b, g: c@d;\n", b'From: "\n', b"\0"]
    + [b"Content-Type: multipart/mixed; boundary=%b\n" % name for name in (b"a", b"b")]
    + [b"Content-Type: message/rfc822\n", b"Content-Type: message/global\n", b"Content-Type: text/\xff; a=\xff\n"]
    + [b'Content-Disposition: x; y="\\"\n', b"Content-Language: a, b\n", b"Content-ID:\n", b"Content-MD5: \r \n"]
)


@given(st.one_of(st.lists(pieces, max_size=30).map(b"".join), st.binary(max_size=100)))
def test_anything_gives_valid_syntax(data: bytes) -> None:
    root = parse(data)
    body, bodystructure = encode_structures(root)
    check_body(read_list(body), False)
    check_body(read_list(bodystructure), True)
    envelope = read_list(encode_envelope(read(root.fields)))
    assert isinstance(envelope, list) and len(envelope) == 10
