"""Queries of the pgsql backend become psycopg's, whatever stands in them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("psycopg")

from tubepost.common.sasl.mechanisms import ServerSettings, make_server
from tubepost.common.wire.auth import Begin, Failure, Success
from tubepost.common.accounts.hashing import Cost
from tubepost.common.config import Config
from tubepost.common.tables import TableEnvironment

from tubepost.services.auth.backends.base import Account, Backend
from tubepost.services.auth.backends.pgsql import PostgreSql, prepare, servers
from tubepost.services.auth.chain import Chain
from tubepost.services.auth.exchange import Court, Exchange
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.protocol import Penalties
from tubepost.services.auth.users import Users as UsersOfAuth


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


class Counted(PostgreSql):
    """One user; every question is written down."""

    asked: list[str]

    async def _row(self, query: str, name: str) -> dict[str, Any] | None:
        self.asked.append(query)
        return {"password": "{PLAIN}secret", "uid": 7, "mailbox": "box"} if name == "alice" else None


class Users(Backend):
    """Knows users and no passwords."""

    has_passwords = False

    async def user(self, name: str) -> Account | None:
        return Account(name, uid=9) if name == "alice" else None


@pytest.mark.parametrize(
    ("more", "before", "count", "uid"),
    [
        ("", [], 1, 7),
        # Another query may tell other things.
        ("user_query = SELECT 2\n", [], 2, 7),
        # Who comes first says who a user is.
        ("", [Users()], 1, 9),
    ],
)
def test_how_often_a_login_asks(tmp_path: Path, more: str, before: list[Backend], count: int, uid: int) -> None:
    (tmp_path / "users.cf").write_text(f"password_query = SELECT 1\n{more}")
    hasher = Hasher(1, Cost(memory=64, time=1, iterations=4096), 0)
    backend = Counted(str(tmp_path / "users.cf"), hasher)
    backend.asked = []
    config = Config(
        texts={"virtual_mailbox_base": "/mail", "virtual_uid_maps": "static:5000", "virtual_minimum_uid": "1"}
    )
    court = Court(
        chain=Chain([*before, backend], [], hasher, default_domain=""),
        users=UsersOfAuth(config, TableEnvironment()),
        penalties=Penalties(0, 0, 1),
        digest=hasher.digest,
        clock=lambda: 0.0,
        separator="*",
        token=None,
    )

    def login(secret: str) -> object:
        response = f"\0alice\0{secret}".encode()
        begin = Begin(
            exchange=1, scope="imap", service="imap", mechanism="PLAIN", initial=response, client="", tls=True
        )
        return asyncio.run(Exchange(court, begin, make_server("PLAIN", ServerSettings("n", b"s", 4096))).start())

    try:
        found = login("secret")
        assert isinstance(found, Success)
        assert found.user.uid == uid
        assert len(backend.asked) == count
        assert isinstance(login("wrong"), Failure)
        assert len(backend.asked) == count + 1
    finally:
        hasher.close()
