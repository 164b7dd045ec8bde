"""NOTIFY (RFC 5465): what a client wants to hear of besides the selected mailbox, and telling it.

What an account looked like when the client was last told is kept as a snapshot; a hint makes it be compared with what
there is now. So nothing is told twice, and nothing is lost when hints come late or together.
"""

from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, NamedTuple

from tubepost.common.imap.names import parent, parents
from tubepost.common.imap.notification import Event, Group, Notify
from tubepost.common.imap.write import astring, mailbox

from tubepost.common.wire.auth import User
from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import places, rights
from tubepost.services.imapd.commands import metadata
from tubepost.services.imapd.replies import No

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

_MESSAGES = frozenset({b"MESSAGENEW", b"MESSAGEEXPUNGE", b"FLAGCHANGE"})
_SELECTED = (b"SELECTED", b"SELECTED-DELAYED")
# More lines than this at one time are not told: the client had better look itself (RFC 5465 5.8).
_MOST = 5000
# Of one NOTIFY: each mailbox is held against each of them.
_GROUPS = 100
# Accounts of others that it keeps open.
_ACCOUNTS = 50
# Names held against groups in less than some milliseconds.
_QUICK = 5000


class Known(NamedTuple):
    """A mailbox as the client was told of it. ``name`` is what the client calls it."""

    name: str
    messages: int
    unseen: int
    uidnext: int
    uidvalidity: int
    modseq: int
    special: tuple[str, ...]
    readable: bool
    annotated: bool
    """The user may look at its annotations (RFC 5464 3.3)."""


class Tree:
    """One account: the user's own, or another's of which mailboxes are named."""

    def __init__(self, box: Mailbox, owner: User) -> None:
        self.mailbox = box
        self.owner = owner
        self.folders: dict[int, Known] = {}
        self.notes: dict[int, dict[str, bytes]] = {}
        self.subscribed: frozenset[str] = frozenset()
        self.hints: set[str] = set()
        """Folders, by their names in the account, that may have news."""


class Ear:
    """Hears of changes of the files of one mailbox."""

    def __init__(self, session: "Session", tree: Tree, folder: Folder) -> None:
        self.key = tree.mailbox.path, folder.id
        self.watched = folder.watched
        self._name = folder.name
        self._session = session

    def wake(self) -> None:
        self._session.hint(self.key[0], self._name)


