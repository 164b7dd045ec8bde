"""nis: tables with a library of the test's own. A real server: tests/interop/test_nis.py."""

import asyncio
import ctypes
import threading
from typing import Any

import pytest

from tubepost.common.tables import Table, TableEnvironment, TableError, nis, open_table

ENVIRONMENT = TableEnvironment(warn=lambda text: None)


class Library:
    """libnsl with one map; memory is the C library's, as the table gives it back."""

    def __init__(self, zero: bool, domain: bytes | None = b"test") -> None:
        self.domain = domain
        end = b"\0" if zero else b""
        self.map = {key + end: value + end for key, value in ((b"a", b"one"), (b"b", b"two"), (b"c", b"\xff"))}
        self.asked: list[bytes] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._c = ctypes.CDLL(None)
        self._c.malloc.restype = ctypes.c_void_p

    def yp_get_default_domain(self, place: Any) -> int:
        place._obj.value = self.domain
        return 0

    def yp_match(self, domain: bytes, name: bytes, key: bytes, size: int, value: Any, length: Any) -> int:
        assert (domain, name, size) == (b"test", b"map", len(key))
        self.asked.append(key)
        self.may_answer.wait(20)
        if key == b"gone\0":
            return 3
        if key not in self.map:
            return 5
        found = self.map[key]
        memory = self._c.malloc(len(found) + 1)
        ctypes.memmove(memory, found, len(found))
        value._obj.value = memory
        length._obj.value = len(found)
        return 0

    def yperr_string(self, status: int) -> bytes:
        return b"local resource allocation failure"


def opened(library: Library, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(nis, "_load", lambda spec: library)
    ENVIRONMENT.close()
    return open_table("nis:map", environment=ENVIRONMENT, strict=True)


@pytest.mark.parametrize("zero", [False, True])
def test_maps_with_and_without_zero_bytes(zero: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(zero)
    table = opened(library, monkeypatch)

    async def go() -> None:
        assert await table.lookup("none") is None
        assert await table.lookup("A") == "one"
        library.asked.clear()
        # Known by now.
        assert [await table.lookup("b"), await table.lookup("none")] == ["two", None]
        assert library.asked == ([b"b\0", b"none\0"] if zero else [b"b", b"none"])
        library.asked.clear()
        assert [await table.lookup(key) for key in ("", "a\0", "\ud800")] == [None] * 3
        assert library.asked == []
        with pytest.raises(TableError, match="not UTF-8"):
            await table.lookup("c")

    asyncio.run(go())


def test_faults_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    table = opened(Library(True), monkeypatch)
    with pytest.raises(TableError, match=r"nis:map: .*local resource allocation failure"):
        asyncio.run(table.lookup("gone"))
    for domain in (None, b"", b"(none)"):
        with pytest.raises(TableError, match="no NIS domain name"):
            opened(Library(True, domain), monkeypatch)


def test_a_server_that_says_nothing_is_waited_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(True)
    table = opened(library, monkeypatch)
    monkeypatch.setattr(nis, "_DEADLINE", 0.05)
    library.may_answer.clear()

    async def go() -> None:
        answers = await asyncio.gather(*(table.lookup("a") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, TableError) for answer in answers)
        library.may_answer.set()
        monkeypatch.setattr(nis, "_DEADLINE", 20)
        assert await table.lookup("b") == "two"
        # What nobody waits for any more is not asked.
        assert library.asked == [b"a\0", b"b\0"]

    asyncio.run(go())


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nis, "_LIBRARIES", ("libnothing-of-this-name.so.9",))
    ENVIRONMENT.close()
    with pytest.raises(TableError, match="libnsl is not installed"):
        open_table("nis:map", environment=ENVIRONMENT, strict=True)
