"""One folder: what is in it, what has changed, and reading a message."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tubepost.common.imap.search import Key

from tubepost.common.system.atomic import write_file
from tubepost.common.mailbox.maildir import fulltext, scan, summaries, transfer
from tubepost.common.mailbox.maildir.drafts import Draft
from tubepost.common.mailbox.maildir.migration import read_keywords
from tubepost.common.mailbox.maildir.names import KEYWORD_LETTERS, directory_of
from tubepost.common.mailbox.maildir.owner import Owner, as_owner
from tubepost.common.mailbox.maildir.reading import open_file
from tubepost.common.mailbox.maildir.search import Evaluation
from tubepost.common.mailbox.store import NoSuchFolder, NoSuchMessage
from tubepost.common.mailbox.values import Changes, Context, Indexed, Status, Stored
from tubepost.common.mailbox.view import ranges

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount

# Removals that are remembered for clients that come back (RFC 7162 3.2.6).
_REMEMBERED = 100_000
# Whether there are too many is looked at once in so many times.
_LOOK = 64
# Up to so many runs of UIDs are asked for one by one, above that by lists.
_RUNS = 8
_LIST = 500

_MESSAGE_COLUMNS = frozenset(
    {"uid", "flagset", "modseq", "content", "size", "internal", "saved", "place", "file", "info"}
)
CONTENT_COLUMNS = frozenset({
    "emailid", "threadid", "header_size", "sent", "sent_offset", "headers", "envelope", "body", "structure", "preview",
    "subject", "sender", "receiver", "copied", "blind", "base_subject", "display_from", "display_to", "first_from",
    "first_to", "first_cc", "message_id", "in_reply_to", "refs", "attachments",
})  # fmt: skip


class Folder:
    """Get it from ``MaildirAccount.folder``. ``id`` never means another folder, ``name`` may change."""

    def __init__(self, account: "MaildirAccount", number: int) -> None:
        self.account = account
        self.owner: Owner = account.owner
        self.database = account.database
        self.id = number
        row = self.database.one("SELECT name, mailboxid, uidvalidity FROM folder WHERE id=?", number)
        if row is None:
            raise NoSuchFolder(str(number))
        self.name: str = row[0]
        self.mailboxid: str = row[1]
        self.uidvalidity: int = row[2]
        directory = directory_of(self.name)
        self.directory = directory
        self.path = f"{account.root}/{directory}" if directory else account.root
        self.verified = 0.0
        """When ``cur`` was last compared with the index, monotonic seconds."""
        self._state: tuple[int, int] | None = None
        self._status: Status | None = None
        self.times: tuple[int, int] = (0, 0)
        """new_mtime and cur_mtime of the index, as of ``status``."""

    @property
    def is_replaced(self) -> bool:
        """The index was made anew since this folder was got: its UIDs mean nothing any more."""
        return self.database is not self.account.database or self.database.replaced

    @property
    def watched(self) -> tuple[str, ...]:
        """Where other programs change this folder's files."""
        return f"{self.path}/new", f"{self.path}/cur"

    # What is there

    def status(self) -> Status:
        """Raises NoSuchFolder when it was removed."""
        state = self.account.state()
        if state != self._state or self._status is None:
            row = self.database.one(
                "SELECT messages, unseen, deleted, size, uidnext, modseq, recent, floor, new_mtime, cur_mtime, name,"
                " uidvalidity FROM folder WHERE id=?",
                self.id,
            )
            if row is None or row[10] != self.name:
                raise NoSuchFolder(self.name)
            self._status = Status(*row[:8])
            self.times = row[8:10]
            self.uidvalidity = row[11]
            self._state = state
        return self._status

    @as_owner
    def stale(self) -> bool:
        """Is ``sync`` worth calling? Quick. Raises NoSuchFolder, OSError."""
        return scan.stale(self)

    def count_from(self, uid: int) -> int:
        """How many messages have this UID or a higher one."""
        return int(self.database.one("SELECT count(*) FROM message WHERE folder=? AND uid>=?", self.id, uid)[0])

    @as_owner
    def sync(self, *, force: bool = False) -> None:
        """Take notice of what other programs have done to the files; ``force``: look whatever their times say.

        Raises NoSuchFolder, OSError.
        """
        scan.sync(self, force)

    @as_owner
    def flush(self) -> int:
        """Let some file names tell the flags (a background task); returns how many there may be left to do."""
        return scan.flush(self)

    @as_owner
    def settle_new(self) -> tuple[int, int]:
        """A session has seen what is in ``new``: it belongs into ``cur``.

        Returns the first UID that is \\Recent there and nowhere else, and the first behind them.
        """
        status = self.status()
        if status.recent < status.uidnext:
            with self.database.transaction() as connection:
                row = self.database.one("SELECT recent, uidnext FROM folder WHERE id=?", self.id)
                if row is None:
                    raise NoSuchFolder(self.name)
                connection.execute("UPDATE folder SET recent=uidnext WHERE id=?", (self.id,))
                connection.execute("UPDATE message SET dirty=1 WHERE folder=? AND place=0", (self.id,))
            self.account.generation += 1
            return int(row[0]), int(row[1])
        return status.uidnext, status.uidnext

    def uids(self) -> list[tuple[int, int]]:
        """(uid, flagset) of all messages, ascending."""
        return self.database.connection.execute(
            "SELECT uid, flagset FROM message WHERE folder=? ORDER BY uid", (self.id,)
        ).fetchall()

    def changes(self, since: int) -> Changes:
        """What happened after this modification sequence."""
        execute = self.database.connection.execute
        changed = execute(
            "SELECT uid, flagset, modseq FROM message WHERE folder=? AND modseq>? ORDER BY uid", (self.id, since)
        ).fetchall()
        if since < self.status().floor:
            return Changes(changed, None)
        gone = execute("SELECT uid FROM expunged WHERE folder=? AND modseq>? ORDER BY uid", (self.id, since))
        return Changes(changed, [uid for (uid,) in gone])

    def first_unseen(self) -> int:
        """UID of the first message without \\Seen, 0 when there is none (RFC 3501 7.3.1 UNSEEN)."""
        if not self.status().unseen:
            return 0
        sets = ",".join(map(str, self.flagsets_with("\\Seen"))) or "-1"
        row = self.database.one(
            f"SELECT uid FROM message WHERE folder=? AND flagset NOT IN ({sets}) ORDER BY uid LIMIT 1", self.id
        )
        return 0 if row is None else int(row[0])

    def flagsets_with(self, flag: str) -> list[int]:
        """Numbers of the sets that have this flag."""
        wanted = self.account.flagsets.spell(flag)
        return [number for number, flags in self.account.flagsets.all().items() if wanted in flags]

    def keywords(self) -> list[str]:
        """Every keyword that a message of this folder has or had."""
        rows = self.database.connection.execute("SELECT name FROM keyword WHERE folder=? ORDER BY name", (self.id,))
        return [name for (name,) in rows]

    def rows(self, columns: Sequence[str], uids: Sequence[int], octets: int = 0) -> Iterator[tuple[Any, ...]]:
        """These columns of these messages (uid first is wise), ascending; those that are gone are missing. ``octets``:
        no more when texts have taken so many, which may be seen by the last row alone; 0: all.

        Message columns: uid flagset modseq content size internal saved, and place, file, info for ``read``; all others
        are of the summary, and are NULL until ``complete`` made it.
        """
        names = ",".join(f"m.{name}" if name in _MESSAGE_COLUMNS else f"c.{name}" for name in columns)
        assert all(name in _MESSAGE_COLUMNS or name in CONTENT_COLUMNS for name in columns)
        joined = not _MESSAGE_COLUMNS.issuperset(columns)
        source = "message m JOIN content c ON c.id=m.content" if joined else "message m"
        sql = f"SELECT {names} FROM {source} WHERE m.folder=? AND "
        left = octets
        for where, values in self.conditions("m.uid", uids):
            cursor = self.database.connection.execute(f"{sql}{where} ORDER BY m.uid", (self.id, *values))
            if not octets:
                yield from cursor.fetchall()
                continue
            some = []
            for row in cursor:
                some.append(row)
                left -= sum([len(value) for value in row if type(value) is bytes or type(value) is str])
                if left <= 0:
                    break
            cursor.close()
            yield from some
            if left <= 0:
                return

    def conditions(self, column: str, uids: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """SQL conditions that together name ascending UIDs."""
        if not uids:
            return
        runs = []
        for run in ranges(uids):
            runs.append(run)
            if len(runs) > _RUNS:
                break
        if len(runs) <= _RUNS:
            for low, high in runs:
                yield f"{column} BETWEEN ? AND ?", (low, high)
            return
        for start in range(0, len(uids), _LIST):
            some = uids[start : start + _LIST]
            yield f"{column} IN ({','.join(map(str, some))})", ()

    def unfinished(self) -> list[int]:
        """UIDs of messages without a summary, ascending."""
        return summaries.unfinished(self)

    @as_owner
    def complete(self, uids: Sequence[int]) -> None:
        """Make the summaries that are missing."""
        summaries.complete(self, uids)

    @as_owner
    def index(self, place: int = 0, limit: int = fulltext.BATCH) -> Indexed:
        """Take some messages into the full-text index, beginning behind ``place`` (0: the first)."""
        return fulltext.index(self, place, limit)

    def search(self, key: Key, context: Context) -> Evaluation:
        """Begin a search."""
        return Evaluation(self, key, context)

    # Reading

    @as_owner
    def open(self, uid: int) -> int:
        """A descriptor of the message's file. Raises NoSuchMessage, OSError."""
        for _ in range(3):
            row = self.database.one("SELECT place, file, info FROM message WHERE folder=? AND uid=?", self.id, uid)
            if row is None:
                break
            try:
                return open_file(self.file(*row))
            except FileNotFoundError:
                # Renamed by another program, or by another process between the two lines above.
                self.verified = 0.0
                scan.sync(self, force=True)
        raise NoSuchMessage(f"UID {uid} of {self.name}")

    @as_owner
    def read(self, uid: int, size: int, *location: Any) -> bytes | None:
        """The message's file at once, by a row that was just read (its ``size`` and LOCATION); None when it is larger
        than the row's ``size``.

        Raises NoSuchMessage, OSError.
        """
        try:
            fd = open_file(self.file(*location))
        except FileNotFoundError:
            fd = self.open(uid)
        try:
            # With CRLF a message is never smaller than as it is on disk.
            data = os.read(fd, size + 1)
            return data if len(data) <= size else None
        finally:
            os.close(fd)

    def handles(self, uids: Sequence[int]) -> dict[int, str]:
        """Where the files of these messages are now: for ``open_handle``, which is quicker than ``open`` for many."""
        found: dict[int, str] = {}
        for where, values in self.conditions("uid", uids):
            for uid, *row in self.database.connection.execute(
                f"SELECT uid, place, file, info FROM message WHERE folder=? AND {where}", (self.id, *values)
            ):
                found[uid] = self.file(*row)
        return found

    @as_owner
    def open_handle(self, path: str) -> int:
        """Raises FileNotFoundError where the file has another name now, OSError."""
        return open_file(path)

    def file(self, place: int, file: str, info: str) -> str:
        return f"{self.path}/{'cur' if place else 'new'}/{file}{info}"

    # Changing

    @as_owner
    def store(self, uids: Sequence[int], mode: str, flags: Iterable[str], unchanged_since: int | None = None) -> Stored:
        """``mode``: ``+``, ``-`` or ``=``. The names of files follow later (``flush``). Raises sqlite3.Error."""
        sets = self.account.flagsets
        changed: list[tuple[int, int, int]] = []
        modified: list[int] = []
        with self.database.transaction() as connection:
            given = [sets.spell(flag) for flag in flags]
            becomes: dict[int, int] = {}
            modseq = self.next_modseq()
            unseen = deleted = 0
            updates = []
            for uid, flagset, known in self.rows(("uid", "flagset", "modseq"), uids):
                if unchanged_since is not None and known > unchanged_since:
                    modified.append(uid)
                    continue
                after = becomes.get(flagset)
                if after is None:
                    after = becomes[flagset] = sets.number(_combine(mode, sets.flags(flagset), given))
                if after != flagset:
                    updates.append((after, modseq, self.id, uid))
                    changed.append((uid, after, modseq))
                    seen = self.seen(after) - self.seen(flagset)
                    unseen -= seen
                    deleted += self.marked(after) - self.marked(flagset)
            if updates:
                connection.executemany(
                    "UPDATE message SET flagset=?, modseq=?, dirty=1 WHERE folder=? AND uid=?", updates
                )
                connection.execute(
                    "UPDATE folder SET modseq=?, unseen=unseen+?, deleted=deleted+? WHERE id=?",
                    (modseq, unseen, deleted, self.id),
                )
                self.note_keywords(given)
        if updates:
            self.account.generation += 1
        return Stored(changed, modified)

    @as_owner
    def expunge(self, uids: Sequence[int] | None = None) -> list[int]:
        """Remove messages for good: those with \\Deleted, of ``uids`` where given. Returns the UIDs removed."""
        gone: list[int] = []
        marked = set(self.flagsets_with("\\Deleted"))
        if not marked:
            return gone
        if uids is None:
            sets = ",".join(map(str, marked))
            found = self.database.connection.execute(
                f"SELECT uid FROM message WHERE folder=? AND flagset IN ({sets}) ORDER BY uid", (self.id,)
            )
            uids = [uid for (uid,) in found]
        for start in range(0, len(uids), _LIST):
            gone += transfer.remove(self, uids[start : start + _LIST], marked)
        return gone

    @as_owner
    def remove(self, uids: Sequence[int]) -> list[int]:
        """As ``expunge``, whatever the flags are (POP3's DELE, the command line)."""
        gone: list[int] = []
        for start in range(0, len(uids), _LIST):
            gone += transfer.remove(self, uids[start : start + _LIST], None)
        return gone

    @as_owner
    def draft(self) -> Draft:
        """A message to be written and then given to ``append``. Raises OSError."""
        try:
            return Draft(f"{self.path}/tmp")
        except FileNotFoundError:
            scan.make_missing(self.path)
            return Draft(f"{self.path}/tmp")

    @as_owner
    def append(self, drafts: Sequence[Draft]) -> list[int]:
        """All or none; durable when it returns. Returns their UIDs. Raises OSError, sqlite3.Error."""
        return transfer.append(self, drafts)

    @as_owner
    def copy(self, uids: Sequence[int], target: "Folder") -> tuple[list[int], list[int]]:
        """All or none; durable when it returns. Returns the UIDs here and there, of those that are still here.

        Raises OSError, sqlite3.Error, NoSuchFolder.
        """
        return transfer.copy(self, uids, target)

    @as_owner
    def move(self, uids: Sequence[int], target: "Folder") -> tuple[list[int], list[int]]:
        """As ``copy``, and they are no more here."""
        return transfer.move(self, uids, target)

    def deleted_size(self) -> int:
        """Octets of the messages with \\Deleted (RFC 9208 5.2: DELETED-STORAGE)."""
        sets = ",".join(map(str, self.flagsets_with("\\Deleted"))) or "-1"
        return int(
            self.database.one(
                f"SELECT coalesce(sum(size),0) FROM message WHERE folder=? AND flagset IN ({sets})", self.id
            )[0]
        )

    # For the modules beside this one

    def next_modseq(self) -> int:
        """Within a transaction. Milliseconds, so that what a power failure took away is never given out again."""
        known = self.database.one("SELECT modseq FROM folder WHERE id=?", self.id)
        if known is None:
            raise NoSuchFolder(self.name)
        return max(int(known[0]) + 1, time.time_ns() // 1_000_000)

    def seen(self, flagset: int) -> bool:
        return "\\Seen" in self.account.flagsets.flags(flagset)

    def marked(self, flagset: int) -> bool:
        return "\\Deleted" in self.account.flagsets.flags(flagset)

    def letters(self) -> dict[str, str]:
        """Keyword to its letter in file names."""
        rows = self.database.connection.execute(
            "SELECT name, letter FROM keyword WHERE folder=? AND letter!=''", (self.id,)
        )
        return dict(rows.fetchall())

    def learn_keywords(self) -> dict[str, str]:
        """Letter to keyword, as Dovecot's file tells; noted in the index. Within a transaction."""
        used = set(self.letters().values())
        found = {letter: name for letter, name in read_keywords(self.path).items() if letter not in used}
        self.database.connection.executemany(
            "INSERT OR IGNORE INTO keyword (folder, name, letter) VALUES (?,?,?)",
            [(self.id, self.account.flagsets.spell(name), letter) for letter, name in found.items()],
        )
        return {letter: name for name, letter in self.letters().items()}

    def note_keywords(self, flags: Iterable[str]) -> None:
        """Keywords that are new here; the first 26 get a letter, which other programs read. Within a transaction."""
        wanted = [flag for flag in flags if not flag.startswith("\\") and flag != "$Forwarded"]
        if not wanted:
            return
        ask, spell = "SELECT name, letter FROM keyword WHERE folder=?", self.account.flagsets.spell
        known = {name.lower() for name, _ in self.database.connection.execute(ask, (self.id,))}
        if known.issuperset(flag.lower() for flag in wanted):
            return
        # Other programs may have given letters since.
        self.learn_keywords()
        rows = self.database.connection.execute(ask, (self.id,)).fetchall()
        known = {name.lower() for name, _ in rows}
        used = {letter for _, letter in rows}
        fresh = list({flag.lower(): spell(flag) for flag in reversed(wanted) if flag.lower() not in known}.values())
        fresh.reverse()
        free = [letter for letter in KEYWORD_LETTERS if letter not in used]
        for flag in fresh:
            letter = free.pop(0) if free else ""
            self.database.connection.execute(
                "INSERT INTO keyword (folder, name, letter) VALUES (?,?,?)", (self.id, flag, letter)
            )
        lines = sorted((KEYWORD_LETTERS.index(letter), name) for name, letter in self.letters().items())
        write_file(
            f"{self.path}/dovecot-keywords", "".join(f"{number} {name}\n" for number, name in lines).encode(), 0o600
        )

    @as_owner
    def forget_keywords(self) -> None:
        """Those that no message has any more, but for those with a letter: it may stand in names of files that other
        programs are about to put here. Raises sqlite3.Error."""
        with self.database.transaction() as connection:
            numbers = connection.execute("SELECT DISTINCT flagset FROM message WHERE folder=?", (self.id,)).fetchall()
            used = {flag.lower() for (number,) in numbers for flag in self.account.flagsets.flags(number)}
            rows = connection.execute("SELECT name FROM keyword WHERE folder=? AND letter=''", (self.id,)).fetchall()
            connection.executemany(
                "DELETE FROM keyword WHERE folder=? AND name=?",
                [(self.id, name) for (name,) in rows if name.lower() not in used],
            )
        self.account.generation += 1

    def note_removed(self, uids: Sequence[int], modseq: int) -> None:
        """Remember removals, and forget the oldest of too many. Within a transaction."""
        connection = self.database.connection
        connection.executemany(
            "INSERT OR IGNORE INTO expunged (folder, modseq, uid) VALUES (?,?,?)",
            [(self.id, modseq, uid) for uid in uids],
        )
        if modseq % _LOOK:
            return
        oldest = self.database.one(
            "SELECT modseq FROM expunged WHERE folder=? ORDER BY modseq DESC LIMIT 1 OFFSET ?", self.id, _REMEMBERED
        )
        if oldest is not None:
            connection.execute("DELETE FROM expunged WHERE folder=? AND modseq<=?", (self.id, oldest[0]))
            connection.execute("UPDATE folder SET floor=? WHERE id=?", (oldest[0], self.id))


def _combine(mode: str, before: Sequence[str], given: Sequence[str]) -> list[str]:
    if mode == "+":
        return [*before, *given]
    if mode == "-":
        return [flag for flag in before if flag not in given]
    return list(given)
