"""Queries of the pgsql backend become psycopg's, whatever stands in them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("psycopg")

from tubepost.common.accounts.hashing import Cost

from tubepost.services.auth.backends.pgsql import PostgreSql, prepare, servers
from tubepost.services.auth.hashing import Hasher


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("WHERE name = '%u'", "WHERE name = %(u)s"),
        ("WHERE name = %u AND d = '%d'", "WHERE name = %(u)s AND d = %(d)s"),
        ("name = '%n@%d'", "name = ('' || %(n)s::text || '@' || %(d)s::text || '')"),
        ("name = 'it''s %u'", "name = ('it''s ' || %(u)s::text || '')"),
        ("name = E'it\\'s %u'", "name = (E'it\\'s ' || %(u)s::text || E'')"),
        ("name LIKE 'a%%' AND id %% 2 = 0", "name LIKE 'a%%' AND id %% 2 = 0"),
        ("name = '%%'", "name = '%%'"),
        ('SELECT "100%" FROM t', 'SELECT "100%%" FROM t'),
        ("a = '' AND b = '%u'", "a = '' AND b = %(u)s"),
    ],
)
def test_expansions(query: str, expected: str) -> None:
    assert prepare(query) == expected


@pytest.mark.parametrize("query", ["name = %s", "name = '%Lu'", "name LIKE 'a%'", "100%", "%(u)s"])
def test_expansions_that_there_are_not(query: str) -> None:
    with pytest.raises(ValueError, match="is no expansion"):
        prepare(query)


@given(st.text(alphabet="%und'\"Ee\\\\| x", max_size=40))
def test_psycopg_understands_whatever_comes_of_it(query: str) -> None:
    try:
        made = prepare(query)
    except ValueError:
        return
    # Each percent sign is doubled, or begins a placeholder.
    assert (made % {"u": "", "n": "", "d": ""}).count("%") == made.count("%%")


def test_servers() -> None:
    assert servers("localhost") == {"host": "localhost"}
    assert servers("a, b:5433  inet:c:5 [::1]:6 unix:/run/x ::1") == {
        "host": "a,b,c,::1,/run/x,::1",
        "port": ",5433,5,6,,",
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("timeout = soon", "timeout is a number"),
        ("connections = 0", "connections is a number"),
        ("user_query = SELECT 1 WHERE '%q'", "is no expansion"),
        ("password_query =", "must set password_query"),
        ("hosts = postgresql://a/b", "as conninfo"),
        ("conninfo = nonsense", 'missing "="'),
        ("nonsense", "expected name = value"),
    ],
)
def test_a_file_that_is_wrong_is_told_of(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "users.cf"
    path.write_text(f"password_query = SELECT 1\n{line}\n")
    hasher = Hasher(1, Cost(memory=64, time=1, iterations=4096), 0)
    try:
        with pytest.raises(ValueError, match=complaint):
            PostgreSql(str(path), hasher)
    finally:
        hasher.close()
