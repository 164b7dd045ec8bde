"""Which implementation of the store an account has: the one place that knows. Today all are Maildirs."""

import os
from collections.abc import Callable

from tubepost.common.system.commit import GroupCommit
from tubepost.common.mailbox.interface import Account, Deliveries
from tubepost.common.mailbox.maildir import names, spool
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.delivery import MaildirStore


def open_account(place: str, owner: tuple[int, int] | None = None) -> Account:
    """``place``: as auth tells it, ``User.mailbox``; made when it is missing. ``owner``: uid and gid to act as, None
    for the process's own. Raises OSError (Unusable among them), IndexTrouble.
    """
    return MaildirAccount(place, owner)


def exists(place: str) -> bool:
    """Is there such an account already?"""
    return os.path.isdir(f"{place.rstrip('/')}/cur")


def check_name(folder: str) -> None:
    """Raises BadName when no folder can have this name."""
    names.directory_of(folder)


def open_deliveries(base: str, commit: GroupCommit, delivered: Callable[[str, str], None] | None = None) -> Deliveries:
    """``base``: what names of mailboxes are below, unless they are absolute. ``delivered``: called after each delivery
    with the account's place and the name of the folder.
    """
    return MaildirStore(base, commit, delivered)


def nameless_file(place: str) -> int:
    """A descriptor of a new file near an account, for a message on its way there. Raises OSError."""
    return spool.nameless_file(place)
