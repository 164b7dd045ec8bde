"""CRAM-MD5 (RFC 2195) and POP3's APOP (RFC 1939 7) in SASL's shape: the server must have the password in clear. Pure.

Both are here for old clients; what an attacker on the line hears can be guessed against at leisure.
"""

import hashlib
import hmac
import re

from tubepost.common.sasl.prep import saslprep
from tubepost.common.sasl.steps import (
    WRONG,
    Accepted,
    Answer,
    Challenge,
    Client,
    NeedKeys,
    Server,
    Step,
    protocol_error,
)

_HEX = re.compile(rb"[0-9a-fA-F]{32}")
_LIMIT = 1024


class _DigestServer(Server):
    __slots__ = ("_digest", "_login")

    def __init__(self) -> None:
        self._login = ""
        self._digest = b""

    def _ask(self, login: bytes, digest: bytes) -> Step:
        try:
            self._login = saslprep(login.decode("utf-8"))
        except ValueError as error:
            return protocol_error(f"{self.name}: {error}")
        if not self._login or len(login) > _LIMIT or not _HEX.fullmatch(digest):
            return protocol_error(f"{self.name}: expected a user name and a digest of 32 hexadecimal digits")
        self._digest = digest.lower()
        return NeedKeys(self._login, "PLAIN", "")

    def _wanted(self, password: str) -> bytes:
        raise NotImplementedError

    def verified(self, answer: Answer) -> Step:
        known = isinstance(answer, str)
        right = hmac.compare_digest(self._wanted(str(answer) if known else ""), self._digest)
        return Accepted(self._login, "") if right and known else WRONG


class CramServer(_DigestServer):
    __slots__ = ("_challenge",)
    name = "CRAM-MD5"

    def __init__(self, challenge: bytes) -> None:
        """``challenge``: a message id that is never used again: ``<random.time@host>``."""
        super().__init__()
        self._challenge = challenge

    def begin(self, initial: bytes | None) -> Step:
        # RFC 2195 2: the server speaks first.
        if initial:
            return protocol_error("CRAM-MD5: there is no initial response")
        return Challenge(self._challenge)

    def respond(self, data: bytes) -> Step:
        # RFC 2195 2: the user name may have spaces, the digest has none.
        login, _, digest = data.rpartition(b" ")
        return self._ask(login, digest)

    def _wanted(self, password: str) -> bytes:
        return hmac.new(password.encode(), self._challenge, "md5").hexdigest().encode()


class ApopServer(_DigestServer):
    """Initial response: ``greeting's timestamp NUL user name NUL digest in hexadecimal``; no challenge."""

    __slots__ = ("_timestamp",)
    name = "APOP"

    def begin(self, initial: bytes | None) -> Step:
        parts = (initial or b"").split(b"\0")
        if len(parts) != 3 or not parts[0]:
            return protocol_error("APOP: expected timestamp, user name and digest parted by NUL")
        self._timestamp = parts[0]
        return self._ask(parts[1], parts[2])

    def _wanted(self, password: str) -> bytes:
        # RFC 1939 7: MD5 of the timestamp, brackets and all, and the shared secret.
        return hashlib.md5(self._timestamp + password.encode(), usedforsecurity=False).hexdigest().encode()


class CramClient(Client):
    __slots__ = ("_login", "_password")
    name = "CRAM-MD5"

    def __init__(self, login: str, password: str) -> None:
        self._login = login
        self._password = password

    def respond(self, challenge: bytes) -> bytes:
        digest = hmac.new(self._password.encode(), challenge, "md5").hexdigest()
        return f"{self._login} {digest}".encode()
