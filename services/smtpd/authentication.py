"""STARTTLS and AUTH as the machine sees them (RFC 3207, RFC 4954). Pure.

The machine knows the grammar and the order; what a mechanism means is known to auth alone. After ``Machine.challenge``
the next line is the client's response, whatever it looks like.
"""

import binascii
import re
from typing import TYPE_CHECKING

from tubepost.common.wire import auth as wire

from tubepost.services.smtpd import events
from tubepost.services.smtpd.events import Event
from tubepost.services.smtpd.ledger import Ledger
from tubepost.services.smtpd.tables import State

if TYPE_CHECKING:
    from tubepost.services.smtpd.protocol import Machine

# RFC 4422 3.1
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
NO_ENCRYPTION = "538 5.7.11 Encryption required for requested authentication mechanism"
TOO_LONG = "500 5.5.6 Authentication exchange line is too long"
_MALFORMED = "501 5.5.2 Error: malformed authentication response"

# RFC 4954 4 and 6. What is wrong with an account is nobody's business.
_REFUSED = "535 5.7.8 Error: authentication failed"
_REPLIES: dict[str, str] = {
    "credentials": _REFUSED,
    "disabled": _REFUSED,
    "expired": _REFUSED,
    "scope": _REFUSED,
    "plaintext": NO_ENCRYPTION,
    "mechanism": "504 5.5.4 Unrecognized authentication mechanism",
    "protocol": _MALFORMED,
    "delayed": "454 4.7.0 Temporary authentication failure: too many failures, try again later",
    "temporary": "454 4.7.0 Temporary authentication failure",
}


def starttls(machine: "Machine", rest: str) -> Event | None:
    if rest:
        # RFC 3207 4
        machine.wrong("501 5.5.4 Syntax: STARTTLS", "protocol")
        return None
    if machine.tls_active:
        machine.wrong("554 5.5.1 Error: TLS already active", "protocol")
        return None
    if not machine.tls_offered or "STARTTLS" in machine.withheld:
        machine.wrong("502 5.5.1 Error: command not implemented", "protocol")
        return None
    return events.StartTls()


def auth(machine: "Machine", rest: str) -> Event | None:
    settings = machine.settings
    words = rest.split()
    if settings.helo_required and not machine.helo:
        machine.wrong("503 5.5.1 Error: send HELO/EHLO first", "policy")
    elif not machine.auth_active or "AUTH" in machine.withheld:
        machine.wrong("503 5.5.1 Error: authentication not enabled", "protocol")
    elif machine.user:
        # RFC 4954 4
        machine.wrong("503 5.5.1 Error: already authenticated", "protocol")
    elif settings.tls_auth_only and not machine.tls_active:
        machine.wrong(NO_ENCRYPTION, "policy")
    elif not 1 <= len(words) <= 2:
        machine.wrong("501 5.5.4 Syntax: AUTH mechanism", "protocol")
    elif not _MECHANISM.fullmatch(words[0].upper()):
        machine.wrong(_REPLIES["mechanism"], "protocol")
    elif len(words) == 1:
        return events.Auth(words[0].upper(), None)
    else:
        try:
            # RFC 4954 4: "=" stands for an initial response of no bytes.
            initial = b"" if words[1] == "=" else decode(words[1].encode())
        except ValueError:
            machine.wrong(_MALFORMED, "protocol")
            return None
        return events.Auth(words[0].upper(), initial)
    return None


def response(machine: "Machine", line: bytes) -> None:
    """The line that a challenge was answered with."""
    machine.state = State.READY
    line = line.strip(b" ")
    if machine.settings.keep_history:
        machine.history.append("In:  (response)")
    if line == b"*":
        # RFC 4954 4
        _abandon(machine, "501 5.7.0 Authentication aborted")
        return
    try:
        machine.ready.append(events.AuthResponse(decode(line)))
    except ValueError:
        _abandon(machine, _MALFORMED)


def too_long(machine: Ledger) -> None:
    """The response is longer than smtpd_sasl_response_limit."""
    machine.state = State.READY
    _abandon(machine, TOO_LONG)


def _abandon(machine: Ledger, reply: str) -> None:
    machine.wrong(reply, "protocol")
    machine.ready.append(events.AuthAbandoned())


def decode(text: bytes) -> bytes:
    """Base64 without anything beside it (RFC 4954 4). Raises ValueError."""
    return binascii.a2b_base64(text, strict_mode=True) if text else b""


def encode(data: bytes) -> str:
    """The same the other way."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def failure_reply(failure: wire.Failure) -> str:
    """What the client is told."""
    reply = _REPLIES[failure.cause]
    return f"{reply}: {failure.text}" if reply == _REFUSED and failure.text else reply


def conceal(line: str) -> str:
    """A command as a transcript may show it: what AUTH carries is secret."""
    if line[:4].upper() != "AUTH":
        return line
    words = line.split(None, 2)
    return " ".join((*words[:2], "(secret)")) if len(words) > 2 else line
