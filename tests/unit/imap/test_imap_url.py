"""IMAP URLs by the examples of RFC 5092 and RFC 4467."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap import url
from tubepost.common.imap.url import BadUrl, parse


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b"/INBOX/;UID=20", {"mailbox": "INBOX", "uid": 20, "section": b"", "partial": None, "uidvalidity": 0}),
        (b"/inbox;UIDVALIDITY=385759045/;UID=20/;section=HEADER", {"uidvalidity": 385759045, "section": b"HEADER"}),
        (b";UID=20/;section=1.2", {"mailbox": "", "uid": 20, "section": b"1.2"}),
        (
            b"imap://michael@minbari.example.org/users.*;uidvalidity=1/;uid=3/;PARTIAL=0.1024",
            {"user": "michael", "host": "minbari.example.org", "mailbox": "users.*", "partial": (0, 1024)},
        ),
        (b"imap://psicorp.example.org/~peter/%E6%97%A5%E6%9C%AC%E8%AA%9E/;uid=1", {"mailbox": "~peter/日本語"}),
        (b"imap://;AUTH=GSSAPI@h.example/gray-council/;uid=20/;section=1.2", {"user": "", "host": "h.example"}),
        (
            b"/a/;uid=5/;section=HEADER.FIELDS%20(TO)/;partial=7",
            {"section": b"HEADER.FIELDS (TO)", "partial": (7, None)},
        ),
        (
            b"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred:internal:"
            b"91354a473744909de610943775f92038",
            {
                "user": "joe",
                "access": "submit+fred",
                "mechanism": "INTERNAL",
                "token": "91354a473744909de610943775f92038",
                "rump": b"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred",
                "expire": None,
            },
        ),
        (
            b"imap://j%40x@h/INBOX/;uid=1;expire=2011-09-11T01:02:03Z;urlauth=user+j%40x",
            {"user": "j@x", "expire": 1315702923.0, "access": "user+j@x", "token": ""},
        ),
    ],
)
def test_parts(text: bytes, fields: dict[str, object]) -> None:
    found = parse(text)
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    "text",
    [
        b"", b"/INBOX", b"/INBOX/;UID=0", b"/INBOX/;UID=x", b"INBOX/;UID=1", b"http://h/INBOX/;UID=1", b"imap://h",
        b"/INBOX/;UID=1;urlauth=anonymous", b"imap://h/a/;uid=1;urlauth=nobody", b"imap://h/a/;uid=1;urlauth=user+",
        b"imap://h/a/;uid=1;urlauth=anonymous:INTERNAL:xyz", b"imap://h/a/;uid=1;urlauth=anonymous:INTERNAL:12",
        b"imap://h/a/;uid=1;expire=yesterday;urlauth=anonymous",
        b"imap://h/a/;uid=1;expire=2011-09-11T01:02:03;urlauth=anonymous",
        b"/%ff/;uid=1", b"/a b/;uid=1", b"/a\r\n/;uid=1", b'/a"/;uid=1', b"/a/;uid=1/;partial=0.0",
        b"/" + b"a" * 9000 + b"/;uid=1",
    ],
)  # fmt: skip
def test_what_is_none(text: bytes) -> None:
    with pytest.raises(BadUrl):
        parse(text)


@given(st.text(min_size=1, max_size=30), st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(mailbox: str, uid: int, validity: int) -> None:
    try:
        text = url.write(mailbox.strip("/") or "x", uid, uidvalidity=validity, section="1.2.TEXT")
    except UnicodeEncodeError:
        return
    found = parse(text)
    assert found.mailbox == (mailbox.strip("/") or "x") or found.mailbox.upper() == "INBOX"
    assert (found.uid, found.uidvalidity, found.section) == (uid, validity, b"1.2.TEXT")


PIECES = [
    b"imap://", b"a@h/", b"/INBOX", b"/;UID=", b"1", b";urlauth=", b"user+x", b":INTERNAL:", b"f" * 32, b"/;section=",
    b"%",
]  # fmt: skip


@given(st.binary(max_size=60), st.lists(st.sampled_from(PIECES)))
def test_anything_else_is_bad(junk: bytes, parts: list[bytes]) -> None:
    for text in (junk, b"".join(parts), b"".join(parts) + junk):
        try:
            found = parse(text)
        except BadUrl:
            continue
        # What was taken can stand in a reply.
        assert text.isascii() and b'"' not in text and b"\r" not in text and found.uid > 0


def test_time_is_linear() -> None:
    started = time.monotonic()
    for text in (b"/" + b"/;" * 4000, b"imap://" + b"a;" * 3500, b"/" + b";UIDVALIDITY=" * 600, b"/" + b"/" * 8000):
        with pytest.raises(BadUrl):
            parse(text)
    assert time.monotonic() - started < 1.0
