"""What delivery agents share: the queue file's content, the log line of a recipient, Delivered-To."""

import os
import time

from tubepost.common.wire.delivery import Job, RecipientStatus
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.mailbox import Content
from tubepost.common.spool import Spool


def open_content(spool: Spool, job: Job, head: bytes = b"") -> Content:
    """The job's content for a mailbox; the caller closes ``content.fd``. Raises OSError."""
    fd = os.open(spool.path(job.queue, job.queue_id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return Content(fd, job.content_offset, job.content_length, head, crlf=job.envelope.encoding == "binary")


def delay(seconds: float) -> str:
    """As Postfix: at most two digits behind the point, and none that say nothing (delay_logging_resolution_limit)."""
    if seconds <= 0:
        return "0"
    if seconds < 0.095:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") or "0"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0")
    return f"{seconds:.0f}"


def log_status(
    job: Job, recipient: QueuedRecipient, status: RecipientStatus, *, begun: float, connected: float | None = None
) -> None:
    """``QID: to=<…>, relay=…, delay=…, delays=a/b/c/d, dsn=…, status=… (…)``: the line that log tools live on.

    ``begun``: when the agent took the job; ``connected``: when it was ready to transmit (default: at once).
    delays: before qmgr, in qmgr, connection setup, transmission.
    """
    now = time.time()
    arrival = job.envelope.arrival_time
    ready = begun if connected is None else connected
    address = recipient.recipient.address
    original = recipient.recipient.original
    orig_to = f" orig_to=<{original}>," if original and original != address else ""
    relay = status.relay or "none"
    log.info(
        f"{job.queue_id}: to=<{address}>,{orig_to} relay={relay}, delay={delay(now - arrival)}, "
        f"delays={delay(job.active_time - arrival)}/{delay(begun - job.active_time)}/{delay(ready - begun)}/"
        f"{delay(now - ready)}, dsn={status.dsn}, status={status.status} ({status.text})"
    )
