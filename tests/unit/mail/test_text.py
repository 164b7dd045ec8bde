"""Text of messages: header fields, bodies, HTML, character sets, comparison, preview, summary."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import charset, encode, summary, text
from tubepost.common.mail.structure import parse


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        (b" plain \r", "plain"),
        (b" one\r\n two", "one two"),
        (b"=?utf-8?Q?J=C3=B6rg?=", "Jörg"),
        ("Jörg".encode(), "Jörg"),
        ("Jörg".encode("latin-1"), "Jörg"),
        (b"=?utf-8?B?w6TDtg==?=\n =?utf-8?B?w7w=?= x", "äöü x"),
        (b"=?utf-8?Q?=C3?= =?UTF-8?B?pA==?=", "ä"),  # a character divided between two words
        (b"=?gb2312?B?u+HS6Q==?=", "会议"),
        (b"=?iso-2022-jp?B?GyRCMnE1RBsoQg==?=", "会議"),
        (b"=?x-none?Q?a?= =?utf-8?Q?b?=", "=?x-none?Q?a?= b"),
        (b"=?utf-8?B?!!!?=", "=?utf-8?B?!!!?="),
    ],
)
def test_header_values(value: bytes, decoded: str) -> None:
    assert text.decode_value(value) == decoded


@pytest.mark.parametrize(
    ("raw", "name", "decoded"),
    [
        (b"abc", "", "abc"),
        (b"\x93x\x94 \x81", "iso-8859-1", "\x93x\x94 \x81"),
        (b"\x93x\x94", "iso-8859-1", "“x”"),
        ("ä".encode(), "us-ascii", "ä"),
        (b"\xe4", "us-ascii", "ä"),
        (b"\xe4 a", "no-such-set", "ä a"),
        (b"a\xff", "utf-8", "a\ufffd"),
        ("ж".encode("koi8-r"), "KOI8-R", "ж"),
        (b"+AOQ-", "utf-7", "ä"),
        (b"+2AA-", "utf-7", "\ufffd"),
        (b"abc", "punycode", "abc"),
        (b"\\u0041", "unicode_escape", "\\u0041"),
        (b"eJw", "zip", "eJw"),
        (b"x", "a\0b", "x"),
    ],
)
def test_charsets(raw: bytes, name: str, decoded: str) -> None:
    assert charset.decode(raw, name) == decoded


def test_normalize() -> None:
    # RFC 5051 2
    assert text.normalize("aBc1") == "ABC1"
    assert text.normalize("Jörg") == text.normalize("JO\u0308RG") == "JO\u0308RG"
    assert text.normalize("ﬁ") == "fi" or text.normalize("ﬁ") == "FI"
    assert text.normalize("会议") == "会议"
    assert text.normalize("ж") == text.normalize("Ж")
    assert text.normalize("ǆ") == text.normalize("Ǆ") == text.normalize("ǅ")


@given(st.text(max_size=20))
def test_normalized_text_stays_found(value: str) -> None:
    assert text.normalize(value.upper() if value.isascii() else value) == text.normalize(value)
    assert text.normalize("x" + value + "y") == text.normalize("x") + text.normalize(value) + text.normalize("y")


@pytest.mark.parametrize(
    ("markup", "seen"),
    [
        ("<p>Hello <b>w</b>orld</p><p>next</p>", "Hello world next"),
        ("<style>p { color: red }</style>x<script>if (a<b) y</script >z", "xz"),
        ("<!-- <p>no --> yes", "yes"),
        ('<a title="a>b" href=x>link</a>', "link"),
        ("a &amp; b &lt;c&gt; &#8364;", "a & b <c> €"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<title>t</title>body<br>line", "body line"),
        ("<p title='unclosed>x<p>y", "x y"),
        ("<script>never closed", ""),
    ],
)
def test_markup(markup: str, seen: str) -> None:
    assert " ".join(text.strip_markup(markup).split()) == seen


@pytest.mark.parametrize("piece", ["<", "<a ", "<!--", "<script>", "<a '", '<a "', "&", "<a><", "<!", "</", "&#"])
def test_markup_in_linear_time(piece: str) -> None:
    before = time.perf_counter()
    text.strip_markup(piece * (1_000_000 // len(piece)))
    encode.decode_words("=?utf-8?q?" * 50_000)
    assert time.perf_counter() - before < 3


MIXED = b"""Subject: root
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Caf=C3=A9 =
html</p>
--b
Content-Type: text/plain
Content-Transfer-Encoding: base64

