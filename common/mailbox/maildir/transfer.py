"""Messages into a folder, from one folder to another, and out of it: all of a command or none, durable at its end.

At each instant a crash leaves what the next process understands: a file without a row is a new message, a row without a
file is a removed one, and several files that belong together are announced by an ``intent`` before the first is there.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tubepost.common.system.commit import start_write_back, sync_file_system, write_out
from tubepost.common.mailbox.maildir import scan, summaries
from tubepost.common.mailbox.maildir.delivery import unique_name
from tubepost.common.mailbox.maildir.drafts import Draft
from tubepost.common.mailbox.maildir.names import email_id, info_of, split_file
from tubepost.common.mailbox.store import NoSuchMessage

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.folder import Folder


def add_rows(folder: "Folder", items: Sequence[tuple[int, int, int, int, int, str, str]], modseq: int) -> list[int]:
    """Messages whose files are in place; within a transaction. Returns their UIDs.

    ``items``: (content, flagset, size, internal, place, file, info).
    """
    connection = folder.database.connection
    uidnext: int = folder.database.one("SELECT uidnext FROM folder WHERE id=?", folder.id)[0]
    now = int(time.time())
    uids = list(range(uidnext, uidnext + len(items)))
    connection.executemany(
        "INSERT INTO message (folder, uid, flagset, modseq, content, size, internal, saved, place, file, info)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        [
            (folder.id, uid, flagset, modseq, content, size, internal, now, place, file, info)
            for uid, (content, flagset, size, internal, place, file, info) in zip(uids, items, strict=True)
        ],
    )
    connection.execute("UPDATE folder SET uidnext=uidnext+? WHERE id=?", (len(items), folder.id))
    _count(folder, 1, [(item[1], item[2]) for item in items], modseq)
    return uids


def _count(folder: "Folder", sign: int, messages: Sequence[tuple[int, int]], modseq: int) -> None:
    """(flagset, size) of messages that came, or went: ``sign`` 1 or -1."""
    folder.database.connection.execute(
        "UPDATE folder SET messages=messages+?1, unseen=unseen+?2, deleted=deleted+?3, "
        " size=size+?4, modseq=?5 WHERE id=?6",
        (
            sign * len(messages),
            sign * sum(not folder.seen(flagset) for flagset, _ in messages),
            sign * sum(folder.marked(flagset) for flagset, _ in messages),
            sign * sum(size for _, size in messages),
            modseq,
            folder.id,
        ),
    )


def append(folder: "Folder", drafts: Sequence[Draft]) -> list[int]:
    """See Folder.append."""
    done: list[str] = []
    try:
        made = []
        for draft in drafts:
            os.utime(draft.fd, (draft.internal, draft.internal))
            start_write_back(draft.fd)
            made.append(summaries.of_descriptor(draft.fd))
        for draft in drafts:
            write_out(draft.fd)
        with _announced(folder, [draft.name for draft in drafts]):
            change = scan.begin_change(folder)
            letters = folder.letters()
            sets = folder.account.flagsets
            items = []
            for draft, summary in zip(drafts, made, strict=True):
                folder.note_keywords(draft.flags)
                letters = folder.letters() if draft.flags else letters
                info = info_of(map(sets.spell, draft.flags), letters)
                target = folder.file(1, draft.name, info)
                os.rename(draft.path, target)
                done.append(target)
                content = summaries.insert(folder, email_id(draft.name), summary)
                items.append((content, sets.number(draft.flags), draft.octets, draft.internal, 1, draft.name, info))
            uids = add_rows(folder, items, folder.next_modseq())
            scan.end_change(folder, change)
    except BaseException:
        _take_back(done)
        raise
    folder.account.generation += 1
    _make_durable(folder, [draft.fd for draft in drafts])
    for draft in drafts:
        draft.close()
    return uids


def copy(folder: "Folder", uids: Sequence[int], target: "Folder") -> tuple[list[int], list[int]]:
    """See Folder.copy."""
    rows = _rows(folder, uids)
    if not rows:
        return [], []
    now = time.time()
    names = [unique_name(now) for _ in rows]
    done: list[str] = []
    try:
        with _announced(target, names) as connection:
            change = scan.begin_change(target)
            items, kept = [], []
            # As they are now: another process may have changed some while this one waited.
            rows = _rows(folder, [row[0] for row in rows])
            if len(rows) < len(names):
                raise NoSuchMessage(f"one of UIDs {uids[0]} to {uids[-1]} of {folder.name}")
            sets = target.account.flagsets
            flags_of: dict[int, tuple[int, str]] = {}
            for row, name in zip(rows, names, strict=True):
                uid, flagset, content, size, internal, place, file, info = row
                if flagset not in flags_of:
                    flags = folder.account.flagsets.flags(flagset)
                    target.note_keywords(flags)
                    flags_of[flagset] = (sets.number(flags), info_of(flags, target.letters()))
                number, suffix = flags_of[flagset]
                path = target.file(1, name, suffix)
                try:
                    _link(folder.file(place, file, info), path, target, name)
                except FileNotFoundError:
                    # Renamed or removed by another program; the caller looks again.
                    raise NoSuchMessage(f"UID {uid} of {folder.name}") from None
                done.append(path)
                if target.account is not folder.account:
                    content = _new_content(connection, folder, content)
                items.append((content, number, size, internal, 1, name, suffix))
                kept.append(uid)
            new = add_rows(target, items, target.next_modseq())
            scan.end_change(target, change)
    except BaseException:
        _take_back(done)
        raise
    target.account.generation += 1
    _make_durable(target, [])
    return kept, new


def move(folder: "Folder", uids: Sequence[int], target: "Folder") -> tuple[list[int], list[int]]:
    """See Folder.move. Within an account each file is renamed, so that a crash leaves every message in one place."""
    if target.account is not folder.account or target.id == folder.id:
        old, new = copy(folder, uids, target)
        remove(folder, old, None)
        return old, new
    done: list[tuple[str, str]] = []
    try:
        with folder.database.transaction():
            # What another process changes before is to be moved as it is then.
            rows = _rows(folder, uids)
            if not rows:
                return [], []
            here, there = scan.begin_change(folder), scan.begin_change(target)
            sets = folder.account.flagsets
            items = []
            now = time.time()
            for uid, flagset, content, size, internal, place, file, info in rows:
                flags = sets.flags(flagset)
                target.note_keywords(flags)
                suffix = info_of(flags, target.letters())
                name = unique_name(now)
                source, path = folder.file(place, file, info), target.file(1, name, suffix)
                try:
                    os.rename(source, path)
                except FileNotFoundError:
                    raise NoSuchMessage(f"UID {uid} of {folder.name}") from None
                done.append((path, source))
                items.append((content, flagset, size, internal, 1, name, suffix))
            new = add_rows(target, items, target.next_modseq())
            _delete_rows(folder, rows, folder.next_modseq(), contents=False)
            scan.end_change(folder, here)
            scan.end_change(target, there)
    except BaseException:
        for path, source in reversed(done):
            try:
                os.rename(path, source)
            except FileNotFoundError:
                # Another program has done something to it: the next scan sees what.
                pass
        raise
    folder.account.generation += 1
    _make_durable(target, [])
    return [row[0] for row in rows], new


def remove(folder: "Folder", uids: Sequence[int], marked: set[int] | None) -> list[int]:
    """Files first, then their rows: a crash between leaves rows without files, which the next scan takes out."""
    with folder.database.transaction():
        rows = [row for row in _rows(folder, uids) if marked is None or row[1] in marked]
        if not rows:
            return []
        change = scan.begin_change(folder)
        missing = set()
        for row in rows:
            try:
                os.unlink(folder.file(*row[5:]))
            except FileNotFoundError:
                missing.add(row[6])
        if missing:
            _unlink_renamed(folder, missing)
        _delete_rows(folder, rows, folder.next_modseq(), contents=True)
        scan.end_change(folder, change)
    folder.account.generation += 1
    return [row[0] for row in rows]


def _rows(folder: "Folder", uids: Sequence[int]) -> list[Any]:
    """(uid, flagset, content, size, internal, place, file, info)"""
    found: list[Any] = []
    for where, values in folder.conditions("uid", uids):
        found += folder.database.connection.execute(
            f"SELECT uid, flagset, content, size, internal, place, file, info FROM message WHERE folder=? AND {where}"
            " ORDER BY uid",
            (folder.id, *values),
        ).fetchall()
    return found


def _delete_rows(folder: "Folder", rows: Sequence[Any], modseq: int, *, contents: bool) -> None:
    connection = folder.database.connection
    connection.executemany("DELETE FROM message WHERE folder=? AND uid=?", [(folder.id, row[0]) for row in rows])
    if contents:
        folder.account.drop_contents(row[2] for row in rows)
    folder.note_removed([row[0] for row in rows], modseq)
    _count(folder, -1, [(row[1], row[3]) for row in rows], modseq)


def _unlink_renamed(folder: "Folder", files: set[str]) -> None:
    """Another program has changed the rest of these names."""
    for place in ("cur", "new"):
        directory = f"{folder.path}/{place}"
        for name in os.listdir(directory):
            if split_file(name)[0] in files or name.partition(":")[0] in files:
                try:
                    os.unlink(f"{directory}/{name}")
                except FileNotFoundError:
                    pass


def _link(source: str, path: str, target: "Folder", name: str) -> None:
    try:
        os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:
        # Another file system, or one that has no links or no more for this file. A piece of it is no message.
        scan.make_missing(target.path)
        temporary = f"{target.path}/tmp/{name}"
        try:
            shutil.copy2(source, temporary)
            fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            _take_back([temporary])
            raise


def _new_content(connection: Any, folder: "Folder", content: int) -> int:
    """The summary is made again in another account; the message stays the same one (RFC 8474 5.1)."""
    row = folder.database.one("SELECT emailid FROM content WHERE id=?", content)
    found: int = connection.execute("INSERT INTO content (emailid) VALUES (?)", (row[0],)).lastrowid
    return found


@contextmanager
def _announced(folder: "Folder", names: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """A transaction that brings files of these unique names into a folder, all or none.

    Several are announced first, in a transaction of its own: who finds the announcement later, with the index to
    himself, knows that its writer has died, and removes what there is of the files. It goes in the transaction that
    makes the files messages; if somebody took it for a dead one's before that began, it is made again.
    """
    database = folder.database
    while True:
        number = 0
        if len(names) > 1:
            row = database.one(
                "INSERT INTO intent (directory, files) VALUES (?,?) RETURNING id", folder.directory, "\n".join(names)
            )
            number = int(row[0])
        try:
            with database.transaction() as connection:
                if number and connection.execute("DELETE FROM intent WHERE id=?", (number,)).rowcount != 1:
                    continue
                yield connection
                return
        except BaseException:
            if number:
                database.connection.execute("DELETE FROM intent WHERE id=?", (number,))
            raise


def _take_back(done: Sequence[str]) -> None:
    for path in done:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def _make_durable(folder: "Folder", files: Sequence[int]) -> None:
    directory = os.open(f"{folder.path}/cur", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if sync_file_system(directory):
            return
        for fd in files:
            os.fdatasync(fd)
        os.fsync(directory)
        folder.database.sync()
    finally:
        os.close(directory)
