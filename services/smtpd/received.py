"""The Received: field that the server puts on top (RFC 5321 4.4), in Postfix's form. Pure."""

from functools import lru_cache

from tubepost.common.mail.date import format_date
from tubepost.common.net.tls import Agreed

# Many messages come in one second.
_format_date = lru_cache(4)(format_date)


def format_received(
    *,
    helo: str,
    client_name: str,
    client_address: str,
    myhostname: str,
    mail_name: str,
    protocol: str,
    recipient: str,
    time: float,
    offset: int,
    zone: str = "",
    queue_id: str = "",
    security: str = "",
) -> str:
    """The field's lines joined by LF, without the last one. ``recipient``: only when there is exactly one, else "".

    ``time`` in seconds since the epoch, ``offset`` in seconds east of UTC. ``security``: by ``describe_security``.
    """
    address = f"IPv6:{client_address}" if ":" in client_address else client_address
    identity = f" id {queue_id}" if queue_id else ""
    # RFC 5321 4.4: FROM has the name that the client said and the address that the connection came from.
    by = (
        f"Received: from {helo or client_name} ({client_name} [{address}])\n{security}"
        f"\tby {myhostname} ({mail_name}) with {protocol}{identity}"
    )
    date = _format_date(int(time), offset, zone)
    # RFC 5321 7.6: with several recipients FOR would tell each of them about another.
    return f"{by}\n\tfor <{recipient}>; {date}" if recipient else f"{by};\n\t{date}"


def describe_security(agreed: Agreed | None, user: str, *, asked: bool) -> str:
    """smtpd_tls_received_header and smtpd_sasl_authenticated_header: lines of comments, each with its LF."""
    text = ""
    if agreed is not None:
        text = f"\t(using {agreed})\n"
        certificate = agreed.certificate
        if certificate is None:
            text += "\t(Client did not present a certificate)\n" if asked else "\t(No client certificate requested)\n"
        else:
            verified = "verified OK" if certificate.verified else "not verified"
            subject, issuer = _quote(certificate.subject), _quote(certificate.issuer)
            text += f'\t(Client CN "{subject}", Issuer "{issuer}" ({verified}))\n'
    return f"{text}\t(Authenticated sender: {_quote(user)})\n" if user else text


def _quote(text: str) -> str:
    """Within a comment (RFC 5322 3.2.2)."""
    return "".join("?" if character in '()\\"' or not character.isprintable() else character for character in text)
