"""ENVELOPE as it goes over the wire (RFC 9051 7.5.2, 9 ``envelope``), and the strings of FETCH answers."""

import re

from tubepost.common.imap.write import string

from tubepost.common.mail.envelope import Address, Envelope

# What needs no second look: the text of nearly all fields.
_PLAIN = re.compile(rb"[ !#-\[\]-~\t]{0,500}+")


def encode_string(value: bytes) -> bytes:
    """A string: quoted where it may be, else a literal. NUL, which IMAP cannot carry, is shown as U+FFFD.

    RFC 9051 9 QUOTED-CHAR has UTF-8, RFC 3501's has not: a literal is read by clients of either.
    """
    if _PLAIN.fullmatch(value):
        return b'"%b"' % value
    # RFC 9051 4.3: a literal has no NUL.
    return string(value.replace(b"\0", b"\xef\xbf\xbd") if b"\0" in value else value)


def encode_nstring(value: bytes | None) -> bytes:
    return b"NIL" if value is None else encode_string(value)


def encode_address(address: Address) -> bytes:
    name, route, mailbox, host = address
    return b"(%b %b %b %b)" % (
        b"NIL" if name is None else encode_string(name),
        b"NIL" if route is None else encode_string(route),
        b"NIL" if mailbox is None else encode_string(mailbox),
        b"NIL" if host is None else encode_string(host),
    )


def encode_addresses(addresses: tuple[Address, ...]) -> bytes:
    """RFC 9051 9 ``env-from`` and the like: no space between addresses; no address is NIL."""
    if len(addresses) == 1:
        return b"(%b)" % encode_address(addresses[0])
    return b"(%b)" % b"".join([encode_address(address) for address in addresses]) if addresses else b"NIL"


def encode_envelope(envelope: Envelope) -> bytes:
    """The parenthesised list, without the word ENVELOPE."""
    from_ = encode_addresses(envelope.from_)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        encode_nstring(envelope.date),
        encode_nstring(envelope.subject),
        from_,
        from_ if envelope.sender is envelope.from_ else encode_addresses(envelope.sender),
        from_ if envelope.reply_to is envelope.from_ else encode_addresses(envelope.reply_to),
        encode_addresses(envelope.to),
        encode_addresses(envelope.cc),
        encode_addresses(envelope.bcc),
        encode_nstring(envelope.in_reply_to),
        encode_nstring(envelope.message_id),
    )
