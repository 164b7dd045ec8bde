"""A message's file for a function that looks at it: read at once when it is small, in pieces when it is large."""

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from tubepost.common.mail.crlf import Data
from tubepost.common.system import log
from tubepost.common.mailbox.largefile import LargeFile

R = TypeVar("R")

SMALL = 1 << 20
"""Bytes; of a larger file a piece is read at a time."""


def open_file(path: str) -> int:
    """A descriptor of a regular file. At a FIFO, that the owner of the Maildir may have put in its place, opening would
    wait for a writer, and with it everybody's work. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file", path)


def read_with(path: str, function: Callable[[Data], R]) -> R | None:
    """Give a message's bytes to a function; None when the file is gone or cannot be read."""
    try:
        fd = open_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning(f"cannot read {path}: {error.strerror}")
        return None
    try:
        size = os.fstat(fd).st_size
        if size <= SMALL:
            return function(os.read(fd, size) if size else b"")
        large, fd = LargeFile(fd), -1
        try:
            return function(large)
        finally:
            large.close()
    except OSError as error:
        log.warning(f"cannot read {path}: {error.strerror}")
        return None
    finally:
        if fd >= 0:
            os.close(fd)
