"""The files and the index brought together: what other programs did to the files, and flags into file names.

A directory's time tells whether there is anything to look at. While this program itself changes ``cur`` it holds the
index, and if the time was the known one before, the time after the change is the known one as well. A time that was
still fresh when it was noted (negative in the index) may hide a later change within the same tick of the kernel's
clock: the directory is read once more when it has aged.
"""

import errno
import os
import time
from typing import TYPE_CHECKING, Any

from tubepost.common.system import log
from tubepost.common.mailbox.maildir.migration import read_uidlist
from tubepost.common.mailbox.maildir.names import LETTERS, email_id, flags_of, info_of, split_file
from tubepost.common.mailbox.store import NoSuchFolder

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount
    from tubepost.common.mailbox.maildir.folder import Folder

# The kernel notes file times by its clock tick, 10 ms at most.
_FRESH = 20_000_000
# ``cur`` of a folder that only this system changes is read again no more often than this, seconds.
_VERIFY = 2.0
_FLUSH = 200
_CHUNK = 1 << 20
_LARGEST_UID = 0xFFFFFFFE
# Errors of the moment: what cannot be read now may be readable the next time.
_PASSING = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})


def stale(folder: "Folder") -> bool:
    """Is there, or may there be, anything in the directories that the index does not know? Raises NoSuchFolder."""
    return any(_look(folder))


def _look(folder: "Folder") -> tuple[bool, bool]:
    """Which of new and cur are to be read."""
    folder.status()
    new_known, cur_known = folder.times
    try:
        new, cur = _times(folder)
    except FileNotFoundError:
        try:
            make_missing(folder.path)
            new, cur = _times(folder)
        except FileNotFoundError:
            folder.account.folders()
            raise NoSuchFolder(folder.name) from None
    if abs(cur_known) == cur:
        return new != new_known, cur_known < 0 and time.monotonic() - folder.verified >= _VERIFY
    return new != new_known, True


def _times(folder: "Folder") -> tuple[int, int]:
    return os.stat(f"{folder.path}/new").st_mtime_ns, os.stat(f"{folder.path}/cur").st_mtime_ns


def make_missing(path: str) -> None:
    """Copies and backups lose directories that are empty: make ``new`` and ``tmp`` of a folder again.

    Raises FileNotFoundError when it is no folder (any more), OSError.
    """
    os.stat(f"{path}/cur")
    for part in ("new", "tmp"):
        try:
            # Not with what is above: the folder may just be going.
            os.mkdir(f"{path}/{part}", 0o700)
        except FileExistsError:
            pass


def sync(folder: "Folder", force: bool = False) -> None:
    """See Folder.sync. ``force``: read both directories whatever their times say."""
    look_new, look_cur = (True, True) if force else _look(folder)
    if not look_new and not look_cur:
        return
    measured = _measure_all(folder) if folder.status().uidnext == 1 else {}
    with folder.database.transaction():
        changed = _Scan(folder, measured).run(look_cur)
    folder.account.generation += 1
    if changed:
        folder.database.sync()
    folder.status()


def _measure_all(folder: "Folder") -> dict[str, tuple[int, int]]:
    """The unique part of each file's name to what ``measure`` says.

    A folder that is looked at for the first time may have very many files: all that is read of them is read before the
    index is locked, or other processes would wait longer than they can.
    """
    found = {}
    for part in ("new", "cur"):
        directory = f"{folder.path}/{part}"
        for name in _listing(directory):
            measured = measure(f"{directory}/{name}")
            if measured is not None:
                found[split_file(name)[0]] = measured
    return found


