"""The selected mailbox of a session: its view, and up to where the client was told."""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.sets import SequenceSet

from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.values import Status
from tubepost.common.mailbox.view import View
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import rights
from tubepost.services.imapd.replies import No

if TYPE_CHECKING:
    from tubepost.services.imapd.contexts import SearchContext


# Messages of a list that takes its time to be read.
_LONG = 5000


class Selected:
    """``name`` is what the client calls it, ``mailbox`` the account it belongs to (another's, when it is shared).

    ``user`` looks at it, ``owner`` has it; ``rights``: what that user may do now.
    """

    def __init__(
        self, mailbox: Mailbox, folder: Folder, name: str, read_only: bool, rights: str, user: str, owner: str
    ) -> None:
        self.mailbox = mailbox
        self.folder = folder
        self.name = name
        self.read_only = read_only
        self.rights = rights
        self.rights_told = rights
        """Of which the client heard in PERMANENTFLAGS."""
        self._user = user
        self._owner = owner
        self._rights_state = mailbox.account.state()
        status = folder.status()
        self.told: Status = status
        """As of when the client was last told what changed."""
        self.seen_modseq = status.modseq
        self.gone_modseq = status.modseq
        """Removals up to here were told; they wait while a command runs that may not tell them (RFC 9051 7.5.1)."""
        self.uidnext = status.uidnext
        self.count = status.messages
        self.state: tuple[int, int] | None = None
        self._recents: list[tuple[int, int]] = []
        self.saved: array[int] = array("I")
        """UIDs of the last SEARCH with SAVE (RFC 5182)."""
        self.contexts: dict[bytes, SearchContext] = {}
        """Searches whose result the client keeps (UPDATE, RFC 5267 4.3), by their tag."""
        self.context_news: set[int] = set()
        """UIDs that came or changed, of which these were not told yet."""
        self.keywords: set[str] = set()
        self.mine: set[int] = set()
        """UIDs that this session has appended here."""
        self.arrived: list[int] = []
        """UIDs of which NOTIFY wants something fetched (RFC 5465 5.2)."""
        self.skipped = False
        """Messages came that the client did not want to be told of (NOTIFY)."""
        self.untold: set[int] = set()
        """UIDs whose flags have changed so."""
        self.keywords_state: tuple[int, int] | None = None
        """As of when ``keywords`` was read."""
        self._view: View | None = None

    @property
    def view(self) -> View:
        """Read when first needed: a client that only looks at the counts does not wait for it."""
        if self._view is None:
            self._view = self._load()
        return self._view

    async def prepare(self) -> None:
        """Before a command that wants something of it: a long list is read in a thread. Raises NoSuchFolder,
        IndexTrouble, and No when the user may not read here any more."""
        await self.check_rights()
        self.need("r")
        if self._view is None and self.count > _LONG:
            self._view = await self.mailbox.work(self._load)

    async def check_rights(self) -> None:
        """RFC 4314 4: what a command takes is asked of the list as it is now, not as it was at SELECT.

        Raises NoSuchFolder when another client has renamed or removed the mailbox.
        """
        async with self.mailbox.lock:
            self.folder.status()
            self.refresh_rights()

    def refresh_rights(self) -> None:
        """Under the lock of the account."""
        account = self.mailbox.account
        state = account.state()
        if state == self._rights_state:
            return
        self._rights_state = state
        self.rights = rights.effective(account.rights(self.folder.id), self._user, self._owner)

    # \\Recent (RFC 3501 2.3.2): a message has it in the first session that is told of it, and in no other

    @property
    def recent(self) -> int:
        """No UID below this one is \\Recent here."""
        return self._recents[0][0] if self._recents else 1 << 32

    @property
    def recents(self) -> Sequence[tuple[int, int]]:
        """First and last of each run of UIDs that may be."""
        return tuple(self._recents)

    def is_recent(self, uid: int) -> bool:
        return any(low <= uid <= high for low, high in self._recents)

    def add_recent(self, low: int, high: int) -> None:
        """These UIDs are, where there are such messages; above all that were before."""
        if low > high:
            return
        if self._recents and self._recents[-1][1] + 1 == low:
            low, _ = self._recents.pop()
        self._recents.append((low, high))

    def count_recent(self) -> int:
        if not self.is_loaded:
            # At SELECT: the same without reading the list.
            count = self.folder.count_from
            return sum(count(low) - count(high + 1) for low, high in self._recents)
        return sum(len(self.view.span(low, high)) for low, high in self._recents)

    @property
    def is_loaded(self) -> bool:
        return self._view is not None

    def _load(self) -> View:
        """As the mailbox was when the client was last told: what came since is left out, what went is put back.

        Which flags a message had that has others since is not known: it gets none (0 is no set), and so is told.
        """
        folder = self.folder
        uids = folder.uids()
        # Behind the list: what another process changes between the two is only told.
        changes = folder.changes(self.gone_modseq)
        later = {uid for uid, _, modseq in changes.changed if modseq > self.seen_modseq}
        rows = [(uid, 0 if uid in later else flagset) for uid, flagset in uids if uid < self.uidnext]
        if changes.gone:
            there = {uid for uid, _ in rows}
            rows += [(uid, 0) for uid in changes.gone if uid < self.uidnext and uid not in there]
            rows.sort()
        return View((uid for uid, _ in rows), (flagset for _, flagset in rows))

    def resolve(self, numbers: SequenceSet, uid: bool) -> Sequence[int]:
        """The UIDs that a command means, ascending. Raises BadCommand for a message number that is not there."""
        view = self.view
        if numbers.saved:
            there = view.uids
            return [found for found in self.saved if view.number(found)] if len(there) else []
        if uid:
            return numbers.among(view.uids)
        if numbers.beyond(len(view)):
            # RFC 9051 9: "the server should respond with a tagged BAD response".
            raise BadCommand("There is no message of that number")
        found: list[int] = []
        for start, stop in numbers.positions(len(view)):
            found.extend(view.uids[start:stop])
        return found

    async def highest(self) -> bytes:
        """A response code after removals (RFC 7162 3.2.7). Raises NoSuchFolder."""
        async with self.mailbox.lock:
            return b"HIGHESTMODSEQ %d" % self.folder.status().modseq

    def need(self, right: str) -> None:
        """Raises No without one of these rights (RFC 4314 4)."""
        if not any(letter in self.rights for letter in right):
            raise No("You may not do that in this mailbox", b"NOPERM")

    def writable(self) -> None:
        """Raises No in a mailbox that was opened by EXAMINE."""
        if self.read_only:
            raise No("The mailbox is open read-only", b"READ-ONLY")
