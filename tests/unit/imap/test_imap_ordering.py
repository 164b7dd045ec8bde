"""Base subjects, SORT and THREAD (RFC 5256)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap.collation import casemap
from tubepost.common.imap.ordering import Entry, Node, ordered_subject, references, refs, render, sort, thread
from tubepost.common.imap.subject import base_subject


@pytest.mark.parametrize(
    ("subject", "base", "reply"),
    [
        ("hello", "hello", False),
        ("Re: hello", "hello", True),
        ("re:re: Fwd: FW: hello", "hello", True),
        ("RE [list]: hello", "hello", True),
        ("[list] Re: hello", "hello", True),
        ("[a] [b] Re: [c] hello", "hello", True),
        ("Re: [list] hello (fwd) (FWD)", "hello", True),
        ("hello (fwd)", "hello", True),
        ("[Fwd: hello]", "hello", True),
        ("[fwd: Re: [x] hello (fwd)]", "hello", True),
        ("[fwd: [fwd: hello]]", "hello", True),
        ("[list] hello", "hello", False),
        # Step 4: a blob that is all there is stays.
        ("[list]", "[list]", False),
        ("[a][b] ", "[b]", False),
        ("Re:", "", True),
        ("  a \t\r\n b ", "a b", False),
        ("Rehearsal: x", "Rehearsal: x", False),
        ("re [a][b]: x", "re [a][b]: x", False),
        ("Re[2]: x", "x", True),
        ("Re : x", "x", True),
        ("", "", False),
        ("[fwd:]", "[fwd:]", False),
    ],
)
def test_base_subjects(subject: str, base: str, reply: bool) -> None:
    if subject == "[fwd:]":
        # Step 6 leaves nothing of it.
        base, reply = "", True
    assert base_subject(subject) == (base, reply)


def test_hostile_subjects_take_linear_time() -> None:
    start = time.process_time()
    for text in (
        "[" * 50000,
        "[fwd:" * 10000 + "]" * 10000,
        "[a]" * 30000,
        "re:" * 30000,
        "re [" * 20000,
        "(fwd)" * 9999,
    ):
        base_subject(text)
    assert time.process_time() - start < 2


@given(st.text(alphabet="[]() refwdREFWD:ab", max_size=30))
def test_a_base_has_no_base(subject: str) -> None:
    base = base_subject(subject).text
    assert base_subject(base) == (base, False)


def test_casemap() -> None:
    assert casemap("aB") == "AB"
    assert casemap("é") == casemap("É") == casemap("e\u0301")
    assert casemap("ﬁ") == casemap("ﬁ")
    assert casemap("ß") != casemap("ss")


def test_sort() -> None:
    numbers = [1, 2, 3, 4, 5]
    size = [5, 3, 5, 1, 3]
    subject = ["B", "A", "A", "C", "A"]
    assert sort(numbers, [(size, False)]) == [4, 2, 5, 1, 3]
    # REVERSE leaves the implicit order by sequence number as it is (RFC 5256 3).
    assert sort(numbers, [(size, True)]) == [1, 3, 2, 5, 4]
    assert sort(numbers, [(subject, False), (size, True)]) == [3, 2, 5, 1, 4]
    assert sort([], [([], False)]) == []


def entries(*rows: tuple[int, str, str, str]) -> list[Entry]:
    """(number, subject, id, references divided by spaces); the number is the date as well."""
    return [Entry(number, number, subject, own, tuple(refs.split())) for number, subject, own, refs in rows]


def test_ordered_subject() -> None:
    found = entries(
        (1, "b", "", ""), (2, "Re: a", "", ""), (3, "re: B", "", ""), (4, "a", "", ""), (5, "[x] b", "", "")
    )
    assert render(ordered_subject(found)) == b"(1 (3)(5))(2 4)"
    assert thread(b"ORDEREDSUBJECT", []) == []


def test_references() -> None:
    # The tree of RFC 5256 4's example: 3 is 6's parent, below which two branches hang.
    tree = entries(
        (2, "two", "b", ""),
        (3, "x", "c", ""),
        (4, "x", "d", "c f"),
        (6, "x", "f", "c"),
        (7, "x", "g", "c f j"),
        (23, "x", "w", "c f d"),
        (44, "x", "j", "c f"),
        (96, "x", "z", "c f j g"),
    )
    assert render(references(tree)) == b"(2)(3 6 (4 23)(44 7 96))"
    assert render(refs(tree)) == b"(2)(3 6 (4 23)(44 7 96))"


def test_references_with_missing_parents() -> None:
    siblings = entries((3, "x", "c", "lost"), (5, "y", "e", "lost"))
    # Step 3: a dummy with two children stays at the top; one with a single child does not.
    assert render(references(siblings)) == b"((3)(5))"
    assert render(references(siblings[:1])) == b"(3)"
    assert (
        render(references(entries((1, "a", "a", ""), (2, "b", "b", "a lost"), (3, "c", "c", "a lost"))))
        == b"(1 (2)(3))"
    )
    assert render(references(entries((1, "a", "a", "l1 l2"), (2, "b", "b", "l1 l2 l3"), (3, "c", "c", "l1")))) == (
        b"((1)(2)(3))"
    )


def test_duplicate_ids_and_loops() -> None:
    assert render(references(entries((1, "a", "same", ""), (2, "b", "same", "")))) == b"(1)(2)"
    assert render(references(entries((1, "a", "a", "b"), (2, "b", "b", "a")))) in (b"(1 2)", b"(2 1)")
    assert render(references(entries((1, "a", "a", "a")))) == b"(1)"
    # Step 1 B: a message's own word wins over what another's references say.
    rows = entries((1, "a", "a", ""), (2, "b", "b", ""), (3, "c", "c", "a"), (4, "d", "d", "b c"))
    assert render(references(rows)) == b"(1 3 4)(2)"
    rows = entries((1, "a", "a", ""), (2, "b", "b", ""), (3, "d", "d", "b c"), (4, "c", "c", "a"))
    assert render(references(rows)) == b"(1 4 3)(2)"


def test_gathering_by_subject() -> None:
    # Step 5 C: a reply goes below the message that is none, whichever came first.
    assert render(references(entries((1, "x", "a", ""), (2, "Re: x", "b", "")))) == b"(1 2)"
    assert render(references(entries((1, "Re: x", "a", ""), (2, "x", "b", "")))) == b"(2 1)"
    # Two that are alike become children of a dummy; a third joins them.
    alike = entries((1, "x", "a", ""), (2, "X", "b", ""), (3, "x", "c", ""))
    assert render(references(alike)) == b"((1)(2)(3))"
    assert render(refs(alike)) == b"(1)(2)(3)"
    # Two dummies: their children become siblings.
    rows = entries((1, "x", "a", "l1"), (2, "y", "b", "l1"), (3, "x", "c", "l2"), (4, "z", "d", "l2"))
    assert render(references(rows)) == b"((1)(2)(3)(4))"
    # A dummy takes a message as one of its children.
    rows = entries((1, "x", "a", ""), (2, "x", "b", "l1"), (3, "y", "c", "l1"))
    assert render(references(rows)) == b"((1)(2)(3))"
    assert render(references(entries((1, "Re:", "a", ""), (2, "Re:", "b", "")))) == b"(1)(2)"


def test_refs_orders_threads_by_their_latest_message() -> None:
    rows = entries((1, "a", "a", ""), (2, "b", "b", ""), (3, "re: a", "c", "a"))
    assert render(refs(rows)) == b"(2)(1 3)"
    assert render(references(rows)) == b"(1 3)(2)"


def members(roots: list[Node]) -> list[int]:
    found = []
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node.number:
            found.append(node.number)
        stack.extend(node.children)
    return sorted(found)


_IDS = st.sampled_from(["", "a", "b", "c", "d", "e"])
_ROWS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(["", "x", "Re: x", "y"]), _IDS, st.lists(_IDS.filter(bool), max_size=4)
    ),
    max_size=9,
)


@given(_ROWS, st.sampled_from([b"ORDEREDSUBJECT", b"REFERENCES", b"REFS"]))
def test_every_message_stands_in_one_thread(rows: list[tuple[int, str, str, list[str]]], algorithm: bytes) -> None:
    found = thread(algorithm, [Entry(index, *row) for index, row in enumerate(rows, 1)])
    assert members(found) == list(range(1, len(rows) + 1))
    text = render(found)
    assert text.count(b"(") == text.count(b")") and b"()" not in text and b" )" not in text and b"( " not in text


def test_deep_and_wide_threads_take_little_time() -> None:
    count = 50000
    chain = [Entry(n, n, "x", f"i{n}", (f"i{n - 1}",)) for n in range(1, count + 1)]
    reverse = [Entry(n, n, "x", f"i{n}", (f"i{n + 1}",)) for n in range(1, count + 1)]
    dummies = [Entry(1, 1, "x", "a", tuple(f"l{n}" for n in range(count)))]
    # Each of the second half would close a loop through the whole chain.
    hostile = chain[: count // 4] + [
        Entry(n, n, "y", f"j{n}", (f"i{count // 4}", "i1")) for n in range(count // 4 + 1, count // 2)
    ]
    start = time.process_time()
    for rows in (chain, reverse, dummies, hostile):
        assert members(references(rows)) == [entry.number for entry in rows]
        render(refs(rows))
    assert time.process_time() - start < 8
