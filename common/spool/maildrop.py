"""The maildrop queue, where posted mail waits for pickup: writing into it works while the system is down.

A posted file belongs to the user who posted it, and once it is complete nobody may write to it. A file of mail_owner
that may be written to is one of the queue's, put back by ``postsuper -r``.
"""

import os
import stat
from collections.abc import Sequence

from tubepost.common.wire.cleanup import RECIPIENT_OVERHEAD, RECIPIENTS_LIMIT
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system.atomic import sync_directory
from tubepost.common.spool.directories import Spool
from tubepost.common.spool.queuefile import Writer

QUEUE = "maildrop"
# Where root runs the instance pickup may read whatever is in maildrop; elsewhere it is an account like the poster's.
_MODE, _MODE_WITHOUT_ROOT = 0o400, 0o444
ENVELOPE_LIMIT = RECIPIENTS_LIMIT
"""Bytes of envelope and recipients that pickup takes."""


class TooLarge(Exception):
    """The message, its recipients included (Postfix: the size of the file), exceeds message_size_limit."""


class TooManyRecipients(TooLarge):
    """Their addresses exceed ENVELOPE_LIMIT."""


def is_requeued(status: os.stat_result, owner_uid: int) -> bool:
    """Whether a file in maildrop was in the queue before."""
    return status.st_uid == owner_uid and bool(status.st_mode & stat.S_IWUSR)


def needs_helper(program: str) -> bool:
    """Whether this process may not write into maildrop, but ``program`` (postdrop, set-gid to its group) may.

    The working directory is the queue's.
    """
    if os.access(QUEUE, os.W_OK | os.X_OK):
        return False
    try:
        status = os.stat(program)
        return bool(status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP) and (
            status.st_gid == os.stat(QUEUE).st_gid
        )
    except OSError:
        return False


def envelope_size(recipients: Sequence[Recipient]) -> int:
    """Bytes that they take in a queue file, a few more or less."""
    return sum(len(one.address) + len(one.original) + len(one.orcpt) + RECIPIENT_OVERHEAD for one in recipients)


class Drop:
    """One message on its way into maildrop: ``write`` …, then ``finish``; or ``cancel``. Raises OSError throughout."""

    def __init__(self, spool: Spool, limit: int) -> None:
        """``limit``: bytes of content, 0 for none. Raises FileNotFoundError when there is no maildrop directory."""
        os.stat(f"{spool.directory}/{QUEUE}")  # never made here: its owner and mode matter
        self._spool = spool
        self._limit = limit
        self.queue_id, self._fd = spool.create(QUEUE)
        try:
            self._writer = Writer(self._fd)
        except OSError:
            self.cancel()
            raise

    def write(self, chunk: bytes) -> None:
        """Raises TooLarge."""
        if self._limit and self._writer.length + len(chunk) > self._limit:
            raise TooLarge
        self._writer.write(chunk)

    def finish(self, envelope: Envelope, recipients: Sequence[Recipient]) -> str:
        """The message is safe; its queue id in maildrop (cleanup gives it another).

        Raises TooLarge, TooManyRecipients.
        """
        size = envelope_size(recipients)
        if size > ENVELOPE_LIMIT:
            raise TooManyRecipients
        if self._limit and self._writer.length + size > self._limit:
            raise TooLarge
        # Readable first: once it is complete pickup may open it.
        rooted = os.stat(f"{self._spool.directory}/pid").st_uid == 0
        os.fchmod(self._fd, _MODE if rooted else _MODE_WITHOUT_ROOT)
        self._writer.finish(envelope, recipients)
        os.fsync(self._fd)
        try:
            sync_directory(f"{self._spool.directory}/{QUEUE}")
        except PermissionError:
            pass  # set-gid postdrop may add to the directory, not open it
        os.close(self._fd)
        self._fd = -1
        return self.queue_id

    def cancel(self) -> None:
        """Leave nothing behind. After ``finish`` it does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._spool.remove(QUEUE, self.queue_id)
