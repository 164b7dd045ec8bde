"""The report as mail: multipart/report with text, delivery status and what is returned, in chunks. Pure.

Whatever peers and senders said stands on lines of its own making: control characters become ``?``, long lines are
folded. Line ends are LF.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tubepost.common.mail import header, messageid
from tubepost.common.mail.template import Template
from tubepost.common.smtp import xtext
from tubepost.common.wire.bounce import Entry
from tubepost.common.wire.envelope import Envelope

Kind = Literal["failure", "delay", "success", "verbose"]

_WIDTH = 78
# RFC 5322 2.1.1: no line is longer than 998 characters; RFC 6532 3.4: octets, of which a character may have four.
_LONGEST = 900
_LONGEST_UNICODE = 240
_PORTION = 32_768
# What the names of fields, of peers and types of addresses add to an entry.
_ENTRY_BYTES = 400
_NAME_UNSAFE = re.compile(r"[^A-Za-z0-9-]+")
# RFC 5322 3.6.4 sets no limit; threads of hundreds gain nothing from their first ids.
_REFERENCES = 50
_SPACES = {ord(char): " " for char in "\r\n\t"}
_DESCRIPTIONS: dict[Kind, str] = {
    "failure": "Undelivered Message",
    "delay": "Delayed Message",
    "success": "Message",
    "verbose": "Message",
}
_EVENTS = {"failure": "FAILURE", "delay": "DELAY"}


@dataclass(frozen=True, slots=True)
class Original:
    """What is returned. ``available`` False: the queue file cannot be read.

    ``head``: the header block, LF line ends; ``body``: what follows, with the empty line before it, or None for the
    header alone.
    """

    head: bytes
    body: Callable[[], Iterator[bytes]] | None
    available: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """``template``: with its text expanded. ``stamp``: a time (seconds since the epoch) as RFC 5322 writes it.

    ``copy``: for the postmaster. ``eightbit`` and ``international`` as found by ``survey`` and in the original.
    """

    kind: Kind
    copy: bool
    to: str
    queue_id: str
    envelope: Envelope
    template: Template
    myhostname: str
    mail_name: str
    boundary: str
    stamp: Callable[[float], str]
    retry_until: float = 0.0
    threaded: bool = False
    eightbit: bool = False
    international: bool = False


def is_due(entry: Entry, kind: Kind, everything: bool) -> bool:
    """RFC 3461 4.1: does this recipient's NOTIFY ask for this kind of report? ``everything``: copies ask nobody."""
    event = _EVENTS.get(kind)
    if everything or event is None:
        return True
    notify = entry.recipient.notify
    return not notify or event in notify


def survey(entries: Iterable[Entry]) -> Iterator[tuple[int, bool]]:
    """After each entry: how many there were, and whether all their words are ASCII."""
    ascii_only = True
    for count, entry in enumerate(entries, 1):
        recipient, status = entry.recipient, entry.status
        ascii_only = ascii_only and all(
            text.isascii()
            for text in (
                recipient.address,
                recipient.original,
                recipient.orcpt,
                status.text,
                status.diagnostic,
                status.remote_mta,
            )
        )
        yield count, ascii_only


def portions(entries: Iterator[Entry], most: int) -> Iterator[tuple[Entry, ...]]:
    """Entries for one report each, of about ``most`` bytes: a report that is larger than mail may be is never sent."""
    held: list[Entry] = []
    size = 0
    for entry in entries:
        recipient, status = entry.recipient, entry.status
        size += _ENTRY_BYTES + 3 * len(recipient.address) + 2 * len(recipient.original) + len(recipient.orcpt)
        size += 2 * len(status.text) + len(status.diagnostic)
        if held and size > most:
            yield tuple(held)
            held, size = [], 0
        held.append(entry)
    if held:
        yield tuple(held)


def compose(facts: Facts, entries: Callable[[], Iterator[Entry]], original: Original) -> Iterator[bytes]:
    """The mail, in chunks of about 32 KiB. ``entries`` is asked twice: for the text, and for the status part."""
    yield _portion([_header(facts, original), _text_intro(facts)])
    yield from _gathered(_explained(entry, facts) for entry in entries())
    yield _portion([_status_intro(facts)])
    yield from _gathered(_status(entry, facts) for entry in entries())
    yield from _returned(facts, original)
    yield f"\n--{facts.boundary}--\n".encode()


