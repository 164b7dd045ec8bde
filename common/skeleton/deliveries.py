"""What delivery agents share: the queue file's content, the end of a recipient (status filter, probe, log line)."""

import math
import os
import re
import time
from collections.abc import Iterable
from typing import Literal, Protocol

from tubepost.common.mail import dsn as codes
from tubepost.common.mail import header
from tubepost.common.mail.addresslist import extract_addresses
from tubepost.common.wire.delivery import Job, RecipientStatus
from tubepost.common.wire.envelope import Envelope
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.mailbox import Content
from tubepost.common.mailbox.copying import read
from tubepost.common.spool import Spool
from tubepost.common.tables import Maps, TableEnvironment, TableError


def open_content(spool: Spool, job: Job, head: bytes = b"") -> Content:
    """The job's content for a mailbox; the caller closes ``content.fd``. Raises OSError."""
    fd = os.open(spool.path(job.queue, job.queue_id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return Content(fd, job.content_offset, job.content_length, head, crlf=job.envelope.encoding == "binary")


_HEADER_LIMIT = 1 << 20
_DELIVERED_TO = re.compile(rb"^Delivered-To:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)


def delivered_to(content: Content) -> frozenset[str]:
    """Addresses of the message's Delivered-To: headers in lower case, external form: who it came by already.

    Reads the first MiB of a header at most. Raises OSError.
    """
    data = b""
    for piece in read(content, 16384):
        data += piece
        end = data.find(b"\n\n")
        if end >= 0 or len(data) >= _HEADER_LIMIT:
            data = data[: end + 1] if end >= 0 else data
            break
    if b"delivered-to" not in data.lower():
        return frozenset()
    end, _ = header.split_message(data)
    found: set[str] = set()
    for match in _DELIVERED_TO.finditer(data, 0, end):
        text = header.unfold(match[1]).decode("utf-8", "replace").strip()
        found.update(address.casefold() for address in extract_addresses(text))
    return frozenset(found)


def delivery_head(job: Job, queued: QueuedRecipient, *, original: bool, delivered: str) -> str:
    """Return-Path:, X-Original-To: and Delivered-To: as Postfix's agents put them before a message.

    ``original``: with X-Original-To (enable_original_recipient); ``delivered``: address, or empty for none.
    """
    # RFC 5321 4.4: final delivery puts the reverse-path into a Return-Path line.
    head = f"Return-Path: <{job.envelope.sender}>\n"
    if original:
        head += f"X-Original-To: {queued.recipient.original or queued.recipient.address}\n"
    return f"{head}Delivered-To: {delivered}\n" if delivered else head


def delay(seconds: float, digits: int = 2) -> str:
    """As Postfix: two digits that say something, of them at most ``digits`` behind the point, no final zeros.

    ``digits``: delay_logging_resolution_limit.
    """
    if seconds < 0.000001:
        return "0"
    # Below a second the second digit stands behind the point in any case.
    places = digits if seconds < 1 and digits <= 2 else min(digits, 1 - math.floor(math.log10(seconds)))
    if places <= 0:
        return f"{seconds:.0f}"
    return f"{seconds:.{places}f}".rstrip("0").rstrip(".")


def status_of(
    queued: QueuedRecipient, dsn: str, text: str, relay: str, *, diagnostic_type: str = "", diagnostic: str = ""
) -> RecipientStatus:
    """The status that a code of RFC 3463 stands for: class 2 sent, 4 deferred, 5 bounced."""
    if not text.isascii():
        # A file or command named in other bytes than UTF-8: a report that cannot be sent would deliver the mail again.
        text = text.encode("utf-8", "replace").decode()
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
        self._digits = config.delay_logging_resolution_limit

    async def settle(
        self,
        job: Job,
        queued: QueuedRecipient,
        status: RecipientStatus,
        *,
        begun: float,
        connected: float | None = None,
        uses: int = 1,
    ) -> RecipientStatus:
        """Filter, soften, turn into the words of a probe, log. Raises nothing: a filter that cannot tell is passed."""
        if self._plain and not job.probe:
            log_status(job, queued, status, begun=begun, connected=connected, uses=uses, digits=self._digits)
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
        log_status(job, queued, status, begun=begun, connected=connected, word=word, uses=uses, digits=self._digits)
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


class Logged(Protocol):
    """A job, or a message that qmgr holds."""

    @property
    def queue_id(self) -> str: ...
    @property
    def envelope(self) -> Envelope: ...
    @property
    def active_time(self) -> float: ...


def log_status(
    job: Logged,
    recipient: QueuedRecipient,
    status: RecipientStatus,
    *,
    begun: float,
    connected: float | None = None,
    word: str = "",
    uses: int = 1,
    digits: int = 2,
) -> None:
    """``QID: to=<…>, relay=…, delay=…, delays=a/b/c/d, dsn=…, status=… (…)``: the line that log tools live on.

    ``begun``: when the agent took the job; ``connected``: when it was ready to transmit (default: at once).
    delays: before qmgr, in qmgr, connection setup, transmission. ``word``: to stand after status= in place of its own.
    ``uses``: deliveries over the connection so far, this one included (conn_use=, from the second on).
    ``digits``: see ``delay``.
    """
    now = time.time()
    arrival = job.envelope.arrival_time
    ready = begun if connected is None else connected
    address = recipient.recipient.address
    original = recipient.recipient.original
    orig_to = f" orig_to=<{original}>," if original and original != address else ""
    relay = status.relay or "none"
    if uses > 1:
        relay += f", conn_use={uses}"
    connecting = "0" if connected is None else delay(ready - begun, digits)
    delays = (
        f"{delay(job.active_time - arrival, digits)}/{delay(begun - job.active_time, digits)}/{connecting}/"
        f"{delay(now - ready, digits)}"
    )
    log.info(
        f"{job.queue_id}: to=<{address}>,{orig_to} relay={relay}, delay={delay(now - arrival, digits)}, "
        f"delays={delays}, dsn={status.dsn}, status={word or status.status} ({status.text})"
    )
