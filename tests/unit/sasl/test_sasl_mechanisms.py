"""PLAIN, LOGIN, CRAM-MD5, APOP, EXTERNAL, OAUTHBEARER, XOAUTH2: examples of their RFCs and what is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.sasl.digest import ApopServer, CramClient, CramServer
from tubepost.common.sasl.external import ExternalServer
from tubepost.common.sasl.mechanisms import CLIENTS, SERVERS, ServerSettings, make_client, make_server
from tubepost.common.sasl.oauth import BearerClient, BearerServer, XOAuth2Client, XOAuth2Server
from tubepost.common.sasl.plain import LoginClient, LoginServer, PlainClient, PlainServer
from tubepost.common.sasl.prep import prepare_password, saslprep
from tubepost.common.sasl.steps import (
    WRONG,
    Accepted,
    Challenge,
    ExchangeError,
    NeedKeys,
    Rejected,
    VerifyExternal,
    VerifyPassword,
    VerifyToken,
)


def test_plain_as_in_rfc_4616() -> None:
    server = PlainServer()
    assert server.begin(b"\0tim\0tanstaaftanstaaf") == VerifyPassword("tim", "tanstaaftanstaaf", "")
    assert server.verified(True) == Accepted("tim", "")
    server = PlainServer()
    assert server.begin(None) == Challenge(b"")
    assert server.respond(b"Ursel\0Kurt\0xipj3plmq") == VerifyPassword("Kurt", "xipj3plmq", "Ursel")
    assert server.verified(False) == WRONG


@pytest.mark.parametrize(
    "message",
    [b"", b"a", b"\0a", b"\0a\0", b"\0\0pw", b"\0a\0b\0c", b"\0\xff\0pw", b"\0a\0" + b"x" * 2000, b"\0a\0p\x07w"],
)
def test_plain_that_is_none(message: bytes) -> None:
    step = PlainServer().begin(message)
    assert isinstance(step, Rejected)
    assert step.cause == "protocol"


@pytest.mark.parametrize("initial", [None, b"tim"])
def test_login_with_and_without_an_initial_response(initial: bytes | None) -> None:
    server = LoginServer()
    step = server.begin(initial)
    if initial is None:
        assert step == Challenge(b"Username:")
        step = server.respond(b"tim")
    assert step == Challenge(b"Password:")
    assert server.respond(b"secret") == VerifyPassword("tim", "secret", "")


def test_clients_of_plain_and_login() -> None:
    assert PlainClient("tim", "x").start() == b"\0tim\0x"
    with pytest.raises(ValueError, match="NUL"):
        PlainClient("t\0im", "x")
    client = LoginClient("tim", "x")
    assert (client.start(), client.respond(b"User Name\0"), client.respond(b"?")) == (None, b"tim", b"x")
    with pytest.raises(ExchangeError):
        client.respond(b"again")


def test_cram_md5_as_in_rfc_2195() -> None:
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    answer = b"tim b913a602c7eda7a495b4e6e7334d3890"
    server = CramServer(challenge)
    assert server.begin(None) == Challenge(challenge)
    assert server.respond(answer) == NeedKeys("tim", "PLAIN", "")
    assert server.verified("tanstaaftanstaaf") == Accepted("tim", "")
    assert CramClient("tim", "tanstaaftanstaaf").respond(challenge) == answer
    for secret in ("other", "", None):
        server = CramServer(challenge)
        server.begin(None)
        server.respond(answer)
        assert server.verified(secret) == WRONG


def test_an_empty_password_of_an_unknown_user_is_not_right() -> None:
    server = CramServer(b"<1@x>")
    server.begin(None)
    server.respond(CramClient("nobody", "").respond(b"<1@x>"))
    assert server.verified(None) == WRONG


def test_apop_as_in_rfc_1939() -> None:
    server = ApopServer()
    message = b"<1896.697170952@dbc.mtview.ca.us>\0mrose\0c4c9334bac560ecc979e58001b3e22fb"
    assert server.begin(message) == NeedKeys("mrose", "PLAIN", "")
    assert server.verified("tanstaaf") == Accepted("mrose", "")
    assert isinstance(ApopServer().begin(None), Rejected)


def test_external() -> None:
    server = ExternalServer()
    assert server.begin(None) == Challenge(b"")
    assert server.respond(b"fred@example.com") == VerifyExternal("fred@example.com")
    assert server.verified("fred") == Accepted("fred", "fred@example.com")
    server = ExternalServer()
    assert server.begin(b"") == VerifyExternal("")
    assert server.verified(None) == WRONG


RFC_7628 = (
    b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
    b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
)


def test_oauthbearer_as_in_rfc_7628() -> None:
    server = BearerServer("mail", "https://example.org/.well-known/openid-configuration")
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    assert server.begin(RFC_7628) == VerifyToken(token, "user@example.com")
    refused = server.verified(None)
    assert isinstance(refused, Challenge)
    assert json.loads(refused.data) == {
        "status": "invalid_token",
        "scope": "mail",
        "openid-configuration": "https://example.org/.well-known/openid-configuration",
    }
    assert server.respond(b"\x01") == WRONG
    assert BearerClient("user@example.com", token, "server.example.com", 143).start() == RFC_7628


@pytest.mark.parametrize(
    "message",
    [
        b"n,,",
        b"n,,\x01",
        b"user=x\x01auth=Bearer y\x01\x01",
        b"p=tls-unique,,\x01auth=Bearer y\x01\x01",
        b"n,a=x=y,\x01auth=Bearer y\x01\x01",
        b"n,,\x01auth=Bearer y\x01",
    ],
)
def test_oauthbearer_that_is_none(message: bytes) -> None:
    assert isinstance(BearerServer().begin(message), Rejected)


@pytest.mark.parametrize(
    "auth", [b"", b"auth=\x01", b"auth=Basic abc\x01", b"auth=Bearer a b\x01", b"auth=Bearer \x01"]
)
def test_a_message_without_a_token_is_told_so(auth: bytes) -> None:
    server = BearerServer()
    step = server.begin(b"n,,\x01" + auth + b"\x01") if auth else server.begin(b"n,,\x01\x01")
    assert isinstance(step, Challenge)
    assert json.loads(step.data)["status"] == "invalid_request"
    assert server.respond(b"\x01") == WRONG


def test_xoauth2() -> None:
    message = b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2\x01\x01"
    server = XOAuth2Server()
    assert server.begin(message) == VerifyToken("ya29.vF9dft4qmTc2", "someuser@example.com")
    assert server.verified("someuser@example.com") == Accepted("someuser@example.com", "someuser@example.com")
    client = XOAuth2Client("someuser@example.com", "ya29.vF9dft4qmTc2")
    assert client.start() == message
    assert client.respond(b'{"status":"401"}') == b""


def test_every_mechanism_can_be_made_by_name() -> None:
    for name in SERVERS:
        assert make_server(name, ServerSettings("nonce", b"secret")).name == name
    for name in CLIENTS:
        assert make_client(name, "u", "p", nonce="n").name == name


@pytest.mark.parametrize(
    ("text", "wanted"),
    # RFC 4013 3
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_saslprep_as_in_rfc_4013(text: str, wanted: str) -> None:
    assert saslprep(text) == wanted


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "a\u0627", "\ufffd", "\ue000"])
def test_what_saslprep_forbids(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed|mixed|begin and end"):
        saslprep(text)


def test_passwords_may_have_what_people_type_and_must_not_be_empty() -> None:
    assert prepare_password("密码🔑") == "密码🔑"
    for empty in ("", "\u00ad"):
        with pytest.raises(ValueError, match="empty"):
            prepare_password(empty)


@pytest.mark.parametrize("name", sorted(SERVERS))
@given(data=st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_no_client_breaks_a_machine(name: str, data: list[bytes]) -> None:
    """Whatever is sent: a step, never an exception."""
    server = make_server(name, ServerSettings("nonce", b"secret", challenge=b"<1@x>"))
    step = server.begin(data[0])
    for piece in data[1:]:
        while isinstance(step, VerifyPassword | NeedKeys | VerifyToken | VerifyExternal):
            step = server.verified(None)
        if not isinstance(step, Challenge):
            break
        step = server.respond(piece)
    assert not isinstance(step, Accepted)
