"""What dead processes left in ``tmp`` of a folder, and new versions of small files beside it that took nobody's place:
found and removed by the indexer as it goes, and by a check.
"""

import os
import re
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

# As common.system.atomic names a file until it takes the old one's place.
_VERSION = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")


def leftovers(directory: str, now: float, *, remove: bool) -> list[str]:
    """Files of this Maildir, as ``tmp/NAME``, that nobody works on any more. ``now``: seconds since the epoch.

    Raises OSError.
    """
    found = []
    try:
        entries = list(os.scandir(f"{directory}/tmp"))
    except FileNotFoundError:
        return []
    with os.scandir(directory) as beside:
        entries += [entry for entry in beside if _VERSION.fullmatch(entry.name)]
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
            found.append(os.path.relpath(entry.path, directory))
        except FileNotFoundError:
            continue
    return found


def tidy(account: "MaildirAccount", folders: Iterable[str], now: float) -> None:
    """Of the account, and of these folders: what is left is removed, and said. Raises OSError."""
    directories = {account.root: None} | {account.folder(name).path: None for name in folders}
    for directory in directories:
        for name in leftovers(directory, now, remove=True):
            log.info(f"{directory}/{name}: removed, the process that worked on it has died")
