"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's older form): a bearer token (RFC 6750) in place of a password. Pure."""

import json
import re

from tubepost.common.sasl.scram import decode_name, encode_name
from tubepost.common.sasl.steps import (
    WRONG,
    Accepted,
    Answer,
    Challenge,
    Client,
    ExchangeError,
    Server,
    Step,
    VerifyToken,
    protocol_error,
)

# RFC 6750 2.1: the characters of a bearer token. The scheme's name is of either case (RFC 7235 2.1).
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
# RFC 7628 3.1: gs2-header kvsep *kvpair kvsep
_GS2 = re.compile(r"([ny]),(?:a=([^,]*))?,", re.IGNORECASE)


class _TokenServer(Server):
    __slots__ = ("_authzid", "_failed")

    def __init__(self) -> None:
        self._authzid = ""
        self._failed = False

    def begin(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        if self._failed:
            # RFC 7628 3.2.3: the client's dummy answer to the error; XOAUTH2's is empty.
            return WRONG
        try:
            text = data.decode("utf-8")
        except ValueError:
            return protocol_error(f"{self.name}: the message is not UTF-8")
        return self._parse(text)

    def _parse(self, text: str) -> Step:
        raise NotImplementedError

    def _token(self, pairs: list[str]) -> Step:
        values = dict(pair.partition("=")[::2] for pair in pairs)
        match = _BEARER.fullmatch(values.get("auth", ""))
        if match is None:
            # RFC 7628 4.3: no token is a client's way to ask how to get one.
            return self._refuse("invalid_request")
        return VerifyToken(match[1], self._authzid)

    def verified(self, answer: Answer) -> Step:
        if not isinstance(answer, str) or not answer:
            return self._refuse("invalid_token")
        return Accepted(answer, self._authzid)

    def _refuse(self, status: str) -> Step:
        self._failed = True
        return Challenge(self._error(status))

    def _error(self, status: str) -> bytes:
        raise NotImplementedError


class BearerServer(_TokenServer):
    __slots__ = ("_configuration", "_scope")
    name = "OAUTHBEARER"

    def __init__(self, scope: str = "", configuration: str = "") -> None:
        """What an error tells the client (RFC 7628 3.2.2): the scope to ask for, the URL of openid-configuration."""
        super().__init__()
        self._scope = scope
        self._configuration = configuration

    def _parse(self, text: str) -> Step:
        header, *pairs = text.split("\x01")
        match = _GS2.fullmatch(header)
        # RFC 7628 3.1: kvpairs end in one more kvsep.
        if match is None or len(pairs) < 2 or pairs[-2:] != ["", ""]:
            return protocol_error("OAUTHBEARER: the message has not the form of RFC 7628 3.1")
        try:
            self._authzid = decode_name(match[2] or "")
        except ValueError as error:
            return protocol_error(f"OAUTHBEARER: {error}")
        return self._token(pairs[:-2])

    def _error(self, status: str) -> bytes:
        told = {"status": status, "scope": self._scope, "openid-configuration": self._configuration}
        return json.dumps({name: value for name, value in told.items() if value}).encode()


class XOAuth2Server(_TokenServer):
    __slots__ = ()
    name = "XOAUTH2"

    def _parse(self, text: str) -> Step:
        pairs = text.split("\x01")
        if len(pairs) < 3 or pairs[-2:] != ["", ""] or not pairs[0].startswith("user="):
            return protocol_error("XOAUTH2: expected user=…, auth=Bearer …")
        self._authzid = pairs[0][5:]
        return self._token(pairs[1:-2])

    def _error(self, status: str) -> bytes:
        code = "400" if status == "invalid_request" else "401"
        return json.dumps({"status": code, "schemes": "bearer", "scope": "mail"}).encode()


class BearerClient(Client):
    __slots__ = ("_message", "error")
    name = "OAUTHBEARER"
    sends_password = True

    def __init__(self, login: str, token: str, host: str = "", port: int = 0) -> None:
        self.error = ""
        """What the server said of the token, JSON."""
        host_port = (f"host={host}\x01" if host else "") + (f"port={port}\x01" if port else "")
        self._message = f"n,a={encode_name(login)},\x01{host_port}auth=Bearer {token}\x01\x01".encode()

    def start(self) -> bytes:
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        if not challenge:
            return self._message
        if self.error:
            raise ExchangeError(f"{self.name}: the server sent a second error")
        self.error = challenge.decode("utf-8", "replace")
        # RFC 7628 3.2.3: one kvsep, so that the server can fail the exchange.
        return b"\x01"


class XOAuth2Client(BearerClient):
    __slots__ = ()
    name = "XOAUTH2"

    def __init__(self, login: str, token: str, host: str = "", port: int = 0) -> None:
        super().__init__(login, token)
        self._message = f"user={login}\x01auth=Bearer {token}\x01\x01".encode()

    def respond(self, challenge: bytes) -> bytes:
        answer = super().respond(challenge)
        return b"" if answer == b"\x01" else answer
