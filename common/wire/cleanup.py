"""cleanup/1: smtpd, pickup, bounce and local hand a message to cleanup, which says when it is on disk.

One request a message. The content (headers and body, lines ended by LF; for encoding "binary" exactly as received)
travels as payload frames when small, or as a chunk stream behind the request when it is larger than
``INLINE_LIMIT``.
"""

from typing import Literal

from tubepost.common.wire.base import Message
from tubepost.common.wire.envelope import Envelope, Recipient

PROTOCOL = "cleanup/1"

INLINE_LIMIT = 256 * 1024
"""Bytes; above this the content is streamed. One inline message is the most that a hop holds of one mail."""

RECIPIENTS_LIMIT = 16 * 1024 * 1024
"""Bytes that the recipients of one message take in a queue file: some hundred thousand addresses. A program that
handles the message may hold them all.
"""
RECIPIENT_OVERHEAD = 16
"""What stands around an address there."""

QUEUE_ID_MARK = "\0id\0"
"""Stands in a prepended line where the queue id is to be: only cleanup knows it (``with ESMTP id …`` of Received:)."""


class Deposit(Message):
    """Make this message canonical, queue it, sync it. Answered by Deposited or Refused."""

    envelope: Envelope
    recipients: tuple[Recipient, ...]
    source: Literal["smtpd", "pickup", "bounce", "local", "notify", "verify", "qmqpd", "requeue"]
    rewrite_context: Literal["local", "remote"] = "remote"
    """remote: header addresses are left alone unless local_header_rewrite_clients says otherwise."""
    extract_recipients: bool = False
    """sendmail -t: take recipients from To, Cc, Bcc as well."""
    filters: bool = True
    """Header and body checks, content filter, BCC maps (Postfix's cleanup flags for external mail)."""
    aliases: bool = True
    """Virtual alias, canonical and masquerade mapping."""
    bcc: bool = True
    hold: bool = False
    milters: bool = True
    prepend: tuple[str, ...] = ()
    """Header lines to put first (Received:, access PREPEND), each without its final newline; see QUEUE_ID_MARK."""


class Deposited(Message):
    """The message is safe. ``size`` is its content's bytes."""

    queue_id: str
    size: int
    discarded: bool = False
    """True when a DISCARD action threw it away: the sender is told it went well. Of a probe (source verify): the
    address stands for several, and none of them is asked.
    """
