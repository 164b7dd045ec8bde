"""What dead processes left in ``tmp`` of a folder, found and removed: by the indexer as it goes, and by a check."""

import os
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tubepost.common.system import log

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.account import MaildirAccount

UNFINISHED = 36 * 3600
"""Seconds after which a file in ``tmp`` belongs to a delivery that died (the Maildir specification)."""
DELETED = "deleted."
"""What the name of a folder begins with that was put into ``tmp`` to be removed."""
# Seconds after which the process that was to remove it has died: until then it may still put it back.
_DELETED_AFTER = 600


def leftovers(directory: str, now: float, *, remove: bool) -> list[str]:
    """Names in ``tmp`` of this Maildir directory that nobody works on any more. ``now``: seconds since the epoch.

    Raises OSError.
    """
    found = []
    try:
        entries = list(os.scandir(f"{directory}/tmp"))
    except FileNotFoundError:
        return []
    for entry in entries:
        try:
            # RFC-less, but every Maildir program keeps to it: neither read nor written for 36 hours.
            status = entry.stat(follow_symlinks=False)
            folder = entry.is_dir(follow_symlinks=False)
            limit = _DELETED_AFTER if folder and entry.name.startswith(DELETED) else UNFINISHED
            # A rename changes the second of the two.
            if now - max(status.st_mtime, status.st_ctime) < limit:
                continue
            if remove:
                if folder:
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
            found.append(entry.name)
        except FileNotFoundError:
            continue
    return found


def tidy(account: "MaildirAccount", folders: Iterable[str], now: float) -> None:
    """Of the account, and of these folders: what is left is removed, and said. Raises OSError."""
    directories = {account.root: None} | {account.folder(name).path: None for name in folders}
    for directory in directories:
        for name in leftovers(directory, now, remove=True):
            log.info(f"{directory}/tmp/{name}: removed, the process that worked on it has died")
