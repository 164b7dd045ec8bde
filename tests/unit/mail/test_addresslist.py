"""Address lists: what is found, what is replaced, and that nothing else changes; linear on hostile input."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import address, addresslist

FOUND = [
    ("a@b.c", ["a@b.c"]),
    (" Alice <a@b.c> ", ["a@b.c"]),
    ('"Smith, J." <j@x.org>, k@y', ["j@x.org", "k@y"]),
    ("John Q. Public <q@x>", ["q@x"]),
    ("Smith, John <j@x>", ["Smith", "j@x"]),
    ("(a, (nested) b@c) a@b (tail)", ["a@b"]),
    ("Friends: a@x, B <b@y>;, c@z", ["a@x", "b@y", "c@z"]),
    ("undisclosed-recipients:;", []),
    ("undisclosed-recipients:", []),
    ("<@a.x,@b.y:u@c.z>", ["u@c.z"]),
    ("a@[1.2.3.4], b@[IPv6:::1]", ["a@[1.2.3.4]", "b@[IPv6:::1]"]),
    ('"a b"@c', ['"a b"@c']),
    ('"a\\"b"@c', ['"a\\"b"@c']),
    ("a..b@c", ['"a..b"@c']),
    ("user @ host . dom", ["user@host.dom"]),
    ("one two", ["one", "two"]),
    ("<a@b", ["a@b"]),
    ("<a@b, c@d", ["a@b", "c@d"]),
    ('"open a@b', ['"open a@b"']),
    ("(open a@b", []),
    ("", []),
    ("<>", []),
    (",,;,", []),
    ("host!user, a%b@c", ["host!user", "a%b@c"]),
    ("Jörg <jörg@exämple.org>", ["jörg@exämple.org"]),
    ("a@x,\r\n\tb@y", ["a@x", "b@y"]),
    ("joe@x (Joe))", ["joe@x"]),
    ("joe@x) <k@y>", ["k@y"]),
    (r"wietse\ venema@p", ['"wietse venema"@p']),
    ("a@[stuff", ["a@[stuff"]),
    ("mailto:a@b", ['"mailto:a"@b']),
]


@pytest.mark.parametrize(("value", "expected"), FOUND)
def test_found(value: str, expected: list[str]) -> None:
    assert addresslist.extract_addresses(value) == expected


def rewrite(value: str, change: Callable[[str], str], limit: int = addresslist.TOKEN_LIMIT) -> str:
    """Each address changed; one with bytes that were not UTF-8 is left alone, as those do who use it."""
    found = addresslist.mailboxes(value, limit)
    return addresslist.replace(
        value, found, [change(one.address) if addresslist.is_text(one.address) else one.address for one in found]
    )


def test_replaced_in_place() -> None:
    value = ' "Smith, J." <j> (x), Friends:\n\tk@y.z, <@r:l>;'
    changed = rewrite(value, lambda a: a if "@" in a else f"{a}@me.example")
    assert changed == ' "Smith, J." <j@me.example> (x), Friends:\n\tk@y.z, <l@me.example>;'


def test_a_missing_comma_is_put_in_only_with_a_change() -> None:
    assert rewrite("one two", str) == "one two"
    assert rewrite("one two", lambda a: a + "@x") == "one@x , two@x"


def test_bytes_that_are_not_utf8_are_left_alone() -> None:
    value = b"\xff\xfe <a@b>, \xe9t\xe9@x".decode("utf-8", "surrogateescape")
    assert rewrite(value, lambda a: "new@y") == value.replace("a@b", "new@y")


def test_tokens_beyond_the_limit_are_left_alone() -> None:
    assert rewrite("a, b, c, d", lambda a: a + "@x", limit=4) == "a@x, b@x, c, d"


@given(st.text(alphabet='ab@<>,;:."\\()[] \t\n%!é', max_size=60))
def test_identity_changes_nothing(value: str) -> None:
    assert rewrite(value, str) == value


@given(st.binary(max_size=60))
def test_identity_on_any_bytes(raw: bytes) -> None:
    value = raw.decode("utf-8", "surrogateescape")
    assert rewrite(value, str) == value


@given(st.text(alphabet='ab@<>,;:."\\()[] \t\n%!é', max_size=60))
def test_spans_are_in_order_and_apart(value: str) -> None:
    place = 0
    for mailbox in addresslist.mailboxes(value):
        assert place <= mailbox.start < mailbox.end <= len(value)
        place = mailbox.end


@given(st.lists(st.text(alphabet='ab."\\ é@', min_size=1, max_size=8), max_size=5))
def test_addresses_written_are_addresses_read(locals_: list[str]) -> None:
    written = [f"{address.quote_local(local)}@x.example" for local in locals_]
    assert addresslist.extract_addresses(", ".join(written)) == written


@pytest.mark.parametrize("piece", ["(", "<", '"', "a ", "[", "\\", "a@", "<@", ":", "a:", ";", ".", "(<", "<(", '"\\'])
def test_hostile_input_takes_linear_time(piece: str) -> None:
    value = piece * (100_000 // len(piece))
    begin = time.process_time()
    rewrite(value, str, limit=10**9)
    assert time.process_time() - begin < 1.5
