"""LIST, LSUB, NAMESPACE (RFC 9051 6.3.9, 6.3.10; RFC 5258, 5819, 6154; RFC 3501 6.3.9)."""

from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.names import Pattern, is_below, join_reference, parents
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import mailbox

from tubepost.common.mailbox.maildir.account import FolderInfo

from tubepost.services.imapd.commands import status
from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def namespace(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.3.10: personal mailboxes, without a prefix."""
    arguments.nothing(session.scanner(command))
    session.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return Ok()


async def list_mailboxes(session: "Session", command: Command) -> Ok:
    request = arguments.list_mailboxes(session.scanner(command))
    if not request.extended and request.patterns == ("",):
        # RFC 9051 6.3.9: asks for the separator, and the root of the reference.
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')
        return Ok()
    assert session.mailbox is not None
    account = session.mailbox.account
    async with session.mailbox.lock:
        folders = {info.name: info for info in account.folders()}
        subscribed = frozenset(account.subscriptions())
        answer = _Answer(session, request, folders, subscribed)
        for name in answer.names():
            answer.tell(name)
    return Ok()


class _Answer:
    """To one LIST; under the lock of the account."""

    def __init__(
        self,
        session: "Session",
        request: arguments.List,
        folders: dict[str, FolderInfo],
        subscribed: frozenset[str],
    ) -> None:
        self._session = session
        self._request = request
        self._folders = folders
        self._subscribed = subscribed
        self._patterns = [Pattern(join_reference(request.reference, pattern)) for pattern in request.patterns]
        self._above = {parent for name in folders for parent in parents(name)}
        """Names that have some below them."""
        self._subscribed_above = {parent for name in subscribed for parent in parents(name)}

    def names(self) -> list[str]:
        """Those that match, INBOX first."""
        selection = self._request.selection
        if b"SUBSCRIBED" in selection:
            candidates = set(self._subscribed)
            if b"RECURSIVEMATCH" in selection:
                candidates |= self._subscribed_above
        else:
            # A name above others that is no mailbox itself is told as \NonExistent.
            candidates = set(self._folders) | self._above
        if b"SPECIAL-USE" in selection:
            candidates = {
                name
                for name in candidates
                if (name in self._folders and self._folders[name].special)
                or (b"RECURSIVEMATCH" in selection and self._has_special_below(name))
            }
        found = [name for name in candidates if any(pattern.match(name) for pattern in self._patterns)]
        return sorted(found, key=lambda name: (name != "INBOX", name))

    def _has_special_below(self, name: str) -> bool:
        return any(info.special and is_below(info.name, name) for info in self._folders.values())

    def tell(self, name: str) -> None:
        session, request = self._session, self._request
        info = self._folders.get(name)
        attributes = []
        if info is None:
            attributes.append("\\NonExistent")
            if b"IMAP4REV2" not in session.enabled:
                # RFC 5258 3: implied, and said for clients that do not know the other.
                attributes.append("\\Noselect")
        attributes.append("\\HasChildren" if name in self._above else "\\HasNoChildren")
        if name in self._subscribed and (b"SUBSCRIBED" in request.returns or b"SUBSCRIBED" in request.selection):
            attributes.append("\\Subscribed")
        if info is not None:
            # RFC 6154 2: with any LIST, for clients look there.
            attributes += info.special
        line = f'* LIST ({" ".join(attributes)}) "/" '.encode() + mailbox(name, utf8=session.utf8)
        extended = self._child_info(name)
        session.send(line + extended + b"\r\n")
        if request.status and info is not None:
            self._tell_status(name)

    def _child_info(self, name: str) -> bytes:
        """RFC 5258 3.5: that something below matched the selection."""
        selection = self._request.selection
        if b"RECURSIVEMATCH" not in selection:
            return b""
        found = []
        if b"SUBSCRIBED" in selection and name in self._subscribed_above:
            found.append(b'"SUBSCRIBED"')
        if b"SPECIAL-USE" in selection and self._has_special_below(name):
            found.append(b'"SPECIAL-USE"')
        return b' ("CHILDINFO" (' + b" ".join(found) + b"))" if found else b""

    def _tell_status(self, name: str) -> None:
        assert self._session.mailbox is not None
        folder = self._session.mailbox.account.folder(name)
        if folder.stale():
            folder.sync()
        self._session.send(status.line(self._session, name, folder, self._request.status))


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
