"""What delivery agents share: the queue file's content, the end of a recipient (status filter, probe, log line)."""

import os
import time
from collections.abc import Iterable
from typing import Literal

from tubepost.common.mail import dsn as codes
from tubepost.common.wire.delivery import Job, RecipientStatus
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.mailbox import Content
from tubepost.common.spool import Spool
from tubepost.common.tables import Maps, TableEnvironment, TableError


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


def status_of(
    queued: QueuedRecipient, dsn: str, text: str, relay: str, *, diagnostic_type: str = "", diagnostic: str = ""
) -> RecipientStatus:
    """The status that a code of RFC 3463 stands for: class 2 sent, 4 deferred, 5 bounced."""
    return RecipientStatus(
        offset=queued.offset,
        status=_KINDS[dsn[0]],
        dsn=dsn,
        text=text,
        relay=relay,
        diagnostic_type=diagnostic_type,
        diagnostic=diagnostic,
    )


_KINDS: dict[str, Literal["sent", "deferred", "bounced"]] = {"2": "sent", "4": "deferred", "5": "bounced"}


class Outcomes:
    """The last step of every recipient: ``settle`` gives the status to report, and logs it."""

    def __init__(self, config: Config, specs: Iterable[str], tables: TableEnvironment, title: str) -> None:
        """``specs``: of the agent's ``…_delivery_status_filter``; ``title``: that parameter's name."""
        self._soft = config.soft_bounce
        self._filter = Maps(specs, tables, title=title)
        self._title = title
        self._plain = not self._filter and not self._soft

    async def settle(
        self,
        job: Job,
        queued: QueuedRecipient,
        status: RecipientStatus,
        *,
        begun: float,
        connected: float | None = None,
    ) -> RecipientStatus:
        """Filter, soften, turn into the words of a probe, log. Raises nothing: a filter that cannot tell is passed."""
        if self._plain and not job.probe:
            log_status(job, queued, status, begun=begun, connected=connected)
            return status
        if self._filter:
            status = await self._filtered(job, status)
        word = ""
        if status.status == "bounced" and self._soft:
            word = "SOFTBOUNCE"
            status = status.model_copy(update={"status": "deferred", "dsn": codes.with_class(status.dsn, "4")})
        if job.probe:
            # For a probe the log speaks of the address; qmgr is still told what may change and what may not.
            word = "deliverable" if status.dsn.startswith("2") else "undeliverable"
            if status.status != "deferred":
                status = status.model_copy(update={"status": word})
        log_status(job, queued, status, begun=begun, connected=connected, word=word)
        return status

    async def _filtered(self, job: Job, status: RecipientStatus) -> RecipientStatus:
        """Postfix default_delivery_status_filter: asked for ``dsn text``; success stays success, failure failure."""
        key = f"{status.dsn} {status.text}"
        try:
            value = await self._filter.lookup(key)
        except TableError as error:
            log.warning(f"{job.queue_id}: {self._title}: {error}; the status stays as it was")
            return status
        if value is None:
            return status
        dsn, text = codes.split(value)
        if not dsn:
            log.warning(
                f"{job.queue_id}: {self._title}: {value!r} does not begin with a status code like 4.3.0: ignored"
            )
            return status
        if (dsn[0] == "2") is not (status.dsn[0] == "2"):
            log.warning(f"{job.queue_id}: {self._title}: {key!r} to {value!r}: success and failure cannot be exchanged")
            return status
        kind = status.status if dsn[0] == "2" else _KINDS[dsn[0]]
        return status.model_copy(update={"status": kind, "dsn": dsn, "text": text or status.text})


def log_status(
    job: Job,
    recipient: QueuedRecipient,
    status: RecipientStatus,
    *,
    begun: float,
    connected: float | None = None,
    word: str = "",
) -> None:
    """``QID: to=<…>, relay=…, delay=…, delays=a/b/c/d, dsn=…, status=… (…)``: the line that log tools live on.

    ``begun``: when the agent took the job; ``connected``: when it was ready to transmit (default: at once).
    delays: before qmgr, in qmgr, connection setup, transmission. ``word``: to stand after status= in place of its own.
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
        f"{delay(now - ready)}, dsn={status.dsn}, status={word or status.status} ({status.text})"
    )
