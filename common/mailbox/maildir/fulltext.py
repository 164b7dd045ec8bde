"""The full-text index of an account: texts of messages into terms, terms into candidates.

``words`` (FTS5) has which terms a content has in its header and in its body, not where; ``vocabulary`` has every word
once, so that a part of a word is found in it and then looked up. Contents that are gone leave their terms behind, which
does no harm (whoever asks looks for messages that are there); ``reindex`` begins anew when they are the most.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tubepost.common.mail import structure, text
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.structure import Part
from tubepost.common.system import log
from tubepost.common.mailbox.maildir.database import Database
from tubepost.common.mailbox.maildir.reading import read_with
from tubepost.common.mailbox.maildir.words import Needle, Terms, Want, fold, terms
from tubepost.common.mailbox.values import Indexed

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount
    from tubepost.common.mailbox.maildir.folder import Folder

R = TypeVar("R")

BATCH = 100
"""Messages whose terms are written in one transaction, at most: others wait meanwhile."""
_BATCH_OCTETS = 8 << 20
# Octets of all headers of the parts of one message that are indexed.
_MIME_LIMIT = 1 << 20
# Terms of one question to the index.
_TERMS = 300
# Octets of vocabularies that a process keeps; of one account, above that it is read from the index each time.
_KEPT = 64 << 20
_KEPT_OF_ONE = 32 << 20
_ROWS = 20_000


class Damaged(OSError):
    """The full-text index was damaged and is empty now: what was asked of it may be asked again."""


class Texts(NamedTuple):
    """Of one message, folded, made when they are asked for."""

    data: Data
    root: Part

    def header(self) -> Iterator[str]:
        """RFC 9051 6.4.4, TEXT: with the MIME header fields; those of a message within are part of the body."""
        yield fold("\n".join(text.header_texts(self.root)))
        if self.root.children or self.root.message is not None:
            yield from map(fold, _mime_texts(self.data, self.root))

    def body(self) -> Iterator[str]:
        return map(fold, text.body_texts(self.data, self.root))


def texts_of(data: Data) -> Texts:
    """What SEARCH TEXT and BODY look into. ``data`` must stay open."""
    return Texts(data, structure.parse(data))


def _terms_of(data: Data) -> tuple[Terms, Terms]:
    """Of the header and of the body."""
    found = texts_of(data)
    return terms(found.header()), terms(found.body())


def _mime_texts(data: Data, root: Part) -> Iterator[str]:
    left = _MIME_LIMIT
    for part in structure.walk(root)[1:]:
        if part.fields:
            continue
        size = part.header_end - part.header_start
        if size <= 0 or left < 0:
            continue
        left -= size
        fields = structure.scan_fields(data, part.header_start, part.header_end)
        yield "\n".join(f"{name.decode('ascii')}: {text.decode_value(value)}" for name, value in fields)


# Into the index


def pending(folder: "Folder") -> int:
    """How many messages of a folder the index does not have yet. Quick when there are none."""
    database = folder.database
    if database.one("SELECT 1 FROM content WHERE indexed=0 LIMIT 1") is None:
        return 0
    return int(
        database.one(
            "SELECT count(*) FROM content c JOIN message m ON m.content=c.id WHERE c.indexed=0 AND m.folder=?",
            folder.id,
        )[0]
    )


def unfinished(account: "MaildirAccount", full_text: bool = True) -> list[str]:
    """Folders with messages that lack their summary, or (with ``full_text``) are not in this index; INBOX first."""
    found: dict[str, None] = {}
    for condition in ("c.version=0", "c.indexed=0")[: 1 + full_text]:
        rows = account.database.connection.execute(
            "SELECT DISTINCT f.name FROM content c JOIN message m ON m.content=c.id JOIN folder f ON f.id=m.folder"
            f" WHERE {condition} ORDER BY f.name!='INBOX', f.name"
        )
        found.update((name, None) for (name,) in rows)
    return list(found)


def index(folder: "Folder", place: int = 0, limit: int = BATCH) -> Indexed:
    """Take some more messages of a folder into the index, beginning behind ``place``. Raises sqlite3.Error."""
    connection = folder.database.connection
    rows = connection.execute(
        "SELECT c.id, m.place, m.file, m.info, m.size FROM content c JOIN message m ON m.content=c.id"
        " WHERE c.indexed=0 AND c.id>? AND m.folder=? ORDER BY c.id LIMIT ?",
        (place, folder.id, limit),
    ).fetchall()
    found: list[tuple[int, int, str, str]] = []
    vocabulary: set[str] = set()
    done = octets = 0
    for content, where, file, info, size in rows:
        place = content
        done += 1
        made = read_with(folder.file(where, file, info), _terms_of)
        if made is not None:
            header, body = made
            if header.whole and body.whole:
                vocabulary |= header.words
                vocabulary |= body.words
                head = " ".join((*header.words, *header.grams))
                found.append((content, 1, head, " ".join((*body.words, *body.grams))))
            else:
                found.append((content, 2, "", ""))
        octets += min(size, text.BODY_LIMIT)
        if octets > _BATCH_OCTETS:
            break
    if found:
        with mending(folder.database):
            _write(folder.database, found, vocabulary)
    return Indexed(place, done)


def _write(database: Database, found: Sequence[tuple[int, int, str, str]], vocabulary: set[str]) -> None:
    with database.transaction() as connection:
        count = 0
        for content, state, header, body in found:
            # Another process may have been quicker, and the message may be gone.
            changed = connection.execute("UPDATE content SET indexed=? WHERE id=? AND indexed=0", (state, content))
            if changed.rowcount and state == 1:
                connection.execute("INSERT INTO words (rowid, header, body) VALUES (?,?,?)", (content, header, body))
                count += 1
        connection.executemany("INSERT OR IGNORE INTO vocabulary (word) VALUES (?)", [(word,) for word in vocabulary])
        connection.execute(
            "INSERT INTO account (key, value) VALUES ('words', ?1) ON CONFLICT (key) DO UPDATE SET value=value+?1",
            (count,),
        )


def wasteful(account: "MaildirAccount", least: int = 5000, words: int = 500_000) -> bool:
    """Is more than half of the index of messages that are gone? ``least``: of so many at least, or with so many
    different ``words``: a message may have a hundred thousand."""
    row = account.database.one("SELECT value FROM account WHERE key='words'")
    if row is None:
        return False
    # Numbers of words only grow, also from one beginning to the next.
    count = account.database.one("SELECT (SELECT max(id) FROM vocabulary) - (SELECT min(id) FROM vocabulary)")[0]
    if row[0] < least and (count or 0) < words:
        return False
    return bool(row[0] > 2 * account.database.one("SELECT count(*) FROM content")[0])


def reset(account: "MaildirAccount") -> None:
    """Empty the full-text index; ``index`` fills it again, search by search or in the background."""
    with account.database.transaction() as connection:
        connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
        connection.execute("DELETE FROM vocabulary")
        connection.execute("DELETE FROM account WHERE key='words'")
        connection.execute("UPDATE content SET indexed=0")


def reindex(account: "MaildirAccount", name: str | None = None, *, summaries: bool = True) -> Iterator[tuple[str, int]]:
    """Build the full-text index of an account anew, and the summaries of its messages.

    Yields (folder, messages done) as it goes on: whoever drives it may do other things between. With ``name`` only the
    messages of that folder are read now, all others later, when they are first searched. Raises NoSuchFolder,
    sqlite3.Error, OSError.
    """
    names = [info.name for info in account.folders()] if name is None else [name]
    folders = [account.folder(found) for found in names]
    reset(account)
    for folder in folders:
        folder.sync()
        if summaries:
            with account.database.transaction() as connection:
                connection.execute(
                    "UPDATE content SET version=0 WHERE id IN (SELECT content FROM message WHERE folder=?)",
                    (folder.id,),
                )
            uids = [uid for uid, _ in folder.uids()]
            for start in range(0, len(uids), BATCH):
                folder.complete(uids[start : start + BATCH])
                yield folder.name, 0
        progress = Indexed(0, 1)
        while (progress := folder.index(progress.place)).done:
            yield folder.name, progress.done


# Out of the index


def answer(database: Database, needle: Needle, columns: Sequence[str]) -> str | None:
    """What to ask ``words`` for all contents with an exact needle: a condition of SQL takes less than a set of numbers.

    None where it takes more than one question: then see ``candidates``. Raises sqlite3.Error, Damaged.
    """
    if not needle.exact:
        return None
    found = _alternatives(database, needle)
    if len(found[0]) > _TERMS:
        return None
    # No word contains it: nothing has this term.
    return f"{{{' '.join(columns)}}} : ({_any(found[0] or ['-'])})"


def _alternatives(database: Database, needle: Needle) -> list[list[str]]:
    """For each want the terms that satisfy it; nothing is asked any more once one has none."""
    found: list[list[str]] = []
    for want in needle.wants:
        found.append([want.text] if want.how == "is" else _vocabulary(database).find(database, want))
        if not found[-1]:
            break
    return found


def candidates(database: Database, needle: Needle, columns: Sequence[str]) -> set[int] | None:
    """Contents that have, in one of ``columns`` (header, body), a term for each want of the needle. None: all may.

    Contents that are gone may be among them, those marked as having too many words are not. Raises sqlite3.Error,
    Damaged.
    """
    if not needle.wants:
        return None
    alternatives = _alternatives(database, needle)
    if not alternatives[-1]:
        return set()
    if sum(map(len, alternatives)) <= _TERMS:
        expression = " AND ".join(f"({_any(found)})" for found in alternatives)
        if len(alternatives) == 1 and len(columns) == 2:
            return _match(database, expression)
        return set().union(*(_match(database, f"{column} : ({expression})") for column in columns))
    result: set[int] = set()
    for column in columns:
        of_column: set[int] | None = None
        for found in sorted(alternatives, key=len):
            some: set[int] = set()
            # Short words are frequent: most is found soon.
            found.sort(key=len)
            for start in range(0, len(found), _TERMS):
                some |= _match(database, f"{column} : ({_any(found[start : start + _TERMS])})")
            of_column = some if of_column is None else of_column & some
            if not of_column:
                break
        result |= of_column or set()
    return result


def _any(found: Sequence[str]) -> str:
    return " OR ".join(f'"{term}"' for term in found)


def _match(database: Database, expression: str) -> set[int]:
    with mending(database):
        rows = database.connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,))
        return {content for (content,) in rows}


@contextmanager
def mending(database: Database) -> Iterator[None]:
    """Damage of the full-text index is no reason to give up the whole index, with its UIDs. Raises Damaged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_CORRUPT_VTAB:
            raise
        log.warning(f"the full-text index in {database.path} is damaged ({error}): it is built anew")
        database.renew_words()
        raise Damaged(f"the full-text index in {database.path} was damaged") from error


