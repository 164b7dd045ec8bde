"""Who shares a mailbox with everybody (``anyone``, RFC 4314 2): a file for each such account in one directory.

Who shares with a named user is noted in that user's own account; this is for LIST of all others. It is only where to
look: what is seen there the access control lists decide. An account that is here for no reason (any more) is taken out
when that is noticed. Blocks, for a moment.
"""

import heapq
import os
from urllib.parse import quote, unquote

from tubepost.common.system import log

_LONGEST = 255
# Seconds.
_OLD = 86400


def _file(owner: str) -> str:
    """A name of a file that is none of another owner's, and not hidden; "" when it would be too long."""
    name = quote(owner, safe="@")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    return name if len(name) <= _LONGEST else ""


def note(directory: str, owner: str, wanted: bool) -> None:
    """That this account shares with everybody, or not."""
    name = _file(owner)
    if not directory or not name:
        return
    path = f"{directory}/{name}"
    try:
        if not wanted:
            os.unlink(path)
            return
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except FileNotFoundError:
        if wanted:
            log.warning(f"{directory}: cannot be made, there is nothing above it; LIST shows no mailboxes for anyone")
    except OSError as error:
        log.warning(f"{path}: {error.strerror}; LIST will not tell right what {owner} shares with anyone")


def is_noted(directory: str, owner: str) -> bool:
    name = _file(owner)
    return bool(directory and name) and os.path.lexists(f"{directory}/{name}")


def forget_unknown(directory: str, owner: str, now: float) -> None:
    """There seems to be no such account. It may be that it cannot be asked for just now, so a young note stays; one
    that was taken out wrongly comes again when its owner looks at the list."""
    try:
        if now - os.lstat(f"{directory}/{_file(owner)}").st_mtime > _OLD:
            note(directory, owner, False)
    except OSError:
        pass


def owners(directory: str, most: int) -> list[str]:
    """The accounts, the first ``most`` of them by name."""
    if not directory or not most:
        return []
    try:
        return [unquote(name) for name in heapq.nsmallest(most, os.listdir(directory)) if not name.startswith(".")]
    except OSError:
        return []


def state(directory: str) -> int:
    """Differs from what it was when another account shares, or one less."""
    try:
        return os.stat(directory).st_mtime_ns if directory else 0
    except OSError:
        return 0
