"""Items of ESEARCH and what SAVE keeps, by the tables of the RFCs."""

import pytest
from tubepost.common.imap.search import And, Fuzzy, Header, Key, Not, Or, Text
from tubepost.common.imap.write import esearch

from tubepost.services.imapd import relevance, results

FOUND = [2, 10, 11, 12, 13, 14, 15, 21]


def line(tag: bytes, found: list[int], options: set[bytes], **named: object) -> bytes:
    return esearch(tag, uid=False, items=results.items(found, options, **named))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "shown", "kept"),
    [
        # RFC 5182 2.4, example 10
        ({b"ALL"}, b"ALL 2,10:15,21", FOUND),
        ({b"MIN"}, b"MIN 2", [2]),
        ({b"MAX"}, b"MAX 21", [21]),
        ({b"MIN", b"MAX"}, b"MIN 2 MAX 21", [2, 21]),
        ({b"MIN", b"MAX", b"COUNT"}, b"MIN 2 MAX 21 COUNT 8", FOUND),
        ({b"ALL", b"MIN"}, b"MIN 2 ALL 2,10:15,21", FOUND),
        ({b"COUNT"}, b"COUNT 8", FOUND),
        (set(), b"", FOUND),
    ],
)
def test_searchres_table(options: set[bytes], shown: bytes, kept: list[int]) -> None:
    expected = b'* ESEARCH (TAG "C282")' + (b" " + shown if shown else b"") + b"\r\n"
    assert line(b"C282", FOUND, {*options, b"SAVE"}) == expected
    assert results.kept(FOUND, {*options, b"SAVE"}) == kept


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        # RFC 9394 3.2, table 1
        (set(), [10, 11]),
        ({b"MIN"}, [2, 10, 11]),
        ({b"MAX"}, [10, 11, 21]),
        ({b"MIN", b"MAX"}, [2, 10, 11, 21]),
        ({b"COUNT"}, FOUND),
        ({b"COUNT", b"MIN"}, FOUND),
    ],
)
def test_partial_table(options: set[bytes], kept: list[int]) -> None:
    assert results.kept(FOUND, {*options, b"SAVE", b"PARTIAL"}, (2, 3)) == kept


@pytest.mark.parametrize(
    ("partial", "shown"),
    [
        ((1, 3), b"(1:3 2,10:11)"),
        ((7, 100), b"(7:100 15,21)"),
        ((9, 10), b"(9:10 NIL)"),
        ((-1, -1), b"(-1:-1 21)"),
        ((-1, -3), b"(-1:-3 14:15,21)"),
        ((-7, -100), b"(-7:-100 2,10)"),
        ((-9, -10), b"(-9:-10 NIL)"),
        ((-2, -2), b"(-2:-2 15)"),
        ((1, 4294967295), b"(1:4294967295 2,10:15,21)"),
    ],
)
def test_partial(partial: tuple[int, int], shown: bytes) -> None:
    assert results.items(FOUND, {b"PARTIAL"}, partial) == [(b"PARTIAL", shown)]
    assert results.items([], {b"PARTIAL"}, partial) == [(b"PARTIAL", b"(%d:%d NIL)" % partial)]


def test_nothing_found() -> None:
    assert line(b"A285", [], {b"MIN", b"MAX", b"ALL", b"COUNT"}) == b'* ESEARCH (TAG "A285") COUNT 0\r\n'
    assert results.kept([], {b"SAVE", b"MIN"}) == []


def test_relevancy() -> None:
    # RFC 6203 4 and 6
    found = line(b"B1", [1, 5, 10], {b"ALL", b"RELEVANCY"}, scores=[4, 99, 42])
    assert found == b'* ESEARCH (TAG "B1") ALL 1,5,10 RELEVANCY (4 99 42)\r\n'
    found = line(b"C2", [5, 10, 1], {b"ALL", b"RELEVANCY"}, scores=[99, 42, 4], ordered=True)
    assert found == b'* ESEARCH (TAG "C2") ALL 5,10,1 RELEVANCY (99 42 4)\r\n'
    some = results.items([42, 9, 34], {b"PARTIAL", b"RELEVANCY"}, (2, 3), scores=[90, 80, 70], ordered=True)
    assert some == [(b"PARTIAL", b"(2:3 9,34)"), (b"RELEVANCY", b"(80 70)")]
    assert results.items([], {b"RELEVANCY"}, scores=[]) == [(b"RELEVANCY", b"()")]


def test_modseq() -> None:
    # RFC 7162 3.1.10: of MIN and MAX alone, else of all.
    assert results.weighed(FOUND, {b"MIN"}) == [2]
    assert results.weighed(FOUND, {b"MAX"}) == [21]
    assert results.weighed(FOUND, {b"MIN", b"MAX"}) == [2, 21]
    assert results.weighed(FOUND, {b"MIN", b"COUNT"}) == FOUND
    assert results.weighed(FOUND, {b"ALL"}) == FOUND
    assert line(b"a", [1, 2], {b"ALL"}, modseq=1236) == b'* ESEARCH (TAG "a") ALL 1:2 MODSEQ 1236\r\n'
    assert line(b"a", [], {b"ALL"}, modseq=1236) == b'* ESEARCH (TAG "a")\r\n'


def test_loosen() -> None:
    plain = Or(Text(b"SUBJECT", "a b"), Not(Text(b"BODY", "c d")))
    assert relevance.loosen(plain) == relevance.Loosened(plain, (), False)
    found = relevance.loosen(And((Fuzzy(plain), Fuzzy(Header(b"X-A", "e f")))))
    assert found.fuzzy
    words: Key = And((Text(b"SUBJECT", "a"), Text(b"SUBJECT", "b")))
    assert found.key == And((Or(words, Not(Text(b"BODY", "c d"))), And((Header(b"X-A", "e"), Header(b"X-A", "f")))))
    assert [[rank.score for rank in scale] for scale in found.scales] == [[30, 55, 80, 100], [30, 100]]


def test_scores_stay_between_1_and_100() -> None:
    ranked = relevance.scores([1, 2, 3], [[(30, [1, 2]), (100, [2])], [(30, [2]), (100, [1])]])
    assert ranked == {1: 65, 2: 65, 3: 1}
    assert relevance.scores([1], []) == {1: 100}
