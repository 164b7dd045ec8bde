"""The header of a message: dropped, rewritten and missing fields, hop count, recipients to extract. Pure."""

import re
from collections.abc import Iterable, Sequence

from tubepost.common.mail import address as addresses
from tubepost.common.mail import addresslist, date, encode, header, messageid, mime
from tubepost.common.mail.header import Field
from tubepost.common.wire.cleanup import QUEUE_ID_MARK

from tubepost.services.cleanup.mapping import map_header_addresses
from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message

# Fields whose addresses are rewritten as senders, and as recipients (Postfix header_opts).
SENDERS = frozenset(
    {
        b"disposition-notification-to", b"errors-to", b"from", b"mail-followup-to", b"reply-to", b"resent-from",
        b"resent-sender", b"return-path", b"return-receipt-to", b"sender",
    }
)  # fmt: skip
RECIPIENTS = frozenset(
    {b"apparently-to", b"bcc", b"cc", b"resent-bcc", b"resent-cc", b"resent-reply-to", b"resent-to", b"to"}
)
_RESENT = frozenset(
    {
        b"resent-bcc", b"resent-cc", b"resent-date", b"resent-from", b"resent-message-id", b"resent-reply-to",
        b"resent-sender", b"resent-to",
    }
)  # fmt: skip
_DESTINATIONS = frozenset({b"to", b"resent-to", b"cc", b"resent-cc"})
_ADDRESS_FIELDS = SENDERS | RECIPIENTS
# A field on one line with one address that is in standard form: no setting of rewriting touches it. It is what most
# mail has, and a tenth of the cost of taking the field apart. Possessive throughout: no input makes it go back.
_ADDRESS = rb"[A-Za-z0-9_=+/*'-]++(?:\.[A-Za-z0-9_=+/*'-]++)*+@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++"
_PHRASE = rb"(?:[A-Za-z0-9_'-]++[ \t]++)*+|\"[ !#-\[\]-~]*+\"[ \t]*+"
_STANDARD_FIELD = re.compile(rb"[!-9;-~]++:[ \t]*+(?:(?:%b)<%b>|%b)[ \t\r]*+\n" % (_PHRASE, _ADDRESS, _ADDRESS))
# RFC 5322 2.1.1: where a generated field is folded.
_FOLD_AT = 78


async def clean_header(
    message: Message, policy: Policy, fields: Sequence[Field], now: "tuple[float, int, str]"
) -> list[bytes]:
    """The header as it is to be, a list of fields with their line ends. Raises Trouble.

    ``fields``: those of the message, after header checks, prepended ones first. ``now``: arrival time, the local
    zone's offset in seconds and its name, for a missing Date.
    """
    context = _context(message, policy)
    limit = policy.header_size_limit
    drop = policy.drop_headers
    mapped = policy.maps_header_addresses(message.deposit.aliases)
    seen: set[bytes] = set()
    out: list[bytes] = []
    rewrite: list[int] = []
    hops = 0
    for name, raw in fields:
        if limit and len(raw) > limit:
            raw = header.truncate(raw, limit)
        seen.add(name)
        if name == b"received":
            hops += 1
        elif name in drop:
            continue
        elif context and name in _ADDRESS_FIELDS and (mapped or not _STANDARD_FIELD.fullmatch(raw)):
            rewrite.append(len(out))
        out.append(raw)
    message.hops = hops
    if hops >= policy.hopcount_limit:
        message.warn("message rejected: hopcount exceeded")
        message.fail(Fault.HOPS)
        return out
    if rewrite:
        await _rewrite(message, policy, context, out, rewrite)
    if b"content-transfer-encoding" in seen:
        _note_encoding(message, policy, fields)
    _log_message_ids(message, fields, seen)
    if context or policy.always_add_missing_headers:
        out += _missing(message, policy, seen, now)
    elif b"message-id" not in seen:
        message.info("message-id=<>")
    if not message.smtputf8 and message.deposit.source in policy.smtputf8_autodetect:
        # RFC 6532: 8-bit text in a header needs the extension.
        message.smtputf8 = not all(map(bytes.isascii, out))
    return out


def extract_recipients(fields: Sequence[Field]) -> list[str]:
    """sendmail -t: the addresses of To, Cc and Bcc; of the Resent- ones only, when there are any (RFC 5322 3.6.6)."""
    resent = any(name in _RESENT for name, _ in fields)
    wanted = (b"resent-to", b"resent-cc", b"resent-bcc") if resent else (b"to", b"cc", b"bcc")
    out: list[str] = []
    for field in fields:
        if field.name in wanted:
            text = field.value.decode("utf-8", "surrogateescape")
            out += filter(addresslist.is_text, addresslist.extract_addresses(text))
    return list(dict.fromkeys(out))


