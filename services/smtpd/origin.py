"""Where a message came from, as its envelope and its log line say it (XFORWARD_README). Pure."""

from collections.abc import Mapping

from tubepost.common.wire.envelope import Origin

from tubepost.services.smtpd.restrictions.evaluation import Client

_OF_CLIENT = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO"})


def origin_of(client: Client, helo: str, protocol: str, forwarded: Mapping[str, str], sasl_sender: str = "") -> Origin:
    """``forwarded``: what XFORWARD said, by attribute name; it goes before what this server sees itself."""
    ident = forwarded.get("IDENT", "")
    if forwarded.keys().isdisjoint(_OF_CLIENT):
        return Origin(
            client_name=client.name,
            client_address=client.address,
            client_port=client.port,
            helo=helo,
            protocol=protocol,
            sasl_method=client.method,
            sasl_username=client.user,
            sasl_sender=sasl_sender,
            log_ident=ident,
        )
    # What is not said of the client is not known; it is not true of who forwards either.
    return Origin(
        client_name=forwarded.get("NAME", "unknown"),
        client_address=forwarded.get("ADDR", "unknown"),
        client_port=forwarded.get("PORT", "unknown"),
        helo=forwarded.get("HELO", ""),
        protocol=forwarded.get("PROTO", "unknown"),
        sasl_method=client.method,
        sasl_username=client.user,
        sasl_sender=sasl_sender,
        log_ident=ident,
    )


def origin_text(client: Client, sasl_sender: str, forwarded: Mapping[str, str]) -> str:
    """What the log line of a message says besides the client: who has authenticated, what XFORWARD said."""
    text = ""
    if client.user:
        text = f", sasl_method={client.method}, sasl_username={client.user}"
        if sasl_sender:
            text += f", sasl_sender={sasl_sender}"
    if not forwarded:
        return text
    if forwarded.get("IDENT"):
        text += f", orig_queue_id={forwarded['IDENT']}"
    if "NAME" in forwarded or "ADDR" in forwarded:
        address = forwarded.get("ADDR", "unknown")
        text += f", orig_client={forwarded.get('NAME', 'unknown')}[{address}]"
    return text
