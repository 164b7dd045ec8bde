"""The log of one message: a line of JSON an entry, only ever appended to."""

import os
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from tubepost.common.wire.bounce import Entry
from tubepost.common.system.atomic import write_all

_encode = Entry.__pydantic_serializer__.to_json
# Longer than any entry that is made of a bounded address and a bounded reply.
_LINE_LIMIT = 1_000_000


def append(path: str, entries: Iterable[Entry]) -> int:
    """Write entries at the end, in one write. Returns the descriptor, not yet synced.

    Raises OSError: then nothing, or a torn line that reading passes over, was written.
    """
    data = b"".join([_encode(entry, exclude_defaults=True) + b"\n" for entry in entries])
    fd = _open(path)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            # A writer died in the middle of a line: ours is not to be glued to it.
            data = b"\n" + data
        write_all(fd, data)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def read(path: str) -> Iterator[Entry]:
    """The entries, in order, one in memory at a time. What is no entry is passed over. Raises OSError."""
    with open(path, "rb") as file:
        while line := file.readline(_LINE_LIMIT):
            if not line.strip():
                continue
            try:
                yield Entry.model_validate_json(line)
            except ValidationError:
                continue


def remove(path: str) -> None:
    """It may be gone already. Raises other OSErrors."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
