"""Each table type against ordinary and hostile input."""

import asyncio
import base64
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tubepost.common.tables import Maps, Table, TableEnvironment, TableError, known_types, open_table
from tubepost.common.tables import compile as building


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def environment(warnings: list[str]) -> TableEnvironment:
    return TableEnvironment(warn=warnings.append)


def strict(spec: str, environment: TableEnvironment) -> Table:
    return open_table(spec, environment=environment, strict=True)


def test_inline_folds_and_keeps_spaces(environment: TableEnvironment) -> None:
    table = strict('inline:{ A=b, { "two words" = x } c=d, { key = a value, with comma } }', environment)
    assert table.find("a") == "b"
    assert table.find("C") == "d"
    assert table.find("key") == "a value, with comma"
    assert table.find("missing") is None


@pytest.mark.parametrize("name", ["a=b", "{a=b", "{}", "{ a }", "{ {a=b }", "{ =x }", '{ "x=y }'])
def test_inline_refuses(name: str, environment: TableEnvironment) -> None:
    with pytest.raises(TableError):
        strict(f"inline:{name}", environment)


def test_static_environ_fail(environment: TableEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert strict("static:{ a b }", environment).find("any") == "a b"
    monkeypatch.setenv("tubepost_x", "y")
    assert strict("environ:", environment).find("TUBEPOST_X") == "y"
    with pytest.raises(TableError):
        strict("fail:x", environment).find("k")


def test_unix_tables(environment: TableEnvironment) -> None:
    line = strict("unix:passwd.byname", environment).find("root")
    assert line is not None
    assert line.split(":")[2] == "0"
    assert strict("unix:passwd.byname", environment).find("no\0body") is None
    assert strict("unix:group.byname", environment).find("no-such-group") is None
    with pytest.raises(TableError):
        strict("unix:shadow", environment)


def test_unknown_type_is_a_fault_at_once_when_strict(environment: TableEnvironment) -> None:
    with pytest.raises(TableError, match="unsupported"):
        strict("nonsense:x", environment)


def test_missing_table_defers_and_recovers(tmp_path: Path, environment: TableEnvironment, warnings: list[str]) -> None:
    source = tmp_path / "t"
    maps = Maps(f"hash:{source}", environment)
    assert "postmap" in warnings[0]

    async def check() -> None:
        with pytest.raises(TableError):
            await maps.lookup("a")
        source.write_text("a b\n")
        building.build("hash", str(source), building.Options())
        table = maps.tables[0]
        table._retry_at = 0.0  # type: ignore[attr-defined]
        assert await maps.lookup("a") == "b"

    asyncio.run(check())


def test_missing_table_of_patterns_recovers_as_one(tmp_path: Path, environment: TableEnvironment) -> None:
    path = tmp_path / "r"
    maps = Maps(f"pcre:{path}", environment)

    async def check() -> None:
        assert await maps.lookup("part", partial=True) is None, "no parts, though it cannot be opened"
        path.write_text("/^(.*)$/ <$1>\n")
        assert await maps.lookup("Mixed") == "<Mixed>"

    asyncio.run(check())


def test_maps_first_hit_wins_and_empty_is_a_fault(environment: TableEnvironment) -> None:
    maps = Maps("inline:{a=1} inline:{a=2,b=3} inline:{{c=}} fail:x", environment)
    assert maps.find("a") == "1"
    assert maps.find("b") == "3"
    with pytest.raises(TableError, match="empty"):
        maps.find("c")
    with pytest.raises(TableError, match="on purpose"):
        maps.find("d")
    assert maps.find("") is None
    assert maps.find("d", partial=True) is None, "a table of patterns is not asked for parts"


def test_single_empty_value_is_a_fault(environment: TableEnvironment) -> None:
    with pytest.raises(TableError, match="empty"):
        Maps("inline:{{c=}}", environment).find("c")


def test_tables_are_shared(environment: TableEnvironment) -> None:
    one = open_table("static:x", environment=environment)
    assert open_table("static:x", environment=environment) is one
    assert open_table("static:x", environment=environment, fold=False) is not one


def test_unionmap_pipemap_randmap(environment: TableEnvironment) -> None:
    union = strict("unionmap:{ inline:{a=1}, static:2, inline:{b=3} }", environment)
    assert union.find("a") == "1,2"
    assert union.find("b") == "2,3"
    pipe = strict("pipemap:{ inline:{a=B}, inline:{b=c} }", environment)
    assert pipe.find("a") == "c"
    assert pipe.find("b") is None
    random = strict("randmap:{ x, { y z } }", environment)
    assert {random.find("k") for _ in range(200)} == {"x", "y z"}
    with pytest.raises(TableError):
        strict("unionmap:{ inline:{a=1}, fail:q }", environment).find("a")


@pytest.mark.parametrize("spec", ["unionmap:x", "unionmap:{}", "pipemap:{ x }", "randmap:{}", "unionmap:{ foo:x }"])
def test_composites_refuse(spec: str, environment: TableEnvironment) -> None:
    with pytest.raises(TableError):
        strict(spec, environment)


def test_texthash_warns_and_keeps_the_first(tmp_path: Path, environment: TableEnvironment, warnings: list[str]) -> None:
    path = tmp_path / "t"
    path.write_bytes(b'# c\nA b\n  c\n\na d\nlone\n"x y z\n"q r"@s  t\nal: b\nbad\xff x\n')
    table = strict(f"texthash:{path}", environment)
    assert table.find("a") == "b  c"
    assert table.find('"q r"@s') == "t"
    assert len(warnings) == 5, warnings
    assert "duplicate" in warnings[0]


@pytest.mark.parametrize("kind", ["hash", "cdb", "lmdb"])
def test_compiled_tables(kind: str, tmp_path: Path, environment: TableEnvironment) -> None:
    if kind not in known_types():
        pytest.skip("no lmdb")
    source = tmp_path / "t"
    source.write_text("Key value one\nüber ä\n" + "".join(f"k{n} v{n}\n" for n in range(2000)))
    building.build(kind, str(source), building.Options())
    table = strict(f"{kind}:{source}", environment)
    assert table.find("KEY") == "value one"
    assert table.find("ÜBER") == "ä"
    assert all(table.find(f"k{n}") == f"v{n}" for n in range(2000))
    assert table.find("k2000") is None
    assert table.find("bad\udcff") is None
    assert table.find("x" * 5000) is None
    assert table.find("a\0") is None


def test_compiled_table_is_noticed_when_it_changes(tmp_path: Path, environment: TableEnvironment) -> None:
    source = tmp_path / "t"
    source.write_text("a 1\n")
    building.build("hash", str(source), building.Options())
    table = strict(f"hash:{source}", environment)
    assert table.find("a") == "1"
    source.write_text("a 2\n")
    building.build("hash", str(source), building.Options())
    assert table.find("a") == "1", "looked at once a second only"
    table._check_at = 0.0  # type: ignore[attr-defined]
    assert table.find("a") == "2"
    os.unlink(f"{source}.db")
    table._check_at = 0.0  # type: ignore[attr-defined]
    assert table.find("a") == "2", "a table that is gone stays as it was"


def test_stale_table_is_warned_of(tmp_path: Path, environment: TableEnvironment, warnings: list[str]) -> None:
    source = tmp_path / "t"
    source.write_text("a 1\n")
    building.build("hash", str(source), building.Options())
    os.utime(f"{source}.db", (1, 1))
    strict(f"hash:{source}", environment)
    assert "older than source" in warnings[0]


def test_damaged_and_foreign_databases_are_refused(tmp_path: Path, environment: TableEnvironment) -> None:
    source = tmp_path / "t"
    source.write_text("a 1\nb 2\n")
    building.build("hash", str(source), building.Options())
    database = tmp_path / "t.db"
    whole = database.read_bytes()
    for data in (b"", b"x", whole[:-1], whole[:2048], bytes(4096), b"\xff" * 4096):
        database.write_bytes(data)
        with pytest.raises(TableError):
            strict(f"hash:{source}", environment)
    database.write_bytes(bytes(12) + b"\x61\x15\x06\x00" + bytes(8000))
    with pytest.raises(TableError, match="Berkeley"):
        strict(f"hash:{source}", environment)


def test_lmdb_changes_in_place(tmp_path: Path, environment: TableEnvironment) -> None:
    if "lmdb" not in known_types():
        pytest.skip("no lmdb")
    source = tmp_path / "t"
    source.write_text("a 1\n")
    building.build("lmdb", str(source), building.Options())
    table = strict(f"lmdb:{source}", environment)

    async def change() -> None:
        await table.update("B", "2" * 100_000)
        assert await table.lookup("b") == "2" * 100_000
        assert await table.delete("a")
        assert not await table.delete("a")
        with pytest.raises(TableError):
            await table.update("x" * 600, "y")

    asyncio.run(change())
    assert table.find("a") is None
    environment.close()
    with pytest.raises(TableError):
        table.find("b")


def test_internal_and_read_only(environment: TableEnvironment) -> None:
    async def change() -> None:
        table = strict("internal:x", environment)
        await table.update("A", "1")
        assert await table.lookup("a") == "1"
        assert await table.delete("A")
        with pytest.raises(TableError):
            await strict("static:x", environment).update("a", "b")

    asyncio.run(change())


@pytest.fixture
def sqlite_table(tmp_path: Path, environment: TableEnvironment) -> Callable[[str], Table]:
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table t (k text, v text)")
        database.executemany(
            "insert into t values (?, ?)", [("a", "1"), ("a", "2"), ("o'x@d.e", "q"), ("n", None), ("u", "me@h.i")]
        )
    database.close()
    count = iter(range(100))

    def make(more: str) -> Table:
        settings = tmp_path / f"cf{next(count)}"
        settings.write_text(f"dbpath = {path}\n{more}\n")
        return strict(f"sqlite:{settings}", environment)

    return make


def test_sqlite(sqlite_table: Callable[[str], Table]) -> None:
    async def ask(more: str, *keys: str) -> list[str | None]:
        table = sqlite_table(more)
        return [await table.lookup(key) for key in keys]

    query = "query = select v from t where k = '%s'"
    assert asyncio.run(ask(query, "A", "o'x@d.e", "n", "zz", "' or 1=1 --")) == ["1,2", "q", None, None, None]
    assert asyncio.run(ask(query + "\nresult_format = %u at %d", "u", "a")) == ["me at h.i", None]
    assert asyncio.run(ask("query = select '%u' || '/' || '%d' || '/%2%%'", "o'x@d.e", "bare", "@d.e")) == [
        "o'x/d.e/d%", None, None,
    ]  # fmt: skip
    assert asyncio.run(ask(query + "\ndomain = d.e", "o'x@d.e", "a", "x@other")) == ["q", None, None]
    assert asyncio.run(ask("query = select '%s'", "a\udcf6")) == [None]
    with pytest.raises(TableError, match="expansion_limit"):
        asyncio.run(ask(query + "\nexpansion_limit = 1", "a"))
    with pytest.raises(TableError, match="query failed"):
        asyncio.run(ask("query = select nothing from nowhere", "a"))
    with pytest.raises(TableError):
        sqlite_table("query = %q")


def test_sqlite_does_not_make_a_database(tmp_path: Path, environment: TableEnvironment) -> None:
    (tmp_path / "cf").write_text(f"dbpath = {tmp_path}/none\nquery = select '%s'\n")
    with pytest.raises(TableError):
        table = strict(f"sqlite:{tmp_path}/cf", environment)
        asyncio.run(table.lookup("a"))
    assert not (tmp_path / "none").exists()


def test_proxy_table() -> None:
    asked: list[tuple[str, str]] = []

    async def ask(table: str, key: str) -> str | None:
        asked.append((table, key))
        return "v" if key == "k" else None

    environment = TableEnvironment(proxy=ask)
    table = strict("proxy:hash:/x", environment)

    async def check() -> None:
        assert await table.lookup("K") == "v"
        assert await table.lookup("z") is None

        assert await table.lookup("\udcf6") is None
        await strict("proxy:regexp:/x", environment).lookup("Subject: \udcf6 x")

    asyncio.run(check())
    # What is no UTF-8 cannot be sent.
    assert asked == [("hash:/x", "k"), ("hash:/x", "z"), ("regexp:/x", "Subject: ? x")]
    assert strict("proxy:regexp:/x", environment).patterned
    with pytest.raises(TableError):
        strict("proxy:hash:/x", TableEnvironment())


def test_values_that_name_files_are_their_content(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"of {name}\n")
    both, gone = f"{tmp_path}/a, {tmp_path}/b", str(tmp_path / "gone")
    (tmp_path / "t").write_text(f"x {both}\ny {gone}\nz {tmp_path}/a\n")
    warned: list[str] = []
    environment = TableEnvironment(warn=warned.append, files=[])
    content = base64.b64encode(b"of a\n\nof b\n").decode()
    rules = f"{{{{/^x/ {both}}}, {{/^y(.)/ {gone}$1}}}}"
    for spec in (
        f"texthash:{tmp_path}/t",
        f"inline:{{{{x={both}}}, {{y={gone}}}}}",
        f"static:{{{both}}}",
        f"regexp:{rules}",
        f"pcre:{rules}",
    ):
        assert open_table(spec, environment=environment, strict=True).find("x") == content, spec
    assert len(warned) == 4, "each of those that are gone is told of, and skipped"
    assert open_table(f"texthash:{tmp_path}/t", environment=environment).find("y") is None
    assert environment.files is not None
    assert {f"{tmp_path}/a", f"{tmp_path}/b"} <= set(environment.files)
    with pytest.raises(TableError, match="gone"):
        open_table(f"static:{gone}", environment=environment, strict=True)
