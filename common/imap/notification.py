"""The arguments of NOTIFY (RFC 5465) and ESEARCH (RFC 7377), which name mailboxes in the same way. Pure."""

from typing import NamedTuple

from tubepost.common.imap import fetch, search
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import Scanner


class Mailboxes(NamedTuple):
    """A set of mailboxes: ``kind`` is one of KINDS; ``names`` are given with SUBTREE, SUBTREE-ONE and MAILBOXES."""

    kind: bytes
    names: tuple[str, ...] = ()


class Event(NamedTuple):
    """``name`` in upper case, one of EVENTS; ``attributes`` what MESSAGENEW wants fetched."""

    name: bytes
    attributes: tuple[fetch.Attribute, ...] = ()


class Group(NamedTuple):
    """What to tell about which mailboxes; no events is NONE."""

    mailboxes: Mailboxes
    events: tuple[Event, ...]


class Notify(NamedTuple):
    """NOTIFY: no ``groups`` is NOTIFY NONE. ``status``: a STATUS line for each mailbox at once."""

    status: bool
    groups: tuple[Group, ...]


class MultiSearch(NamedTuple):
    """ESEARCH: ``sources`` is None where IN was not given, which means the selected mailbox (RFC 7377 2.2)."""

    sources: tuple[Mailboxes, ...] | None
    search: search.Search


_PLAIN = (b"SELECTED", b"SELECTED-DELAYED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED")
_NAMED = (b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES")
KINDS = frozenset((*_PLAIN, *_NAMED))
_MESSAGE_EVENTS = frozenset((b"MESSAGENEW", b"MESSAGEEXPUNGE", b"FLAGCHANGE", b"ANNOTATIONCHANGE"))
EVENTS = _MESSAGE_EVENTS | {b"MAILBOXNAME", b"SUBSCRIPTIONCHANGE", b"MAILBOXMETADATACHANGE", b"SERVERMETADATACHANGE"}


def parse_notify(scanner: Scanner) -> Notify:
    """The arguments of NOTIFY to their end. Raises BadCommand."""
    if scanner.word(b"NONE"):
        scanner.end()
        return Notify(False, ())
    scanner.expect_word(b"SET")
    scanner.space()
    status = scanner.word(b"STATUS")
    if status:
        scanner.space()
    groups = []
    while True:
        scanner.expect(b"(")
        mailboxes = _mailboxes(scanner)
        if mailboxes.kind == b"SUBTREE-ONE":
            # RFC 7377 2.2 adds subtree-one for ESEARCH alone.
            raise BadCommand("NOTIFY takes no subtree-one")
        scanner.space()
        groups.append(Group(mailboxes, _events(scanner, mailboxes.kind)))
        scanner.expect(b")")
        if not scanner.skip(b" ") or scanner.at_end:
            break
    scanner.end()
    if sum(group.mailboxes.kind in (b"SELECTED", b"SELECTED-DELAYED") for group in groups) > 1:
        # RFC 5465 6.1: only one of the two, once.
        raise BadCommand("NOTIFY names the selected mailbox twice")
    return Notify(status, tuple(groups))


def _mailboxes(scanner: Scanner) -> Mailboxes:
    kind = scanner.keyword()
    if kind in _PLAIN:
        return Mailboxes(kind)
    if kind not in _NAMED:
        raise BadCommand("Unknown set of mailboxes")
    scanner.space()
    if not scanner.skip(b"("):
        return Mailboxes(kind, (scanner.mailbox(),))
    found = [scanner.mailbox()]
    while scanner.skip(b" "):
        found.append(scanner.mailbox())
    scanner.expect(b")")
    return Mailboxes(kind, tuple(dict.fromkeys(found)))


def _events(scanner: Scanner, kind: bytes) -> tuple[Event, ...]:
    if scanner.word(b"NONE"):
        return ()
    scanner.expect(b"(")
    selected = kind in (b"SELECTED", b"SELECTED-DELAYED")
    found: dict[bytes, Event] = {}
    while True:
        word = scanner.keyword()
        if word not in EVENTS:
            # RFC 5465 5: an event that is not known is NO [BADEVENT …].
            raise UnknownEvent("Unknown event")
        attributes: tuple[fetch.Attribute, ...] = ()
        if scanner.skip(b" ("):
            if word != b"MESSAGENEW" or not selected:
                # RFC 5465 5.2: attributes stand with MessageNew of the selected mailbox alone.
                raise BadCommand("Only MessageNew of the selected mailbox takes FETCH attributes")
            attributes = fetch.parse_list(scanner)
        if selected and word not in _MESSAGE_EVENTS:
            raise BadCommand("The selected mailbox has message events alone")
        found[word] = Event(word, attributes)
        if not scanner.skip(b" "):
            break
    scanner.expect(b")")
    if (b"MESSAGENEW" in found) != (b"MESSAGEEXPUNGE" in found):
        # RFC 5465 5: the client MUST ask for both or neither.
        raise BadCommand("MessageNew and MessageExpunge go together")
    if b"MESSAGENEW" not in found and (b"FLAGCHANGE" in found or b"ANNOTATIONCHANGE" in found):
        raise BadCommand("FlagChange and AnnotationChange need MessageNew and MessageExpunge")
    return tuple(found.values())


class UnknownEvent(BadCommand):
    """An event that this server does not know (RFC 5465 5)."""

    status = b"NO"
    code = (
        b"BADEVENT (MessageNew MessageExpunge FlagChange AnnotationChange MailboxName SubscriptionChange "
        b"MailboxMetadataChange ServerMetadataChange)"
    )


def parse_esearch(scanner: Scanner) -> MultiSearch:
    """The arguments of the ESEARCH command to their end. Raises BadCommand."""
    sources = None
    if scanner.word(b"IN"):
        scanner.expect(b" (")
        found = [_mailboxes(scanner)]
        while scanner.skip(b" "):
            if scanner.peek() == b"(":
                # RFC 7377 2.2: scope-options; none is defined yet.
                raise BadCommand("Unknown scope option")
            found.append(_mailboxes(scanner))
        scanner.expect(b")")
        scanner.space()
        sources = tuple(dict.fromkeys(found))
        if any(source.kind == b"SELECTED-DELAYED" for source in sources):
            # RFC 7377 2.2: selected-delayed has no meaning here.
            raise BadCommand("ESEARCH takes no selected-delayed")
    return MultiSearch(sources, search.parse_search(scanner))
