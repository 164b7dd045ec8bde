"""SCRAM-SHA-1 and SCRAM-SHA-256, with and without -PLUS (RFC 5802, RFC 7677; channel binding by RFC 5929 4). Pure.

The nonce, and the secret that unknown users' salts are made of, are arguments.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import NamedTuple

from tubepost.common.sasl.prep import saslprep
from tubepost.common.sasl.steps import (
    WRONG,
    Accepted,
    Answer,
    Challenge,
    Client,
    ExchangeError,
    NeedKeys,
    Server,
    Step,
    protocol_error,
)

BINDING = "tls-server-end-point"
_MESSAGE_LIMIT = 4096
# RFC 5802 7: attribute-val; the header has its own commas.
_FIRST = re.compile(
    r"(n|y|p=([A-Za-z0-9.-]+)),(?:a=([^,]*))?,(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)((?:,[A-Za-z]=[^,]*)*))"
)
_FINAL = re.compile(r"(c=([A-Za-z0-9+/=]*),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/=]*)")
_SERVER_FIRST = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([0-9]{1,9})(?:,[A-Za-z]=[^,]*)*")
_KEYS = re.compile(r"SCRAM-[A-Z0-9-]+\$([0-9]{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
# A server that asks for more would only keep a client busy.
_MOST_ITERATIONS = 10_000_000
_LEAST_ITERATIONS = 4096
_ALGORITHMS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class Keys(NamedTuple):
    """What a server keeps of a password (RFC 5802 2.2)."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes


def parse_keys(text: str) -> Keys:
    """Of RFC 5803's text. Raises ValueError."""
    match = _KEYS.fullmatch(text)
    if match is None:
        raise ValueError("not a SCRAM key of RFC 5803")
    return Keys(int(match[1]), *(_decode(part) for part in match.groups()[1:]))


def encode_name(name: str) -> str:
    """RFC 5802 5.1: saslname."""
    return name.replace("=", "=3D").replace(",", "=2C")


def decode_name(name: str) -> str:
    """Raises ValueError."""
    # RFC 5802 5.1: any other "=" is an error.
    if "=" in name.replace("=2C", "").replace("=3D", ""):
        raise ValueError("the name has a = that stands for nothing")
    return saslprep(name.replace("=2C", ",").replace("=3D", "="))


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"bad base64: {error}") from None


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _xor(one: bytes, two: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, two, strict=True))


