"""What searches of one client may take from the others: memory, and the turn of the event loop."""

import threading
import tracemalloc
from array import array
from collections.abc import Iterable
from pathlib import Path

import pytest
from tubepost.common.imap.search import All, And, Not, Numbers, Or
from tubepost.common.imap.sets import SAVED, of_ranges

from tubepost.common.mailbox.values import Context

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd import relevance, searching


def test_many_scales_are_added_up_one_by_one() -> None:
    uids = range(1, 2001)
    tracemalloc.start()
    try:
        found = relevance.scores(uids, ([(30, uids), (80, uids[::2])] for _ in range(300)))
        assert (found[1], found[2]) == (80, 30)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_scores_are_made_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    add = relevance.Total.add

    def noted(self: relevance.Total, scale: Iterable[tuple[int, Iterable[int]]]) -> None:
        threads.add(threading.current_thread())
        add(self, scale)

    monkeypatch.setattr(relevance.Total, "add", noted)

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice", "IMAP4rev2")
        await alice.append("inbox")
        await alice.ok("select inbox")
        keys = " ".join(f"or text body subject {number}" for number in range(3))
        found = await alice.ok(f"search return (all relevancy) fuzzy ({keys})")
        assert found[0].endswith("ALL 1 RELEVANCY (40)"), found
        assert threads and threading.current_thread() not in threads

    play(tmp_path, scene)


def test_a_kept_search_has_what_was_saved_once() -> None:
    saved = array("I", range(1, 20_001, 2))
    key = And((Numbers(SAVED, False), Not(Numbers(SAVED, False)), *[Or(Numbers(SAVED, False), All())] * 300))
    tracemalloc.start()
    try:
        found = searching.freeze(key, Context(0.0, saved, saved))
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(found, And) and found.keys[0] == Numbers(of_ranges([(uid, uid) for uid in saved]), True)
