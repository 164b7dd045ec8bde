"""postdrop/1: what sendmail writes to postdrop's standard input, when only postdrop may write into the queue. Pure.

::

    chunks of content: their length in decimal and LF, then so many bytes
    0 LF
    one line of JSON: Posting

The envelope stands behind the content, because recipients and encoding may be found in it. Input that ends before the
last line does was given up by its writer: nothing is posted.

postdrop answers on its standard output with the queue id and LF, before it has read anything; and with its exit status.
"""

from tubepost.common.wire.base import Message
from tubepost.common.wire.envelope import Envelope, Recipient

PROTOCOL = "postdrop/1"
LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of the last line: a few hundred thousand recipients."""
CHUNK_LIMIT = 1024 * 1024


class Posting(Message):
    """The envelope of one message. Who posts it, and when, is found out by postdrop and pickup themselves."""

    protocol: str = PROTOCOL
    envelope: Envelope
    recipients: tuple[Recipient, ...]


def encode_chunk(data: bytes) -> bytes:
    """A piece of the content, at most CHUNK_LIMIT bytes. Empty, it is nothing: the end looks like one."""
    return b"%d\n%b" % (len(data), data) if data else b""


def encode_end(posting: Posting) -> bytes:
    """What stands behind the content."""
    return b"0\n%b\n" % posting.model_dump_json(exclude_defaults=True).encode()
