"""A message with UTF-8 in its header, for a client that knows ASCII only (RFC 6532 to RFC 5322, after RFC 6858). Pure.

Nothing that a person reads is lost; an address that cannot be written in ASCII becomes one that cannot be answered to,
with its own text as the display name. Bytes that are not UTF-8 (old mail in some national character set) stay as they
are: what they mean is not known. The content is not looked at but for the headers of its parts.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

from tubepost.common.mail import encode, mime
from tubepost.common.mail.envelope import GROUP_END, Address, parse_addresses
from tubepost.common.mail.header import unfold

UNANSWERABLE = "invalid@internationalized-address.invalid"
"""RFC 6858 2.1: stands for an address that has no form in ASCII."""

_ADDRESSES = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc "
    b"return-path delivered-to x-original-to disposition-notification-to".split()
)
_WITH_PARAMETERS = frozenset({b"content-type", b"content-disposition"})
_PARAMETER = re.compile(r'([A-Za-z0-9_.-]+)\*?[ \t]*=[ \t]*("[^"\\]*(?:\\.[^"\\]*)*"|[^;\s"]+)')
_QUOTED_PAIR = re.compile(r"\\(.)")
# Words with characters outside ASCII, with the space between them: encoded together, the others stay.
_RUN = re.compile(r"[^ \t]*[^ -~\t][^ \t]*(?:[ \t]+[^ \t]*[^ -~\t][^ \t]*)*")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_FOLD = "\n "


def message(data: bytes) -> bytes:
    """The whole message with LF line ends, all its headers in ASCII."""
    parser = mime.Parser()
    return b"".join([_event(event) for event in [*parser.feed(data), *parser.finish()]])


def header(block: bytes) -> bytes:
    """A message's header block with LF line ends, with or without the empty line at its end."""
    return message(block)


def _event(event: mime.Event) -> bytes:
    return event.raw if event.kind is not mime.Kind.FIELD or event.raw.isascii() else field(event.raw)


def field(raw: bytes) -> bytes:
    """One field, its lines ended by LF. What is not UTF-8 comes back as it is."""
    name, colon, value = raw.partition(b":")
    try:
        text = unfold(value).decode("utf-8").strip()
    except UnicodeDecodeError:
        return raw
    if not colon or not name.isascii():
        return raw
    key = name.strip().lower()
    if key in _ADDRESSES:
        made = "".join(_list(parse_addresses(value)))
    elif key in _WITH_PARAMETERS:
        made = _PARAMETER.sub(_parameter, text)
        made = "".join(character if " " <= character <= "~" else "?" for character in made)
    else:
        made = _RUN.sub(lambda run: encode.encode_words(run[0], _FOLD), text)
    return name + b": " + made.encode("ascii", "replace") + b"\n"


def _list(addresses: tuple[Address, ...]) -> Iterator[str]:
    """An address list, folded."""
    comma = False
    for address in addresses:
        if address == GROUP_END:
            yield ";"
            comma = True
        elif address.host is None:
            # The start of a group.
            yield f"{f',{_FOLD}' if comma else ''}{encode.phrase(_text(address.mailbox))}:"
            comma = False
        else:
            yield f",{_FOLD}" if comma else " " if not comma and addresses[0] is not address else ""
            yield _mailbox(address)
            comma = True


def _mailbox(address: Address) -> str:
    name = encode.decode_words(_text(address.name))
    local, host = _text(address.mailbox), _text(address.host)
    plain = _ascii(local, host)
    if plain is None:
        return f"{encode.phrase(name or f'{local}@{host}')} <{UNANSWERABLE}>"
    return f"{encode.phrase(name)} <{plain}>" if name else plain


def _ascii(local: str, host: str) -> str | None:
    """The address in ASCII, None where it has no such form: a domain has one (RFC 5890), a local part has none."""
    if not local.isascii():
        return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if not _ATOM.fullmatch(local):
        escaped = local.replace("\\", "\\\\").replace('"', '\\"')
        local = f'"{escaped}"'
    return f"{local}@{host}"


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _parameter(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if value.isascii():
        return found[0]
    if value.startswith('"'):
        value = _QUOTED_PAIR.sub(r"\1", value[1:-1])
    # RFC 2231 4
    return f"{name}*=utf-8''{quote(value, safe='')}"