class ScramServer(Server):
    __slots__ = (
        "_algorithm",
        "_authzid",
        "_bare",
        "_binding",
        "_first",
        "_gs2",
        "_iterations",
        "_keys",
        "_known",
        "_login",
        "_nonce",
        "_plus",
        "_plus_offered",
        "_secret",
        "name",
    )

    def __init__(
        self,
        mechanism: str,
        nonce: str,
        secret: bytes,
        *,
        iterations: int = _LEAST_ITERATIONS,
        binding: bytes = b"",
        plus_offered: bool = False,
    ) -> None:
        """``nonce``: fresh and random, printable without commas. ``secret``: the same for the life of the server; what
        unknown users are shown is made of it, with ``iterations`` as most users have. ``binding``: of this connection.
        ``plus_offered``: the client was told of the -PLUS form.
        """
        base = mechanism.removesuffix("-PLUS")
        self.name = mechanism
        self._algorithm = _ALGORITHMS[base]
        self._plus = mechanism.endswith("-PLUS")
        self._nonce = nonce
        self._secret = secret
        self._iterations = iterations
        self._binding = binding
        self._plus_offered = plus_offered
        self._login = self._authzid = self._bare = self._gs2 = self._first = ""
        self._keys: Keys | None = None
        self._known = False

    def begin(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        if len(data) > _MESSAGE_LIMIT:
            return protocol_error(f"{self.name}: the message is too long")
        try:
            text = data.decode("utf-8")
            return self._last(text) if self._keys is not None else self._start(text)
        except ValueError as error:
            return protocol_error(f"{self.name}: {error}")

    def _start(self, text: str) -> Step:
        match = _FIRST.fullmatch(text)
        if match is None:
            return protocol_error(f"{self.name}: the first message has not the form of RFC 5802 7")
        flag, kind, authzid, self._bare, login, nonce, _ = match.groups()
        # RFC 5802 6: the client must use binding with -PLUS and only with it; "y" means that it saw no -PLUS offered,
        # and where we did offer it somebody on the line took it away.
        if self._plus != (kind is not None):
            return protocol_error(f"{self.name}: the flag of channel binding does not fit the mechanism")
        if self._plus and (kind != BINDING or not self._binding):
            return protocol_error(f"{self.name}: only {BINDING} over TLS can be used here")
        if flag == "y" and self._plus_offered:
            return protocol_error(
                f"{self.name}: the client did not see that -PLUS is offered: is the line tampered with?"
            )
        self._gs2 = text[: len(text) - len(self._bare)]
        self._login, self._authzid = decode_name(login), decode_name(authzid or "")
        if not self._login:
            return protocol_error(f"{self.name}: the user name is empty")
        self._nonce = nonce + self._nonce
        return NeedKeys(self._login, self.name.removesuffix("-PLUS"), self._authzid)

    def verified(self, answer: Answer) -> Step:
        keys = None
        if isinstance(answer, str):
            try:
                keys = parse_keys(answer)
            except ValueError:
                keys = None
        self._known = keys is not None
        if keys is None:
            # RFC 5802 9 and 5.1: an unknown user gets a salt as well, the same each time, and fails at the end.
            digest = hmac.digest(self._secret, self._login.encode(), "sha512")
            size = hashlib.new(self._algorithm).digest_size
            keys = Keys(self._iterations, digest[:16], digest[16 : 16 + size], digest[32 : 32 + size])
        self._keys = keys
        self._first = f"r={self._nonce},s={_encode(keys.salt)},i={keys.iterations}"
        return Challenge(self._first.encode())

    def _last(self, text: str) -> Step:
        keys = self._keys
        assert keys is not None
        match = _FINAL.fullmatch(text)
        if match is None:
            return protocol_error(f"{self.name}: the last message has not the form of RFC 5802 7")
        without_proof, binding, nonce, proof = match[1], _decode(match[2]), match[3], _decode(match[4])
        # RFC 5802 5.1: "r" and "c" must be what was agreed on.
        if nonce != self._nonce:
            return protocol_error(f"{self.name}: the nonce is another one")
        expected = self._gs2.encode() + (self._binding if self._plus else b"")
        if not hmac.compare_digest(binding, expected):
            return protocol_error(f"{self.name}: the channel binding is of another connection")
        # RFC 5802 3: ClientKey = ClientProof XOR ClientSignature; H(ClientKey) is what was stored.
        message = f"{self._bare},{self._first},{without_proof}".encode()
        signature = hmac.digest(keys.stored_key, message, self._algorithm)
        if len(proof) != len(signature):
            return WRONG
        client_key = _xor(proof, signature)
        right = hmac.compare_digest(hashlib.new(self._algorithm, client_key).digest(), keys.stored_key)
        if not right or not self._known:
            return WRONG
        verifier = hmac.digest(keys.server_key, message, self._algorithm)
        return Accepted(self._login, self._authzid, f"v={_encode(verifier)}".encode())


class ScramClient(Client):
    __slots__ = (
        "_algorithm",
        "_authzid",
        "_bare",
        "_binding",
        "_flag",
        "_nonce",
        "_password",
        "_signature",
        "_step",
        "name",
    )

    def __init__(
        self,
        mechanism: str,
        login: str,
        password: str,
        nonce: str,
        *,
        authzid: str = "",
        binding: bytes = b"",
        plus_offered: bool = False,
    ) -> None:
        """``plus_offered``: the server offers the -PLUS form too. Raises ValueError for what SASLprep forbids."""
        self.name = mechanism
        self._algorithm = _ALGORITHMS[mechanism.removesuffix("-PLUS")]
        plus = mechanism.endswith("-PLUS")
        self._binding = binding if plus else b""
        # RFC 5802 6: "y" where we could bind and the server did not offer it.
        flag = f"p={BINDING}" if plus else "y" if binding and not plus_offered else "n"
        self._flag = f"{flag},{'a=' + encode_name(authzid) if authzid else ''},"
        self._nonce = nonce
        self._password = saslprep(password).encode()
        self._bare = f"n={encode_name(saslprep(login))},r={nonce}"
        self._signature = b""
        self._step = 0

    def start(self) -> bytes:
        return f"{self._flag}{self._bare}".encode()

    def respond(self, challenge: bytes) -> bytes:
        if not challenge and self._step == 0:
            return self.start()
        if self._step:
            # The server's last word came as a challenge (IMAP without a place for it elsewhere).
            self._check(challenge)
            self._step = 2
            return b""
        try:
            return self._prove(challenge.decode("utf-8"))
        except ValueError as error:
            raise ExchangeError(f"{self.name}: {error}") from None

    def _prove(self, text: str) -> bytes:
        match = _SERVER_FIRST.fullmatch(text)
        if match is None:
            raise ExchangeError(f"{self.name}: the server's message has not the form of RFC 5802 7")
        nonce, salt, iterations = match[1], _decode(match[2]), int(match[3])
        # RFC 5802 5.1: the server's nonce begins with ours, and adds to it.
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ExchangeError(f"{self.name}: the server's nonce does not begin with ours")
        if not 1 <= iterations <= _MOST_ITERATIONS:
            raise ExchangeError(f"{self.name}: the server asks for {iterations} iterations")
        salted = hashlib.pbkdf2_hmac(self._algorithm, self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", self._algorithm)
        stored_key = hashlib.new(self._algorithm, client_key).digest()
        last = f"c={_encode(self._flag.encode() + self._binding)},r={nonce}"
        message = f"{self._bare},{text},{last}".encode()
        proof = _xor(client_key, hmac.digest(stored_key, message, self._algorithm))
        server_key = hmac.digest(salted, b"Server Key", self._algorithm)
        self._signature = hmac.digest(server_key, message, self._algorithm)
        self._step = 1
        return f"{last},p={_encode(proof)}".encode()

    def _check(self, data: bytes) -> None:
        if data.startswith(b"e="):
            raise ExchangeError(f"{self.name}: the server says {data[2:100].decode('utf-8', 'replace')}")
        wanted = b"v=" + base64.b64encode(self._signature)
        if not self._signature or not hmac.compare_digest(data.split(b",", 1)[0], wanted):
            raise ExchangeError(f"{self.name}: the server did not prove that it knows the password")

    def finish(self, data: bytes | None) -> None:
        if self._step == 2 and not data:
            return
        self._check(data or b"")
