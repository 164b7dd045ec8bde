"""Mailbox names, LIST patterns and sequence sets."""

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tubepost.common.imap import names, sets
from tubepost.common.imap.errors import BadCommand, BadName


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        # RFC 3501 5.1.3
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
        (b"Hi&-Low", "Hi&Low"),
        (b"&Jjo-!", "☺!"),
        (b"&2D3eAA-", "😀"),
        (b"", ""),
    ],
)
def test_modified_utf7(wire: bytes, name: str) -> None:
    assert names.decode_utf7(wire) == name
    assert names.encode_utf7(name) == wire


@pytest.mark.parametrize(
    "wire",
    [
        # RFC 3501 5.1.3: "&Jjo-&Jjo-" has a superfluous shift, "&Jjo!" does not shift back.
        b"&U,BTFw-&ZeVnLIqe-", b"&Jjo!", b"&", b"a&b", b"&AGE-", b"&AAA", b"&2D0-", b"&JjoA-", b"&Jjp-", b"\xc3\xa9",
        b"&Jj=-", b"a\x01", b"&Jjo", b"&J-",
    ],
)  # fmt: skip
def test_what_is_no_modified_utf7(wire: bytes) -> None:
    with pytest.raises(BadName):
        names.decode_utf7(wire)


@given(st.text())
def test_utf7_round_trip(name: str) -> None:
    assert names.decode_utf7(names.encode_utf7(name)) == name


@given(st.binary(max_size=30) | st.from_regex(rb"[&A-Za-z,+-]{0,20}"))
def test_any_bytes_are_a_name_or_bad(data: bytes) -> None:
    try:
        name = names.decode_utf7(data)
    except BadName:
        return
    assert names.encode_utf7(name) == data


def test_inbox_has_one_spelling() -> None:
    assert names.decode(b"iNbOx") == "INBOX"
    assert names.decode(b"inbox/Foo") == "INBOX/Foo"
    assert names.decode(b"inboxes") == "inboxes"
    assert names.decode(b"A&B", utf8=True) == "A&B"
    with pytest.raises(BadName):
        names.decode(b"\xff", utf8=True)
    with pytest.raises(BadName):
        names.decode("a\u0085".encode(), utf8=True)


def test_levels() -> None:
    assert list(names.parents("a/b/c")) == ["a/b", "a"]
    assert names.parent("a") == ""
    assert names.is_below("a/b", "a") and not names.is_below("ab", "a") and not names.is_below("a", "a")


def slow_match(pattern: str, name: str) -> bool:
    parts = {"*": ".*", "%": "[^/]*"}
    return re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), name, re.DOTALL) is not None


@settings(max_examples=2000)
@given(st.text("ab/*%", max_size=12), st.text("ab/", max_size=14))
def test_patterns_are_what_a_regular_expression_says(pattern: str, name: str) -> None:
    assert names.Pattern(pattern).match(name) == slow_match(pattern, name)


def test_patterns() -> None:
    assert names.Pattern("inb%").match("INBOX")
    assert names.Pattern("inbox").match("INBOX")
    assert names.Pattern("InBoX/a").match("INBOX/a") and not names.Pattern("InBoX/A").match("INBOX/a")
    assert not names.Pattern("FOO").match("foo")
    # Linear, where a regular expression would take for ever.
    assert not names.Pattern("*a" * 200 + "b").match("a" * 2000)
    assert not names.Pattern("*a%b" * 200).match("a" * 2000)
    assert not names.Pattern("%a" * 200 + "b").match("a" * 2000)


@given(st.text("nN/*%b", max_size=8), st.sampled_from(("INBOX", "INBOX/n", "INBOX/N/b", "INBOXn")))
def test_patterns_of_inbox(pattern: str, name: str) -> None:
    """Its first level is compared without case, and what is below it with."""
    below = name[:5] == "INBOX" and name[5:6] in ("", "/")
    spellings = ["".join(letters) for letters in product(*zip("INBOX", "inbox", strict=True))] if below else ["INBOX"]
    assert names.Pattern(pattern).match(name) == any(slow_match(pattern, one + name[5:]) for one in spellings)


@pytest.mark.parametrize(
    ("text", "largest", "merged"),
    [
        (b"2,4:7,9,12:*", 15, [(2, 2), (4, 7), (9, 9), (12, 15)]),
        (b"*:4,5:7", 10, [(4, 10)]),
        (b"5,1:3,4", 9, [(1, 5)]),
        (b"559:*", 100, [(100, 559)]),
        (b"*", 0, []),
        (b"3:1", 9, [(1, 3)]),
    ],
)
def test_sets(text: bytes, largest: int, merged: list[tuple[int, int]]) -> None:
    assert sets.parse_set(text).merged(largest) == merged


@pytest.mark.parametrize(
    "text", [b"", b"0", b"1,", b"1:", b":1", b"1:2:3", b"4294967296", b"01", b"$,1", b"1 2", b"-1"]
)
def test_what_is_no_set(text: bytes) -> None:
    with pytest.raises(BadCommand):
        sets.parse_set(text)


def test_a_huge_range_costs_nothing() -> None:
    uids = [3, 5, 4000000000]
    found = sets.parse_set(b"1:4294967295")
    assert found.among(uids) == uids
    assert found.slices(uids) == [(0, 3)]
    assert sets.parse_set(b"5:*,3").slices(uids) == [(0, 3)]
    assert sets.parse_set(b"9000:*").among([1, 2]) == [2]
    assert sets.parse_set(b"1:3,7").positions(5) == [(0, 3)]
    assert sets.parse_set(b"$").saved


def test_numbers_beyond_the_mailbox() -> None:
    assert not sets.parse_set(b"1:5,*").beyond(5)
    assert sets.parse_set(b"6").beyond(5)
    assert sets.parse_set(b"6:*").beyond(5)
    assert sets.parse_set(b"*").beyond(0)


@given(st.sets(st.integers(1, 300)), st.sampled_from([b"1:*", b"*", b"7:9,2,100:50", b"300:*", b"1:4294967295"]))
def test_a_set_has_what_it_gives(numbers: set[int], text: bytes) -> None:
    uids = sorted(numbers)
    found = sets.parse_set(text)
    assert found.among(uids) == [n for n in uids if found.has(n, uids[-1])]


@given(st.sets(st.integers(1, 200) | st.integers(1, 4294967295)))
def test_compaction_round_trip(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    text = sets.compact(ordered)
    if ordered:
        found = sets.parse_set(text)
        assert list(found.ranges) == found.merged(0)
        assert found.among(ordered) == ordered
        assert found.size() == len(ordered)
    else:
        assert text == b""


def test_order_is_kept_where_it_counts() -> None:
    assert sets.compact_ordered([304, 319, 320, 7, 8, 9, 1]) == b"304,319:320,7:9,1"