class Vocabulary:
    """The words of an account as one text, read on when there are more of them."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._last = 0
        self.size = 0
        self.too_large = False

    def find(self, database: Database, want: Want) -> list[str]:
        """Words that satisfy it (``has``, ``begins``, ``ends``)."""
        if not self.too_large:
            self._read_on(database)
        if self.too_large:
            return _ask(database, want)
        wanted = want.text.encode("utf-8")
        if want.how == "begins":
            wanted = b"\n" + wanted
        elif want.how == "ends":
            wanted += b"\n"
        found: set[bytes] = set()
        for chunk in self._chunks:
            place = chunk.find(wanted)
            while place >= 0:
                start = place + 1 if want.how == "begins" else chunk.rfind(b"\n", 0, place + 1) + 1
                end = chunk.find(b"\n", start)
                found.add(chunk[start:end])
                place = chunk.find(wanted, end)
        return [word.decode("utf-8") for word in found]

    def _read_on(self, database: Database) -> None:
        execute = database.connection.execute
        while True:
            rows = execute(
                "SELECT id, word FROM vocabulary WHERE id>? ORDER BY id LIMIT ?", (self._last, _ROWS)
            ).fetchall()
            if not rows:
                return
            self._last = rows[-1][0]
            chunk = ("\n" + "\n".join([word for _, word in rows]) + "\n").encode("utf-8")
            if self._chunks and len(self._chunks[-1]) < _ROWS:
                # Many small additions make few chunks all the same.
                chunk = self._chunks.pop() + chunk[1:]
            self._chunks.append(chunk)
            self.size = sum(map(len, self._chunks))
            if self.size > _KEPT_OF_ONE:
                self.too_large = True
                self._chunks.clear()
                self.size = 0
                return


def _ask(database: Database, want: Want) -> list[str]:
    condition = {
        "has": "instr(word, ?)",
        "begins": "instr(word, ?)=1",
        "ends": "substr(word, -length(?1))=?1",
    }[want.how]
    rows = database.connection.execute(f"SELECT word FROM vocabulary WHERE {condition}", (want.text,))
    return [word for (word,) in rows]


_vocabularies: weakref.WeakKeyDictionary[Database, Vocabulary] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _vocabulary(database: Database) -> Vocabulary:
    """The one of this account; others are forgotten when all together are too large."""
    with _lock:
        found = _vocabularies.pop(database, None) or Vocabulary()
        # In the order of use.
        kept: list[tuple[Any, Vocabulary]] = list(_vocabularies.items())
        size = found.size + sum(vocabulary.size for _, vocabulary in kept)
        for other, vocabulary in kept:
            if size <= _KEPT:
                break
            size -= vocabulary.size
            del _vocabularies[other]
        _vocabularies[database] = found
        return found
