"""SORT and THREAD over the index (RFC 5256, RFC 5957): its columns as keys of ``common.imap.ordering``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tubepost.common.imap import ordering

from tubepost.common.mailbox.interface import Folder
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import searching

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

Criteria = tuple[tuple[bytes, bool], ...]

_COLUMNS: Mapping[bytes, tuple[str, ...]] = {
    b"ARRIVAL": ("internal",),
    b"CC": ("first_cc",),
    # RFC 5256 2.2: the internal date in the place of a Date field that is none.
    b"DATE": ("sent", "internal"),
    b"FROM": ("first_from",),
    b"SIZE": ("size",),
    b"SUBJECT": ("base_subject",),
    b"TO": ("first_to",),
    b"DISPLAYFROM": ("display_from",),
    b"DISPLAYTO": ("display_to",),
    b"RELEVANCY": (),
}
_NUMBERS = frozenset((b"ARRIVAL", b"DATE", b"SIZE"))
_OF_INDEX = frozenset((b"ARRIVAL", b"SIZE", b"RELEVANCY"))


async def sort(
    session: "Session",
    mailbox: Mailbox,
    folder: Folder,
    uids: Sequence[int],
    criteria: Criteria,
    scores: Mapping[int, int],
    reporter: searching.Reporter,
) -> list[int]:
    """Ascending UIDs in the wanted order; those that are gone meanwhile are left out."""
    names = [name for name, _ in criteria]
    columns = ["uid", *dict.fromkeys(column for name in names for column in _COLUMNS[name])]
    if not _OF_INDEX.issuperset(names):
        await searching.complete(mailbox, folder, uids, reporter)
    rows = await searching.read_rows(mailbox, folder, columns, uids, reporter)
    return await session.server.mailboxes.in_thread(_sorted, rows, columns, criteria, scores)


def _sorted(
    rows: Sequence[Sequence[Any]], columns: Sequence[str], criteria: Criteria, scores: Mapping[int, int]
) -> list[int]:
    found: list[tuple[Sequence[Any], bool]] = []
    for name, reverse in criteria:
        if name == b"RELEVANCY":
            # RFC 6203 6: the highest score first.
            found.append(([-scores.get(row[0], 1) for row in rows], reverse))
            continue
        place = columns.index(_COLUMNS[name][0])
        if name == b"DATE":
            other = columns.index("internal")
            keys: list[Any] = [row[other] if row[place] is None else row[place] for row in rows]
        else:
            # A message that cannot be read has no columns.
            missing: Any = 0 if name in _NUMBERS else ""
            keys = [missing if row[place] is None else row[place] for row in rows]
        found.append((keys, reverse))
    return ordering.sort([row[0] for row in rows], found)


_THREAD_COLUMNS = ("uid", "sent", "internal", "subject", "message_id", "refs", "in_reply_to")


async def thread(
    session: "Session",
    mailbox: Mailbox,
    folder: Folder,
    algorithm: bytes,
    uids: Sequence[int],
    numbers: Mapping[int, int] | None,
    reporter: searching.Reporter,
) -> bytes:
    """``(1)(2 3)`` of ascending UIDs; ``numbers``: UID to message number, None to tell UIDs."""
    await searching.complete(mailbox, folder, uids, reporter)
    rows = await searching.read_rows(mailbox, folder, _THREAD_COLUMNS, uids, reporter)
    return await session.server.mailboxes.in_thread(_threads, algorithm, rows, numbers)


def _threads(algorithm: bytes, rows: Sequence[Sequence[Any]], numbers: Mapping[int, int] | None) -> bytes:
    entries = []
    for uid, sent, internal, subject, message_id, refs, in_reply_to in rows:
        number = uid if numbers is None else numbers.get(uid, 0)
        if not number:
            continue
        # RFC 5256 3: In-Reply-To where there are no References.
        references = refs.split(" ") if refs else [in_reply_to] if in_reply_to else []
        entries.append(
            ordering.Entry(number, internal if sent is None else sent, subject or "", message_id or "", references)
        )
    return ordering.render(ordering.thread(algorithm, entries))
