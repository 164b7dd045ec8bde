"""The interface: deliver a message into a mailbox."""

import os
from dataclasses import dataclass
from typing import Protocol


class DeliveryError(Exception):
    """The message is not in the mailbox. ``dsn``: RFC 3463 status; class 4 is worth another try."""

    def __init__(self, dsn: str, reason: str) -> None:
        super().__init__(reason)
        self.dsn = dsn


@dataclass(frozen=True, slots=True)
class Content:
    """A message as it stands in an open file, and the header lines to put before it.

    ``head``: whole lines, each ended by LF (Return-Path:, Delivered-To:). ``crlf``: the lines of the content end in
    CRLF (BINARYMIME): line ends become LF on the way, nothing else changes. ``data``: the content itself, where it is
    small and in no file; ``fd`` is -1 then.
    """

    fd: int
    offset: int
    length: int
    head: bytes = b""
    crlf: bool = False
    data: bytes = b""

    def pread(self, size: int, position: int) -> bytes:
        """As os.pread."""
        return os.pread(self.fd, size, position) if self.fd >= 0 else self.data[position : position + size]


class Store(Protocol):
    """One mailbox store. Implementations are safe for any number of deliveries at once, in any number of processes."""

    async def deliver(self, mailbox: str, content: Content, *, uid: int = -1, gid: int = -1) -> None:
        """Return when the message is durably in the mailbox. Raises DeliveryError.

        ``uid``, ``gid``: whose files they are to be, where the process may choose (-1: its own).
        """


class NoSuchFolder(LookupError):
    """There is no folder of this name."""


class FolderExists(LookupError):
    """There is one already."""


class NoSuchMessage(LookupError):
    """The message was there, and is no more."""


class OverQuota(Exception):
    """The account has no room for it; the text says of what."""
