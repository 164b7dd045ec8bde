"""Dates, message ids, status codes and replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import date, dsn, messageid


def test_date_is_written_as_in_rfc_5322() -> None:
    assert date.format_date(1795544452.9) == "Tue, 24 Nov 2026 18:20:52 +0000"
    assert date.format_date(1795544452, -12600, "NST") == "Tue, 24 Nov 2026 14:50:52 -0330 (NST)"
    assert date.format_date(0, 3600) == "Thu,  1 Jan 1970 01:00:00 +0100"


@given(st.integers(0, 4_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_date_round_trip(time: int, minutes: int) -> None:
    assert date.parse_date(date.format_date(time, minutes * 60, "X")) == (time, minutes * 60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24 Nov 2026 18:20:52 GMT", (1795544452, 0)),
        ("Tue, 24 Nov 26 18:20:52 EST", (1795544452 + 5 * 3600, -18000)),
        ("24-Nov-2026 18:20 +0000", (1795544400, 0)),
        ("nonsense", None),
        ("Tue, 31 Feb 2026 18:20:52 +0000", None),
        ("Tue, 24 Foo 2026 18:20:52 +0000", None),
        ("", None),
    ],
)
def test_date_is_read_leniently(text: str, expected: tuple[int, int] | None) -> None:
    assert date.parse_date(text) == expected


def test_message_ids() -> None:
    assert messageid.make("4XyZ", "mx.example") == "<4XyZ@mx.example>"
    assert messageid.make("4XyZ", "mx.example", "20261124182052") == "<20261124182052.4XyZ@mx.example>"
    assert messageid.extract(" <a@b> (c)\n") == "<a@b>"
    assert messageid.extract(" not an\n id ") == "not an id"
    assert messageid.extract_all("<a@b>\n <c@d>") == ["<a@b>", "<c@d>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.1.1 no such user", ("5.1.1", "no such user")),
        ("no code", ("9", "no code")),
        ("5.1.1", ("5.1.1", "")),
        ("5.1.1.2 x", ("9", "5.1.1.2 x")),
        ("3.1.1 x", ("9", "3.1.1 x")),
        ("5.01.1 x", ("9", "5.01.1 x")),
        ("5.1234.1 x", ("9", "5.1234.1 x")),
        ("5.1.1x", ("9", "5.1.1x")),
    ],
)
def test_status_codes(text: str, expected: tuple[str, str]) -> None:
    assert dsn.split(text, "9") == expected


def test_status_classes() -> None:
    assert dsn.with_class("5.1.1", "4") == "4.1.1"
    assert dsn.for_reply(451) == "4.0.0"
    assert dsn.for_reply(354) == ""
    assert not dsn.is_valid("5.1")
