"""Where a mailbox name leads: a folder of the user's own account, or one that another shares (RFC 4314).

``user/bob@example.test`` is the INBOX of bob, ``user/bob@example.test/Work`` his folder Work: the prefix is
``imapd_shared_prefix``, and NAMESPACE tells it.
"""

from typing import TYPE_CHECKING

from tubepost.common.imap.names import parents

from tubepost.common.wire.auth import User
from tubepost.common.mailbox.interface import Account, Folder
from tubepost.common.mailbox.store import NoSuchFolder, OverQuota
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd import rights
from tubepost.services.imapd.replies import No, nonexistent

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

ALL_RIGHTS = rights.ALL
# RFC 4314 4: with any of these a mailbox is known to be there.
_KNOWS = "lrikxa"


class Place:
    """A folder's name in an account of ``owner``. ``release`` it when the work is done."""

    def __init__(self, session: "Session", mailbox: Mailbox, owner: User, folder: str) -> None:
        self._session = session
        self.mailbox = mailbox
        self.owner = owner
        self.folder = folder
        self.rights = ""
        self._released = False

    @property
    def is_own(self) -> bool:
        return self.mailbox is self._session.mailbox

    def release(self) -> None:
        if not self.is_own and not self._released:
            self._released = True
            self._session.server.mailboxes.release(self.mailbox)

    def keep(self) -> None:
        """The mailbox stays open: somebody else gives it back."""
        self._released = True

    def open(self) -> Folder:
        """Under the lock of the account. Raises NoSuchFolder."""
        return self.mailbox.account.folder(self.folder)

    def may(self, letters: str) -> bool:
        """Has the user one of these rights?"""
        return any(letter in self.rights for letter in letters)


def prefix(session: "Session") -> str:
    """Of the mailboxes of others, "" where there are none."""
    found: str = session.server.config.imapd_shared_prefix
    return found.rstrip("/") + "/" if found else ""


def split(session: "Session", name: str) -> tuple[str, str]:
    """The owner that a name tells and the folder there; the owner is "" for an own mailbox."""
    start = prefix(session)
    if not start or not name.startswith(start):
        return "", name
    owner, _, folder = name[len(start) :].partition("/")
    # INBOX stands at the top of the tree of each user, its other folders below.
    return owner, folder or "INBOX"


def join(session: "Session", owner: str, folder: str) -> str:
    """What this session calls a folder of another user."""
    return prefix(session) + owner + ("" if folder == "INBOX" else f"/{folder}")


async def find(session: "Session", name: str, need: str = "") -> Place:
    """``need``: rights of which the user must have one; k is asked of the mailbox above. Raises No."""
    assert session.mailbox is not None and session.user is not None
    if not name:
        raise nonexistent(name)
    owner_name, folder = split(session, name)
    if not owner_name:
        if folder != name or name + "/" == prefix(session):
            raise nonexistent(name)
        place = Place(session, session.mailbox, session.user, folder)
    else:
        place = await _of_other(session, name, owner_name, folder)
    try:
        async with place.mailbox.lock:
            place.rights = rights_in(session, place, need)
        if need and not place.may(need):
            # RFC 4314 6: who may not know of a mailbox is told that there is none.
            raise No("You may not do that in this mailbox", b"NOPERM") if place.may(_KNOWS) else nonexistent(name)
    except BaseException:
        place.release()
        raise
    return place


def rights_in(session: "Session", place: Place, need: str = "") -> str:
    """Under the lock of the account."""
    assert session.user is not None
    account = place.mailbox.account
    # RFC 4314 4: "k" right on the nearest existing parent mailbox.
    names = _above(place) if need == "k" else [place.folder]
    for candidate in names:
        acl = account.rights_of(candidate)
        if acl is not None:
            return rights.effective(acl, session.user.name, place.owner.name)
    # Of what is not there its owner may be told that it is not.
    return rights.ALL if place.is_own else ""


def _above(place: Place) -> list[str]:
    """The nearest first. Of another user INBOX is above all: it is where their tree begins."""
    found = list(parents(place.folder))
    return found if place.is_own else [*found, "INBOX"]


def inherited(account: Account, name: str) -> dict[str, str]:
    """The list of the nearest mailbox above: a new one begins with it (RFC 4314 4: SHOULD)."""
    for above in parents(name):
        acl = account.rights_of(above)
        if acl is not None:
            return acl
    return {}


async def _of_other(session: "Session", name: str, owner_name: str, folder: str) -> Place:
    assert session.mailbox is not None and session.user is not None
    owner = await session.server.user(owner_name)
    if owner is None:
        raise nonexistent(name)
    if owner.name == session.user.name:
        return Place(session, session.mailbox, session.user, folder)
    try:
        mailbox = await session.server.mailboxes.open(owner)
    except OSError:
        raise No("That mailbox cannot be opened now", b"UNAVAILABLE") from None
    return Place(session, mailbox, owner, folder)


async def find_folder(session: "Session", name: str, need: str) -> tuple[Place, Folder]:
    """As ``find``, of a mailbox that is there. Raises No; the place is released then."""
    place = await find(session, name, need)
    try:
        return place, await place.mailbox.quick(place.open)
    except NoSuchFolder:
        place.release()
        raise nonexistent(name) from None
    except BaseException:
        place.release()
        raise


async def check_room(place: Place, octets: int, messages: int = 1) -> None:
    """Raises OverQuota when the account has no room for so much more."""
    owner = place.owner
    if not (owner.quota_bytes or owner.quota_messages):
        return
    async with place.mailbox.lock:
        usage = place.mailbox.account.usage()
    if owner.quota_bytes and usage.octets + octets > owner.quota_bytes:
        raise OverQuota("The mailbox is full: its quota is used up")
    if owner.quota_messages and usage.messages + messages > owner.quota_messages:
        raise OverQuota("The mailbox is full: it may have no more messages")
