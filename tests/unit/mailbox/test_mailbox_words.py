"""Texts into terms, strings into what they ask: whatever the index says must agree with a plain look at the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.mailbox.maildir import words
from tubepost.common.mailbox.maildir.words import HALF, PIECE, Needle, Terms, fold, needle, terms

# Few characters of every kind, so that things meet.
TEXT = st.text(alphabet='abzZ09 .-@_\n"éÉßﬁΣς会议室のカ한ไทย😀—、。１Ａ\u00a0\u0301', max_size=60)
LONG = st.text(alphabet="ab会", min_size=1, max_size=150)


def satisfied(found: Terms, wanted: Needle) -> bool:
    """The index's answer."""
    for want in wanted.wants:
        match want.how:
            case "is":
                good = want.text in found.words or want.text in found.grams
            case "has":
                good = any(want.text in word for word in found.words)
            case "begins":
                good = any(word.startswith(want.text) for word in found.words)
            case _:
                good = any(word.endswith(want.text) for word in found.words)
        if not good:
            return False
    return True


@settings(max_examples=400)
@given(st.one_of(TEXT, LONG), st.data())
def test_no_message_is_missed(text: str, data: st.DataObject) -> None:
    folded = fold(text)
    if not folded:
        return
    start = data.draw(st.integers(0, len(folded) - 1))
    end = data.draw(st.integers(start + 1, len(folded)))
    assert satisfied(terms([folded]), needle(folded[start:end]))


@settings(max_examples=400)
@given(st.one_of(TEXT, LONG), st.one_of(TEXT, LONG).filter(bool))
def test_an_exact_needle_finds_nothing_else(text: str, wanted: str) -> None:
    found = needle(wanted)
    if found.exact:
        assert satisfied(terms([fold(text)]), found) == (found.text in fold(text))


@given(TEXT)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize("length", [1, HALF, HALF + 1, PIECE, PIECE + 1, PIECE + HALF, PIECE + HALF + 1, 1000])
def test_pieces_of_long_words_are_short_and_cover_it(length: int) -> None:
    word = "".join(chr(ord("a") + place % 26) for place in range(length))
    found = terms([word]).words
    assert all(len(piece) <= PIECE for piece in found)
    for start in range(max(1, length - HALF + 1)):
        part = word[start : start + HALF]
        assert any(part in piece for piece in found)
    assert any(piece.endswith(word[-HALF:]) for piece in found)


@pytest.mark.parametrize(
    ("text", "exact", "wants"),
    [
        ("Budget", True, [("has", "budget")]),
        ("会议", True, [("is", "会议")]),
        ("会议室里", False, [("is", "会议室"), ("is", "议室里")]),
        ("foo bar baz", False, [("ends", "foo"), ("is", "bar"), ("begins", "baz")]),
        ("a@example.org", False, [("ends", "a"), ("is", "example"), ("begins", "org")]),
        (" word", False, [("begins", "word")]),
        ("word ", False, [("ends", "word")]),
        ("x会y", False, [("ends", "x"), ("is", "会"), ("begins", "y")]),
        ("---", False, []),
    ],
)
def test_needles(text: str, exact: bool, wants: list[tuple[str, str]]) -> None:
    found = needle(text)
    assert found.exact is exact
    assert [tuple(want) for want in found.wants] == wants


def test_a_text_with_too_many_words_is_not_indexed() -> None:
    many = " ".join(str(number) for number in range(50))
    assert terms([many], limit=50).whole
    assert terms([many], limit=49) == Terms(set(), set(), False)


def test_terms_of_a_run_grow_with_its_length_only() -> None:
    run = "".join(chr(0x4E00 + number) for number in range(1000))
    assert len(terms([run]).grams) == 1000 + 999 + 998


def test_case_and_accents() -> None:
    # RFC 5051: titlecase and decomposition; the ASCII letter is part of the accented one.
    assert fold("ÉCOLE") == fold("école")
    assert needle("e").text in fold("É")
    assert words.fold("ＡＢＣ１") == "abc1"


def test_a_string_of_many_words_asks_for_some_of_them() -> None:
    found = needle(" ".join(f"word{number}" for number in range(1000)))
    assert len(found.wants) == words.WANTS_LIMIT
    assert not found.exact
    assert len(needle("会" + "".join(chr(0x4E00 + number) for number in range(1000))).wants) == words.WANTS_LIMIT
