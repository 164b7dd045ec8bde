"""notify/1: which mailboxes changed just now (IDLE, NOTIFY). Hints only: the store knows what is true.

Publishers tell the notify program, which tells the indexer in the same words; subscribers keep one streamed request
open. A lost hint costs a delay, never mail.
"""

from tubepost.common.wire.base import Done, Kept, Message

PROTOCOL = "notify/1"


class Changed(Message):
    """One-way, from whoever changed something: the store at ``mailbox`` (absolute Maildir) has news in ``folder``."""

    mailbox: Kept
    folder: Kept = "INBOX"


class Subscribe(Message):
    """Stream a Changed for each change of any store, until the subscriber goes away or the notify program leaves."""


__all__ = ["PROTOCOL", "Changed", "Done", "Subscribe"]
