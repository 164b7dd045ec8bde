"""How much an account uses, for whoever delivers into it without having it open.

The index knows what it has seen; what was delivered since lies in ``new`` of the INBOX, and what this process is about
to deliver is announced here. So several deliveries at one time do not together exceed what each alone would not.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from tubepost.common.system import log
from tubepost.common.system.identity import acting_as
from tubepost.common.mailbox.maildir.database import FILE
from tubepost.common.mailbox.maildir.names import folder_of
from tubepost.common.mailbox.store import DeliveryError
from tubepost.common.mailbox.values import Limit

# Another process may be writing the index, seconds.
_BUSY = 5.0


class Announced:
    """Of a process: what is on its way into mailboxes that have a limit."""

    def __init__(self) -> None:
        self._coming: dict[str, dict[str, int]] = {}

    @contextmanager
    def coming(self, root: str, name: str, octets: int) -> Iterator[dict[str, int]]:
        """While a file of this name is being delivered. Gives those that were announced before: name to octets."""
        before = dict(self._coming.get(root, ()))
        self._coming.setdefault(root, {})[name] = octets
        try:
            yield before
        finally:
            here = self._coming[root]
            del here[name]
            if not here:
                del self._coming[root]


def check(root: str, limit: Limit, octets: int, before: dict[str, int], owner: tuple[int, int]) -> None:
    """Is there room for one more message? Blocks. ``owner``: uid and gid to act as, -1 for the process's own.

    Raises DeliveryError: 5.2.2, or 4.2.0 when it cannot be told.
    """
    try:
        with acting_as(*owner):
            used_octets, used_messages = used(root, before)
    except FileNotFoundError:
        used_octets, used_messages = sum(before.values()), len(before)
    except OSError as error:
        raise DeliveryError("4.2.0", f"cannot tell how full the mailbox is: {error}") from error
    if limit.octets and used_octets + octets > limit.octets:
        raise DeliveryError("5.2.2", f"mailbox full: {used_octets} of its quota of {limit.octets} bytes are used")
    if limit.messages and used_messages + 1 > limit.messages:
        raise DeliveryError("5.2.2", f"mailbox full: its quota is {limit.messages} messages")


def used(root: str, coming: dict[str, int] | None = None) -> tuple[int, int]:
    """(octets, messages) of the account at ``root``, all folders. Raises OSError."""
    coming = dict(coming or ())
    indexed = _indexed(root)
    if indexed is None:
        octets, messages = _counted(root, coming)
    else:
        octets, messages, known = indexed
        for entry in _entries(f"{root}/new"):
            if entry.name not in known and not entry.name.startswith("."):
                octets += _size(entry)
                messages += 1
            coming.pop(entry.name, None)
    return octets + sum(coming.values()), messages + len(coming)


def _indexed(root: str) -> tuple[int, int, set[str]] | None:
    """What the index has, and the names in ``new`` of the INBOX that it knows; None when there is none to be read."""
    path = f"{root}/{FILE}"
    if not os.path.exists(path):
        return None
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=_BUSY)
        try:
            # One statement sees one state.
            rows = connection.execute(
                "SELECT coalesce(sum(size),0), coalesce(sum(messages),0), '' FROM folder UNION ALL"
                " SELECT 0, 0, m.file || m.info FROM message m WHERE m.place=0 AND m.folder="
                "(SELECT id FROM folder WHERE name='INBOX')"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        log.warning(f"{path}: {error}; the files are counted")
        return None
    return rows[0][0], rows[0][1], {name for _, _, name in rows[1:]}


def _counted(root: str, coming: dict[str, int]) -> tuple[int, int]:
    """By the files alone."""
    octets = messages = 0
    folders = [root]
    folders += [entry.path for entry in os.scandir(root) if folder_of(entry.name) is not None and entry.is_dir()]
    for folder in folders:
        for part in ("new", "cur"):
            for entry in _entries(f"{folder}/{part}"):
                if not entry.name.startswith("."):
                    octets += _size(entry)
                    messages += 1
                    coming.pop(entry.name, None)
    return octets, messages


def _entries(directory: str) -> list["os.DirEntry[str]"]:
    """None where there is no directory: copies and backups lose those that are empty."""
    try:
        return list(os.scandir(directory))
    except FileNotFoundError:
        return []


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
