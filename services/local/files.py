"""Forward and :include: files, read as the user whose they are; in a thread, since a home may be far away."""

import errno
import os
import stat

from tubepost.common.system.identity import acting_as

from tubepost.services.local.expansion import ListFile, Trouble
from tubepost.services.local.protocol import Rights

# A file server that does not answer is no reason to pass a forward file over.
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENFILE, errno.EMFILE, errno.ENOMEM})


def forward_file(path: str, rights: Rights, limit: int) -> ListFile | None:
    """None: there is none that the user can see. ``limit``: bytes, 0 for none. Raises Trouble."""
    try:
        with acting_as(rights.uid, rights.gid):
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                return ListFile(b"", status.st_uid, f"file {path} is not a regular file")
            if status.st_uid not in (0, rights.uid):
                return ListFile(b"", status.st_uid, f"file {path} has bad owner uid {status.st_uid}")
            if status.st_mode & stat.S_IWOTH:
                return ListFile(b"", status.st_uid, f"file {path} is world writable")
            try:
                return ListFile(_read(path, os.O_NOFOLLOW, limit)[0], status.st_uid)
            except OSError as error:
                if error.errno in _PASSING:
                    raise
                return ListFile(b"", status.st_uid, f"cannot open file {path}: {error.strerror}")
    except OSError as error:
        if error.errno in _PASSING:
            raise Trouble("4.3.0", f"cannot look for {path}: {error.strerror}") from error
        return None


def include_file(path: str, rights: Rights, limit: int) -> ListFile:
    """``fault`` says why it may not be used. Raises Trouble."""
    try:
        with acting_as(rights.uid, rights.gid):
            # To open a device can do something.
            if not stat.S_ISREG(os.stat(path).st_mode):
                return ListFile(b"", -1, f":include: file {path} is not a regular file")
            # Whose it is, is asked of what was opened: the name may stand for another file by then.
            data, status = _read(path, 0, limit)
            if status.st_mode & stat.S_IWOTH:
                return ListFile(b"", status.st_uid, f":include: file {path} is world writable")
            return ListFile(data, status.st_uid)
    except OSError as error:
        if error.errno in _PASSING:
            raise Trouble("4.3.0", f"cannot read :include: file {path}: {error.strerror}") from error
        return ListFile(b"", -1, f"unable to use :include: file {path}: {error.strerror}")


def _read(path: str, flags: int, limit: int) -> tuple[bytes, os.stat_result]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no longer a regular file")
        if limit and status.st_size > limit:
            raise OSError(errno.EFBIG, "larger than message_size_limit")
        return file.read(limit or -1), status


def home_trouble(rights: Rights) -> str:
    """Why the home directory cannot be reached as the user, or empty."""
    try:
        with acting_as(rights.uid, rights.gid):
            os.stat(rights.home)
    except OSError as error:
        return f"cannot access home directory {rights.home}: {error.strerror}"
    return ""
