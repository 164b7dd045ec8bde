"""ESEARCH: a search of several mailboxes (RFC 7377)."""

from array import array
from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING

from tubepost.common.imap import notification
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.names import parent, parents
from tubepost.common.imap.reader import Command
from tubepost.common.imap.search import Search
from tubepost.common.imap.write import esearch, mailbox

from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.mailbox.values import BadName, Context
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import contexts, places, results, searching, updates
from tubepost.services.imapd.commands import listing
from tubepost.services.imapd.commands.search import keep, reset_saved
from tubepost.services.imapd.relevance import Loosened, loosen
from tubepost.services.imapd.replies import No, Ok
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

_SELECTED = (notification.Mailboxes(b"SELECTED"),)
_SUBTREES = (b"SUBTREE", b"SUBTREE-ONE")
_ALL = frozenset({b"ALL"})
_LARGEST = (1 << 32) - 1
# Of one ESEARCH: for each it is found out whose mailboxes may stand below.
_TOPS = 100


async def multisearch(session: "Session", command: Command) -> Ok:
    request = notification.parse_esearch(session.scanner(command))
    sources = request.sources or _SELECTED
    kinds = {source.kind for source in sources}
    selected = session.selected
    asked = request.search
    # RFC 7377 2.1: nothing asked for is ALL.
    options = asked.options or _ALL
    if b"SELECTED" in kinds and selected is None:
        raise BadCommand("Select a mailbox first")
    if b"SAVE" in options and kinds != {b"SELECTED"}:
        # RFC 7377 2.2
        raise BadCommand("SAVE is for the selected mailbox alone")
    if b"UPDATE" in options:
        if selected is None:
            raise BadCommand("UPDATE is for the selected mailbox")
        contexts.check(selected, command.tag)
    wanted = loosen(asked.key)
    searching.check(session, asked.key, options, uid=True, fuzzy=wanted.fuzzy)
    task = _Task(session, command.tag, asked, options, wanted)
    if selected is not None:
        reset_saved(selected, options)
    names, explicit = await _names(session, sources)
    if b"SELECTED" in kinds and selected is not None:
        await task.search_selected(selected)
    here = selected.name if selected is not None else None
    for name in names:
        if name == here and selected is not None:
            if b"SELECTED" not in kinds:
                await task.search_selected(selected)
            continue
        await task.search_other(name, "r" if name in explicit else "lr")
    return Ok()


async def _names(session: "Session", sources: Iterable[notification.Mailboxes]) -> tuple[list[str], set[str]]:
    """All that are meant, beside the selected one, each once; and those that were named themselves."""
    assert session.mailbox is not None
    account = session.mailbox.account
    own = [info.name for info in await session.mailbox.quick(account.folders)]
    async with session.mailbox.lock:
        subscribed = account.subscriptions()
    tops: dict[str, bool] = {}
    """To whether all below is meant, or the next level alone."""
    for source in sources:
        for top in source.names if source.kind in _SUBTREES else ():
            tops[top] = tops.get(top, False) or source.kind == b"SUBTREE"
    if len(tops) > _TOPS:
        raise No("Too many mailboxes at once", b"LIMIT")
    below: dict[str, list[str]] = {}
    for name in await _visible(session, tops) if tops else ():
        for above in parents(name):
            if above in tops and (tops[above] or above == parent(name)):
                below.setdefault(above, []).append(name)
    found: dict[str, None] = {}
    explicit: set[str] = set()
    for source in sources:
        match source.kind:
            case b"PERSONAL":
                found.update(dict.fromkeys(own))
            case b"INBOXES":
                # RFC 5465 6.3: where new mail may be delivered.
                found["INBOX"] = None
            case b"SUBSCRIBED":
                found.update(dict.fromkeys(subscribed))
            case b"MAILBOXES":
                found.update(dict.fromkeys(source.names))
                explicit.update(source.names)
            case b"SUBTREE" | b"SUBTREE-ONE":
                for top in source.names:
                    found[top] = None
                    explicit.add(top)
                    found.update(dict.fromkeys(below.pop(top, ())))
    return list(found), explicit


async def _visible(session: "Session", tops: Iterable[str]) -> list[str]:
    """Mailboxes of the user, and those of others that may stand below these."""
    opened: list[Mailbox] = []
    try:
        return sorted(await listing.visible(session, [f"{top}/*" for top in tops], (), opened))
    finally:
        for other in opened:
            session.server.mailboxes.release(other)


class _Task:
    """One ESEARCH command."""

    def __init__(
        self, session: "Session", tag: bytes, asked: Search, options: frozenset[bytes], wanted: Loosened
    ) -> None:
        self._session = session
        self._tag = tag
        self._asked = asked
        self._options = options
        self._wanted = wanted
        self._reporter = searching.Reporter(session, tag)

    async def search_selected(self, selected: Selected) -> None:
        await updates.check_rights(self._session, selected)
        if "r" not in selected.rights:
            # As of any other that the user may not read.
            return
        async with selected.mailbox.lock:
            context = searching.context_of(selected)
        uids = await self._search(selected.mailbox, selected.folder, selected.name, context)
        if b"SAVE" in self._options:
            selected.saved = array("I", results.kept(uids, self._options, self._asked.partial))
        if b"UPDATE" in self._options:
            correlator = self._correlator(selected.folder, selected.name)
            keep(self._session, selected, self._wanted, context, self._tag, uids, uid=True, mailbox=correlator)

    async def search_other(self, name: str, need: str) -> None:
        """RFC 7377 2.2: a mailbox that is not there, or that the user may not read, is passed over."""
        try:
            place = await places.find(self._session, name, need)
        except (No, NoSuchFolder, BadName):
            return
        try:
            if not all(letter in place.rights for letter in need):
                return
            folder = await place.mailbox.up_to_date(place.folder)
            async with place.mailbox.lock:
                recent = folder.status().recent
            await self._search(place.mailbox, folder, name, Context(time(), None, (), [(recent, _LARGEST)]))
        except NoSuchFolder:
            return
        finally:
            place.release()

    async def _search(self, account: Mailbox, folder: Folder, name: str, context: Context) -> list[int]:
        key, options = self._wanted.key, self._options
        uids = list(await searching.find(account, folder, key, context, self._reporter))
        if not uids or options <= {b"SAVE"}:
            # RFC 7377 2.1: nothing is told of a mailbox where nothing matches.
            return uids
        scores = None
        if b"RELEVANCY" in options:
            by_uid = await searching.find_scores(account, folder, self._wanted, context, uids, self._reporter)
            scores = [by_uid[uid] for uid in uids]
        modseq = 0
        if searching.has(self._asked.key, searching.is_modseq):
            self._session.enable_condstore()
            weighed = results.weighed(uids, options)
            modseq = await searching.highest_modseq(account, folder, weighed, self._reporter)
        found = results.items(uids, options, self._asked.partial, scores=scores, modseq=modseq)
        self._session.send(esearch(self._tag, uid=True, items=found, mailbox=self._correlator(folder, name)))
        if self._session.is_crowded:
            await self._session.drain_out()
        return uids

    def _correlator(self, folder: Folder, name: str) -> bytes:
        return b"MAILBOX %b UIDVALIDITY %d" % (mailbox(name, utf8=self._session.utf8), folder.uidvalidity)
