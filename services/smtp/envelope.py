"""MAIL, RCPT and XFORWARD: the commands that carry the envelope. Pure."""

import re
from collections.abc import Sequence

from tubepost.common.mail.address import split, unquote_local
from tubepost.common.smtp import xtext
from tubepost.common.smtp.command import quote_local
from tubepost.common.wire.envelope import Envelope, Origin, Recipient

from tubepost.services.smtp.server import Server

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


def path(address: str, quote: bool) -> str:
    """What stands between the angle brackets. ``quote``: smtp_quote_rfc821_envelope (RFC 5321 4.1.2).

    A control character never gets through, whatever an address holds: it could end the command.
    """
    if not address:
        return ""
    local, domain = split(address)
    plain = unquote_local(local)
    # The local part is quoted by RFC 5321 4.1.2, or else as it was given.
    local = quote_local(plain) if quote else plain
    text = local if domain is None else f"{local}@{domain}"
    return _UNSAFE.sub("?", text) if _UNSAFE.search(text) else text


def mail_command(
    envelope: Envelope, sender: str, size: int, server: Server, *, converting: bool, binary: bool, quote: bool
) -> str:
    """``converting``: the content is made 7-bit on the way, its size is not known. ``binary``: BODY=BINARYMIME."""
    parts = [f"MAIL FROM:<{path(sender, quote)}>"]
    if "SIZE" in server.keywords and not converting:  # RFC 1870 3
        parts.append(f"SIZE={size}")
    if binary:  # RFC 3030 3
        parts.append("BODY=BINARYMIME")
    elif "8BITMIME" in server.keywords:  # RFC 6152 2
        parts.append("BODY=7BIT" if envelope.encoding == "7bit" or converting else "BODY=8BITMIME")
    if "DSN" in server.keywords:  # RFC 3461 4.3, 4.4
        if envelope.envid:
            parts.append(f"ENVID={xtext.encode(envelope.envid)}")
        if envelope.ret:
            parts.append(f"RET={envelope.ret}")
    if envelope.smtputf8 and "SMTPUTF8" in server.keywords:  # RFC 6531 3.4
        parts.append("SMTPUTF8")
    return " ".join(parts)


def rcpt_command(recipient: Recipient, address: str, server: Server, *, smtputf8: bool, quote: bool) -> str:
    parts = [f"RCPT TO:<{path(address, quote)}>"]
    if "DSN" in server.keywords:
        orcpt = recipient.orcpt
        if not orcpt and recipient.original:
            kind = "utf-8" if smtputf8 and not recipient.original.isascii() else "rfc822"
            orcpt = f"{kind};{recipient.original}"
        if orcpt:  # RFC 3461 4.2
            parts.append(f"ORCPT={_orcpt(orcpt, smtputf8 and 'SMTPUTF8' in server.keywords)}")
        if recipient.notify:  # RFC 3461 4.1
            parts.append(f"NOTIFY={','.join(recipient.notify)}")
    return " ".join(parts)


def _orcpt(orcpt: str, smtputf8: bool) -> str:
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":
        # RFC 6533 3: the address type has an encoding of its own; a plain-ASCII one must do as xtext too.
        return f"{kind};{xtext.encode_utf8_address(address, smtputf8=smtputf8)}"
    return f"{kind};{xtext.encode(address)}"


def _known(value: str) -> bool:
    return bool(value) and value.lower() != "unknown"


def xforward_commands(origin: Origin, attributes: Sequence[str], queue_id: str = "") -> tuple[str, str]:
    """The two XFORWARD commands (Postfix XFORWARD_README) for what the server takes; empty where nothing is to say.

    ``queue_id``: ours, which identifies the message where no other system named it before.
    """

    def command(pairs: Sequence[tuple[str, str]]) -> str:
        words = [f"{name}={xtext.encode(value)}" for name, value in pairs if name in attributes and _known(value)]
        return " ".join(["XFORWARD", *words]) if words else ""

    ident = origin.log_ident or queue_id
    first = command((("NAME", origin.client_name), ("ADDR", origin.client_address), ("PORT", origin.client_port)))
    if not _known(origin.client_address):
        # Mail from this host has no client: it appears to come from the content filter (Postfix).
        return "", ""
    second = command(
        (
            ("PROTO", origin.protocol),
            ("HELO", origin.helo),
            ("IDENT", ident),
            ("SOURCE", "REMOTE"),
        )
    )
    return first, second
