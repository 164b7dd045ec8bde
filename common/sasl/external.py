"""EXTERNAL (RFC 4422 appendix A): who the client is was proved outside, by its certificate. Pure."""

from tubepost.common.sasl.prep import saslprep
from tubepost.common.sasl.steps import (
    WRONG,
    Accepted,
    Answer,
    Challenge,
    Client,
    Server,
    Step,
    VerifyExternal,
    protocol_error,
)


class ExternalServer(Server):
    __slots__ = ("_authzid",)
    name = "EXTERNAL"

    def __init__(self) -> None:
        self._authzid = ""

    def begin(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        try:
            self._authzid = saslprep(data.decode("utf-8"))
        except ValueError as error:
            return protocol_error(f"EXTERNAL: {error}")
        return VerifyExternal(self._authzid)

    def verified(self, answer: Answer) -> Step:
        return Accepted(answer, self._authzid) if isinstance(answer, str) and answer else WRONG


class ExternalClient(Client):
    __slots__ = ("_authzid",)
    name = "EXTERNAL"

    def __init__(self, authzid: str = "") -> None:
        self._authzid = authzid.encode()

    def start(self) -> bytes:
        return self._authzid

    def respond(self, challenge: bytes) -> bytes:
        return self._authzid
