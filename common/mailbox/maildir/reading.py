"""A message's file for a function that looks at it: read at once when it is small, mapped when it is large."""

import mmap
import os
from collections.abc import Callable
from typing import TypeVar

from tubepost.common.mail.crlf import Data
from tubepost.common.system import log

R = TypeVar("R")

SMALL = 1 << 20
"""Bytes; a larger file is mapped."""


def read_with(path: str, function: Callable[[Data], R]) -> R | None:
    """Give a message's bytes to a function; None when the file is gone or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning(f"cannot read {path}: {error.strerror}")
        return None
    try:
        size = os.fstat(fd).st_size
        if size <= SMALL:
            return function(os.read(fd, size) if size else b"")
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
            return function(data)
    finally:
        os.close(fd)
