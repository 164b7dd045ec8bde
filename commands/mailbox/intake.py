"""Messages from elsewhere into a folder: in batches that are there as a whole or not at all, none of them twice."""

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tubepost.common.mail.structure import header_block, scan_fields
from tubepost.common.mail.summary import message_ids
from tubepost.common.mailbox.interface import Draft, Folder
from tubepost.common.mailbox.store import NoSuchMessage
from tubepost.common.mailbox.values import id_text

# What is on its way at once: messages (each is an open file), octets.
_MESSAGES = 100
_OCTETS = 16 << 20
_CHUNK = 1 << 20
# Octets of a message in which its Message-ID is looked for.
HEADER = 1 << 18


class Item(NamedTuple):
    """A message of a source. ``handle``: how the source finds it; ``size`` with CRLF line ends.

    ``internal``: INTERNALDATE in seconds, -1 when it is not known.

    ``message_id``: as ``message_id_of`` gives it.
    """

    handle: int
    message_id: str
    size: int
    internal: int
    flags: tuple[str, ...]


class SourceFolder(NamedTuple):
    """``name``: as our store has it; ``raw``: as the source does; ``special``: RFC 6154 attributes."""

    name: str
    raw: bytes
    special: tuple[str, ...] = ()


class Source(Protocol):
    """Where mail is imported from. Methods raise OSError and, where it is a server, RemoteError."""

    def folders(self) -> list[SourceFolder]: ...

    def subscriptions(self) -> list[str]:
        """As the store names folders."""

    def items(self, folder: SourceFolder) -> list[Item]:
        """What is in a folder."""

    def fetch(
        self, folder: SourceFolder, items: Sequence[Item], make: Callable[[], Draft]
    ) -> Iterator[tuple[Item, Draft]]:
        """The messages, in any order, each written into a draft that ``make`` gave and finished.

        Those that are gone meanwhile are left out.
        """

    def close(self) -> None: ...


def message_id_of(header: bytes) -> str:
    """The first valid id of the Message-ID field, as the index has it; empty when there is none."""
    for name, value in scan_fields(header, 0, len(header)):
        if name == b"message-id":
            found = message_ids(value)
            return id_text(found[0]) if found else ""
    return ""


def message_id_at(fd: int) -> str:
    """Of a message in a file. Raises OSError."""
    data = os.pread(fd, HEADER, 0)
    return message_id_of(data[: header_block(data)[0]])


class Known:
    """What a folder has already, so that it is not fetched again.

    A message is the same one when Message-ID and size are, or Message-ID and date (servers are not always right about
    the size); without a Message-ID size and date must be. Each message there stands for one of the source only.
    """

    def __init__(self, folder: Folder) -> None:
        uids = [uid for uid, _ in folder.uids()]
        folder.complete(uids)
        self._left: Counter[tuple[str, int, int]] = Counter()
        self._by_size: dict[tuple[str, int], list[int]] = {}
        self._by_date: dict[tuple[str, int], list[int]] = {}
        for _, name, size, internal in folder.rows(("uid", "message_id", "size", "internal"), uids):
            name = name or ""
            self._left[name, size, internal] += 1
            if name:
                self._by_size.setdefault((name, size), []).append(internal)
                self._by_date.setdefault((name, internal), []).append(size)

    def take(self, item: Item) -> bool:
        """Is it there?"""
        name, size, internal = item.message_id, item.size, item.internal
        if self._use(name, size, internal):
            return True
        if not name:
            return False
        others = self._by_size.get((name, size), [])
        while others:
            if self._use(name, size, others.pop()):
                return True
        sizes = self._by_date.get((name, internal), [])
        while sizes:
            if self._use(name, sizes.pop(), internal):
                return True
        return False

    def _use(self, name: str, size: int, internal: int) -> bool:
        key = name, size, internal
        if self._left[key] <= 0:
            return False
        self._left[key] -= 1
        return True


class Intake:
    """Into one folder. ``add`` drafts, then ``flush``; ``discard`` what was not yet flushed."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._drafts: list[Draft] = []
        self._octets = 0
        self.count = 0
        """Messages that are there for good."""

    def make(self) -> Draft:
        """Raises OSError."""
        return self._folder.draft()

    def add(self, draft: Draft, flags: Iterable[str], internal: int) -> bool:
        """Did this complete a batch? Raises OSError, IndexTrouble."""
        draft.set(flags, internal if 0 <= internal < 1 << 40 else int(time.time()))
        self._drafts.append(draft)
        self._octets += draft.octets
        if len(self._drafts) < _MESSAGES and self._octets < _OCTETS:
            return False
        self.flush()
        return True

    def flush(self) -> list[int]:
        """UIDs of what was added since the last time. Raises OSError, IndexTrouble."""
        if not self._drafts:
            return []
        uids = self._folder.append(self._drafts)
        self.count += len(uids)
        self._drafts = []
        self._octets = 0
        return uids

    def discard(self) -> None:
        for draft in self._drafts:
            draft.discard()
        self._drafts = []
        self._octets = 0


def batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """As much as is fetched at once."""
    batch: list[Item] = []
    octets = 0
    for item in items:
        batch.append(item)
        octets += item.size
        if len(batch) >= _MESSAGES or octets >= _OCTETS:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch


def open_source(path: str, owner: int) -> int:
    """A file of a source whose owner (uid) is told; not one that a link of his leads to and that is another's.

    As root we may read everything, and what we read he is given. Raises OSError.
    """
    # A pipe is not waited at.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and (os.geteuid() != 0 or owner in (0, found.st_uid)):
        return fd
    os.close(fd)
    if stat.S_ISREG(found.st_mode):
        raise PermissionError(errno.EPERM, "it belongs to another user than what is imported", path)
    raise OSError(errno.EINVAL, "it is no file", path)


def write_from(fd: int, draft: Draft) -> None:
    """The whole of a file. Raises OSError."""
    place = 0
    while data := os.pread(fd, _CHUNK, place):
        draft.write(data)
        place += len(data)
    draft.finish()


def transfer(folder: Folder, uids: Sequence[int], target: Folder) -> list[int]:
    """Copy messages into a folder of another account, whose files belong to somebody else perhaps.

    Returns the UIDs of those that were still here. Raises OSError, IndexTrouble.
    """
    intake = Intake(target)
    done = []
    try:
        rows = folder.rows(("uid", "flagset", "internal"), uids)
        for uid, flagset, internal in rows:
            try:
                fd = folder.open(uid)
            except NoSuchMessage:
                continue
            draft = intake.make()
            try:
                write_from(fd, draft)
            except BaseException:
                draft.discard()
                raise
            finally:
                os.close(fd)
            intake.add(draft, folder.account.flagsets.flags(flagset), internal)
            done.append(uid)
        intake.flush()
    except BaseException:
        intake.discard()
        raise
    return done
