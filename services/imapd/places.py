"""Where a mailbox name leads: a folder of the user's own account, or one that another shares (RFC 4314)."""

from typing import TYPE_CHECKING

from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.store import OverQuota
from tubepost.common.skeleton.mailboxes import Mailbox

from tubepost.services.imapd.replies import No, nonexistent

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

ALL_RIGHTS = "lrswipkxtea"
"""RFC 4314 2.1, of the owner."""


class Place:
    """A folder's name in an account. ``release`` it when the work is done."""

    def __init__(self, session: "Session", mailbox: Mailbox, folder: str, rights: str) -> None:
        self._session = session
        self.mailbox = mailbox
        self.folder = folder
        self.rights = rights

    def release(self) -> None:
        if self.mailbox is not self._session.mailbox:
            self._session.server.mailboxes.release(self.mailbox)

    def open(self) -> Folder:
        """Under the lock of the account. Raises NoSuchFolder."""
        return self.mailbox.account.folder(self.folder)


async def find(session: "Session", name: str, need: str = "") -> Place:
    """``need``: rights of which the user must have one. Raises No."""
    assert session.mailbox is not None
    if not name:
        raise nonexistent(name)
    place = Place(session, session.mailbox, name, ALL_RIGHTS)
    if need and not any(letter in place.rights for letter in need):
        place.release()
        raise No("You may not do that in this mailbox", b"NOPERM")
    return place


async def check_room(session: "Session", mailbox: Mailbox, octets: int, messages: int = 1) -> None:
    """Raises OverQuota when the account has no room for so much more."""
    user = session.user
    if user is None or not (user.quota_bytes or user.quota_messages):
        return
    async with mailbox.lock:
        usage = mailbox.account.usage()
    if user.quota_bytes and usage.octets + octets > user.quota_bytes:
        raise OverQuota("The mailbox is full: its quota is used up")
    if user.quota_messages and usage.messages + messages > user.quota_messages:
        raise OverQuota("The mailbox is full: it may have no more messages")
