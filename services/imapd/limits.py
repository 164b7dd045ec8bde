"""How much one command may work on (RFC 9738): the messages with the highest UIDs, and a code that says so (pure)."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap.search import And, Key, Numbers
from tubepost.common.imap.sets import of_ranges

from tubepost.services.imapd.replies import No

if TYPE_CHECKING:
    from tubepost.common.mailbox.interface import Folder

    from tubepost.services.imapd.selected import Selected
    from tubepost.services.imapd.session import Session

_LARGEST = (1 << 32) - 1


def limit(session: "Session") -> int:
    """Messages; 0: as many as there are."""
    found: int = session.server.config.imapd_message_limit
    return found


def exceeds(session: "Session", count: int) -> bool:
    most = limit(session)
    return bool(most) and count > most


def code(session: "Session", lowest: int = 0) -> bytes:
    """The response code; ``lowest``: the lowest UID that was worked on, 0 for none."""
    return b"MESSAGELIMIT %d%b" % (limit(session), b" %d" % lowest if lowest else b"")


def cut(session: "Session", uids: Sequence[int]) -> tuple[Sequence[int], bytes]:
    """Of ascending UIDs those that are worked on, and the code for the answer, empty when that is all of them.

    RFC 9738 3.1: "the server is REQUIRED to process messages from highest to lowest UID".
    """
    if not exceeds(session, len(uids)):
        return uids, b""
    kept = uids[len(uids) - limit(session) :]
    return kept, code(session, kept[0])


def check_keywords(session: "Session", folder: "Folder", flags: Iterable[str]) -> None:
    """Raises No when a mailbox would get more keywords than it may; under the lock of the account."""
    most = session.server.config.imapd_mailbox_keyword_limit
    wanted = {flag.lower() for flag in flags if not flag.startswith("\\")}
    if not wanted or not most:
        return
    for again in (False, True):
        known = {keyword.lower() for keyword in folder.keywords()}
        if not wanted - known or len(known | wanted) <= most:
            return
        if not again:
            folder.forget_keywords()
    # RFC 5530 3
    raise No("This mailbox has too many keywords already", b"LIMIT")


def cut_search(session: "Session", selected: "Selected", key: Key) -> tuple[Key, bytes]:
    """The search among those messages that it may look at, and the code as of ``cut``.

    RFC 9738 3.1: "the total number of searched messages (note, NOT the number of matched messages)": all, unless the
    search begins with numbers or UIDs.
    """
    if not limit(session):
        return key, b""
    uids: Sequence[int] = selected.view.uids
    for part in key.keys if isinstance(key, And) else (key,):
        if isinstance(part, Numbers):
            named = set(selected.resolve(part.numbers, part.uid))
            uids = [uid for uid in uids if uid in named]
    kept, limited = cut(session, uids)
    if not limited:
        return key, b""
    return And((Numbers(of_ranges([(kept[0], _LARGEST)]), True), key)), limited


def all_or_none(session: "Session", uids: Sequence[int]) -> None:
    """For COPY. Raises No."""
    if exceeds(session, len(uids)):
        raise No("Too many messages for one command", code(session, uids[len(uids) - limit(session)]))
