"""The mailbox store as its users see it: what services and commands may ask of an account, a folder and a message.

``opening`` picks the implementation; today that is ``maildir``. No call takes or gives the path of a message: what
looks like one (``LOCATION``, ``handles``) is the store's own affair. Unless said otherwise a call blocks, most for less
than a millisecond, and may raise OSError and IndexTrouble (``trouble`` tells which kind). An account is for one thread
at a time; several processes may have it open.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from tubepost.common.imap.search import Key

from tubepost.common.mailbox.store import Content
from tubepost.common.mailbox.trouble import IndexTrouble
from tubepost.common.mailbox.values import Changes, Context, FolderInfo, Indexed, Limit, Progress, Status, Stored, Usage


class Deliveries(Protocol):
    """Delivers into accounts that nobody need have open. For any number of deliveries at once, in any process."""

    async def deliver(
        self, mailbox: str, content: Content, *, uid: int = -1, gid: int = -1, limit: Limit | None = None
    ) -> None:
        """Return when the message is durably in the mailbox; what it is told by is up to the implementation.

        ``uid``, ``gid``: whose files they are to be, where the process may choose (-1: its own). ``limit``: of the
        whole account. Raises DeliveryError.
        """


class Draft(Protocol):
    """A message being written. Give it to ``Folder.append`` of the folder that made it, or ``discard`` it."""

    raw: bool
    """Octets are kept as they come (a literal8 that may be binary); else line ends become those of the store."""

    @property
    def octets(self) -> int:
        """The size so far as IMAP tells it, with CRLF line ends."""

    @property
    def fd(self) -> int:
        """To read what was written."""

    def write(self, data: bytes) -> None:
        """A piece of the message, lines ended by CRLF or LF."""

    def finish(self) -> None:
        """All was written."""

    def set(self, flags: Iterable[str] = (), internal: int | None = None) -> None:
        """``internal``: INTERNALDATE, seconds since the epoch; None: now."""

    def discard(self) -> None:
        """Leave nothing of it. May be called again."""


class Search(Protocol):
    """Call ``step`` until it returns None, then read ``found``; or ``run`` it in one."""

    found: "array[int]"
    """UIDs, ascending."""

    @property
    def is_quick(self) -> bool:
        """It takes no longer than a hand-over to a thread."""

    def step(self) -> Progress | None:
        """Some milliseconds of work."""

    def run(self) -> "array[int]":
        """All of it."""


class FlagSets(Protocol):
    """Combinations of flags by number; numbers never change their meaning."""

    def flags(self, number: int) -> tuple[str, ...]:
        """In their order: system flags, then keywords."""

    def spell(self, flag: str) -> str:
        """A flag as it was first written here: flags do not differ by case (RFC 9051 2.3.2)."""


class MaildropLock(Protocol):
    """The INBOX is one POP3 session's (RFC 1939 3), until ``release`` or the end of the process."""

    def since_last(self) -> float | None:
        """Seconds since ``note`` was called last, by whatever session; None: it never was."""

    def note(self) -> None:
        """A session begins now."""

    def release(self) -> None:
        """May be called again."""


