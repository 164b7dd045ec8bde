"""SCRAM: the examples of RFC 5802 and RFC 7677, both sides; -PLUS; what an attacker or a broken peer may send."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.sasl.scram import ScramClient, ScramServer, decode_name, encode_name, parse_keys
from tubepost.common.sasl.steps import Accepted, Challenge, ExchangeError, NeedKeys, Rejected, Step
from tubepost.common.accounts.hashing import scram_keys

# RFC 5802 5 and RFC 7677 3: mechanism, client's nonce, server's part, salt, client-final's proof, server's signature.
EXAMPLES = [
    (
        "SCRAM-SHA-1",
        "fyko+d2lbbFgONRv9qkxdawL",
        "3rfcNHYJY1ZVvWVs7j",
        "QSXCR+Q6sek8bf92",
        "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "SCRAM-SHA-256",
        "rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]


def _server(mechanism: str, nonce: str = "server", **options: object) -> ScramServer:
    return ScramServer(mechanism, nonce, b"secret", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mechanism", "client_nonce", "server_nonce", "salt", "proof", "signature"), EXAMPLES)
def test_the_examples_of_the_rfcs(
    mechanism: str, client_nonce: str, server_nonce: str, salt: str, proof: str, signature: str
) -> None:
    keys = scram_keys(mechanism, "pencil", 4096, base64.b64decode(salt))
    client = ScramClient(mechanism, "user", "pencil", client_nonce)
    server = _server(mechanism, server_nonce)
    first = client.start()
    assert first == f"n,,n=user,r={client_nonce}".encode()
    assert server.begin(first) == NeedKeys("user", mechanism, "")
    challenge = server.verified(keys)
    assert challenge == Challenge(f"r={client_nonce}{server_nonce},s={salt},i=4096".encode())
    final = client.respond(challenge.data)
    assert final == f"c=biws,r={client_nonce}{server_nonce},p={proof}".encode()
    assert server.respond(final) == Accepted("user", "", f"v={signature}".encode())
    client.finish(f"v={signature}".encode())


def _play(client: ScramClient, server: ScramServer, keys: str | None) -> Step:
    asked = server.begin(client.start())
    if not isinstance(asked, NeedKeys):
        return asked
    challenge = server.verified(keys)
    assert isinstance(challenge, Challenge)
    return server.respond(client.respond(challenge.data))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_a_wrong_password_and_an_unknown_user_look_the_same(mechanism: str) -> None:
    keys = scram_keys(mechanism, "right", 4096)
    wrong = _play(ScramClient(mechanism, "user", "wrong", "n"), _server(mechanism), keys)
    unknown = _play(ScramClient(mechanism, "nobody", "wrong", "n"), _server(mechanism), None)
    assert isinstance(wrong, Rejected)
    assert wrong == unknown


def test_an_unknown_user_has_the_same_salt_each_time_and_one_of_its_own() -> None:
    def salt(login: str, secret: bytes = b"secret") -> bytes:
        server = ScramServer("SCRAM-SHA-256", "x", secret)
        server.begin(f"n,,n={login},r=abc".encode())
        challenge = server.verified(None)
        assert isinstance(challenge, Challenge)
        return challenge.data

    assert salt("nobody") == salt("nobody")
    assert salt("nobody") != salt("anybody")
    assert salt("nobody") != salt("nobody", b"other")


def test_an_unknown_user_cannot_be_got_in_with_a_made_up_proof() -> None:
    """Whoever guessed how unknown users' keys are made must fail all the same."""
    server = _server("SCRAM-SHA-256")
    server.begin(b"n,,n=nobody,r=abc")
    server.verified(None)
    server._keys = parse_keys(scram_keys("SCRAM-SHA-256", "known", 4096, b"salt"))  # as if he knew them
    server._first = "r=abcserver,s=c2FsdA==,i=4096"
    client = ScramClient("SCRAM-SHA-256", "nobody", "known", "abc")
    client.start()
    assert isinstance(server.respond(client.respond(server._first.encode())), Rejected)


