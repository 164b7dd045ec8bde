"""Sources and what is built of them."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.tables import TableEnvironment, TableError, cdb, open_table
from tubepost.common.tables import compile as building
from tubepost.common.tables.source import read_aliases, read_entries
from tubepost.common.tables.words import logical_lines, split_list


def entries(text: str, warnings: list[str] | None = None) -> list[tuple[str, str]]:
    warn = (warnings if warnings is not None else []).append
    return [(key, value) for _, key, value in read_entries(text.splitlines(True), "f", warn)]


def aliases(text: str, warnings: list[str] | None = None) -> list[tuple[str, str]]:
    warn = (warnings if warnings is not None else []).append
    return [(key, value) for _, key, value in read_aliases(text.splitlines(True), "f", warn)]


def test_postmap_source() -> None:
    assert entries("a b\n# c\n  more\n\n\tyet\nc\td e \n") == [("a", "b  more\tyet"), ("c", "d e")]
    assert entries('"a b"@c d\na\\ b c\n') == [('"a b"@c', "d"), ("a\\ b", "c")]
    warnings: list[str] = []
    assert entries(" x\nlone\n", warnings) == []
    assert len(warnings) == 2


def test_aliases_source() -> None:
    assert aliases('root: bob\nlist: a,b,\n  c , "|/bin/x y, z"\n') == [
        ("root", "bob"),
        ("list", 'a, b, c, "|/bin/x y, z"'),
    ]
    assert aliases("a: :include:/x, /f, \\u\n") == [("a", ":include:/x, /f, \\u")]
    assert aliases('"a:b": c\n') == [('"a:b"', "c")]
    assert aliases("a: b (comment, here) c\n") == [("a", "b c")]
    warnings: list[str] = []
    assert aliases("a\na:\n: b\na@b: c\na%b: c\na, b: c\na: ,\n", warnings) == []
    assert len(warnings) == 7, warnings


_WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters='"\\#'), min_size=1)


@given(st.dictionaries(_WORD, _WORD))
def test_source_round_trip(pairs: dict[str, str]) -> None:
    text = "".join(f"{key}   {value}\n" for key, value in pairs.items())
    assert entries(text) == list(pairs.items())


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    entries(text)
    aliases(text)
    split_list(text)
    assert all(line for _, line in logical_lines(text.splitlines(True)))


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=60))
def test_cdb_round_trip(pairs: list[tuple[bytes, bytes]]) -> None:
    pieces = list(cdb.build(pairs))
    data = pieces[-1] + b"".join(pieces[:-1])
    cdb.check(data)
    assert list(cdb.records(data)) == pairs
    first: dict[bytes, bytes] = {}
    for key, value in pairs:
        first.setdefault(key, value)
    assert all(cdb.find(data, key) == value for key, value in first.items())
    assert cdb.find(data, b"a key longer than thirty bytes, so not in it") is None


def test_cdb_known_file() -> None:
    """The format's own example values: hash of the empty key, and where a lone record stands."""
    assert cdb.hash_key(b"") == 5381
    assert cdb.hash_key(b"a") == (5381 * 33) ^ 97
    pieces = list(cdb.build([(b"k", b"v")]))
    assert pieces[0] == b"\x01\0\0\0\x01\0\0\0kv"
    assert len(pieces[-1]) == 2048


@given(
    st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=9)), max_size=4),
    st.lists(st.tuples(st.integers(0, 2200), st.integers(0, 255)), max_size=8),
    st.integers(2048, 2300),
    st.binary(max_size=3),
)
def test_damaged_cdb_never_crashes(
    pairs: list[tuple[bytes, bytes]], damage: list[tuple[int, int]], size: int, key: bytes
) -> None:
    pieces = list(cdb.build(pairs))
    broken = bytearray(pieces[-1] + b"".join(pieces[:-1]))[:size]
    for position, value in damage:
        if position < len(broken):
            broken[position] = value
    data = bytes(broken)
    for read in (lambda: cdb.check(data), lambda: cdb.find(data, key), lambda: list(cdb.records(data))):
        try:
            read()
        except cdb.DatabaseFault:
            pass