class _Scan:
    """Within a transaction: nobody of this system changes anything meanwhile."""

    def __init__(self, folder: "Folder", measured: dict[str, tuple[int, int]]) -> None:
        self._folder = folder
        self._measured = measured
        self._connection = folder.database.connection
        self._letters: dict[str, str] | None = None
        self._changed = False
        self._later: set[str] = set()

    def run(self, look_cur: bool) -> bool:
        """Did the index get other messages or flags?"""
        folder, connection = self._folder, self._connection
        finish_intents(folder.account)
        row = folder.database.one("SELECT new_mtime, cur_mtime, uidnext, name FROM folder WHERE id=?", folder.id)
        if row is None or row[3] != folder.name:
            # Under another name: what stands in this directory now may be the files of another folder.
            raise NoSuchFolder(folder.name)
        if row[2] == 1 and not folder.account.is_rebuilt:
            self._adopt_uidlist()
        new_mtime = os.stat(f"{folder.path}/new").st_mtime_ns
        cur_mtime = os.stat(f"{folder.path}/cur").st_mtime_ns
        in_new = _listing(f"{folder.path}/new")
        known_new = {
            file + info: (uid, file, info, flagset)
            for uid, file, info, flagset in connection.execute(
                "SELECT uid, file, info, flagset FROM message WHERE folder=? AND place=0", (folder.id,)
            )
        }
        look_cur = look_cur or not in_new.issuperset(known_new) or abs(row[1]) != cur_mtime
        in_cur: set[str] = set()
        known_cur: dict[str, Any] = {}
        if look_cur:
            in_cur = _listing(f"{folder.path}/cur")
            known_cur = {
                file + info: (uid, file, info, flagset)
                for uid, file, info, flagset in connection.execute(
                    "SELECT uid, file, info, flagset FROM message WHERE folder=? AND place=1", (folder.id,)
                )
            }
            folder.verified = time.monotonic()
            self._leave_out_moved(in_new, in_new - known_new.keys(), in_cur, in_cur - known_cur.keys())
        fresh = [(0, name) for name in in_new - known_new.keys()] + [(1, name) for name in in_cur - known_cur.keys()]
        lost = {known_new[name][1]: known_new[name] for name in known_new.keys() - in_new}
        lost |= {known_cur[name][1]: known_cur[name] for name in known_cur.keys() - in_cur}
        fresh = self._renamed(self._writable(fresh), lost)
        if lost:
            others = {f"new/{name}" for name in in_new & known_new.keys()}
            self._remove(lost, others | {f"cur/{name}" for name in in_cur & known_cur.keys()})
        if fresh:
            self._add(fresh)
        if self._changed:
            self._count()
        now = time.time_ns()
        connection.execute(
            "UPDATE folder SET new_mtime=?, cur_mtime=CASE WHEN ? THEN ? ELSE cur_mtime END WHERE id=?",
            (self._noted(new_mtime, now), look_cur, self._noted(cur_mtime, now), folder.id),
        )
        return self._changed

    def _leave_out_moved(self, in_new: set[str], fresh_new: set[str], in_cur: set[str], fresh_cur: set[str]) -> None:
        """What another program renamed while the directories were read may have been seen twice, and is one message."""
        wanted = {split_file(name)[0] for names in (fresh_new, fresh_cur) for name in names}
        if not wanted:
            return
        seen: dict[str, list[tuple[str, set[str], str]]] = {}
        for part, names in (("new", in_new), ("cur", in_cur)):
            for name in names:
                if (file := split_file(name)[0]) in wanted:
                    seen.setdefault(file, []).append((part, names, name))
        for places in seen.values():
            for part, names, name in places if len(places) > 1 else ():
                if not os.path.lexists(f"{self._folder.path}/{part}/{name}"):
                    names.discard(name)

    def _writable(self, fresh: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """The index has text: a file whose name is none (bytes that are not UTF-8) gets another name."""
        found = []
        for place, name in fresh:
            legal = name
            if not name.isascii():
                file, info = (part.encode("utf-8", "surrogateescape") for part in split_file(name))
                legal = file.decode("utf-8", "backslashreplace") + info.decode("utf-8", "ignore")
            if legal != name:
                directory = f"{self._folder.path}/{'cur' if place else 'new'}"
                try:
                    if os.path.lexists(f"{directory}/{legal}"):
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                    os.rename(f"{directory}/{name}", f"{directory}/{legal}")
                except FileNotFoundError:
                    continue
                except OSError as error:
                    log.warning(f"{directory}: a file whose name is not UTF-8 cannot be {legal}: {error.strerror}")
                    continue
                log.info(f"{directory}: a file whose name was not UTF-8 is now {legal}")
            found.append((place, legal))
        return found

    def _noted(self, mtime: int, now: int) -> int:
        """Negative: it is to be looked at again, though it may not change."""
        return mtime if now - mtime > _FRESH and not self._later else -mtime

    def _keywords(self) -> dict[str, str]:
        if self._letters is None:
            self._letters = self._folder.learn_keywords()
        return self._letters

    def _renamed(self, fresh: list[tuple[int, str]], lost: dict[str, Any]) -> list[tuple[int, str]]:
        """Files that are known under another name: their flags were changed, or they went from new to cur."""
        remaining = []
        modseq = 0
        folder = self._folder
        for place, name in fresh:
            file, info = split_file(name)
            known = lost.pop(file, None)
            if known is None:
                remaining.append((place, name))
                continue
            uid, _, before, flagset = known
            after = flagset
            if info != before and (place or info):
                # What the other program did, on top of what is not yet written into the name.
                letters = self._keywords()
                sets = folder.account.flagsets
                was, now = set(flags_of(before, letters)), set(flags_of(info, letters))
                after = sets.number((set(sets.flags(flagset)) | (now - was)) - (was - now))
            modseq = modseq or folder.next_modseq()
            self._connection.execute(
                "UPDATE message SET place=?, info=?, flagset=?, modseq=CASE WHEN flagset!=? THEN ? ELSE modseq END,"
                " dirty=coalesce(?, dirty) WHERE folder=? AND uid=?",
                (place, info, after, after, modseq, self._untold(after, place, info), folder.id, uid),
            )
            if after != flagset:
                self._connection.execute("UPDATE folder SET modseq=? WHERE id=?", (modseq, folder.id))
            self._changed = True
        return remaining

    def _untold(self, flagset: int, place: int, info: str) -> bool | None:
        """Is the file's name to say something else? None: it differs in what is not understood alone."""
        keywords = self._keywords()
        flags = self._folder.account.flagsets.flags(flagset)
        wanted = info_of(flags, {keyword: letter for letter, keyword in keywords.items()})
        if place and info == wanted:
            return False
        told = {letter for letter in info[3:] if letter in LETTERS or letter in keywords}
        return told != set(wanted[3:]) or None

    def _remove(self, lost: dict[str, Any], others: set[str]) -> None:
        """A directory that others rename in while it is read may not show a file: look again before it counts.

        ``others``: files of rows that are not lost, though the unique part of a name may be the same.
        """
        folder = self._folder
        there = {
            split_file(name)[0]
            for part in ("new", "cur")
            for name in _listing(f"{folder.path}/{part}")
            if f"{part}/{name}" not in others
        }
        gone = [known for file, known in lost.items() if file not in there]
        if len(gone) < len(lost):
            folder.verified = 0.0
        if not gone:
            return
        modseq = folder.next_modseq()
        uids = sorted(known[0] for known in gone)
        contents: list[int] = []
        for where, values in folder.conditions("uid", uids):
            contents += [
                content
                for (content,) in self._connection.execute(
                    f"SELECT content FROM message WHERE folder=? AND {where}", (folder.id, *values)
                )
            ]
            self._connection.execute(f"DELETE FROM message WHERE folder=? AND {where}", (folder.id, *values))
        folder.account.drop_contents(contents)
        folder.note_removed(uids, modseq)
        self._connection.execute("UPDATE folder SET modseq=? WHERE id=?", (modseq, folder.id))
        self._changed = True

    def _add(self, fresh: list[tuple[int, str]]) -> None:
        folder = self._folder
        found = []
        for place, name in fresh:
            measured = self._measured.get(split_file(name)[0])
            measured = measured or measure(f"{folder.path}/{'cur' if place else 'new'}/{name}", self._later)
            if measured is not None:
                found.append((_delivered(name, measured[1]), name, place, *measured))
        if not found:
            return
        found.sort()
        row = folder.database.one("SELECT uidnext FROM folder WHERE id=?", folder.id)
        uidnext: int = row[0]
        sets = folder.account.flagsets
        modseq = folder.next_modseq()
        now = int(time.time())
        messages = []
        keywords = self._keywords()
        for _, name, place, size, internal in found:
            file, info = split_file(name)
            uid = self._uids.pop(file, 0) if self._uids else 0
            if not uid:
                uid, uidnext = uidnext, uidnext + 1
            if uid > _LARGEST_UID:
                log.error(f"{folder.path}: out of UIDs; move the mail of this folder to a new one")
                break
            content = self._connection.execute("INSERT INTO content (emailid) VALUES (?)", (email_id(file),)).lastrowid
            flagset = sets.number(flags_of(info, keywords))
            messages.append((folder.id, uid, flagset, modseq, content, size, internal, now, place, file, info))
        self._connection.executemany(
            "INSERT INTO message (folder, uid, flagset, modseq, content, size, internal, saved, place, file, info)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            messages,
        )
        self._connection.execute("UPDATE folder SET uidnext=?, modseq=? WHERE id=?", (uidnext, modseq, folder.id))
        self._changed = True

    _uids: dict[str, int] = {}  # noqa: RUF012 - replaced, never changed

    def _adopt_uidlist(self) -> None:
        """The first scan of a folder that Dovecot has had: its UIDs stay what they are."""
        folder = self._folder
        known = read_uidlist(folder.path)
        if known is None or folder.database.one("SELECT 1 FROM message WHERE folder=?", folder.id) is not None:
            return
        self._uids = known.uids
        folder.account.note_uidvalidity(known.uidvalidity)
        self._connection.execute(
            "UPDATE folder SET uidvalidity=?, uidnext=?, recent=? WHERE id=?",
            (known.uidvalidity, known.uidnext, known.uidnext, folder.id),
        )

    def _count(self) -> None:
        """Counters anew, as the messages are."""
        folder = self._folder
        seen = ",".join(map(str, folder.flagsets_with("\\Seen"))) or "-1"
        deleted = ",".join(map(str, folder.flagsets_with("\\Deleted"))) or "-1"
        self._connection.execute(
            f"UPDATE folder SET (messages, unseen, deleted, size) = (SELECT count(*), count(*) FILTER (WHERE"
            f" flagset NOT IN ({seen})), count(*) FILTER (WHERE flagset IN ({deleted})), coalesce(sum(size),0)"
            " FROM message WHERE folder=?1) WHERE id=?1",
            (folder.id,),
        )


def _listing(directory: str) -> set[str]:
    return {name for name in os.listdir(directory) if not name.startswith(".")}


def _delivered(name: str, internal: int) -> int:
    """When a message came, for the order of UIDs: a delivery puts the time first into its file's name."""
    seconds = name.partition(".")[0]
    return int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 12 else internal


def measure(path: str, later: set[str] | None = None) -> tuple[int, int] | None:
    """Size with CRLF line ends, and the file's time in seconds; None for what is no readable file.

    One that may be readable another time is put into ``later``.
    """
    try:
        return _measure(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning(f"{path}: left out: {error.strerror}")
        if later is not None and error.errno in _PASSING:
            later.add(path)
        return None


def _measure(path: str) -> tuple[int, int] | None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if found.st_mode & 0o170000 != 0o100000:
            return None
        size = found.st_size
        last = b""
        while data := os.read(fd, _CHUNK):
            size += data.count(b"\n")
            if b"\r" in data or last == b"\r":
                size -= data.count(b"\r\n") + (last == b"\r" and data[:1] == b"\n")
            last = data[-1:]
        return size, int(found.st_mtime)
    finally:
        os.close(fd)


def finish_intents(account: "MaildirAccount") -> None:
    """Remove what processes left that died while they brought several messages into a folder. Within a transaction."""
    connection = account.database.connection
    for number, directory, files in connection.execute("SELECT id, directory, files FROM intent").fetchall():
        base = f"{account.root}/{directory}/cur" if directory else f"{account.root}/cur"
        names = set(files.split("\n"))
        try:
            # Of the names the unique parts are known; what follows them tells flags.
            for found in os.listdir(base):
                if split_file(found)[0] in names:
                    os.unlink(f"{base}/{found}")
                    log.info(f"{base}/{found}: removed, its copying was not finished")
        except FileNotFoundError:
            pass
        connection.execute("DELETE FROM intent WHERE id=?", (number,))


# While this program changes cur


def begin_change(folder: "Folder") -> bool:
    """Within a transaction, before files in ``cur`` are made, renamed or removed. Give the answer to ``end_change``."""
    known = folder.database.one("SELECT cur_mtime, name FROM folder WHERE id=?", folder.id)
    if known is None or known[1] != folder.name:
        raise NoSuchFolder(folder.name)
    return bool(abs(known[0]) == os.stat(f"{folder.path}/cur").st_mtime_ns)


def end_change(folder: "Folder", known: bool) -> None:
    if known:
        mtime = os.stat(f"{folder.path}/cur").st_mtime_ns
        folder.database.connection.execute("UPDATE folder SET cur_mtime=? WHERE id=?", (-mtime, folder.id))


def flush(folder: "Folder", limit: int = _FLUSH) -> int:
    """See Folder.flush."""
    connection = folder.database.connection
    rows = connection.execute(
        "SELECT uid FROM message WHERE folder=? AND dirty=1 LIMIT ?", (folder.id, limit)
    ).fetchall()
    if not rows:
        return 0
    with folder.database.transaction():
        rows = connection.execute(
            "SELECT uid, flagset, place, file, info FROM message WHERE folder=? AND dirty=1 LIMIT ?", (folder.id, limit)
        ).fetchall()
        change = begin_change(folder)
        letters = folder.letters()
        sets = folder.account.flagsets
        updates = []
        for uid, flagset, place, file, info in rows:
            wanted = info_of(sets.flags(flagset), letters)
            if wanted != info or not place:
                try:
                    os.rename(folder.file(place, file, info), folder.file(1, file, wanted))
                except FileNotFoundError:
                    # Renamed or removed by another program: the next scan sees what it did.
                    folder.verified = 0.0
                    continue
                except OSError as error:
                    if error.errno != errno.ENAMETOOLONG:
                        raise
                    # Its flags stand in the index alone.
                    continue
            updates.append((wanted, folder.id, uid))
        connection.executemany("UPDATE message SET place=1, info=?, dirty=0 WHERE folder=? AND uid=?", updates)
        if len(updates) < len(rows):
            connection.executemany(
                "UPDATE message SET dirty=0 WHERE folder=? AND uid=?", [(folder.id, row[0]) for row in rows]
            )
        end_change(folder, change)
    folder.account.generation += 1
    return len(rows)
