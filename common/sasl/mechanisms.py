"""The mechanisms by name: which send the password in clear, and how a machine is made. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from tubepost.common.sasl.digest import ApopServer, CramClient, CramServer
from tubepost.common.sasl.external import ExternalClient, ExternalServer
from tubepost.common.sasl.oauth import BearerClient, BearerServer, XOAuth2Client, XOAuth2Server
from tubepost.common.sasl.plain import LoginClient, LoginServer, PlainClient, PlainServer
from tubepost.common.sasl.scram import ScramClient, ScramServer
from tubepost.common.sasl.steps import Client, Server

PLAINTEXT = frozenset({"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"})
"""Whoever listens on the line can use what these send (RFC 7628 5: a token as well)."""
PASSWORDS = frozenset({"PLAIN", "LOGIN"})
"""Those that any backend can check."""
TOKENS = frozenset({"OAUTHBEARER", "XOAUTH2"})
CLEAR_SECRETS = frozenset({"CRAM-MD5", "APOP"})
"""The server must have the password in clear."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What machines need from outside. ``nonce``: fresh for each. ``secret``: of the process."""

    nonce: str
    secret: bytes
    iterations: int = 4096
    binding: bytes = b""
    plus_offered: bool = False
    challenge: bytes = b""
    """CRAM-MD5's: ``<nonce.time@host>``."""
    oauth_scope: str = ""
    oauth_configuration: str = ""


def _scram(name: str) -> "Callable[[ServerSettings], Server]":
    return lambda settings: ScramServer(
        name,
        settings.nonce,
        settings.secret,
        iterations=settings.iterations,
        binding=settings.binding,
        plus_offered=settings.plus_offered,
    )


SERVERS: dict[str, Callable[[ServerSettings], Server]] = {
    "PLAIN": lambda _: PlainServer(),
    "LOGIN": lambda _: LoginServer(),
    "CRAM-MD5": lambda settings: CramServer(settings.challenge),
    "APOP": lambda _: ApopServer(),
    "EXTERNAL": lambda _: ExternalServer(),
    "OAUTHBEARER": lambda settings: BearerServer(settings.oauth_scope, settings.oauth_configuration),
    "XOAUTH2": lambda _: XOAuth2Server(),
    **{name + plus: _scram(name + plus) for name in ("SCRAM-SHA-1", "SCRAM-SHA-256") for plus in ("", "-PLUS")},
}
CLIENTS: dict[str, type[Client]] = {
    "PLAIN": PlainClient,
    "LOGIN": LoginClient,
    "CRAM-MD5": CramClient,
    "EXTERNAL": ExternalClient,
    "OAUTHBEARER": BearerClient,
    "XOAUTH2": XOAuth2Client,
    **{name + plus: ScramClient for name in ("SCRAM-SHA-1", "SCRAM-SHA-256") for plus in ("", "-PLUS")},
}


def make_server(mechanism: str, settings: ServerSettings) -> Server:
    """A machine in its first state. Raises KeyError for an unknown mechanism."""
    return SERVERS[mechanism](settings)


def make_client(
    mechanism: str,
    login: str,
    password: str,
    *,
    nonce: str,
    host: str = "",
    port: int = 0,
    binding: bytes = b"",
    plus_offered: bool = False,
) -> Client:
    """A client's machine; ``password`` is the token for OAUTHBEARER and XOAUTH2. Raises KeyError, ValueError."""
    kind = CLIENTS[mechanism]
    if kind is ScramClient:
        return ScramClient(mechanism, login, password, nonce, binding=binding, plus_offered=plus_offered)
    if issubclass(kind, BearerClient):
        return kind(login, password, host, port)
    if kind is ExternalClient:
        return ExternalClient()
    if kind is PlainClient:
        return PlainClient(login, password)
    return LoginClient(login, password) if kind is LoginClient else CramClient(login, password)