def prepended(lines: Iterable[str], queue_id: str) -> list[Field]:
    """Lines that the caller wants first, as fields, with the queue id where it belongs.

    A line that is no header field would end the header: left out.
    """
    text = "\n".join(lines).replace(QUEUE_ID_MARK, queue_id) + "\n"
    return header.scan(text.encode("utf-8", "surrogateescape"))


def _context(message: Message, policy: Policy) -> str:
    """local_header_rewrite_clients (the caller decides) and remote_header_rewrite_domain; empty: hands off."""
    if message.deposit.rewrite_context == "local":
        return "local"
    return "remote" if policy.remote_header_rewrite_domain else ""


async def _rewrite(message: Message, policy: Policy, context: str, out: list[bytes], places: list[int]) -> None:
    fields: list[tuple[int, bool, str, str, list[addresslist.Mailbox]]] = []
    found: tuple[list[str], list[str]] = ([], [])
    for place in places:
        colon = out[place].index(b":")
        head = out[place][: colon + 1].decode("ascii")
        value = out[place][colon + 1 :].decode("utf-8", "surrogateescape")
        name = out[place][:colon].rstrip(b" \t").lower()
        sender = name in SENDERS
        boxes = addresslist.mailboxes(value, policy.header_address_token_limit)
        if boxes:
            fields.append((place, sender, head, value, boxes))
            found[sender].extend(box.address for box in boxes if addresslist.is_text(box.address))
    new = [
        await map_header_addresses(message, policy, context, found[sender], bool(sender)) if found[sender] else {}
        for sender in (0, 1)
    ]
    for place, sender, head, value, boxes in fields:
        changed = addresslist.replace(value, boxes, [new[sender].get(box.address, box.address) for box in boxes])
        if changed is not value:
            out[place] = (head + changed).encode("utf-8", "surrogateescape")


def _note_encoding(message: Message, policy: Policy, fields: Sequence[Field]) -> None:
    if policy.detect_8bit_encoding_header and message.encoding == "7bit":
        for name, raw in fields:
            if name == b"content-transfer-encoding":
                # RFC 2045 6.2; what DATA brought in is lines, whatever its label (Postfix the same).
                if mime.parse_encoding(raw[raw.index(b":") + 1 :]) in (b"8bit", b"binary"):
                    message.encoding = "8bit"
                return


def _log_message_ids(message: Message, fields: Sequence[Field], seen: set[bytes]) -> None:
    for name, label in ((b"message-id", "message-id"), (b"resent-message-id", "resent-message-id")):
        if name in seen:
            for field in fields:
                if field.name == name:
                    message.info(f"{label}={field.text}")


def _missing(message: Message, policy: Policy, seen: set[bytes], now: tuple[float, int, str]) -> list[bytes]:
    """RFC 5322 3.6: what an originating system has to provide."""
    out: list[str] = []
    resent = not seen.isdisjoint(_RESENT)
    prefix, lower = ("Resent-", b"resent-") if resent else ("", b"")
    if lower + b"message-id" not in seen:
        made = messageid.make(message.queue_id, policy.hostname)
        out.append(f"{prefix}Message-Id: {made}")
        message.info(f"{prefix.lower()}message-id={made}")
        seen.add(lower + b"message-id")
    if b"message-id" not in seen:
        message.info("message-id=<>")
    if lower + b"date" not in seen:
        out.append(f"{prefix}Date: {date.format_date(*now)}")
    if lower + b"from" not in seen:
        out.append(f"{prefix}From: {_from(message, policy)}")
    if seen.isdisjoint(_DESTINATIONS) and policy.undisclosed_recipients_header:
        line = policy.undisclosed_recipients_header
        if header.is_header(line.encode()):
            out.append(line)
        else:
            message.warn(f'bad undisclosed_recipients_header text "{line}" -- need "headername: headervalue"')
    return [line.encode("utf-8", "surrogateescape") + b"\n" for line in out]


def _from(message: Message, policy: Policy) -> str:
    sender = message.sender or "MAILER-DAEMON"
    local, domain = addresses.split(sender)
    address = addresses.join(addresses.quote_local(addresses.unquote_local(local)), domain)
    fullname = message.deposit.envelope.fullname.strip() if message.sender else ""
    if not fullname:
        return address
    if policy.header_from_format == "obsolete":
        return _fold("From: ", address, f"({encode.comment(fullname)})")
    return _fold("From: ", encode.phrase(fullname), f"<{address}>")


def _fold(name: str, left: str, right: str) -> str:
    separator = " " if len(name) + len(left) + len(right) < _FOLD_AT else "\n "
    return f"{left}{separator}{right}"
