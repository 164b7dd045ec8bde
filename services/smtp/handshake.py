"""STARTTLS and AUTH of a Conversation, between EHLO and the first transaction (RFC 3207, RFC 4954). Pure.

Each function is given the conversation, and moves it on: to the next command, to ``wants_tls``, to READY, or to CLOSED.
"""

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tubepost.common.mail import dsn
from tubepost.common.sasl import options
from tubepost.common.sasl.mechanisms import CLIENTS, make_client
from tubepost.common.sasl.steps import Client, ExchangeError
from tubepost.common.smtp.replies import Reply

from tubepost.services.smtp.server import said
from tubepost.services.smtp.stages import Stage, Trouble

if TYPE_CHECKING:
    from tubepost.services.smtp.protocol import Conversation

# From strong to weak; what a server offers besides is not known here.
_PREFERENCE = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "CRAM-MD5",
    "PLAIN",
    "LOGIN",
    "XOAUTH2",
    "OAUTHBEARER",
)
# More than any mechanism has.
_STEPS_LIMIT = 8
_TLS_FAILED = "4.7.5"


@dataclass(slots=True)
class Login:
    """As whom to authenticate. ``nonce``: fresh. The options are those of smtp_sasl_security_options and its kin."""

    user: str
    password: str
    nonce: str
    plain_options: tuple[str, ...] = ()
    tls_options: tuple[str, ...] = ()
    verified_options: tuple[str, ...] = ()
    allowed: frozenset[str] | None = None
    """smtp_sasl_mechanism_filter, in upper case; None: all."""
    soft_bounce: bool = True


@dataclass(slots=True)
class Security:
    """What one connection is to have, and has. ``login`` None: nobody authenticates."""

    wanted: bool = False
    required: bool = False
    note_offer: bool = False
    login: Login | None = None
    active: bool = False
    """TLS is there."""
    verified: bool = False
    """And the server is the one that was meant."""
    binding: bytes = b""
    machine: Client | None = None
    steps: int = 0
    """Challenges answered."""
    authenticated: bool = False
    failed: bool = False
    """TLS is optional, was tried and did not come about, or broke; without it the server may still be reached."""


def after_hello(conversation: "Conversation") -> None:
    """EHLO or HELO was accepted."""
    security, server = conversation.security, conversation.server
    offered = "STARTTLS" in server.keywords
    if not security.active:
        if offered and security.wanted:
            conversation.send(Stage.STARTTLS, "STARTTLS")
            return
        if security.required:
            _fail(conversation, "4.7.4", f"TLS is required, but was not offered by host {server.name}")
            return
        if offered and security.note_offer:
            conversation.remarks.append(f"Host offered STARTTLS: [{server.host}]")
    if security.login is not None and "AUTH" in server.keywords:
        _begin_auth(conversation, security.login)
    else:
        conversation.ready()


def on_starttls(conversation: "Conversation", reply: Reply, _: int) -> None:
    server, security = conversation.server, conversation.security
    if reply.code // 100 == 2:
        conversation.wants_tls = True
        return
    text = said(reply)
    if security.required:
        _fail(conversation, "4.7.4", f"TLS is required, but host {server.name} refused to start TLS: {text}", text)
        return
    # RFC 3207 4: 454, try without.
    del server.keywords["STARTTLS"]
    after_hello(conversation)


def tls_failed(conversation: "Conversation", text: str) -> None:
    """The handshake did not come about; the connection is gone."""
    security = conversation.security
    security.failed = not security.required
    # Where TLS is optional other mail may get there without it: it is not to be held up.
    conversation.failure = Trouble(_TLS_FAILED, text, throttle=security.required)
    conversation.close()


def tls_unverified(conversation: "Conversation", text: str) -> None:
    """TLS is there, with somebody else: nothing is to be said to them."""
    conversation.failure = Trouble(_TLS_FAILED, text, throttle=True)
    conversation.close()


# -- AUTH ----------------------------------------------------------------------------------------------------------


def _begin_auth(conversation: "Conversation", login: Login) -> None:
    security, server = conversation.security, conversation.server
    offered = tuple(name.upper() for name in server.keywords["AUTH"])
    if security.active:
        wanted = login.verified_options if security.verified else login.tls_options
    else:
        wanted = login.plain_options
    usable = [
        name
        for name in options.allow(_PREFERENCE, wanted)
        if name in offered
        and name in CLIENTS
        and (login.allowed is None or name in login.allowed)
        and (security.binding or not name.endswith("-PLUS"))
    ]
    if not usable:
        words = "no mechanism available"
        _fail(
            conversation, "4.7.0", f"SASL authentication failed; cannot authenticate to server {server.name}: {words}"
        )
        return
    name = usable[0]
    try:
        machine = make_client(
            name,
            login.user,
            login.password,
            nonce=login.nonce,
            host=server.host,
            port=server.port,
            binding=security.binding,
            plus_offered=f"{name}-PLUS" in offered,
        )
        initial = machine.start()
    except ValueError as error:
        _fail(
            conversation, "4.7.0", f"SASL authentication failed; cannot authenticate to server {server.name}: {error}"
        )
        return
    security.machine = machine
    # RFC 4954 4: "=" is an initial response of no bytes.
    words = "" if initial is None else f" {_encode(initial) or '='}"
    conversation.send(Stage.AUTH, f"AUTH {name}{words}")


def on_auth(conversation: "Conversation", reply: Reply, _: int) -> None:
    security, server = conversation.security, conversation.server
    machine, login = security.machine, security.login
    assert machine is not None and login is not None
    try:
        if reply.code == 334:
            security.steps += 1
            if security.steps > _STEPS_LIMIT:
                raise ExchangeError("the server asks for ever")
            answer = machine.respond(_decode(reply.lines[0]))
            conversation.send(Stage.AUTH, _encode(answer))
            return
        if reply.code // 100 == 2:
            machine.finish(None)
            security.authenticated = True
            conversation.ready()
            return
    except (ExchangeError, ValueError) as error:
        _fail(
            conversation, "4.7.0", f"SASL authentication failed; cannot authenticate to server {server.name}: {error}"
        )
        return
    text = said(reply)
    status = reply.enhanced or dsn.for_reply(reply.code)
    if status[:1] not in ("4", "5") or (reply.code == 535 and login.soft_bounce):
        # A password that is wrong here says nothing of the mail.
        status = "4.7.8" if reply.code == 535 else "4.7.0"
    _fail(conversation, status, f"SASL authentication failed; server {server.name} said: {text}", text)


def _decode(text: str) -> bytes:
    """A challenge. Raises ValueError."""
    data = text.strip().encode()
    return binascii.a2b_base64(data, strict_mode=True) if data else b""


def _encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _fail(conversation: "Conversation", status: str, text: str, diagnostic: str = "") -> None:
    conversation.failure = Trouble(
        status, text, diagnostic, conversation.server.host if diagnostic else "", throttle=True
    )
    conversation.must_close = True
    conversation.quit()
