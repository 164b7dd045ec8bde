"""PLAIN (RFC 4616), and LOGIN, which no RFC has (draft-murchison-sasl-login): the password in clear. Pure."""

from tubepost.common.sasl.prep import saslprep
from tubepost.common.sasl.steps import (
    WRONG,
    Accepted,
    Answer,
    Challenge,
    Client,
    ExchangeError,
    Server,
    Step,
    VerifyPassword,
    protocol_error,
)

# RFC 4616 2: each field has at most 255 octets; longer passwords are in use.
_FIELD_LIMIT = 1024


def _text(data: bytes) -> str:
    """A field, prepared. Raises ValueError."""
    if len(data) > _FIELD_LIMIT:
        raise ValueError(f"a field is longer than {_FIELD_LIMIT} octets")
    return saslprep(data.decode("utf-8"))


class _PasswordServer(Server):
    __slots__ = ("_authzid", "_login")

    def __init__(self) -> None:
        self._login = ""
        self._authzid = ""

    def _ask(self, login: bytes, password: bytes, authzid: bytes = b"") -> Step:
        try:
            self._login, secret, self._authzid = _text(login), _text(password), _text(authzid)
        except ValueError as error:
            # What no account has in this form cannot be right, and the client may say it again otherwise.
            return protocol_error(f"{self.name}: {error}")
        if not self._login or not secret:
            return protocol_error(f"{self.name}: the user name or the password is empty")
        return VerifyPassword(self._login, secret, self._authzid)

    def verified(self, answer: Answer) -> Step:
        return Accepted(self._login, self._authzid) if answer else WRONG


class PlainServer(_PasswordServer):
    __slots__ = ()
    name = "PLAIN"

    def begin(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        # RFC 4616 2: message = [authzid] UTF8NUL authcid UTF8NUL passwd
        parts = data.split(b"\0")
        if len(parts) != 3:
            return protocol_error("PLAIN: expected authorization identity, user name and password parted by NUL")
        return self._ask(parts[1], parts[2], parts[0])


class LoginServer(_PasswordServer):
    __slots__ = ("_name",)
    name = "LOGIN"

    def __init__(self) -> None:
        super().__init__()
        self._name: bytes | None = None

    def begin(self, initial: bytes | None) -> Step:
        if initial is None:
            return Challenge(b"Username:")
        return self.respond(initial)

    def respond(self, data: bytes) -> Step:
        if self._name is None:
            if len(data) > _FIELD_LIMIT:
                return protocol_error("LOGIN: the user name is too long")
            self._name = data
            return Challenge(b"Password:")
        return self._ask(self._name, data)


class PlainClient(Client):
    __slots__ = ("_message",)
    name = "PLAIN"
    sends_password = True

    def __init__(self, login: str, password: str, authzid: str = "") -> None:
        """Raises ValueError for what RFC 4616 cannot carry."""
        if "\0" in login + password + authzid:
            raise ValueError("a NUL in a user name or password cannot be sent")
        self._message = f"{authzid}\0{login}\0{password}".encode()

    def start(self) -> bytes:
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        if challenge:
            raise ExchangeError("PLAIN: the server sent a challenge that it must not send")
        return self._message


class LoginClient(Client):
    __slots__ = ("_answers",)
    name = "LOGIN"
    sends_password = True

    def __init__(self, login: str, password: str) -> None:
        self._answers = [password.encode(), login.encode()]

    def respond(self, challenge: bytes) -> bytes:
        # The prompts differ between servers; the order does not.
        if not self._answers:
            raise ExchangeError("LOGIN: the server asked a third time")
        return self._answers.pop()
