"""What a finding is good for as it ages; where findings are kept."""

import asyncio
import os
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.wire.verify import Query, is_probe_sender, probe_sender
from tubepost.common.tables import TableEnvironment

from tubepost.services.verify.protocol import (
    PROBE_TIME,
    Ages,
    Finding,
    after_outcome,
    after_probe,
    decode,
    encode,
    judge,
)
from tubepost.services.verify.session import Verify
from tubepost.services.verify.store import File, Memory, Store, open_store

AGES = Ages(1_000_000, 100_000, 200_000, 10_000, True)
NOW = 1e9


def test_the_unknown_is_probed_once() -> None:
    told, due = judge(None, NOW, AGES)
    assert (told.status, due) == ("todo", True)
    waiting = after_probe(told, NOW, AGES)
    assert judge(waiting, NOW + 10, AGES)[1] is False
    # A lost probe is sent again.
    assert judge(waiting, NOW + PROBE_TIME + 1, AGES)[1] is True


@pytest.mark.parametrize(
    ("status", "age", "told", "due"),
    [
        ("ok", 100_000, "ok", False),
        ("ok", 100_001, "ok", True),
        ("ok", 1_000_001, "todo", True),
        ("bounce", 10_000, "bounce", False),
        ("bounce", 10_001, "bounce", True),
        ("bounce", 200_001, "todo", True),
        ("defer", 10_001, "defer", True),
    ],
)
def test_ages(status: str, age: float, told: str, due: bool) -> None:
    found = Finding(status, 0.0, NOW - age, "why")  # type: ignore[arg-type]
    current, probe = judge(found, NOW, AGES)
    assert (current.status, probe) == (told, due)


def test_a_good_finding_outlives_a_failed_probe() -> None:
    good = Finding("ok", NOW - 5, NOW - 500_000, "")
    assert after_outcome(good, "bounce", "gone", NOW, AGES) is None
    assert after_outcome(good, "defer", "later", NOW, AGES) is None
    old = Finding("ok", NOW - 5, NOW - 1_000_001, "")
    changed = after_outcome(old, "bounce", "gone", NOW, AGES)
    assert changed is not None and changed.status == "bounce"


def test_without_a_negative_cache_only_good_findings_are_kept() -> None:
    ages = Ages(1_000_000, 100_000, 200_000, 10_000, False)
    assert after_probe(judge(None, NOW, ages)[0], NOW, ages) is None
    assert after_outcome(None, "bounce", "gone", NOW, ages) is None
    assert after_outcome(None, "ok", "", NOW, ages) is not None


@given(
    st.sampled_from(["ok", "defer", "bounce", "todo"]),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.text(alphabet=st.characters(categories=["L", "N", "P"]), max_size=50),
)
def test_findings_survive_being_written(status: str, probed: int, updated: int, reason: str) -> None:
    finding = Finding(status, float(probed), float(updated), reason)  # type: ignore[arg-type]
    assert decode(encode(finding)) == finding


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{1,3}:[0-9]{1,20}:[0-9]{1,5}:x", fullmatch=True))
def test_rubbish_is_no_finding_or_a_good_one(text: str) -> None:
    found = decode(text)
    assert found is None or found.status in ("ok", "defer", "bounce", "todo")


def stores(tmp_path: Path) -> list[Store]:
    environment = TableEnvironment(config_directory=str(tmp_path), default_type="hash")
    return [Memory(), File(str(tmp_path / "a")), open_store("internal:x", environment)]


