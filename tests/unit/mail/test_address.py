"""One address: split, quote, unquote, extensions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import address


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a@b", ("a", "b")),
        ("a", ("a", None)),
        ("", ("", None)),
        ("a@b@c", ("a@b", "c")),
        ('"a@b"', ('"a@b"', None)),
        ('"a@b"@c', ('"a@b"', "c")),
        ('"a\\"@b"@c', ('"a\\"@b"', "c")),
        ("a@", ("a", "")),
        ('"open@c', ('"open@c', None)),
        ("a\\@b", ("a\\@b", None)),
    ],
)
def test_split(text: str, parts: tuple[str, str | None]) -> None:
    assert address.split(text) == parts
    assert address.join(*parts) == text


@pytest.mark.parametrize(
    ("local", "delimiters", "expected"),
    [
        ("user+ext", "+", ("user", "ext")),
        ("user+a+b", "+", ("user", "a+b")),
        ("user-x+y", "+-", ("user", "x+y")),
        ("user", "+", ("user", None)),
        ("+ext", "+", ("+ext", None)),
        ("user+", "+", ("user", "")),
        ("user+ext", "", ("user+ext", None)),
        ("owner-list", "-", ("owner-list", None)),
        ("list-request", "-", ("list-request", None)),
        ("mailer-daemon", "-", ("mailer-daemon", None)),
        ("double-bounce", "-", ("double-bounce", None)),
    ],
)
def test_extension(local: str, delimiters: str, expected: tuple[str, str | None]) -> None:
    assert address.strip_extension(local, delimiters) == expected


@given(st.text(max_size=20))
def test_quoting_is_undone_by_unquoting(local: str) -> None:
    external = address.quote_local(local)
    assert address.unquote_local(external) == local
    assert address.split(f"{external}@x") == (external, "x")


@pytest.mark.parametrize("local", ["a.b", "a+b", "jörg", "a_b-c"])
def test_a_dot_string_is_not_quoted(local: str) -> None:
    assert address.quote_local(local) == local


@pytest.mark.parametrize("local", ["", "a b", ".a", "a.", "a..b", "a@b", "a,b", 'a"b'])
def test_others_are_quoted(local: str) -> None:
    assert address.quote_local(local).startswith('"')


def test_whole_addresses() -> None:
    assert address.quote("a b@c") == '"a b"@c'
    assert address.unquote('"a b"@c') == "a b@c"
    assert address.quote("") == ""
    assert address.domain_of("a@EXAMPLE.org") == "example.org"
    assert address.domain_of("a") == ""
