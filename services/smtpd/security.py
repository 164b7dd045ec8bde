"""TLS and authentication of a session: the handshake, the questions to auth. Steps over a session."""

from typing import TYPE_CHECKING

from tubepost.common.sasl import options
from tubepost.common.wire import auth as wire
from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.net.tls import HandshakeError
from tubepost.common.tables import TableError
from tubepost.common.skeleton.authentication import Answer, Asker

from tubepost.services.smtpd import authentication, counting, events
from tubepost.services.smtpd.connection import Gone
from tubepost.services.smtpd.steps import Steps

if TYPE_CHECKING:
    from tubepost.services.smtpd.session import Session


def prepare(session: "Session") -> Steps[None]:
    """What this client may use: STARTTLS, AUTH. Raises TableError."""
    machine, server = session.machine, session.server
    machine.tls_offered = server.tls.offered
    machine.tls_required = server.tls.required
    machine.auth_active = False
    if session.config.smtpd_sasl_auth_enable:
        exceptions = server.outside.sasl_exceptions
        machine.auth_active = not exceptions or not (yield from session.is_among(exceptions))


def wrap(session: "Session") -> Steps[None]:
    """smtpd_tls_wrappermode: TLS was there before the session began. Raises Gone when it did not come about."""
    tls, client = session.server.tls, session.client
    if session.handshake_error is not None:
        tls.failed(client.identity, session.handshake_error)
        raise Gone("lost connection")
    if tls.wrapper and session.transport is not None:
        client.agreed = tls.accepted(session.transport, client.identity)
        session.secure = session.machine.tls_active = True
        limit = session.config.smtpd_client_new_tls_session_rate_limit
        if (yield from counting.exceeds(session, "newtls", limit)):
            session.machine.turn_away(
                f"421 4.7.0 {session.config.myhostname} Error: too many new TLS sessions from {client.identity}"
            )


def start_tls(session: "Session") -> Steps[None]:
    """STARTTLS was said. Raises Gone when TLS does not come about."""
    machine, client = session.machine, session.client
    if session.server.tls.context() is None:
        machine.refuse("454 4.7.0 TLS not available due to local problem", "resource")
        return
    # Counted before the work is done: it is the work that is limited.
    if (yield from counting.exceeds(session, "newtls", session.config.smtpd_client_new_tls_session_rate_limit)):
        machine.refuse(f"454 4.7.0 Error: too many new TLS sessions from {client.identity}", "policy")
        return
    session.stop_reading()
    machine.accept()
    session.write()
    yield from _shake_hands(session)


def _shake_hands(session: "Session") -> Steps[None]:
    transport = session.transport
    assert transport is not None
    session.stop_reading()
    try:
        made, agreed = yield session.server.tls.upgrade(transport, session, session.client.identity)
    except HandshakeError:
        session.lost = True
        raise Gone("lost connection") from None
    session.take_transport(made)
    session.client.agreed = agreed
    session.client.user = session.client.method = ""
    session.forget_mail()
    session.machine.secure()
    session.evaluation.helo = ""
    session.evaluation.protocol = session.machine.protocol


# -- AUTH ----------------------------------------------------------------------------------------------------------


def offer(session: "Session") -> Steps[bool]:
    """Before EHLO is answered: which mechanisms are to be announced? False: that could not be asked now."""
    machine, config = session.machine, session.config
    machine.mechanisms = ()
    if not machine.auth_active or (machine.settings.tls_auth_only and not machine.tls_active):
        return True
    asker = _asker(session)
    offered = session.server.auth.known_offer(asker)
    if offered is None:
        offered = yield session.server.auth.offer(asker)
    allowed = _allowed(offered, config, machine.tls_active)
    mechanisms = []
    try:
        for name in allowed:
            kept = session.server.outside.sasl_filter
            if not kept or (kept.match_now(name) if kept.immediate else (yield kept.match(name))):
                mechanisms.append(name)
    except TableError as error:
        log.warning(f"smtpd_sasl_mechanism_filter: {error}")
        return False
    machine.mechanisms = tuple(mechanisms)
    return bool(offered)


def _allowed(offered: tuple[str, ...], config: Config, tls: bool) -> tuple[str, ...]:
    return options.allow(offered, config.smtpd_sasl_tls_security_options if tls else config.smtpd_sasl_security_options)


def _asker(session: "Session") -> Asker:
    client = session.client
    agreed = client.agreed
    certificate = agreed.certificate if agreed is not None else None
    return Asker(
        address=client.address,
        name=client.name,
        local=client.local_address,
        tls=agreed is not None,
        binding=session.server.tls.binding(session.transport) if agreed is not None else b"",
        certificate_name=certificate.subject if certificate is not None and certificate.verified else "",
    )


def authenticate(session: "Session", event: events.Auth) -> Steps[None]:
    """AUTH was said."""
    machine, client = session.machine, session.client
    if (yield from counting.exceeds(session, "auth", session.config.smtpd_client_auth_rate_limit)):
        machine.refuse(f"450 4.7.1 Error: too many AUTH commands from {client.address}", "policy")
        return
    # AUTH may come without EHLO before it.
    sure = bool(machine.mechanisms) or (yield from offer(session))
    if event.mechanism not in machine.mechanisms:
        # Also where none is left: what auth would take is not what this server allows.
        _failed(session, event.mechanism, wire.Failure(cause="mechanism" if sure else "temporary", text=""))
        return
    session.sasl_method = event.mechanism
    exchange = session.exchange = session.server.auth.exchange(_asker(session))
    answer = yield exchange.begin(event.mechanism, event.initial)
    _answered(session, answer)


def go_on(session: "Session", event: events.AuthResponse) -> Steps[None]:
    """The client has answered a challenge."""
    success = session.success
    if success is not None:
        # RFC 4954 4: the mechanism's last word went out as a challenge, and the client has nothing to say to it.
        session.success = None
        if event.data:
            _failed(session, session.sasl_method, wire.Failure(cause="protocol", text=""))
        else:
            _succeeded(session, success)
        return
    exchange = session.exchange
    assert exchange is not None
    answer = yield exchange.go_on(event.data)
    _answered(session, answer)


def abandon(session: "Session") -> None:
    """The client gave up, or is gone."""
    session.success = None
    exchange, session.exchange = session.exchange, None
    if exchange is not None:
        exchange.abandon()


def _answered(session: "Session", answer: "Answer") -> None:
    if isinstance(answer, wire.Challenge):
        session.machine.challenge(answer.data)
        return
    session.exchange = None
    if isinstance(answer, wire.Failure):
        _failed(session, session.sasl_method, answer)
    elif answer.data is not None:
        session.success = answer
        session.machine.challenge(answer.data)
    else:
        _succeeded(session, answer)


def _succeeded(session: "Session", success: wire.Success) -> None:
    client = session.client
    client.user = success.user.name
    client.method = session.sasl_method
    session.machine.accept(client.user)


def _failed(session: "Session", method: str, failure: wire.Failure) -> None:
    reason = failure.text or failure.cause
    log.warning(f"{session.client.identity}: SASL {method} authentication failed: {reason}")
    session.machine.refuse(authentication.failure_reply(failure), "policy" if failure.cause != "temporary" else "data")


def protocol_name(protocol: str, *, smtputf8: bool, tls: bool, authenticated: bool) -> str:
    """For ``with`` in Received: (RFC 3848; RFC 6531 4.3)."""
    name = "UTF8SMTP" if smtputf8 else protocol
    if protocol != "ESMTP" and not smtputf8:
        return name
    return f"{name}{'S' if tls else ''}{'A' if authenticated else ''}"
