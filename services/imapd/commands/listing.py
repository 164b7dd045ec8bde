"""LIST, LSUB, NAMESPACE (RFC 9051 6.3.9, 6.3.10; RFC 5258, 5819, 6154, 8440, 9590; RFC 3501 6.3.9)."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tubepost.common.imap import arguments
from tubepost.common.imap.names import Pattern, join_reference, parents
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import mailbox, quoted

from tubepost.common.wire.auth import User
from tubepost.common.mailbox.interface import Account
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.mailbox.values import FolderInfo
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import places, rights, shares
from tubepost.services.imapd.commands import metadata, status
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


_LISTINGS = 32
# Of one LIST: each mailbox is held against each of them.
_PATTERNS = 100
# Names held against patterns in less than some milliseconds.
_QUICK = 5000
# Accounts of others that one command looks into, all of them open at one time.
_ACCOUNTS = 500
_CHANGING = frozenset({b"STATUS", b"METADATA", b"MYRIGHTS"})


class Listed(NamedTuple):
    """A mailbox that the user may see: whose it is, its name and id there, and what the user may do."""

    mailbox: Mailbox
    owner: User
    info: FolderInfo
    rights: str


async def namespace(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.3.10: personal mailboxes, without a prefix, and those of other users."""
    arguments.nothing(session.scanner(command))
    prefix = places.prefix(session)
    others = b'((%b "/"))' % quoted(prefix) if prefix else b"NIL"
    session.send(b'* NAMESPACE (("" "/")) %b NIL\r\n' % others)
    return Ok()


async def list_mailboxes(session: "Session", command: Command) -> Ok:
    request = arguments.list_mailboxes(session.scanner(command))
    if not request.extended and request.patterns == ("",):
        # RFC 9051 6.3.9: asks for the separator, and the root of the reference.
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')
        return Ok()
    assert session.mailbox is not None
    listings = session.mailbox.listings
    question = command.args, session.utf8, b"IMAP4REV2" in session.enabled
    async with session.mailbox.lock:
        state = session.mailbox.account.listing_state(), shares.state(session.server.config.imapd_shares_directory)
    known = listings.get(question)
    if known is not None and known[0] == state:
        session.send(known[1])
        return Ok()
    mark = session.mark()
    if len(request.patterns) > _PATTERNS or len(request.metadata) > _PATTERNS:
        raise No("Too many patterns or entries at once", b"LIMIT")
    patterns = [join_reference(request.reference, pattern) for pattern in request.patterns]
    async with session.mailbox.lock:
        subscribed = frozenset(session.mailbox.account.subscriptions())
    opened: list[Mailbox] = []
    try:
        listed = await visible(session, patterns, subscribed, opened)
        answer = _Answer(session, request, patterns, listed, subscribed)
        # Held against many patterns, many names take their time.
        many = len(listed) * len(patterns) > _QUICK
        for name in await session.server.mailboxes.in_thread(answer.names) if many else answer.names():
            await answer.tell(name)
            if session.is_crowded:
                await session.drain_out()
    finally:
        for other in opened:
            session.server.mailboxes.release(other)
    text = session.since(mark)
    # Clients ask the same again and again. What depends on more than the names of this account is found out each time.
    if text is not None and not opened and not request.returns & _CHANGING:
        if len(listings) >= _LISTINGS:
            listings.clear()
        listings[question] = state, text
    return Ok()


async def visible(
    session: "Session", patterns: Iterable[str], subscribed: Iterable[str], opened: list[Mailbox]
) -> dict[str, Listed]:
    """All mailboxes by name: the user's own, and those of others where a pattern may lead to them.

    ``opened``: the accounts of others, which the caller gives back.
    """
    assert session.mailbox is not None and session.user is not None
    own, user = session.mailbox, session.user
    infos, lists = await own.quick(_folders, own.account)
    found = {info.name: Listed(own, user, info, _rights(lists, info.id, user.name, user.name)) for info in infos}
    async with own.lock:
        sharing = own.account.shared()
    directory = session.server.config.imapd_shares_directory
    if places.prefix(session):
        if rights.shows_anyone(lists) and not shares.is_noted(directory, user.name):
            # The directory was lost, or the list is older than it.
            shares.note(directory, user.name, True)
        public = frozenset(shares.owners(directory, session.server.config.imapd_shares_limit))
        sharing |= dict.fromkeys(public, "")
    else:
        public = frozenset()
    for owner in _owners(session, patterns, subscribed, sharing):
        other = await session.server.user(owner)
        if other is None and owner in public:
            shares.forget_unknown(directory, owner, time.time())
        if other is None or other.name == user.name:
            continue
        try:
            place = await session.server.mailboxes.open(other)
        except OSError:
            continue
        opened.append(place)
        infos, lists = await place.quick(_folders, place.account)
        if other.name in public and not rights.shows_anyone(lists):
            shares.note(directory, other.name, False)
        for info in infos if lists else ():
            granted = _rights(lists, info.id, user.name, other.name)
            if "l" in granted:
                found[places.join(session, other.name, info.name)] = Listed(place, other, info, granted)
    return found


def _folders(account: Account) -> tuple[list[FolderInfo], dict[int, dict[str, str]]]:
    """And who may do what in them."""
    return account.folders(), account.all_rights()


def _rights(lists: dict[int, dict[str, str]], folder: int, user: str, owner: str) -> str:
    found = lists.get(folder)
    if found is None:
        return rights.ALL if user == owner else ""
    return rights.effective(found, user, owner)