class Watching:
    """Of one session. ``selected``: the events of the selected mailbox that are wanted; ``filters``: others are not."""

    def __init__(self, session: "Session", request: Notify, *, filters: bool = True) -> None:
        self._session = session
        self.filters = filters
        self._groups = [group for group in request.groups if group.mailboxes.kind not in _SELECTED]
        self._names = [frozenset(group.mailboxes.names) for group in self._groups]
        chosen = next((group for group in request.groups if group.mailboxes.kind in _SELECTED), None)
        self.selected: Mapping[bytes, Event] = {event.name: event for event in chosen.events} if chosen else {}
        self.delayed = chosen is None or chosen.mailboxes.kind == b"SELECTED-DELAYED"
        names = {event.name for group in self._groups for event in group.events}
        self._notes = bool(names & {b"MAILBOXMETADATACHANGE", b"SERVERMETADATACHANGE"})
        self._server_notes = b"SERVERMETADATACHANGE" in names
        self._trees: dict[str, Tree] = {}
        self._ears: dict[tuple[str, int], Ear] = {}
        self._prefix = places.prefix(session)
        self._lines = 0
        self._overflows = False
        """There are more mailboxes to watch now than may be."""

    # Life

    async def begin(self, *, status: bool) -> None:
        """Take the first snapshot; with ``status`` tell it. Raises No."""
        session = self._session
        assert session.mailbox is not None and session.user is not None
        if len(self._groups) > _GROUPS:
            raise No("That is too much to watch", b"NOTIFICATIONOVERFLOW")
        self._trees[session.mailbox.path] = Tree(session.mailbox, session.user)
        for name in sorted({name for group in self._groups for name in group.mailboxes.names}):
            await self._open(name)
        if any(group.mailboxes.kind == b"SUBSCRIBED" for group in self._groups):
            async with session.mailbox.lock:
                subscribed = session.mailbox.account.subscriptions()
            for name in subscribed:
                await self._open(name)
        for tree in self._trees.values():
            await self._refresh(tree)
        many = sum(len(tree.folders) for tree in self._trees.values()) * len(self._groups) > _QUICK
        watched = await session.server.mailboxes.in_thread(self._watched) if many else self._watched()
        if len(watched) > session.server.config.imapd_notify_limit:
            raise No("That is too many mailboxes to watch", b"NOTIFICATIONOVERFLOW")
        for tree, _, known in watched:
            await self._attend(tree, known)
        for tree in self._trees.values():
            await self._refresh(tree)
        for tree, number, _ in watched:
            now = tree.folders.get(number)
            if now is None or self._is_selected(tree, number):
                continue
            if not now.readable:
                # RFC 5465 3.1
                session.send(b'* LIST (\\NoAccess) "/" %b\r\n' % mailbox(now.name, utf8=session.utf8))
            elif status:
                self._tell_status(now, self._first_items(self._events(now.name, tree)))

    def _watched(self) -> list[tuple[Tree, int, Known]]:
        """The mailboxes of whose messages the client wants to hear."""
        return [
            (tree, number, known)
            for tree in self._trees.values()
            for number, known in tree.folders.items()
            if self._events(known.name, tree) & _MESSAGES
        ]

    def close(self) -> None:
        """Accounts of others are given back."""
        session = self._session
        for key in list(self._ears):
            self._deafen(key)
        for tree in self._trees.values():
            if tree.mailbox is not session.mailbox:
                session.server.mailboxes.release(tree.mailbox)
        self._trees.clear()

    async def _open(self, name: str) -> None:
        session = self._session
        owner_name, _ = places.split(session, name)
        if not owner_name:
            return
        owner = await session.server.user(owner_name)
        if owner is None or session.user is None or owner.name == session.user.name:
            return
        if owner.mailbox.rstrip("/") in self._trees:
            return
        if len(self._trees) > _ACCOUNTS:
            raise No("Those are the mailboxes of too many users", b"NOTIFICATIONOVERFLOW")
        try:
            box = await session.server.mailboxes.open(owner)
        except OSError:
            return
        self._trees[box.path] = Tree(box, owner)

    # What is wanted

    def wants(self, event: bytes) -> bool:
        """Of the selected mailbox."""
        return not self.filters or event in self.selected

    def hint(self, path: str, folder: str) -> bool:
        """Something has changed there; is it of interest?"""
        tree = self._trees.get(path)
        if tree is None:
            return False
        tree.hints.add(folder)
        return True

    @property
    def pending(self) -> bool:
        return any(tree.hints for tree in self._trees.values())

    def _matches(self, group: Group, names: frozenset[str], name: str, tree: Tree) -> bool:
        kind = group.mailboxes.kind
        own = tree.mailbox is self._session.mailbox
        if kind in (b"PERSONAL", b"INBOXES"):
            # RFC 5465 6.3: where mail may be delivered to cannot be told, so inboxes are all personal ones.
            return own and not (self._prefix and name.startswith(self._prefix))
        if kind == b"SUBSCRIBED":
            # Of the own account that may be what it was before.
            return name in (tree if own else self._own).subscribed
        if kind == b"SUBTREE":
            return name in names or any(above in names for above in parents(name))
        return name in names

    @property
    def _own(self) -> Tree:
        assert self._session.mailbox is not None
        return self._trees[self._session.mailbox.path]

    def _events(self, name: str, tree: Tree) -> set[bytes]:
        return {
            event.name
            for group, names in zip(self._groups, self._names, strict=True)
            if self._matches(group, names, name, tree)
            for event in group.events
        }

    def _is_selected(self, tree: Tree, number: int) -> bool:
        selected = self._session.selected
        return selected is not None and selected.mailbox is tree.mailbox and selected.folder.id == number

    # Looking

    def _folder_of(self, tree: Tree, known: Known) -> str:
        return known.name if tree.mailbox is self._session.mailbox else places.split(self._session, known.name)[1]

    async def _attend(self, tree: Tree, known: Known) -> None:
        """From now on hear of this mailbox at once, whoever changes it."""
        folder = await self._sync(tree, self._folder_of(tree, known))
        if folder is None:
            return
        ear = Ear(self._session, tree, folder)
        old = self._ears.get(ear.key)
        if old is None and len(self._ears) >= self._session.server.config.imapd_notify_limit:
            self._overflows = True
            return
        if old is None or old.watched != ear.watched:
            self._deafen(ear.key)
            self._ears[ear.key] = ear
            self._session.server.listen(ear.key, ear.watched, ear)

    def _deafen(self, key: tuple[str, int]) -> None:
        ear = self._ears.pop(key, None)
        if ear is not None:
            self._session.server.unlisten(key, ear.watched, ear)

    async def _attend_to_new(self, before: Tree, after: Tree) -> None:
        for number in before.folders.keys() - after.folders.keys():
            self._deafen((after.mailbox.path, number))
        for number, known in after.folders.items():
            old = before.folders.get(number)
            if (old is None or old.name != known.name) and self._events(known.name, after) & _MESSAGES:
                await self._attend(after, known)

    async def _attend_to_subscribed(self, names: Set[str]) -> None:
        """RFC 5465 6.4: when the list changes, it is looked at anew. They may be those of others."""
        if not names or all(group.mailboxes.kind != b"SUBSCRIBED" for group in self._groups):
            return
        try:
            for name in names:
                await self._open(name)
        except No:
            self._overflows = True
            return
        for tree in list(self._trees.values()):
            fresh = not tree.folders
            if fresh:
                await self._refresh(tree)
            for known in tree.folders.values():
                if known.name in names and self._events(known.name, tree) & _MESSAGES:
                    await self._attend(tree, known)
            if fresh:
                await self._refresh(tree)

    async def _sync(self, tree: Tree, name: str) -> Folder | None:
        """Let the index know of the files. None: there is no such folder any more."""
        try:
            return await tree.mailbox.up_to_date(name)
        except (NoSuchFolder, ValueError):
            return None

    async def _refresh(self, tree: Tree) -> None:
        session = self._session
        assert session.user is not None
        own = tree.mailbox is session.mailbox
        account = tree.mailbox.account
        special = {info.id: info.special for info in await tree.mailbox.quick(account.folders)}
        async with tree.mailbox.lock:
            lists = account.all_rights()
            folders = {}
            for number, name, messages, unseen, uidnext, uidvalidity, modseq in account.statuses():
                granted = rights.ALL if own else ""
                if number in lists:
                    granted = rights.effective(lists[number], session.user.name, tree.owner.name)
                if "l" in granted:
                    shown = name if own else places.join(session, tree.owner.name, name)
                    folders[number] = Known(
                        shown,
                        messages,
                        unseen,
                        uidnext,
                        uidvalidity,
                        modseq,
                        special.get(number, ()),
                        "r" in granted,
                        any(letter in granted for letter in "rswip"),
                    )
            tree.folders = folders
            if own:
                tree.subscribed = frozenset(account.subscriptions())
            if self._notes:
                stored = account.all_annotations()
                tree.notes = {
                    number: metadata.visible_entries(session, own, notes)
                    for number, notes in stored.items()
                    if number in folders or (own and not number)
                }

    async def skip(self) -> None:
        """As ``tell`` after a command of this client about names or annotations: of these it need not be told (RFC 5465
        5), but of messages that came meanwhile."""
        await self._look(own=True)

    async def tell(self) -> None:
        """All that is new. The session may be told that it is too much, and hears no more then."""
        await self._look(own=False)

    async def _look(self, *, own: bool) -> None:
        self._lines = 0
        for tree in list(self._trees.values()):
            if not tree.hints:
                continue
            before = await self._look_at(tree)
            if not own:
                self._tell_names(before, tree)
            self._tell_messages(before, tree)
            if not own:
                self._tell_notes(before, tree)
            if self._lines > _MOST or self._overflows:
                self._session.send(b"* OK [NOTIFICATIONOVERFLOW] Too much has changed\r\n")
                self._session.stop_notifying(silence=True)
                return

    async def _look_at(self, tree: Tree) -> Tree:
        """Returns what was known before. When it fails, that is known as before, and there is news still."""
        own = tree.mailbox is self._session.mailbox
        before = Tree(tree.mailbox, tree.owner)
        before.folders, before.notes, before.subscribed = tree.folders, tree.notes, tree.subscribed
        before.hints, tree.hints = tree.hints, set()
        try:
            for name in before.hints:
                shown = name if own else places.join(self._session, tree.owner.name, name)
                if name and self._events(shown, tree) & _MESSAGES:
                    await self._sync(tree, name)
            await self._refresh(tree)
            await self._attend_to_new(before, tree)
            if own:
                await self._attend_to_subscribed(tree.subscribed - before.subscribed)
        except BaseException:
            tree.folders, tree.notes, tree.subscribed = before.folders, before.notes, before.subscribed
            tree.hints |= before.hints
            raise
        return before

    # Telling

    def _send(self, line: bytes) -> None:
        self._lines += 1
        if self._lines <= _MOST:
            self._session.send(line)

    def _tell_names(self, before: Tree, after: Tree) -> None:
        """RFC 5465 5.4, 5.5, 5.9"""
        there = {known.name: known for known in after.folders.values()}
        before_names = {known.name for known in before.folders.values()}
        above_some = {above for name in there for above in parents(name)}
        told: set[str] = set()
        affected: dict[str, None] = {}
        for number, known in after.folders.items():
            old = before.folders.get(number)
            if old is None:
                affected[known.name] = None
            elif old.name != known.name:
                above, was = parent(known.name), parent(old.name)
                if above in told and was in before_names and was not in there:
                    # RFC 5465 5.4: of a renamed mailbox's children nothing is told.
                    told.add(known.name)
                elif b"MAILBOXNAME" in self._events(known.name, after) | self._events(old.name, after):
                    told.add(known.name)
                    self._tell_list(after, known.name, there, above_some, old.name)
            elif old.readable != known.readable:
                affected[known.name] = None
        for number, old in before.folders.items():
            if number not in after.folders and old.name not in there:
                affected[old.name] = None
        for name in list(affected):
            # "the mailbox itself and its direct parent": whether it has children may have changed.
            if above := parent(name):
                affected[above] = None
        for name in affected:
            if name not in told and b"MAILBOXNAME" in self._events(name, after):
                told.add(name)
                self._tell_list(after, name, there, above_some)
        for name in sorted(before.subscribed ^ after.subscribed):
            if name not in told and b"SUBSCRIPTIONCHANGE" in self._events(name, after) | self._events(name, before):
                if places.split(self._session, name)[0]:
                    self._tell_subscription(name)
                else:
                    self._tell_list(after, name, there, above_some)

    def _tell_subscription(self, name: str) -> None:
        """To a mailbox of another user, which is in none of the own account."""
        for tree in self._trees.values():
            there = {known.name: known for known in tree.folders.values()}
            if name in there:
                self._tell_list(tree, name, there, {above for other in there for above in parents(other)})
                return
        # Whether it is there is not known here.
        attributes = b"\\Subscribed" if name in self._own.subscribed else b""
        self._send(b'* LIST (%b) "/" %b\r\n' % (attributes, mailbox(name, utf8=self._session.utf8)))

    def _tell_list(
        self, tree: Tree, name: str, there: Mapping[str, Known], above_some: Set[str], old: str = ""
    ) -> None:
        known = there.get(name)
        attributes = [] if known is not None else ["\\NonExistent"]
        attributes.append("\\HasChildren" if name in above_some else "\\HasNoChildren")
        if name in self._own.subscribed:
            attributes.append("\\Subscribed")
        if known is not None:
            if not known.readable:
                attributes.append("\\NoAccess")
            if tree.mailbox is self._session.mailbox:
                attributes += known.special
        utf8 = self._session.utf8
        line = f'* LIST ({" ".join(attributes)}) "/" '.encode() + mailbox(name, utf8=utf8)
        if old:
            # RFC 9051 7.3.1, RFC 5465 5.4
            line += b' ("OLDNAME" (%b))' % mailbox(old, utf8=utf8)
        self._send(line + b"\r\n")

    def _tell_messages(self, before: Tree, after: Tree) -> None:
        """RFC 5465 5.1 to 5.3: in a mailbox that is not selected."""
        enabled = self._session.enabled
        condstore = b"CONDSTORE" in enabled
        for number, now in after.folders.items():
            old = before.folders.get(number)
            if old is None or not now.readable or self._is_selected(after, number):
                continue
            if now[1:6] == old[1:6]:
                continue
            events = self._events(now.name, after)
            items: dict[bytes, None] = {}
            if now.uidvalidity != old.uidvalidity and events & _MESSAGES:
                items |= dict.fromkeys((b"UIDVALIDITY", b"UIDNEXT", b"MESSAGES"))
            if (now.uidnext != old.uidnext and b"MESSAGENEW" in events) or (
                now.messages != old.messages and b"MESSAGEEXPUNGE" in events
            ):
                items |= dict.fromkeys((b"UIDNEXT", b"MESSAGES"))
                if condstore:
                    items[b"HIGHESTMODSEQ"] = None
            if b"FLAGCHANGE" in events and now.modseq != old.modseq:
                if now.unseen != old.unseen:
                    items[b"UNSEEN"] = None
                if condstore:
                    items |= dict.fromkeys((b"HIGHESTMODSEQ", b"UIDVALIDITY"))
            if items:
                self._tell_status(now, items)

    def _first_items(self, events: set[bytes]) -> list[bytes]:
        """RFC 5465 3.1: what STATUS tells before the tagged answer."""
        items: dict[bytes, None] = {}
        if b"MESSAGENEW" in events:
            items |= dict.fromkeys((b"UIDVALIDITY", b"UIDNEXT", b"MESSAGES"))
        if b"MESSAGEEXPUNGE" in events:
            items[b"MESSAGES"] = None
        if b"FLAGCHANGE" in events:
            items |= dict.fromkeys((b"UIDVALIDITY", b"HIGHESTMODSEQ"))
        return list(items)

    def _tell_status(self, known: Known, items: Iterable[bytes]) -> None:
        values = {
            b"MESSAGES": known.messages,
            b"UNSEEN": known.unseen,
            b"UIDNEXT": known.uidnext,
            b"UIDVALIDITY": known.uidvalidity,
            b"HIGHESTMODSEQ": known.modseq,
        }
        text = b" ".join(b"%b %d" % (item, values[item]) for item in items)
        self._send(b"* STATUS %b (%b)\r\n" % (mailbox(known.name, utf8=self._session.utf8), text))

    def _tell_notes(self, before: Tree, after: Tree) -> None:
        """RFC 5465 5.6, 5.7; RFC 5464 4.4.2: the names of entries, not their values."""
        if not self._notes:
            return
        for number in before.notes.keys() | after.notes.keys():
            known = after.folders.get(number)
            if known is not None:
                old_known = before.folders.get(number)
                if old_known is None or not (known.annotated and old_known.annotated):
                    continue
            elif number:
                continue
            old, new = before.notes.get(number, {}), after.notes.get(number, {})
            changed = sorted(entry for entry in old.keys() | new.keys() if old.get(entry) != new.get(entry))
            if not changed:
                continue
            if known is None:
                if self._server_notes:
                    self._send(b'* METADATA "" %b\r\n' % b" ".join(astring(entry) for entry in changed))
            elif b"MAILBOXMETADATACHANGE" in self._events(known.name, after):
                name = mailbox(known.name, utf8=self._session.utf8)
                self._send(b"* METADATA %b %b\r\n" % (name, b" ".join(astring(entry) for entry in changed)))
