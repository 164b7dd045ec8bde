"""Summaries of messages: what FETCH and SEARCH answer without reading the file, made once, when first wanted."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tubepost.common.imap.sections import Range, header_fields
from tubepost.common.imap.subject import base_subject

from tubepost.common.mail import structure
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.summary import Summary, summarize
from tubepost.common.mail.text import normalize
from tubepost.common.mailbox.maildir.database import Database
from tubepost.common.mailbox.maildir.finding import Finder
from tubepost.common.mailbox.maildir.reading import SMALL, read_with
from tubepost.common.mailbox.values import COMMON_FIELDS, id_text

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.folder import Folder

VERSION = 1
"""Of what ``summarize`` makes: raised when it changes, so that older ones are made anew."""

Made = tuple[Summary, bytes]
"""A summary, and the common header fields."""

_BATCH = 200
# Message-ids that are remembered for their thread: so many, and so many for each message. Whether there are more is
# looked at with one message in 16 to the power of _LOOK.
_FEW_THREADS = 10_000
_THREADS = 8
_LOOK = 2

_COLUMNS = (
    "version", "threadid", "header_size", "sent", "sent_offset", "headers", "envelope", "body", "structure", "preview",
    "subject", "sender", "receiver", "copied", "blind", "base_subject", "display_from", "display_to", "first_from",
    "first_to", "first_cc", "message_id", "in_reply_to", "refs", "attachments",
)  # fmt: skip
_UPDATE = f"UPDATE content SET {','.join(f'{name}=?' for name in _COLUMNS)} WHERE id=?"


def complete(folder: "Folder", uids: Sequence[int]) -> None:
    """See Folder.complete."""
    missing: list[tuple[Any, ...]] = []
    for where, values in folder.conditions("m.uid", uids):
        missing += folder.database.connection.execute(
            "SELECT m.content, m.place, m.file, m.info, c.emailid, c.threadid FROM message m"
            f" JOIN content c ON c.id=m.content WHERE m.folder=? AND c.version<? AND {where} ORDER BY m.uid",
            (folder.id, VERSION, *values),
        ).fetchall()
    for start in range(0, len(missing), _BATCH):
        _make(folder, missing[start : start + _BATCH])


def unfinished(folder: "Folder") -> list[int]:
    """UIDs of messages whose summary is missing."""
    database = folder.database
    if database.one("SELECT 1 FROM content WHERE version=0 LIMIT 1") is None:
        return []
    rows = database.connection.execute(
        "SELECT m.uid FROM content c JOIN message m ON m.content=c.id WHERE c.version=0 AND m.folder=? ORDER BY m.uid",
        (folder.id,),
    )
    return [uid for (uid,) in rows]


def _make(folder: "Folder", rows: Sequence[tuple[Any, ...]]) -> None:
    made = []
    finder = Finder(folder)
    for content, place, file, info, emailid, threadid in rows:
        path = folder.file(place, file, info)
        found = read_with(path, _of) or finder.read(content, path, _of)
        if found is not None:
            made.append((content, emailid, threadid, *found))
    if not made:
        return
    with folder.database.transaction() as connection:
        connection.executemany(
            _UPDATE,
            [
                _values(content, thread or _thread(folder, emailid, summary), headers, summary)
                for content, emailid, thread, summary, headers in made
            ],
        )
        _forget_threads(folder.database, [row[1] for row in made])
    folder.account.generation += 1


def insert(folder: "Folder", emailid: str, made: Made | None) -> int:
    """A new message's content, with its summary where that was made already. Within a transaction. Returns its id."""
    execute = folder.database.connection.execute
    content = execute("INSERT INTO content (emailid) VALUES (?)", (emailid,)).lastrowid
    assert content is not None
    if made is not None:
        summary, headers = made
        execute(_UPDATE, _values(content, _thread(folder, emailid, summary), headers, summary))
        _forget_threads(folder.database, [emailid])
    return content


def of_descriptor(fd: int) -> Made | None:
    """Of a message that was just written; None for a large one: it is summarised when that is asked for."""
    size = os.fstat(fd).st_size
    return _of(os.pread(fd, size, 0)) if size <= SMALL else None


def _of(data: Data) -> Made:
    summary = summarize(data)
    header = Range(0, structure.header_block(data)[1])
    return summary, header_fields(data, header, COMMON_FIELDS)


def _values(content: int, thread: str, headers: bytes, summary: Summary) -> tuple[Any, ...]:
    """In the order of ``_COLUMNS``."""
    return (
        VERSION,
        thread,
        summary.header_size,
        summary.sent,
        summary.sent_offset,
        headers,
        summary.envelope,
        summary.body,
        summary.bodystructure,
        summary.preview,
        summary.subject_key,
        summary.from_key,
        summary.to_key,
        summary.cc_key,
        summary.bcc_key,
        normalize(base_subject(summary.subject).text),
        summary.display_from,
        summary.display_to,
        summary.from_mailbox,
        summary.to_mailbox,
        summary.cc_mailbox,
        id_text(summary.message_id),
        id_text(summary.in_reply_to),
        " ".join(map(id_text, summary.references)),
        summary.attachments,
        content,
    )


def _thread(folder: "Folder", emailid: str, summary: Summary) -> str:
    """RFC 8474 5.2: messages that refer to one another share it. What was once told does not change."""
    names = [id_text(name) for name in (*summary.references, summary.in_reply_to, summary.message_id) if name]
    if not names:
        return f"T{emailid[1:]}"
    database = folder.database
    found = ""
    for name in names:
        row = database.one("SELECT threadid FROM thread WHERE message_id=?", name)
        if row is not None:
            found = row[0]
            break
    found = found or f"T{emailid[1:]}"
    database.connection.executemany(
        "INSERT OR IGNORE INTO thread (message_id, threadid) VALUES (?,?)", [(name, found) for name in names[-64:]]
    )
    return found


def _forget_threads(database: Database, emailids: Iterable[str]) -> None:
    """Of mail that is gone, once there is much more of that than of mail that is there. Within a transaction, behind
    the new messages of these ids."""
    if not any(emailid.endswith("0" * _LOOK) for emailid in emailids):
        return
    most = _FEW_THREADS + _THREADS * database.one("SELECT coalesce(sum(messages),0) FROM folder")[0]
    if database.one("SELECT count(*) FROM thread")[0] > most:
        database.connection.execute(
            "DELETE FROM thread WHERE threadid NOT IN (SELECT threadid FROM content WHERE threadid IS NOT NULL)"
        )
