"""An account's index against its files, and repairs: what no ordinary work puts right by itself.

With ``repair`` a finding was put right when it is given. Nothing is ever lost by it: what is removed has no message in
it any more (unfinished files of dead deliveries, rows without a file, entries that nobody refers to).
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tubepost.common.mailbox.maildir import fulltext, scan, upkeep
from tubepost.common.mailbox.maildir.names import email_id, split_file
from tubepost.common.mailbox.maildir.owner import Owner, as_owner
from tubepost.common.mailbox.trouble import is_corrupt

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount
    from tubepost.common.mailbox.maildir.folder import Folder

_BATCH = 500


class Finding(NamedTuple):
    """``folder``: empty where it is about the account; ``repaired``: False where it was only looked, or cannot be."""

    folder: str
    text: str
    repaired: bool


class Check:
    """One look over an account. ``run`` gives what it found as it goes on. Raises OSError, sqlite3.Error."""

    def __init__(
        self, account: "MaildirAccount", *, repair: bool = True, read: bool = False, now: float | None = None
    ) -> None:
        """``read``: look into each message's file as well (its size); slow. ``now``: seconds since the epoch."""
        self.owner: Owner = account.owner
        self._account = account
        self._repair = repair
        self._read = read
        self._now = time.time() if now is None else now

    def run(self) -> Iterator[Finding]:
        yield from self._index()
        yield from self._unfinished("", self._account.root)
        for info in self._account.folders():
            folder = self._account.folder(info.name)
            if missing := self._make_missing(folder):
                for part in missing:
                    yield self._found(info.name, f"there is no directory {part}")
                if not self._repair:
                    continue
            yield from self._files(folder)
            yield from self._unfinished(info.name, folder.path)
            yield from self._counters(folder)
            if self._read:
                yield from self._sizes(folder)
            yield from self._names(folder)
        yield from self._rows()
        yield from self._words()

    def _found(self, folder: str, text: str, repaired: bool | None = None) -> Finding:
        return Finding(folder, text, self._repair if repaired is None else repaired)

    # The index itself

    def _index(self) -> Iterator[Finding]:
        account = self._account
        if account.database.rebuilt:
            # When it was opened, just now.
            yield self._found("", "the index was corrupt: it was set aside and is built anew from the files", True)
            return
        try:
            problems = [row[0] for row in account.database.connection.execute("PRAGMA quick_check(5)")]
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            problems = [str(error)]
        if problems == ["ok"]:
            return
        text = f"the index is corrupt ({problems[0]})"
        if not self._repair:
            yield self._found("", text)
            return
        self._build_anew(sqlite3.DatabaseError(problems[0]))
        yield self._found("", f"{text}: it was set aside and is built anew from the files")

    @as_owner
    def _build_anew(self, error: sqlite3.Error) -> None:
        self._account.database.set_aside(error)
        self._account.renew()

    # Files

    @as_owner
    def _make_missing(self, folder: "Folder") -> list[str]:
        missing = [part for part in ("tmp", "new", "cur") if not os.path.isdir(f"{folder.path}/{part}")]
        if self._repair:
            for part in missing:
                os.mkdir(f"{folder.path}/{part}", 0o700)
        return missing

    @as_owner
    def _compare(self, folder: "Folder") -> tuple[int, int, int, list[str]]:
        """Files that the index does not know, rows without a file, files under another name, files there twice.

        In a transaction, so that nobody of this system changes ``cur`` meanwhile; what is delivered into ``new`` counts
        only when its row is missing though the directory was seen as it is.
        """
        there: dict[str, str] = {}
        twice = []
        for part in ("new", "cur"):
            try:
                names = os.listdir(f"{folder.path}/{part}")
            except FileNotFoundError:
                continue
            for name in names:
                if name.startswith("."):
                    continue
                file = split_file(name)[0]
                if file in there:
                    twice.append(file)
                there[file] = f"{part}/{name}"
        known = {
            file: f"{'cur' if place else 'new'}/{file}{info}"
            for file, place, info in folder.database.connection.execute(
                "SELECT file, place, info FROM message WHERE folder=?", (folder.id,)
            )
        }
        renamed = sum(1 for file, name in known.items() if file in there and there[file] != name)
        fresh = there.keys() - known.keys()
        if scan.stale(folder):
            # Delivered since the line above.
            fresh = {file for file in fresh if there[file].startswith("cur/")}
        return len(fresh), len(known.keys() - there.keys()), renamed, twice

    def _files(self, folder: "Folder") -> Iterator[Finding]:
        # What the next reader would notice is no fault: new mail, and what other programs did to the files.
        folder.sync()
        with folder.database.transaction():
            fresh, lost, renamed, twice = self._compare(folder)
        if self._repair and (fresh or lost or renamed):
            self._sync(folder)
        if fresh:
            yield self._found(folder.name, f"{fresh} messages are not in the index")
        if lost:
            yield self._found(folder.name, f"{lost} messages of the index have no file any more")
        if renamed:
            yield self._found(folder.name, f"{renamed} files have another name than the index says")
        for file in twice:
            yield self._found(folder.name, f"there are two files {file}: look which one is right", False)

    @as_owner
    def _sync(self, folder: "Folder") -> None:
        scan.sync(folder, force=True)

    @as_owner
    def _remove_unfinished(self, directory: str) -> list[str]:
        return upkeep.leftovers(directory, self._now, remove=self._repair)

    def _unfinished(self, folder: str, directory: str) -> Iterator[Finding]:
        if folder == "INBOX":
            # It is the account's own.
            return
        for name in self._remove_unfinished(directory):
            yield self._found(folder, f"{name} was left by a delivery that did not finish")

    # Rows

    def _counters(self, folder: "Folder") -> Iterator[Finding]:
        execute = folder.database.connection.execute
        seen = ",".join(map(str, folder.flagsets_with("\\Seen"))) or "-1"
        deleted = ",".join(map(str, folder.flagsets_with("\\Deleted"))) or "-1"
        counted = (
            f"SELECT count(*), count(*) FILTER (WHERE flagset NOT IN ({seen})), count(*) FILTER (WHERE flagset IN"
            f" ({deleted})), coalesce(sum(size),0), coalesce(max(uid),0)+1, coalesce(max(modseq),1)"
            " FROM message WHERE folder=?"
        )
        noted = "SELECT messages, unseen, deleted, size, uidnext, modseq FROM folder WHERE id=?"
        with folder.database.transaction():
            real = execute(counted, (folder.id,)).fetchone()
            known = execute(noted, (folder.id,)).fetchone()
            # UIDs and modification sequences that were given out stay given out.
            right = (*real[:4], max(real[4], known[4]), max(real[5], known[5]))
            if right == known:
                return
            if self._repair:
                execute(
                    "UPDATE folder SET messages=?, unseen=?, deleted=?, size=?, uidnext=?, modseq=? WHERE id=?",
                    (*right, folder.id),
                )
        folder.account.generation += 1
        names = ("messages", "unseen", "deleted", "size", "next UID", "modification sequence")
        wrong = [f"{name} {old} is {new}" for name, old, new in zip(names, known, right, strict=True) if old != new]
        yield self._found(folder.name, f"counters were wrong: {', '.join(wrong)}")

    @as_owner
    def _measure(self, folder: "Folder", row: tuple[int, int, str, str, int]) -> int | None:
        """The size when it is another one."""
        _, place, file, info, size = row
        measured = scan.measure(folder.file(place, file, info))
        return None if measured is None or measured[0] == size else measured[0]

    def _sizes(self, folder: "Folder") -> Iterator[Finding]:
        connection = folder.database.connection
        rows = connection.execute(
            "SELECT uid, place, file, info, size FROM message WHERE folder=?", (folder.id,)
        ).fetchall()
        wrong = [(size, row[0]) for row in rows if (size := self._measure(folder, row)) is not None]
        for start in range(0, len(wrong), _BATCH):
            some = wrong[start : start + _BATCH]
            if not self._repair:
                continue
            with folder.database.transaction():
                for size, uid in some:
                    connection.execute("UPDATE message SET size=? WHERE folder=? AND uid=?", (size, folder.id, uid))
                    # What was read from the file as it was before is of no use.
                    connection.execute(
                        "UPDATE content SET version=0, indexed=0 WHERE id="
                        "(SELECT content FROM message WHERE folder=? AND uid=?)",
                        (folder.id, uid),
                    )
                connection.execute(
                    "UPDATE folder SET size=(SELECT coalesce(sum(size),0) FROM message WHERE folder=?1) WHERE id=?1",
                    (folder.id,),
                )
            folder.account.generation += 1
        if wrong:
            yield self._found(folder.name, f"{len(wrong)} messages have another size than the index says")

    def _names(self, folder: "Folder") -> Iterator[Finding]:
        row = folder.database.one("SELECT count(*) FROM message WHERE folder=? AND dirty=1", folder.id)
        if not row[0]:
            return
        if self._repair:
            while folder.flush():
                pass
        yield self._found(folder.name, f"{row[0]} files did not yet tell their flags by their names")

    def _rows(self) -> Iterator[Finding]:
        steps = (
            (
                "entries of messages that no folder has any more",
                "content",
                "id NOT IN (SELECT content FROM message)",
            ),
            ("rows of folders that are no more", "message", "folder NOT IN (SELECT id FROM folder)"),
            ("removals of folders that are no more", "expunged", "folder NOT IN (SELECT id FROM folder)"),
            ("keywords of folders that are no more", "keyword", "folder NOT IN (SELECT id FROM folder)"),
            (
                "annotations of folders that are no more",
                "annotation",
                "folder!=0 AND folder NOT IN (SELECT id FROM folder)",
            ),
            ("rights in folders that are no more", "acl", "folder!=0 AND folder NOT IN (SELECT id FROM folder)"),
        )
        database = self._account.database
        for what, table, where in steps:
            with database.transaction() as connection:
                count = database.one(f"SELECT count(*) FROM {table} WHERE {where}")[0]
                if count and self._repair:
                    connection.execute(f"DELETE FROM {table} WHERE {where}")
            if count:
                yield self._found("", f"{count} {what}")
        with database.transaction() as connection:
            rows = connection.execute(
                "SELECT folder, uid, content, file FROM message WHERE content NOT IN (SELECT id FROM content)"
            ).fetchall()
            if rows and self._repair:
                connection.executemany(
                    "INSERT OR IGNORE INTO content (id, emailid) VALUES (?,?)",
                    [(content, email_id(file)) for _, _, content, file in rows],
                )
            bare = database.one("SELECT count(*) FROM message WHERE flagset NOT IN (SELECT id FROM flagset)")[0]
            if bare and self._repair:
                connection.execute(
                    "UPDATE message SET flagset=? WHERE flagset NOT IN (SELECT id FROM flagset)",
                    (self._account.flagsets.number(()),),
                )
        if rows or bare:
            self._account.generation += 1
        if rows:
            yield self._found("", f"{len(rows)} messages had no entry for their content")
        if bare:
            yield self._found("", f"{bare} messages had flags that are not known any more: they have none now")

    def _words(self) -> Iterator[Finding]:
        database = self._account.database
        try:
            database.connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            if self._repair:
                fulltext.reset(self._account)
            yield self._found("", "the full-text index is corrupt: it is built anew when it is next searched")
            return
        if fulltext.wasteful(self._account):
            if self._repair:
                fulltext.reset(self._account)
            yield self._found("", "the full-text index is mostly of messages that are gone: it is built anew")