def test_channel_binding_must_be_that_of_this_connection() -> None:
    keys = scram_keys("SCRAM-SHA-256", "pw", 4096)

    def play(client_binding: bytes, server_binding: bytes) -> Step:
        client = ScramClient("SCRAM-SHA-256-PLUS", "u", "pw", "n", binding=client_binding)
        return _play(client, _server("SCRAM-SHA-256-PLUS", binding=server_binding), keys)

    assert isinstance(play(b"hash", b"hash"), Accepted)
    assert isinstance(play(b"of the attacker", b"hash"), Rejected)
    assert isinstance(play(b"hash", b""), Rejected)


def test_a_client_that_did_not_see_plus_offered_is_warned_off() -> None:
    client = ScramClient("SCRAM-SHA-256", "u", "pw", "n", binding=b"hash", plus_offered=False)
    assert client.start().startswith(b"y,")
    assert isinstance(_server("SCRAM-SHA-256", plus_offered=True).begin(client.start()), Rejected)
    assert isinstance(_server("SCRAM-SHA-256", plus_offered=False).begin(client.start()), NeedKeys)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,n=user",
        b"n,,r=abc",
        b"n,,n=user,r=",
        b"p=tls-unique,,n=user,r=abc",
        b"n,,m=ext,n=user,r=abc",
        b"n,,n=us=er,r=abc",
        b"n,,n=,r=abc",
        b"n,,n=user,r=a b",
        b"x,,n=user,r=abc",
        b"n,,n=\xff,r=abc",
        b"n,,n=" + b"a" * 5000 + b",r=abc",
    ],
)
def test_first_messages_that_are_none(first: bytes) -> None:
    step = _server("SCRAM-SHA-256").begin(first)
    assert isinstance(step, Rejected)
    assert step.cause == "protocol"


def test_the_nonce_and_the_header_are_checked() -> None:
    keys = scram_keys("SCRAM-SHA-256", "pw", 4096)

    def last(change: tuple[bytes, bytes]) -> Step:
        client, server = ScramClient("SCRAM-SHA-256", "u", "pw", "n"), _server("SCRAM-SHA-256")
        server.begin(client.start())
        challenge = server.verified(keys)
        assert isinstance(challenge, Challenge)
        return server.respond(client.respond(challenge.data).replace(*change))

    assert isinstance(last((b"", b"")), Accepted)
    assert isinstance(last((b"r=nserver", b"r=nother")), Rejected)
    assert isinstance(last((b"c=biws", b"c=eSws")), Rejected)
    assert isinstance(last((b"p=", b"p=AAAA")), Rejected)


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=n,s=QQ==,i=4096",
        b"r=other,s=QQ==,i=4096",
        b"r=nx,s=QQ==,i=0",
        b"r=nx,s=QQ==,i=999999999",
        b"m=x,r=nx,s=QQ==,i=1",
    ],
)
def test_a_client_does_not_believe_a_server_that_errs(challenge: bytes) -> None:
    client = ScramClient("SCRAM-SHA-256", "u", "pw", "n")
    client.start()
    if challenge:
        with pytest.raises(ExchangeError):
            client.respond(challenge)
    with pytest.raises(ExchangeError):
        client.finish(b"v=AAAA")
    with pytest.raises(ExchangeError):
        client.finish(None)


def test_a_server_that_tells_success_without_a_proof_is_not_believed() -> None:
    client, server = ScramClient("SCRAM-SHA-256", "u", "pw", "n"), _server("SCRAM-SHA-256")
    server.begin(client.start())
    challenge = server.verified(scram_keys("SCRAM-SHA-256", "pw", 4096))
    assert isinstance(challenge, Challenge)
    client.respond(challenge.data)
    with pytest.raises(ExchangeError):
        client.finish(None)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_names_survive_their_encoding(name: str) -> None:
    encoded = encode_name(name)
    assert "," not in encoded
    assert re.sub("=2C|=3D", "", encoded).find("=") < 0
    assert decode_name(encoded) == name


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_nothing_that_a_client_sends_is_more_than_refused(first: bytes, last: bytes) -> None:
    server = _server("SCRAM-SHA-1")
    step = server.begin(first)
    if isinstance(step, NeedKeys):
        server.verified(scram_keys("SCRAM-SHA-1", "pw", 1, b"salt"))
        step = server.respond(last)
    assert isinstance(step, Rejected)