def test_every_store_keeps_and_forgets(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        assert await store.get("a@x") is None
        await store.put("a@x", Finding("ok", 0.0, 5.0, "fine: really"))
        await store.put("a@x", Finding("ok", 0.0, 6.0, "fine: really"))
        assert await store.get("a@x") == Finding("ok", 0.0, 6.0, "fine: really")
        assert await store.get("A'); DROP TABLE finding;--@x") is None
        await store.delete("a@x")
        assert await store.get("a@x") is None
        store.close()

    for store in stores(tmp_path):
        asyncio.run(use(store))


def test_cleaning_removes_what_has_expired_and_nothing_else(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        for number in range(2500):
            await store.put(f"{number}@x", Finding("bounce", 0.0, NOW - 200_001 if number % 2 else NOW, ""))
        await store.put("probed@x", Finding("todo", NOW - 5, 0.0, ""))
        assert store.clean(NOW, AGES) == 1250
        assert await store.get("2@x") and await store.get("probed@x") and not await store.get("3@x")
        store.close()

    for store in stores(tmp_path)[:2]:
        asyncio.run(use(store))


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database at all, whatever its name says\n" * 50)
    store = File(str(path))
    asyncio.run(store.put("a@x", Finding("ok", 0.0, 5.0, "")))
    assert asyncio.run(store.get("a@x")) is not None
    store.close()
    assert [found.name for found in tmp_path.glob("*damaged*")]


def test_the_cache_is_there_after_a_restart(tmp_path: Path) -> None:
    environment = TableEnvironment(config_directory=str(tmp_path), default_type="hash")
    store = open_store(f"btree:{tmp_path}/cache", environment)
    asyncio.run(store.put("a@x", Finding("ok", 0.0, 5.0, "y")))
    store.close()
    again = open_store(f"hash:{tmp_path}/cache", environment)
    assert asyncio.run(again.get("a@x")) == Finding("ok", 0.0, 5.0, "y")
    again.close()


def test_a_table_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    environment = TableEnvironment(config_directory=str(tmp_path), default_type="hash")
    with pytest.raises(ValueError, match="cannot be written"):
        open_store("inline:{a=b}", environment)


def test_memory_is_bounded() -> None:
    store = Memory()

    async def fill() -> None:
        for number in range(12_000):
            await store.put(str(number), Finding("ok", 0.0, 1.0, ""))

    asyncio.run(fill())
    assert len(store._findings) == 10_000
    assert asyncio.run(store.get("11999")) is not None


def test_the_sender_of_probes() -> None:
    now = time.time()
    assert probe_sender("double-bounce", 0, now, "example.test") == "double-bounce@example.test"
    assert probe_sender("<>", 3600, now, "x") == probe_sender("", 0, now, "x") == ""
    first, later = (probe_sender("p@x.test", 3600, at, "y") for at in (7200.0, 10_800.0))
    assert first != later and first.endswith("@x.test") and first.startswith("p")
    assert is_probe_sender(first.upper(), "p@x.test", 3600, 10_800.0, "y")
    assert not is_probe_sender(first, "p@x.test", 3600, 15_000.0, "y")
    assert not is_probe_sender("p@x.test", "p@x.test", 3600, 7200.0, "y")


def test_a_file_on_a_disk_that_is_ill_stays_and_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache"
    known, new = Finding("ok", 0.0, 5.0, "fine"), Finding("ok", 0.0, 6.0, "fine")

    def ill(_: File) -> sqlite3.Connection:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
        raise error

    async def use() -> None:
        first = File(str(path))
        await first.put("a@x", known)
        first.close()
        with monkeypatch.context() as patch:
            patch.setattr(File, "_open", ill)
            store = File(str(path))
            # Memory serves meanwhile.
            await store.put("b@x", new)
            assert await store.get("b@x") == new
        assert os.listdir(tmp_path) == ["cache"], "it is not damaged: it stays in its place"
        now = time.monotonic()
        monkeypatch.setattr("tubepost.services.verify.store.time.monotonic", lambda: now + 11)
        assert await store.get("a@x") == known
        store.close()

    asyncio.run(use())


def test_an_endless_address_is_not_kept() -> None:
    # Nothing but the question is there: whatever looked into a cache, or sent a probe, would fail.
    asked = SimpleNamespace(message=Query(address="a" * 5000 + "@example.test"))
    told = asyncio.run(Verify._query(cast(Any, None), cast(Any, asked)))
    assert told.status == "bounce"
