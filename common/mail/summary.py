"""Everything that a mailbox's index keeps of one message, found in one pass over it."""

import re
from typing import NamedTuple

from tubepost.common.imap.bodystructure import encode_structures
from tubepost.common.imap.envelope import encode_envelope

from tubepost.common.mail import date, envelope, structure, text
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.envelope import MISSING_HOST, MISSING_MAILBOX, Address
from tubepost.common.mail.header import unfold
from tubepost.common.mail.structure import Part

# RFC 5322 3.6.4 msg-id, RFC 5256 3: only what is valid refers to anything. Space around the id is put up with.
_MESSAGE_ID = re.compile(
    rb'<[ \t]*+(?P<left>"[^"\\<>]*+(?:\\.[^"\\<>]*+)*+"|[^<>@"\s]++)@(?P<right>[^<>@\s]++)[ \t]*+>'
)
_QUOTED_PAIR = re.compile(rb"\\(.)")
REFERENCES_LIMIT = 1000
"""Ids of one References field that are kept: the newest, which stand last."""


class Summary(NamedTuple):
    """What ``summarize`` gives. Sizes in octets of the CRLF form; text keys are normalised by ``text.normalize``."""

    envelope: bytes
    """ENVELOPE, BODY and BODYSTRUCTURE are the values as FETCH sends them."""
    body: bytes
    bodystructure: bytes
    preview: str
    size: int
    header_size: int
    sent: int | None
    """The Date field in seconds since the epoch (UTC), None when it is missing or none."""
    sent_offset: int
    """Its zone in seconds east of UTC: SENTON and the like compare the date as it was written."""
    subject: str
    """Decoded, not normalised: ``imap.ordering`` makes the base subject of it."""
    subject_key: str
    """For SEARCH SUBJECT, FROM, TO, CC and BCC."""
    from_key: str
    to_key: str
    cc_key: str
    bcc_key: str
    display_from: str
    """RFC 5957: sort keys of SORT=DISPLAY."""
    display_to: str
    from_mailbox: str
    """RFC 5256 3: sort keys FROM, TO and CC."""
    to_mailbox: str
    cc_mailbox: str
    message_id: bytes
    """RFC 5256 3: ids without brackets and quotes, as threads compare them; empty when there is no valid one."""
    in_reply_to: bytes
    references: tuple[bytes, ...]
    attachments: bool
    """Whether a part calls itself an attachment."""


def summarize(data: Data) -> Summary:
    """All of one message. To have its parts as well, ``structure.parse`` it and call ``summarize_part``."""
    return summarize_part(data, structure.parse(data))


def summarize_part(data: Data, root: Part) -> Summary:
    """The summary of a message that was parsed already."""
    env = envelope.read(root.fields)
    body, bodystructure = encode_structures(root)
    sent = None if env.date is None else date.parse_date(env.date.decode("latin-1"))
    subject = "" if env.subject is None else text.decode_value(env.subject)
    references: tuple[bytes, ...] = ()
    for name, value in root.fields:
        if name == b"references":
            references = message_ids(value)[-REFERENCES_LIMIT:]
            break
    return Summary(
        encode_envelope(env),
        body,
        bodystructure,
        text.preview(data, root),
        root.header_size + root.size,
        root.header_size,
        None if sent is None else sent[0],
        0 if sent is None else sent[1],
        subject,
        text.normalize(subject),
        addresses_key(env.from_),
        addresses_key(env.to),
        addresses_key(env.cc),
        addresses_key(env.bcc),
        display_key(env.from_),
        display_key(env.to),
        mailbox_key(env.from_),
        mailbox_key(env.to),
        mailbox_key(env.cc),
        _first_id(env.message_id),
        _first_id(env.in_reply_to),
        references,
        bool(root.children or root.disposition) and _has_attachment(root),
    )


def message_ids(value: bytes) -> tuple[bytes, ...]:
    """The valid ids of a References, In-Reply-To or Message-ID field, without brackets, in order.

    RFC 5256 3: quoting is taken off, so that ``<"a.b"@c>`` and ``<a.b@c>`` are the same.
    """
    if b"\n" in value:
        value = unfold(value)
    out = []
    for left, right in _MESSAGE_ID.findall(value):
        if left.startswith(b'"'):
            left = _QUOTED_PAIR.sub(rb"\1", left[1:-1])
        out.append(b"%b@%b" % (left, right))
    return tuple(out)


def addresses_key(addresses: tuple[Address, ...]) -> str:
    """All names and addresses as one text, normalised: what SEARCH FROM and the like look into.

    RFC 9051 6.4.4: "in the envelope structure's … field": comments and folds between the parts do not matter.
    """
    if not addresses:
        return ""
    pieces = []
    for name, _, mailbox, host in addresses:
        if mailbox is None:
            continue
        if host is None:
            # The name of a group.
            pieces.append(mailbox + b":")
            continue
        spec = mailbox if host == MISSING_HOST else b"%b@%b" % (mailbox, host)
        if mailbox == MISSING_MAILBOX:
            spec = b""
        pieces.append(b"%b <%b>" % (name, spec) if name else spec)
    return text.normalize(text.decode_value(b", ".join(pieces)))


def display_key(addresses: tuple[Address, ...]) -> str:
    """RFC 5957 3: the first address's display name, else ``mailbox@host``, else what there is; normalised."""
    if not addresses:
        return ""
    name, _, mailbox, host = addresses[0]
    if name:
        return text.normalize(text.decode_value(name))
    if mailbox is None or mailbox == MISSING_MAILBOX:
        return ""
    if host is None or host == MISSING_HOST:
        return text.normalize(text.decode_value(mailbox))
    return text.normalize(text.decode_value(b"%b@%b" % (mailbox, host)))


def mailbox_key(addresses: tuple[Address, ...]) -> str:
    """RFC 5256 3: the [IMAP] addr-mailbox of the first address, normalised."""
    if not addresses:
        return ""
    mailbox = addresses[0].mailbox
    return "" if mailbox is None or mailbox == MISSING_MAILBOX else text.normalize(text.decode_value(mailbox))


def _first_id(value: bytes | None) -> bytes:
    if value is None:
        return b""
    found = message_ids(value)
    return found[0] if found else b""


def _has_attachment(root: Part) -> bool:
    return any(part.disposition == b"attachment" for part in structure.walk(root))