class Folder(Protocol):
    """Get it from an account. ``id`` never means another folder, ``name`` may change."""

    @property
    def account(self) -> "Account": ...

    @property
    def id(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def mailboxid(self) -> str:
        """RFC 8474 4.1"""

    @property
    def uidvalidity(self) -> int: ...

    @property
    def is_replaced(self) -> bool:
        """The index was made anew since this folder was got: its UIDs mean nothing any more."""

    @property
    def watched(self) -> tuple[str, ...]:
        """Directories whose changes by other programs are news of this folder; none where no other program can."""

    # What is there

    def status(self) -> Status:
        """As the index has it. Raises NoSuchFolder when it was removed or renamed."""

    def stale(self) -> bool:
        """Is ``sync`` worth calling? Raises NoSuchFolder."""

    def sync(self, *, force: bool = False) -> None:
        """Take notice of what other programs did; ``force``: look, whether or not it seems so. Raises NoSuchFolder."""

    def flush(self) -> int:
        """Let other programs know of some flags that were changed; returns how many there may be left to do."""

    def settle_new(self) -> tuple[int, int]:
        """A session is told of new messages. Returns the first UID that is \\Recent there and nowhere else, and the
        first behind them."""

    def uids(self) -> list[tuple[int, int]]:
        """(uid, flagset) of all messages, ascending."""

    def count_from(self, uid: int) -> int:
        """How many messages have this UID or a higher one."""

    def changes(self, since: int) -> Changes:
        """What happened after this modification sequence."""

    def first_unseen(self) -> int:
        """UID of the first message without \\Seen, 0 when there is none."""

    def keywords(self) -> list[str]:
        """Every keyword that a message of this folder has or had."""

    def forget_keywords(self) -> None:
        """Those that no message has."""

    def flagsets_with(self, flag: str) -> list[int]:
        """Numbers of the sets that have this flag."""

    def seen(self, flagset: int) -> bool:
        """Has the set \\Seen?"""

    def deleted_size(self) -> int:
        """Octets of the messages with \\Deleted (RFC 9208 5.2)."""

    def rows(self, columns: Sequence[str], uids: Sequence[int], octets: int = 0) -> Iterator[tuple[Any, ...]]:
        """These columns of these messages, ascending; those that are gone are missing. ``octets``: no more when texts
        have taken so many, which may be seen by the last row alone; 0: all.

        Columns: uid flagset modseq content size internal saved, ``LOCATION`` for ``read``; all others are of the
        summary, and are None until ``complete`` made it.
        """

    def unfinished(self) -> list[int]:
        """UIDs of messages without a summary, ascending."""

    def complete(self, uids: Sequence[int]) -> None:
        """Make the summaries that are missing."""

    def index(self, place: int = 0, limit: int = ...) -> Indexed:
        """Take some messages into the full-text index, from ``place`` on (0: the first). Give the answer's ``place`` to
        the next call; ``done`` 0: there are no more."""

    def search(self, key: Key, context: Context) -> Search:
        """Begin a search."""

    # Reading

    def open(self, uid: int) -> int:
        """A descriptor of the message, lines ended by LF. Raises NoSuchMessage."""

    def read(self, uid: int, size: int, *location: Any) -> bytes | None:
        """The message at once, by a row that was just read: its ``size`` and ``LOCATION``; None when it is larger than
        the row's ``size``. Raises NoSuchMessage."""

    def handles(self, uids: Sequence[int]) -> dict[int, str]:
        """For ``open_handle``, which is quicker than ``open`` for many. A message that is gone is missing."""

    def open_handle(self, handle: str) -> int:
        """As ``open``. Raises FileNotFoundError where the handle is too old."""

    # Changing

    def store(self, uids: Sequence[int], mode: str, flags: Iterable[str], unchanged_since: int | None = None) -> Stored:
        """``mode``: ``+``, ``-`` or ``=``."""

    def expunge(self, uids: Sequence[int] | None = None) -> list[int]:
        """Remove messages with \\Deleted for good, of ``uids`` where given. Returns the UIDs removed."""

    def remove(self, uids: Sequence[int]) -> list[int]:
        """As ``expunge``, whatever the flags are."""

    def draft(self) -> Draft:
        """A message to be written and then given to ``append``."""

    def append(self, drafts: Sequence[Any]) -> list[int]:
        """Drafts of this folder or another of its account: all or none, durable when it returns. Returns their UIDs."""

    def copy(self, uids: Sequence[int], target: Self) -> tuple[list[int], list[int]]:
        """To a folder of the same account, all or none, durable when it returns. Returns the UIDs here and there, of
        those that are still here. Raises NoSuchFolder, NoSuchMessage (after ``sync`` it may be tried again)."""

    def move(self, uids: Sequence[int], target: Self) -> tuple[list[int], list[int]]:
        """As ``copy``, and they are no more here."""


class Account(Protocol):
    """One user's folders, subscriptions, annotations, rights and use of space."""

    @property
    def root(self) -> str:
        """Its name for those who tell each other of changes (notify), whatever the implementation makes of it."""

    @property
    def flagsets(self) -> FlagSets: ...

    def close(self) -> None: ...

    @property
    def is_replaced(self) -> bool:
        """Another process has made the index anew: see ``renew``."""

    def renew(self) -> None:
        """Open the index again; folders got before are of no further use."""

    def recover(self, error: IndexTrouble) -> bool:
        """After an error of a call: was the index corrupt, and is there a new one now? The call may be tried again."""

    def wait(self, seconds: float = ...) -> None:
        """How long calls wait from now on where another process has the index to itself; then they raise an error that
        ``is_busy``. A caller that others wait for has a moment."""

    def state(self) -> tuple[int, int]:
        """Differs from what it was when anything in the index has changed."""

    def listing_state(self) -> object:
        """Differs from what it was when folders, subscriptions or rights may have changed."""

    def lock_maildrop(self) -> MaildropLock:
        """Raises InUse."""

    # Folders

    def folders(self) -> list[FolderInfo]:
        """All folders that exist, INBOX first, then by name."""

    def folder(self, name: str) -> Folder:
        """Raises NoSuchFolder."""

    def renamed(self, folder: Any) -> Folder | None:
        """The same folder under the name that it has now; None when it is no more."""

    def create(self, name: str, special: Iterable[str] = ()) -> Folder:
        """Raises FolderExists, BadName."""

    def delete(self, name: str) -> None:
        """The folder and its messages; folders below it stay. Raises NoSuchFolder, BadName."""

    def rename(self, old: str, new: str) -> None:
        """With the folders below it; INBOX gives its messages to a new folder (RFC 9051 6.3.6).

        Raises NoSuchFolder, FolderExists, BadName.
        """

    def set_special(self, name: str, special: Iterable[str]) -> None:
        """RFC 6154 attributes. Raises NoSuchFolder."""

    def statuses(self) -> list[tuple[int, str, int, int, int, int, int]]:
        """Of all folders, as the index knows them: (id, name, messages, unseen, uidnext, uidvalidity, modseq)."""

    def subscriptions(self) -> list[str]: ...

    def subscribe(self, name: str, wanted: bool = True) -> None:
        """A name may be subscribed to whether or not there is such a folder (RFC 9051 6.3.7)."""

    @property
    def is_furnished(self) -> bool:
        """Has it got the folders that every account is to have?"""

    def note_furnished(self) -> None: ...

    def usage(self) -> Usage: ...

    # Annotations (RFC 5464), rights (RFC 4314)

    def annotations(self, folder: int = 0) -> dict[str, bytes]:
        """Entry to value; ``folder``: its id, 0 for those of the account as a whole."""

    def all_annotations(self) -> dict[int, dict[str, bytes]]:
        """Of each folder that has any: its id to entry to value."""

    def annotated_octets(self) -> tuple[int, int]:
        """What all annotations together take, and how many there are."""

    def annotate(self, folder: int, entry: str, value: bytes | None) -> None:
        """None removes the entry."""

    def annotate_all(self, folder: int, values: Mapping[str, bytes | None]) -> None:
        """Several, by their entries; all or none."""

    def rights(self, folder: int) -> dict[str, str]:
        """Identifier to rights, beside those of the owner, who has all."""

    def rights_of(self, name: str) -> dict[str, str] | None:
        """The same by the folder's name; None: there is no such folder."""

    def all_rights(self) -> dict[int, dict[str, str]]:
        """Of each folder that has a list: its id to identifier to rights."""

    def grant(self, folder: int, identifier: str, rights: str | None) -> None:
        """None removes the identifier."""

    def shared(self) -> dict[str, str]:
        """Accounts that have given this one rights to some folder: name to ``root``."""

    def note_shared(self, owner: str, mailbox: str | None) -> None:
        """None: nothing of that account is shared any more."""

    # Maintenance

    def unfinished(self, full_text: bool = True) -> list[str]:
        """Folders with messages that lack their summary, or (with ``full_text``) are not in the full-text index."""

    def tidy(self, folders: Iterable[str], now: float) -> None:
        """Clear what crashes have left. ``now``: seconds since the epoch."""

    @property
    def is_wasteful(self) -> bool:
        """Is the full-text index mostly of messages that are gone?"""

    def empty_full_text(self) -> None:
        """Let the full-text index be filled anew, search by search or in the background."""