def _owners(
    session: "Session", patterns: Iterable[str], subscribed: Iterable[str], sharing: Iterable[str]
) -> list[str]:
    """Whose mailboxes may match: of those who share with this user, and who is named outright."""
    prefix = places.prefix(session)
    if not prefix:
        return []
    found: dict[str, None] = {}
    for pattern in patterns:
        head = pattern.split("*", 1)[0].split("%", 1)[0]
        if head.startswith(prefix):
            name, slash, _ = head[len(prefix) :].partition("/")
            if name and (slash or head == pattern or pattern[len(head) :] == "*"):
                found[name] = None
        if head.startswith(prefix) or prefix.startswith(head):
            found.update(dict.fromkeys(sharing))
            found.update((places.split(session, name)[0], None) for name in subscribed if name.startswith(prefix))
    found.pop("", None)
    return list(found)[:_ACCOUNTS]


class _Answer:
    """To one LIST."""

    def __init__(
        self,
        session: "Session",
        request: arguments.List,
        patterns: list[str],
        listed: dict[str, Listed],
        subscribed: frozenset[str],
    ) -> None:
        self._session = session
        self._request = request
        self._listed = listed
        self._subscribed = subscribed
        self._patterns = [Pattern(pattern) for pattern in patterns]
        self._above = {parent for name in listed for parent in parents(name)}
        """Names that have some below them."""
        self._above_met: set[str] | None = None
        """Names that have some below them that meet the criteria."""
        self._criteria = request.selection & {b"SUBSCRIBED", b"SPECIAL-USE"}
        self._recursive = b"RECURSIVEMATCH" in request.selection

    def _matches(self, name: str) -> bool:
        return any(pattern.match(name) for pattern in self._patterns)

    def _meets(self, name: str, criterion: bytes) -> bool:
        if criterion == b"SUBSCRIBED":
            return name in self._subscribed
        found = self._listed.get(name)
        return found is not None and bool(found.info.special)

    def _selected(self, name: str) -> bool:
        return all(self._meets(name, criterion) for criterion in self._criteria)

    def names(self) -> list[str]:
        """Those to be told, INBOX first."""
        # A name above others that is no mailbox itself is told as \NonExistent.
        known = self._listed.keys() | (self._above if not self._criteria else set())
        if b"SUBSCRIBED" in self._criteria:
            known = known | self._subscribed
        if not self._criteria:
            found = {name for name in known if self._matches(name)}
        else:
            selected = {name for name in known if self._selected(name)}
            found = {name for name in selected if self._matches(name)}
            if self._recursive:
                # RFC 5258 3.3 2.B: above one that meets the criteria and does not itself match the pattern.
                hidden = selected - found
                found |= {above for name in hidden for above in parents(name) if self._matches(above)}
        return sorted(found, key=lambda name: (name != "INBOX", name))

    async def tell(self, name: str) -> None:
        session, request = self._session, self._request
        found = self._listed.get(name)
        attributes = []
        if found is None:
            attributes.append("\\NonExistent")
            if not request.extended and b"IMAP4REV2" not in session.enabled:
                # RFC 5258 3: implied, and said to clients that may not know the other.
                attributes.append("\\Noselect")
        attributes.append("\\HasChildren" if name in self._above else "\\HasNoChildren")
        if name in self._subscribed and (b"SUBSCRIBED" in request.returns or b"SUBSCRIBED" in request.selection):
            attributes.append("\\Subscribed")
        if found is not None and found.mailbox is session.mailbox:
            # RFC 6154 2: with any LIST, for clients look there. It says what its owner uses a mailbox for.
            attributes += found.info.special
        line = f'* LIST ({" ".join(attributes)}) "/" '.encode() + mailbox(name, utf8=session.utf8)
        session.send(line + self._child_info(name) + b"\r\n")
        if found is None or not (request.status or request.returns) or not self._selected(name):
            # RFC 5819 2, RFC 8440 4: not of those that are told for what is below them.
            return
        if b"MYRIGHTS" in request.returns:
            shown = rights.shown(found.rights).encode()
            session.send(b"* MYRIGHTS %b %b\r\n" % (mailbox(name, utf8=session.utf8), shown))
        if request.metadata:
            async with found.mailbox.lock:
                metadata.tell(session, name, found, request.metadata)
        if request.status and "r" in found.rights:
            await self._tell_status(name, found)

    def _child_info(self, name: str) -> bytes:
        """RFC 5258 3.5: that something below meets the criteria."""
        if not self._recursive:
            return b""
        if self._above_met is None:
            known = self._listed.keys() | self._subscribed
            self._above_met = {above for other in known if self._selected(other) for above in parents(other)}
        below = name in self._above_met
        met = [criterion for criterion in (b"SUBSCRIBED", b"SPECIAL-USE") if criterion in self._criteria and below]
        return b' ("CHILDINFO" (' + b" ".join(b'"%b"' % criterion for criterion in met) + b"))" if met else b""

    async def _tell_status(self, name: str, found: Listed) -> None:
        try:
            folder = await found.mailbox.up_to_date(found.info.name)
            async with found.mailbox.lock:
                self._session.send(status.line(self._session, name, folder, self._request.status))
        except NoSuchFolder:
            # Removed since the list was made.
            pass


async def lsub(session: "Session", command: Command) -> Ok:
    """RFC 3501 6.3.9: with %, a parent of subscribed names is told as \\Noselect."""
    reference, text = arguments.lsub(session.scanner(command))
    pattern = Pattern(join_reference(reference, text))
    assert session.mailbox is not None
    async with session.mailbox.lock:
        subscribed = set(session.mailbox.account.subscriptions())
    above = {parent for name in subscribed for parent in parents(name)} - subscribed if text.endswith("%") else set()
    for name in sorted(subscribed | above):
        if pattern.match(name):
            attributes = b"" if name in subscribed else b"\\Noselect"
            session.send(b'* LSUB (%b) "/" %b\r\n' % (attributes, mailbox(name, utf8=session.utf8)))
    return Ok()
