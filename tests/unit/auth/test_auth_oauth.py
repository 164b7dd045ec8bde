"""Bearer tokens: signed ones with keys of a JWKS, and those that an authorization server is asked about."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.accounts.names import fold_name
from tubepost.common.config import Config, ConfigError

from tubepost.services.auth import http
from tubepost.services.auth.backends.base import Unavailable
from tubepost.services.auth.oauth import Tokens, is_configured

jwt = pytest.importorskip("jwt")
rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLAIMS: dict[str, Any] = {
    "iss": "https://id.example.test",
    "aud": "mail",
    "scope": "openid mail",
    "email": "Alice@example.test",
    "exp": time.time() + 1000,
}


def _jwks(path: Path) -> str:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    secret = {"kty": "oct", "k": "AAAA", "kid": "shared", "alg": "HS256"}
    path.write_text(
        json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}, secret, {"kty": "?"}]})
    )
    return str(path)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    texts = {
        "oauth_jwks": _jwks(tmp_path / "keys"),
        "oauth_issuers": "https://id.example.test",
        "oauth_audience": "mail, other",
        "oauth_scopes": "mail",
    }
    return Tokens(Config("/x", texts), fold_name)


def _check(tokens: Tokens, token: str, hint: str = "") -> str | None:
    return asyncio.run(tokens.check(token, hint))


def _sign(claims: dict[str, Any], key: Any = KEY, kid: str = "one", algorithm: str = "RS256") -> str:
    made: str = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})
    return made


def test_a_signed_token_is_its_users(tokens: Tokens) -> None:
    token = _sign(CLAIMS)
    assert _check(tokens, token) == "alice@example.test"
    assert _check(tokens, token, "ALICE@example.test") == "alice@example.test"
    assert _check(tokens, token, "bob@example.test") is None


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.test"},
        {"aud": "web"},
        {"aud": None},
        {"aud": 7},
        {"aud": [{"mail": 1}, ["mail"]]},
        {"scope": 7},
        {"scope": [["mail"]]},
        {"scope": "openid"},
        {"exp": 1},
        {"nbf": time.time() + 5000},
        {"email": ""},
        {"email": 7},
    ],
)
def test_a_token_that_is_not_for_us(tokens: Tokens, change: dict[str, Any]) -> None:
    claims = {key: value for key, value in {**CLAIMS, **change}.items() if value is not None}
    assert _check(tokens, _sign(claims)) is None


def test_tokens_that_are_not_signed_by_a_key_of_the_set(tokens: Tokens) -> None:
    assert _check(tokens, _sign(CLAIMS, OTHER)) is None
    assert _check(tokens, _sign(CLAIMS, kid="unknown")) is None
    assert _check(tokens, _sign(CLAIMS, b"\0" * 32, "shared", "HS256")) is None
    assert _check(tokens, jwt.encode(CLAIMS, None, algorithm="none", headers={"kid": "one"})) is None
    # The public key taken for a shared secret.
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
    assert _check(tokens, f"{head}.e30.AAAA") is None
    for garbage in ("", "a.b.c", "..", "x" * 5000):
        assert _check(tokens, garbage) is None


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    assert not is_configured(Config("/x", {}))
    with pytest.raises(ConfigError, match="https"):
        Tokens(Config("/x", {"oauth_introspection_url": "http://id.example.test/i"}), fold_name)
    with pytest.raises(Unavailable):
        _check(Tokens(Config("/x", {"oauth_jwks": str(tmp_path / "none")}), fold_name), _sign(CLAIMS))


def _asked(answer: bytes, url: str = "http://127.0.0.1:{port}/introspect?a=b", **texts: str) -> tuple[Any, bytes]:
    """What a check says, and what the authorization server was sent."""
    seen = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        seen = head + await reader.readexactly(length)
        writer.write(answer)
        writer.close()

    async def go() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            config = Config("/x", {"oauth_introspection_url": url.format(port=port), **texts})
            return await Tokens(config, fold_name).check("opaque+token", "")
        finally:
            server.close()

    return asyncio.run(go()), seen


def _answer(body: bytes, head: str = "HTTP/1.1 200 OK\r\nContent-Length: {size}") -> bytes:
    return head.format(size=len(body)).encode() + b"\r\n\r\n" + body


ACTIVE = json.dumps({"active": True, "email": "alice@example.test"}).encode()


@pytest.mark.parametrize(
    ("answer", "login"),
    [
        (_answer(ACTIVE), "alice@example.test"),
        (_answer(ACTIVE, "HTTP/1.1 200 OK"), "alice@example.test"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ACTIVE), ACTIVE),
            "alice@example.test",
        ),
        (_answer(b'{"active": false}'), None),
        (_answer(b'{"active": "true", "email": "alice@example.test"}'), None),
        (_answer(b"{}"), None),
        (_answer(b'{"active": true, "email": "alice@example.test", "exp": "soon"}'), None),
    ],
)
def test_the_authorization_server_is_asked(tmp_path: Path, answer: bytes, login: str | None) -> None:
    (tmp_path / "secret").write_text("s:e\n")
    said, seen = _asked(answer, oauth_client_id="tube post", oauth_client_secret_file=str(tmp_path / "secret"))
    assert said == login
    assert seen.startswith(b"POST /introspect?a=b HTTP/1.1\r\n")
    assert b"Authorization: Basic " + base64.b64encode(b"tube%20post:s%3Ae") in seen
    assert seen.endswith(b"\r\n\r\ntoken=opaque%2Btoken&token_type_hint=access_token")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\n\r\n",
        _answer(b"[]"),
        _answer(b"{"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000,
    ],
)
def test_a_server_that_errs_is_no_bad_token(answer: bytes) -> None:
    with pytest.raises(Unavailable):
        _asked(answer)


def test_only_urls_are_asked() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(http.request("file:///etc/passwd"))