def _portion(texts: list[str]) -> bytes:
    return "".join(texts).encode("utf-8", "surrogateescape")


def _gathered(texts: Iterable[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _PORTION:
            yield _portion(held)
            held, size = [], 0
    if held:
        yield _portion(held)


# -- header ------------------------------------------------------------------------------------------------------------


def _header(facts: Facts, original: Original) -> str:
    template = facts.template
    lines = [
        f"From: {template.sender}",
        f"Subject: {template.postmaster_subject if facts.copy else template.subject}",
        fold(f"To: {clean(facts.to)}")[:-1],
        # RFC 3834 5: an answer to one message, or made by itself.
        f"Auto-Submitted: auto-{'generated' if facts.copy else 'replied'}",
    ]
    if facts.threaded and not facts.copy:
        lines += _thread(original.head)
    lines += [
        "MIME-Version: 1.0",
        # RFC 6522 3
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{facts.boundary}"',
    ]
    if facts.eightbit:
        lines.append("Content-Transfer-Encoding: 8bit")
    lines += ["", "This is a MIME-encapsulated message.", "", ""]
    return "\n".join(lines)


def _thread(head: bytes) -> list[str]:
    """RFC 5322 3.6.4: In-Reply-To and References of an answer to this message."""
    fields = header.scan(head)
    named = header.first(fields, b"message-id")
    if named is None:
        return []
    identity = messageid.extract(clean(named.text))
    if not identity.startswith("<") or not identity.isascii() or len(identity) >= _LONGEST:
        return []
    before = header.first(fields, b"references") or header.first(fields, b"in-reply-to")
    ids = messageid.extract_all(clean(before.text))[-_REFERENCES:] if before else []
    references = [name for name in ids if name.isascii() and len(name) < _LONGEST]
    return [f"In-Reply-To: {identity}", "References: " + "\n\t".join([*references, identity])]


def clean(text: str) -> str:
    """One printable line."""
    if text.isprintable():
        return text
    text = text.translate(_SPACES)
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def fold(text: str, indent: str = "    ") -> str:
    """Lines of about 78 characters, each ended by LF; the second and later ones indented."""
    if len(text) < _WIDTH:
        return f"{text}\n"
    out: list[str] = []
    start, lead = 0, ""
    longest = _LONGEST if text.isascii() else _LONGEST_UNICODE
    while len(text) - start > _WIDTH - len(lead):
        end = text.rfind(" ", start + 1, start + _WIDTH - len(lead))
        if end < 0:
            # A word longer than a line stays whole while the standard lets it.
            end = text.find(" ", start + 1, start + longest)
        if end < 0:
            if len(text) - start <= longest:
                break
            end = start + longest
        out.append(lead + text[start:end])
        start = end + 1 if text[end] == " " else end
        lead = indent
    if start < len(text):
        out.append(lead + text[start:])
    return "\n".join(out) + "\n"


# -- the text ----------------------------------------------------------------------------------------------------------


def _charset(facts: Facts) -> str:
    """bounce(5) has ASCII appended to the template's text; words of peers in UTF-8 make it UTF-8."""
    charset = facts.template.charset
    if charset.lower() in ("us-ascii", "ascii") and facts.eightbit:
        return "utf-8"
    return charset


def _text_intro(facts: Facts) -> str:
    lines = [
        f"--{facts.boundary}",
        "Content-Description: Notification",
        f"Content-Type: text/plain; charset={_charset(facts)}",
    ]
    if facts.eightbit:
        lines.append("Content-Transfer-Encoding: 8bit")
    # bounce(5): the text is not sent in copies.
    lines += ["", "" if facts.copy else facts.template.text, ""]
    return "\n".join(lines)


def _explained(entry: Entry, facts: Facts) -> str:
    recipient, status = entry.recipient, entry.status
    line = f"<{recipient.address}>"
    if recipient.original and recipient.original != recipient.address:
        line += f" (expanded from <{recipient.original}>)"
    line = clean(f"{line}: {status.text}")
    if _charset(facts).lower() not in ("utf-8", "utf8"):
        line = _ascii(line)
    return fold(line) + "\n"


def _ascii(text: str) -> str:
    return text if text.isascii() else text.encode("ascii", "replace").decode("ascii")


# -- the delivery status -----------------------------------------------------------------------------------------------


def _status_intro(facts: Facts) -> str:
    envelope = facts.envelope
    # RFC 6533 4: with addresses that are not ASCII the part is message/global-delivery-status.
    lines = [
        f"--{facts.boundary}",
        "Content-Description: Delivery report",
        f"Content-Type: message/{'global-' if facts.international else ''}delivery-status",
    ]
    if facts.international:
        lines.append("Content-Transfer-Encoding: 8bit")
    # RFC 3464 2.2: the fields of the message.
    lines += ["", f"Reporting-MTA: dns; {facts.myhostname}"]
    if envelope.envid:
        lines.append(fold(f"Original-Envelope-Id: {_ascii(clean(envelope.envid))}")[:-1])
    prefix = f"X-{_NAME_UNSAFE.sub('-', facts.mail_name).strip('-') or 'Mail'}"
    lines.append(f"{prefix}-Queue-ID: {facts.queue_id}")
    lines.append(fold(f"{prefix}-Sender: {_typed(envelope.sender, facts)}")[:-1])
    lines += [f"Arrival-Date: {facts.stamp(envelope.arrival_time)}", ""]
    return "\n".join(lines)


def _typed(address: str, facts: Facts) -> str:
    """RFC 3464 2.1.2, RFC 6533 3: an address with its type."""
    address = clean(address)
    if address.isascii():
        return f"rfc822; {address}"
    return f"utf-8; {xtext.encode_utf8_address(address, smtputf8=facts.international)}"


def _status(entry: Entry, facts: Facts) -> str:
    """RFC 3464 2.3: the fields of one recipient."""
    recipient, status = entry.recipient, entry.status
    lines = ["\n", fold(f"Final-Recipient: {_typed(recipient.address, facts)}")]
    if recipient.orcpt:
        kind, _, address = recipient.orcpt.partition(";")
        if kind.lower() == "utf-8":
            address = xtext.encode_utf8_address(clean(address), smtputf8=facts.international)
        lines.append(fold(f"Original-Recipient: {_words(kind, facts)};{_words(address, facts)}"))
    elif recipient.original:
        lines.append(fold(f"Original-Recipient: {_typed(recipient.original, facts)}"))
    lines.append(f"Action: {entry.action}\n")
    lines.append(f"Status: {_words(status.dsn, facts)}\n")
    if status.remote_mta:
        lines.append(fold(f"Remote-MTA: dns; {_words(status.remote_mta, facts)}"))
    # RFC 3464 2.3.6: without words of a peer, those of this program.
    kind = status.diagnostic_type if status.diagnostic_type and status.diagnostic else "X-Postfix"
    words = status.diagnostic if kind == status.diagnostic_type else status.text
    lines.append(fold(f"Diagnostic-Code: {_words(kind, facts)}; {_words(words, facts)}"))
    if entry.action == "delayed" and facts.retry_until:
        lines.append(f"Will-Retry-Until: {facts.stamp(facts.retry_until)}\n")
    return "".join(lines)


def _words(text: str, facts: Facts) -> str:
    text = clean(text)
    return text if facts.international else _ascii(text)


# -- the message -------------------------------------------------------------------------------------------------------


def _returned(facts: Facts, original: Original) -> Iterator[bytes]:
    whole = original.body is not None
    kind = (
        ("message/global" if whole else "message/global-headers")
        if facts.international
        else ("message/rfc822" if whole else "text/rfc822-headers")
    )
    lines = [
        "",
        f"--{facts.boundary}",
        f"Content-Description: {_DESCRIPTIONS[facts.kind]}{'' if whole else ' Headers'}",
        f"Content-Type: {kind}",
    ]
    if facts.eightbit:
        lines.append("Content-Transfer-Encoding: 8bit")
    lines.append("")
    if not original.available:
        lines += ["\t--- The message can no longer be read ---", ""]
        yield _portion(["\n".join(lines)])
        return
    lines.append(fold(f"Return-Path: <{clean(facts.envelope.sender)}>"))
    yield _portion(["\n".join(lines)])
    yield original.head
    if original.body is not None:
        yield from original.body()
