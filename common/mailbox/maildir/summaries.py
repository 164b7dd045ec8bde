"""Summaries of messages: what FETCH and SEARCH answer without reading the file, made once, when first wanted."""

import mmap
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tubepost.common.imap.subject import base_subject

from tubepost.common.mail.summary import Summary, summarize
from tubepost.common.mail.text import normalize
from tubepost.common.system import log

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.folder import Folder

VERSION = 1
"""Of what ``summarize`` makes: raised when it changes, so that older ones are made anew."""

_SMALL = 1 << 20
_BATCH = 200

_COLUMNS = (
    "version", "threadid", "header_size", "sent", "sent_offset", "envelope", "body", "structure", "preview", "subject",
    "sender", "receiver", "copied", "blind", "base_subject", "display_from", "display_to", "first_from", "first_to",
    "first_cc", "message_id", "in_reply_to", "refs", "attachments",
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


def _make(folder: "Folder", rows: Sequence[tuple[Any, ...]]) -> None:
    made = []
    for content, place, file, info, emailid, threadid in rows:
        summary = read_summary(folder.file(place, file, info))
        if summary is not None:
            made.append((content, emailid, threadid, summary))
    if not made:
        return
    with folder.database.transaction() as connection:
        connection.executemany(
            _UPDATE,
            [
                _values(content, thread or _thread(folder, emailid, summary), summary)
                for content, emailid, thread, summary in made
            ],
        )
    folder.account.generation += 1


def read_summary(path: str) -> Summary | None:
    """None when the file is gone or cannot be read: it is tried again the next time."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning(f"cannot read {path}: {error.strerror}")
        return None
    try:
        size = os.fstat(fd).st_size
        if size <= _SMALL:
            return summarize(os.read(fd, size) if size else b"")
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
            return summarize(data)
    finally:
        os.close(fd)


def _values(content: int, thread: str, summary: Summary) -> tuple[Any, ...]:
    """In the order of ``_COLUMNS``."""
    return (
        VERSION,
        thread,
        summary.header_size,
        summary.sent,
        summary.sent_offset,
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
        _text(summary.message_id),
        _text(summary.in_reply_to),
        _text(b" ".join(summary.references)),
        summary.attachments,
        content,
    )


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _thread(folder: "Folder", emailid: str, summary: Summary) -> str:
    """RFC 8474 5.2: messages that refer to one another share it. What was once told does not change."""
    names = [_text(name) for name in (*summary.references, summary.in_reply_to, summary.message_id) if name]
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
