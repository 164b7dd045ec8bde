"""For tests of the mailbox store: messages put in by us and by other programs, and what is to be seen of them."""

import os
from pathlib import Path

from tubepost.common.mailbox.maildir.folder import Folder

MAIL = b"Subject: x\n\nbody\n"


def put(folder: Folder, text: bytes = b"Subject: x\r\n\r\nbody\r\n", flags: tuple[str, ...] = ()) -> int:
    """By APPEND. Returns the UID."""
    draft = folder.draft()
    draft.write(text)
    draft.finish()
    draft.set(flags, 1_000_000_000)
    return folder.append([draft])[0]


def deliver(folder: Folder, name: str, part: str = "new") -> None:
    """By another program, which knows no index."""
    Path(folder.path, part, name).write_bytes(MAIL)


def flags(folder: Folder) -> dict[int, set[str]]:
    """By UID."""
    return {uid: set(folder.account.flagsets.flags(number)) for uid, number in folder.uids()}


def read(folder: Folder, uid: int) -> bytes:
    """The file of a message."""
    fd = folder.open(uid)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)