def build(tmp_path: Path, text: str, **options: object) -> Path:
    source = tmp_path / "t"
    source.write_text(text)
    building.build("hash", str(source), building.Options(**options))  # type: ignore[arg-type]
    return source


def find(source: Path, key: str, fold: bool = True) -> str | None:
    environment = TableEnvironment(warn=lambda text: None)
    return open_table(f"hash:{source}", environment=environment, fold=fold, strict=True).find(key)


def test_duplicates(tmp_path: Path) -> None:
    warnings: list[str] = []
    source = build(tmp_path, "a 1\nA 2\n", warn=warnings.append)
    assert find(source, "a") == "1"
    assert warnings == [f'{source}.db: duplicate entry: "a"']
    assert find(build(tmp_path, "a 1\nA 2\n", duplicates="replace"), "a") == "2"
    assert find(build(tmp_path, "a 1\nA 2\n", duplicates="ignore"), "a") == "1"
    assert find(build(tmp_path, "a 1\nA 2\n", fold=False), "A", fold=False) == "2"


def test_zero_bytes_are_found(tmp_path: Path) -> None:
    source = build(tmp_path, "a 1\nb 2\n", zero=True)
    assert find(source, "a") == "1"
    assert find(source, "c") is None


@pytest.mark.parametrize("kind", ["hash", "cdb"])
def test_update_and_delete(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "t"
    warnings: list[str] = []
    options = building.Options(warn=warnings.append)
    building.update(kind, str(source), ["a 1", "b 2"], options)
    building.update(kind, str(source), ["a 9", "c 3"], options)
    assert len(warnings) == 1
    assert building.delete(kind, str(source), ["B", "zz"], options)
    assert not building.delete(kind, str(source), ["b"], options)
    table = open_table(f"{kind}:{source}", environment=TableEnvironment(), strict=True)
    assert sorted(table.records()) == [(b"a", b"1"), (b"c", b"3")]
    assert sorted(os.listdir(tmp_path)) == ["t" + building.suffix(kind)], "nothing temporary is left"


def test_permissions_follow_the_source(tmp_path: Path) -> None:
    source = tmp_path / "t"
    source.write_text("a 1\n")
    source.chmod(0o600)
    building.build("hash", str(source), building.Options())
    assert stat.S_IMODE(os.stat(f"{source}.db").st_mode) == 0o600
    building.build("hash", str(source), building.Options(permissions=False))
    assert stat.S_IMODE(os.stat(f"{source}.db").st_mode) == 0o644


def test_failed_build_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = build(tmp_path, "a 1\n")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    source.write_text("a 2\n")
    with pytest.raises(TableError, match="No space"):
        building.build("hash", str(source), building.Options())
    monkeypatch.undo()
    assert find(source, "a") == "1"
    assert sorted(os.listdir(tmp_path)) == ["t", "t.db"]


def test_missing_source_and_unbuildable_types(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        building.build("hash", str(tmp_path / "none"), building.Options())
    with pytest.raises(TableError, match="unsupported"):
        building.build("regexp", str(tmp_path / "none"), building.Options())


def test_alias_databases(tmp_path: Path) -> None:
    source = tmp_path / "aliases"
    source.write_text("Postmaster: root\n")
    config = SimpleNamespace(alias_database=(f"hash:{source}",), default_database_type="hash")
    assert building.rebuild_alias_databases(config) == (f"hash:{source}",)
    assert find(source, "postmaster") == "root"
    assert find(source, "@") == "@"


def test_files_as_values(tmp_path: Path) -> None:
    (tmp_path / "f1").write_text("one")
    (tmp_path / "f2").write_text("two")
    warnings: list[str] = []
    source = build(tmp_path, f"a {tmp_path}/f1, {tmp_path}/f2\nb {tmp_path}/no\n", files=True, warn=warnings.append)
    assert find(source, "a") == "b25lCnR3bw=="
    assert find(source, "b") is None
    assert len(warnings) == 1
