"""Whole exchanges with the built-in accounts: who gets in, as whom, what it costs, and what is said."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.sasl.mechanisms import ServerSettings, make_server
from tubepost.common.sasl.scram import ScramClient
from tubepost.common.wire.auth import Begin, Challenge, Failure, Success
from tubepost.common.accounts import Directory, Passwords
from tubepost.common.accounts.hashing import (
    Cost,
    hash_application_password,
    hash_password,
    store,
)
from tubepost.common.config import Config
from tubepost.common.tables import TableEnvironment

from tubepost.services.auth.backends import registry
from tubepost.services.auth.chain import Chain
from tubepost.services.auth.exchange import Court, Exchange, Reply
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.protocol import Penalties
from tubepost.services.auth.users import Users, expand

CHEAP = Cost(memory=8, time=1, iterations=4096)


class Fixture:
    def __init__(self, folder: Path, **main: str) -> None:
        texts = {
            "mail_owner": "root",
            "accounts_directory": str(folder / "accounts"),
            "auth_directory": str(folder / "auth"),
            "virtual_mailbox_base": "/mail",
            "virtual_uid_maps": "accounts:uids, static:5000",
            "recipient_delimiter": "+",
            "auth_master_backends": "accounts",
            **main,
        }
        self.config = Config(str(folder), texts)
        self.now = 0.0
        self.waited: list[float] = []
        self.hasher = Hasher(1, CHEAP, 3600, lambda: self.now)
        environment = TableEnvironment(accounts_directory=self.config.accounts_directory)
        self.chain = Chain(
            registry.make(self.config.auth_backends, self.config, self.hasher, "auth_backends"),
            registry.make(self.config.auth_master_backends, self.config, self.hasher, "auth_master_backends"),
            self.hasher,
            default_domain=self.config.auth_default_domain,
        )
        self.court = Court(
            chain=self.chain,
            users=Users(self.config, environment),
            penalties=Penalties(2, 15, 600),
            digest=self.hasher.digest,
            clock=lambda: self.now,
            separator="*",
            token=self._token,
            pause=self._pause,
        )

    async def _token(self, token: str, hint: str) -> str | None:
        return "alice@example.test" if token == "good" else None

    async def _pause(self, seconds: float) -> None:
        self.waited.append(seconds)

    def exchange(self, mechanism: str, initial: bytes | None, **more: Any) -> Exchange:
        begin = Begin(
            **{
                "exchange": 1,
                "scope": "imap",
                "service": "imap",
                "mechanism": mechanism,
                "initial": initial,
                "client": "192.0.2.1",
                "tls": True,
                **more,
            }
        )
        return Exchange(self.court, begin, make_server(mechanism, ServerSettings("nonce", b"secret", 4096)))

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async def go() -> Any:
            try:
                return await work()
            finally:
                await self.chain.close()

        return asyncio.run(go())

    def plain(self, login: str, password: str, authzid: str = "", **more: Any) -> Reply:
        message = f"{authzid}\0{login}\0{password}".encode()
        reply: Reply = asyncio.run(self.exchange("PLAIN", message, **more).start())
        return reply


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    with Directory(str(tmp_path / "accounts"), write=True) as accounts:
        accounts.add_domain("example.test", 1)
        for name in ("alice", "bob", "carol"):
            accounts.add_user(f"{name}@example.test", 1, quota_bytes=9 if name == "alice" else 0)
        accounts.change_user("bob@example.test", enabled=False)
    with Passwords(str(tmp_path / "auth")) as passwords:
        for name in ("alice", "bob"):
            passwords.set_password(f"{name}@example.test", store(f"pw-{name}", CHEAP), 1)
        passwords.add_application_password(
            "alice@example.test", "phone", hash_application_password("abc-def"), ("imap",), 1
        )
        passwords.add_application_password("carol@example.test", "any", hash_application_password("xyz"), (), 1)
        passwords.set_master("admin", hash_password("pw-admin", CHEAP), 1)
    made = Fixture(tmp_path)
    yield made
    asyncio.run(made.chain.close())


def test_the_right_password_gives_the_account(fixture: Fixture) -> None:
    reply = fixture.plain("Alice@Example.test", "pw-alice")
    assert isinstance(reply, Success)
    user = reply.user
    assert (user.name, user.mailbox, user.uid, user.gid) == (
        "alice@example.test",
        "/mail/example.test/alice/",
        5000,
        -1,
    )
    assert (user.quota_bytes, reply.login, reply.data) == (9, "", None)
    assert fixture.waited == []


@pytest.mark.parametrize(
    ("login", "password", "cause"),
    [
        ("alice@example.test", "wrong", "credentials"),
        ("nobody@example.test", "pw-alice", "credentials"),
        ("alice", "pw-alice", "credentials"),
        ("alice+x@example.test", "pw-alice", "credentials"),
        ("bob@example.test", "pw-bob", "disabled"),
        ("bob@example.test", "wrong", "credentials"),
        ("carol@example.test", "", "protocol"),
        ("carol@example.test", "anything", "credentials"),
        ("admin", "pw-admin", "credentials"),
        ("alice@example.test*admin", "pw-alice", "credentials"),
        ("alice@example.test*bob@example.test", "pw-bob", "credentials"),
        ("nobody@example.test*admin", "pw-admin", "credentials"),
        ("*admin", "pw-admin", "credentials"),
    ],
)
def test_who_is_not_let_in(fixture: Fixture, login: str, password: str, cause: str) -> None:
    reply = fixture.plain(login, password)
    assert isinstance(reply, Failure)
    assert reply.cause == cause
    assert "user" not in reply.text


def test_known_and_unknown_users_cost_one_hash_each(fixture: Fixture) -> None:
    def cost(login: str) -> int:
        before = fixture.hasher.hashed
        fixture.plain(login, "wrong")
        return fixture.hasher.hashed - before

    logins = (
        "alice@example.test",
        "nobody@example.test",
        "carol@example.test",
        "bob@example.test",
        "x*admin",
        "x*nobody",
    )
    assert [cost(login) for login in logins] == [1] * 6


def test_a_right_password_is_hashed_once_and_a_changed_one_is_not_remembered(fixture: Fixture, tmp_path: Path) -> None:
    for _ in range(3):
        assert isinstance(fixture.plain("alice@example.test", "pw-alice"), Success)
    assert fixture.hasher.hashed == 1
    with Passwords(str(tmp_path / "auth")) as passwords:
        passwords.set_password("alice@example.test", store("new", CHEAP), 2)
    assert isinstance(fixture.plain("alice@example.test", "pw-alice"), Failure)
    assert isinstance(fixture.plain("alice@example.test", "new"), Success)
    fixture.now += 3601
    before = fixture.hasher.hashed
    assert isinstance(fixture.plain("alice@example.test", "new"), Success)
    assert fixture.hasher.hashed == before + 1


def test_application_passwords_are_for_their_scopes_and_their_use_is_noted(fixture: Fixture, tmp_path: Path) -> None:
    assert isinstance(fixture.plain("alice@example.test", "abcdef"), Success)
    reply = fixture.plain("alice@example.test", "abcdef", scope="smtp")
    assert isinstance(reply, Failure)
    assert reply.cause == "scope"
    assert isinstance(fixture.plain("carol@example.test", "xyz", scope="smtp"), Success)
    with Passwords(str(tmp_path / "auth")) as passwords:
        (phone,) = passwords.application_passwords("alice@example.test")
    assert phone.last_client == "192.0.2.1"
    assert phone.last_use > 0


def test_master_users_act_as_others(fixture: Fixture) -> None:
    for reply in (
        fixture.plain("alice@example.test*admin", "pw-admin"),
        fixture.plain("admin", "pw-admin", authzid="alice@example.test"),
    ):
        assert isinstance(reply, Success)
        assert (reply.user.name, reply.login) == ("alice@example.test", "admin")
    disabled = fixture.plain("bob@example.test*admin", "pw-admin")
    assert isinstance(disabled, Failure)
    # One's own name as the authorization identity is no master's matter; another's is.
    assert isinstance(fixture.plain("alice@example.test", "pw-alice", authzid="ALICE@example.test"), Success)
    assert isinstance(fixture.plain("alice@example.test", "pw-alice", authzid="bob@example.test"), Failure)


def test_wrong_passwords_wait_longer_each_time_and_right_ones_never(fixture: Fixture) -> None:
    for number in range(4):
        fixture.plain("alice@example.test", f"wrong{number}")
    assert fixture.waited == [2, 4, 8, 15]
    assert isinstance(fixture.plain("alice@example.test", "pw-alice"), Success)
    assert len(fixture.waited) == 4


def test_who_guesses_a_masters_password_waits_whomever_he_names(fixture: Fixture) -> None:
    for number in range(3):
        fixture.plain(f"user{number}@example.test*Admin", f"wrong{number}", client=f"192.0.2.{number}")
    fixture.plain("admin", "wrong", authzid="alice@example.test", client="198.51.100.1")
    assert fixture.waited == [2, 4, 8, 15]
    assert isinstance(fixture.plain("alice@example.test*admin", "pw-admin", client="203.0.113.1"), Success)
    # Who got in from there before is not kept waiting by what others try elsewhere.
    fixture.plain("alice@example.test*admin", "mistyped", client="203.0.113.1")
    assert fixture.waited[4:] == [2]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize(
    ("login", "password", "right"),
    [
        ("alice@example.test", "pw-alice", True),
        ("alice@example.test", "wrong", False),
        ("nobody@example.test", "pw-alice", False),
        ("bob@example.test", "pw-bob", False),
        ("carol@example.test", "xyz", False),
    ],
)
def test_scram(fixture: Fixture, mechanism: str, login: str, password: str, right: bool) -> None:
    client = ScramClient(mechanism, login, password, "abc")

    async def go() -> Reply:
        exchange = fixture.exchange(mechanism, client.start())
        challenge = await exchange.start()
        assert isinstance(challenge, Challenge)
        return await exchange.respond(client.respond(challenge.data))

    reply = asyncio.run(go())
    assert isinstance(reply, Success) is right
    if isinstance(reply, Success):
        client.finish(reply.data)


def test_scram_may_not_act_as_another(fixture: Fixture) -> None:
    client = ScramClient("SCRAM-SHA-256", "alice@example.test", "pw-alice", "abc", authzid="carol@example.test")

    async def go() -> Reply:
        exchange = fixture.exchange("SCRAM-SHA-256", client.start())
        challenge = await exchange.start()
        assert isinstance(challenge, Challenge)
        return await exchange.respond(client.respond(challenge.data))

    assert isinstance(asyncio.run(go()), Failure)


@pytest.mark.parametrize(("user", "token", "right"), [("alice@example.test", "good", True), ("", "bad", False)])
def test_tokens(fixture: Fixture, user: str, token: str, right: bool) -> None:
    async def go() -> Reply:
        exchange = fixture.exchange("OAUTHBEARER", f"n,a={user},\x01auth=Bearer {token}\x01\x01".encode())
        reply = await exchange.start()
        return await exchange.respond(b"\x01") if isinstance(reply, Challenge) else reply

    assert isinstance(asyncio.run(go()), Success) is right


def test_certificates(fixture: Fixture) -> None:
    def run(initial: bytes, certificate: str) -> Reply:
        return asyncio.run(fixture.exchange("EXTERNAL", initial, certificate_name=certificate).start())

    assert isinstance(run(b"", "alice@example.test"), Success)
    assert isinstance(run(b"alice@example.test", "alice@example.test"), Success)
    assert isinstance(run(b"carol@example.test", "alice@example.test"), Failure)
    assert isinstance(run(b"", "nobody@example.test"), Failure)
    assert isinstance(run(b"alice@example.test", ""), Failure)


def test_no_secret_is_in_the_log(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("tubepost.services.auth.exchange.log.info", lines.append)
    fixture.plain("alice@example.test", "pw-alice")
    fixture.plain("alice@example.test", "pw-wrong")
    fixture.plain("nobody@example.test", "pw-wrong")
    assert lines[0] == "login: user=<alice@example.test>, method=PLAIN, scope=imap, client=192.0.2.1, TLS"
    assert lines[1].endswith("client=192.0.2.1, reason=wrong password")
    assert lines[2].startswith("authentication failed: user=<nobody@example.test>")
    assert "pw-" not in "".join(lines)


def test_letters_of_templates() -> None:
    assert expand("%d/%n/", "alice@example.test") == "example.test/alice/"
    assert expand("%u %% %n", "alice") == "alice % alice"
    assert expand("%n", "%d@example.test") == "%d"


def test_a_passwd_file_before_the_accounts(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(
        "# a comment\n"
        "alice@example.test:{PLAIN}secret:1000:1001::/home/alice::userdb_mail=maildir:~/Mail "
        "userdb_quota_rule=*:storage=1M\n"
        "dave:{PLAIN}x\nbad\x00line::\n"
        "eve@example.test:{PLAIN}eve::::::allow_nets=198.51.100.0/24\n"
        "none@example.test:::::::\n"
    )
    made = Fixture(
        tmp_path,
        auth_backends=f"passwd-file:{tmp_path}/users, accounts",
        auth_default_domain="example.test",
        virtual_uid_maps="static:5000",
    )
    reply = made.plain("alice", "secret")
    assert isinstance(reply, Success)
    assert (reply.user.mailbox, reply.user.uid, reply.user.quota_bytes) == ("/home/alice/Mail/", 1000, 1 << 20)
    assert isinstance(made.plain("alice", "pw-alice"), Failure)
    assert isinstance(made.plain("eve", "eve"), Failure)
    assert isinstance(made.plain("eve", "eve", client="198.51.100.7"), Success)
    assert isinstance(made.plain("none", "x"), Failure)
    (tmp_path / "users").write_text("alice@example.test:{PLAIN}changed\n")
    assert isinstance(made.plain("alice", "changed"), Success)
    (tmp_path / "users").unlink()
    reply = made.plain("alice", "changed")
    assert isinstance(reply, Failure)
    assert reply.cause == "temporary"
