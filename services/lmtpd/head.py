"""The lines that a message gets on top at its last step. Pure."""

from tubepost.common.mail.date import format_date


def delivery_head(
    *,
    sender: str,
    recipient: str,
    name: str,
    address: str,
    myhostname: str,
    mail_name: str,
    protocol: str,
    session_id: str,
    security: str,
    now: float,
    offset: int,
    zone: str,
) -> bytes:
    """Return-Path:, Delivered-To: and Received: (RFC 5321 4.4), lines ended by LF.

    ``name``: what the client said in LHLO; ``address``: its address, empty on a UNIX socket. ``now`` in seconds since
    the epoch, ``offset`` in seconds east of UTC. ``security``: what is to be said of TLS, empty for nothing.
    """
    # RFC 5321 4.4: FROM has the name that the client said and the address that the connection came from.
    host = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    client = f"{name} ({host})" if address else name
    tls = f"\t(using {security})\n" if security else ""
    return (
        f"Return-Path: <{sender}>\n"
        f"Delivered-To: {recipient}\n"
        f"Received: from {client}\n{tls}"
        f"\tby {myhostname} ({mail_name}) with {protocol} id {session_id}\n"
        f"\tfor <{recipient}>; {format_date(now, offset, zone)}\n"
    ).encode()


def protocol_name(*, smtputf8: bool, tls: bool) -> str:
    """RFC 3848, RFC 6531 4.3."""
    return f"{'UTF8' if smtputf8 else ''}LMTP{'S' if tls else ''}"
