"""Where a message came from, as its envelope and its log line say it (XFORWARD_README). Pure."""

from collections.abc import Mapping

from tubepost.common.wire.envelope import Origin

from tubepost.services.smtpd.restrictions.evaluation import Client


def origin_of(client: Client, helo: str, protocol: str, forwarded: Mapping[str, str]) -> Origin:
    """``forwarded``: what XFORWARD said, by attribute name; it goes before what this server sees itself."""
    if not forwarded:
        return Origin(
            client_name=client.name,
            client_address=client.address,
            client_port=client.port,
            helo=helo,
            protocol=protocol,
        )
    return Origin(
        client_name=forwarded.get("NAME", client.name),
        client_address=forwarded.get("ADDR", client.address),
        client_port=forwarded.get("PORT", client.port),
        helo=forwarded.get("HELO", helo),
        protocol=forwarded.get("PROTO", protocol),
        log_ident=forwarded.get("IDENT", ""),
    )


def forwarded_text(forwarded: Mapping[str, str]) -> str:
    """What the log line of a message says besides the client; empty without XFORWARD."""
    if not forwarded:
        return ""
    text = f", orig_queue_id={forwarded['IDENT']}" if forwarded.get("IDENT") else ""
    if "NAME" in forwarded or "ADDR" in forwarded:
        address = forwarded.get("ADDR", "unknown")
        text += f", orig_client={forwarded.get('NAME', 'unknown')}[{address}]"
    return text