cGxhaW4gIAogIHRleHQ=
--b
Content-Type: message/rfc822

Subject: =?utf-8?Q?Inn=C3=A9r?=

inner body
--b
Content-Type: application/pdf

hidden
--b--
"""


def test_body_texts() -> None:
    root = parse(MIXED)
    texts = [" ".join(one.split()) for one in text.body_texts(MIXED, root)]
    assert texts == ["Café html", "plain text", "subject: Innér", "inner body"]
    assert list(text.header_texts(root)) == ["subject: root", "content-type: multipart/mixed; boundary=b"]
    assert sum(map(len, text.body_texts(MIXED, root, 10))) <= 10 + len("\n\n")


def test_preview() -> None:
    assert text.preview(MIXED, parse(MIXED)) == "plain text"
    only_html = b"Content-Type: text/html\n\n<style>x</style><p>Hi &amp; \xe2\x80\x8b bye</p>" + b" word" * 99
    shown = text.preview(only_html, parse(only_html))
    assert shown.startswith("Hi & bye word") and len(shown) <= 200
    attached = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nx\n--b--\n"
    assert text.preview(attached, parse(attached)) == ""
    assert text.preview(b"\n", parse(b"\n")) == ""
    # A character at the edge of what is read is not shown in half.
    data = b"Content-Type: text/plain; charset=utf-8\n\n" + b" " * 1023 + "ä".encode() * 10
    assert "\ufffd" not in text.preview(data, parse(data))


def test_summary() -> None:
    data = (
        b"From: =?utf-8?Q?J=C3=B6rg?= <joerg@x.org>\nTo: Team: a@b, C <c@d>;\nCc: root\n"
        b'Date: Thu, 15 Feb 2007 01:02:03 +0200\nSubject: =?utf-8?Q?H=C3=A9?=\nMessage-ID: <"a.b"@c>\n'
        b"In-Reply-To: Your message <p@q> of today\nReferences: <1@x>\n <2@x> nonsense < 3@x >\n\nHello\n"
    )
    found = summary.summarize(data)
    assert found.size == len(data.replace(b"\n", b"\r\n")) == found.header_size + 7
    assert (found.sent, found.sent_offset) == (1171494123, 7200)
    assert (found.subject, found.subject_key) == ("Hé", text.normalize("Hé"))
    assert found.display_from == text.normalize("Jörg") and found.from_mailbox == "JOERG"
    assert (found.display_to, found.to_mailbox) == ("TEAM", "TEAM")
    assert text.normalize("c@d") in found.to_key and "TEAM" in found.to_key
    assert (found.cc_key, found.bcc_key) == ("ROOT", "")
    assert (found.message_id, found.in_reply_to, found.references) == (b"a.b@c", b"p@q", (b"1@x", b"2@x", b"3@x"))
    assert found.preview == "Hello" and not found.attachments
    assert found.body.startswith(b'("text" "plain"') and found.bodystructure.endswith(b" NIL NIL NIL NIL)")
    # Comments within an address do not hide it (RFC 9051 6.4.4: the envelope is searched).
    commented = summary.summarize(b"From: <user (c)@ (c) domain.org>\n\n")
    assert "USER@DOMAIN.ORG" in commented.from_key


@given(
    st.lists(
        st.sampled_from(
            [
                b"From: ",
                b"Subject: ",
                b"To: ",
                b"Date: ",
                b"References: <",
                b"=?utf-8?B?",
                b"?=",
                b"\n",
                b"\xff",
                b"\0",
                b"a@b>",
                b"Content-Type: text/html; charset=",
                b"utf-16",
                b"hz",
                b"<p",
                b"&#",
                b"Content-Transfer-Encoding: base64\n",
            ]
        ),
        max_size=20,
    ).map(b"".join)
)
def test_anything_is_summarized(data: bytes) -> None:
    found = summary.summarize(data)
    assert found.size == len(data) + data.count(b"\n") and len(found.preview) <= 200
    assert "\n" not in found.preview
    # The index stores it all as UTF-8.
    "".join(value for value in found if isinstance(value, str)).encode()
    list(text.body_texts(data, parse(data)))
