"""Writes the logs and mails the reports. Which report goes to whom: the module's text in ``__init__``."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tubepost.common.mail.date import format_date
from tubepost.common.mail.template import Template
from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.bounce import Append, Entry, Kind, Purge, Send, SendOne
from tubepost.common.wire.cleanup import INLINE_LIMIT, QUEUE_ID_MARK, Deposit, Deposited
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system import log
from tubepost.common.system.commit import GroupCommit
from tubepost.common.system.ids import is_queue_id
from tubepost.common.bus import BusError, Handler, Refusal, Request
from tubepost.common.config import templates
from tubepost.common.spool import Spool, leftovers
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process

from tubepost.services.bounce import logfile, report
from tubepost.services.bounce.original import Source
from tubepost.services.bounce.verp import verp_sender

Entries = Callable[[], Iterator[Entry]]

_LOGS: dict[report.Kind, Kind] = {"failure": "bounce", "delay": "defer", "success": "trace", "verbose": "trace"}
_TEMPLATES = {
    "failure": "failure_template",
    "delay": "delay_template",
    "success": "success_template",
    "verbose": "verify_template",
}
# As Postfix's log lines say it.
_TITLES = {
    "failure": "non-delivery notification",
    "delay": "delay notification",
    "success": "delivery status notification",
    "verbose": "delivery status notification",
}
# A report on many recipients is no larger than this, bytes.
_REPORT_SIZE = 4_000_000
# RFC 3463 3.4: message too big for system.
_TOO_LARGE = "5.3.4"
# The loop is given back after so many entries.
_SLICE = 200


@dataclass(frozen=True, slots=True)
class _Work:
    """What all reports of one ``Send`` have in common."""

    kind: report.Kind
    queue_id: str
    envelope: Envelope
    entries: Entries
    source: Source


def _not_sent(queue_id: str, kind: report.Kind, error: Exception) -> Refused:
    """qmgr asks again later."""
    log.warning(f"{queue_id}: {_TITLES[kind]} cannot be sent: {error}")
    return Refused(reason=f"the {_TITLES[kind]} cannot be sent: {error}")


class Bounce(request.Service):
    """Answers Append, Send, SendOne and Purge."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._spool = Spool(".", tuple(config.hash_queue_names), config.hash_queue_depth)
        self._commit = GroupCommit()
        self._cleanup = process.client(config.cleanup_service_name)
        self._double_bounce = f"{config.double_bounce_sender}@{config.myorigin}"
        self._templates: dict[str, Template] = {}

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Append: self._append, Send: self._send, SendOne: self._send_one, Purge: self._purge}

    async def open(self) -> None:
        """Raises ConfigError when bounce_template_file cannot be read."""
        self._templates, complaints = templates.load(self.config)
        for complaint in complaints:
            log.warning(complaint)
        self.process.spawn(asyncio.create_task(self._tidy()))

    async def close(self) -> None:
        self._commit.close()

    async def _tidy(self) -> None:
        """Each of the three services its own logs."""
        config = self.config
        services = {
            config.bounce_service_name: "bounce",
            config.defer_service_name: "defer",
            config.trace_service_name: "trace",
        }
        kind = services.get(self.process.name)
        while kind is not None:
            await leftovers.remove(self._spool, (kind,), time.time())
            await asyncio.sleep(leftovers.INTERVAL)

    # -- logs --------------------------------------------------------------------------------------------------------

    async def _append(self, request: Request[Append]) -> Message:
        message = request.message
        if not is_queue_id(message.queue_id):
            return Refused(reason=f"{message.queue_id!r} is not a queue id")
        path = self._spool.path(message.kind, message.queue_id)
        try:
            if message.kind == "defer":
                # It only informs: a crash costs reasons in the queue's listing, no mail.
                os.close(logfile.append(path, message.entries))
            else:
                await self._commit.run(lambda: logfile.append(path, message.entries))
        except OSError as error:
            log.warning(f"{message.queue_id}: cannot write the {message.kind} log: {error.strerror}")
            return Refused(reason=f"cannot write the {message.kind} log: {error.strerror}")
        return Done()

    def _purge(self, request: Request[Purge]) -> Message:
        message = request.message
        if not is_queue_id(message.queue_id):
            return Refused(reason=f"{message.queue_id!r} is not a queue id")
        return self._remove(message.kind, message.queue_id)

    def _remove(self, kind: Kind, queue_id: str) -> Message:
        try:
            logfile.remove(self._spool.path(kind, queue_id))
        except OSError as error:
            log.warning(f"{queue_id}: cannot remove the {kind} log: {error.strerror}")
            return Refused(reason=f"cannot remove the {kind} log: {error.strerror}")
        return Done()

    # -- reports -----------------------------------------------------------------------------------------------------

    async def _send(self, request: Request[Send]) -> Message:
        message = request.message
        if not is_queue_id(message.queue_id):
            return Refused(reason=f"{message.queue_id!r} is not a queue id")
        kind = _LOGS[message.kind]
        path = self._spool.path(kind, message.queue_id)
        try:
            there = self._spool.has(kind, message.queue_id)
        except OSError as error:
            return _not_sent(message.queue_id, message.kind, error)
        if there:
            answer = await self._report(message, message.kind, lambda: logfile.read(path))
        elif message.kind == "failure":
            # Somebody took the log away: the sender is still told that something failed.
            log.warning(f"{message.queue_id}: the bounce log is gone: the report says no reasons")
            unknown = _unknown()
            answer = await self._report(message, message.kind, lambda: iter([unknown]))
        else:
            return Done()
        if isinstance(answer, Refused) or message.kind == "delay":
            return answer
        if isinstance(self._remove(kind, message.queue_id), Refused):
            # Who was told is not told again: an empty log says nothing, and goes when the message is gone for an hour.
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
        return Done()

    async def _send_one(self, request: Request[SendOne]) -> Message:
        message = request.message
        if not is_queue_id(message.queue_id):
            return Refused(reason=f"{message.queue_id!r} is not a queue id")
        # pickup, broken into, is to have nobody's letter sent back that it cannot read itself.
        if (message.queue == "maildrop") != (request.caller.program == "pickup"):
            program = request.caller.program
            log.warning(f"{message.queue_id}: {program} may not have mail of {message.queue} returned: refused")
            return Refused(reason=f"{program} may not have mail of {message.queue} returned")
        return await self._report(message, message.kind, lambda: iter(message.entries))

    async def _report(self, message: Send | SendOne, kind: report.Kind, entries: Entries) -> Message:
        config = self.config
        sender = message.envelope.sender
        if sender.lower() == self._double_bounce.lower():
            log.info(f"{message.queue_id}: undeliverable postmaster notification discarded")
            return Done()
        try:
            source = Source(
                self._spool.path(message.queue, message.queue_id),
                message.envelope,
                message.content_offset,
                message.content_length,
                config.bounce_size_limit,
            )
        except OSError as error:
            return _not_sent(message.queue_id, kind, error)
        work = _Work(kind, message.queue_id, message.envelope, entries, source)
        try:
            if sender:
                await self._to_sender(work)
                await self._to_postmaster(work)
            elif kind == "failure" and "2bounce" in config.notify_classes:
                # RFC 5321 4.5.5: what has no return path is never returned.
                await self._mail_all(work, config.double_bounce_notice_recipient, copy=True, full=True)
        except (BusError, OSError) as error:
            return _not_sent(message.queue_id, kind, error)
        finally:
            source.close()
        return Done()

    async def _to_sender(self, work: _Work) -> None:
        envelope = work.envelope
        # RFC 3461 4.3: RET says nothing of reports that tell of no failure: those return the header.
        full = work.kind == "failure" and envelope.ret != "HDRS"
        if work.kind == "failure" and len(envelope.verp) == 2 and not self.config.disable_verp_bounces:
            for entry in work.entries():
                to = verp_sender(envelope.sender, envelope.verp, entry.recipient)
                await self._mail(replace(work, entries=_only(entry)), to, copy=False, full=full)
            return
        await self._mail_all(work, envelope.sender, copy=False, full=full)

    async def _to_postmaster(self, work: _Work) -> None:
        config = self.config
        if work.kind == "failure" and "bounce" in config.notify_classes:
            to = config.bounce_notice_recipient
        elif work.kind == "delay" and "delay" in config.notify_classes:
            to = config.delay_notice_recipient
        else:
            return
        try:
            await self._mail_all(work, to, copy=True, full=False)
        except (BusError, OSError) as error:
            # The sender has been told: once is enough.
            log.warning(f"{work.queue_id}: postmaster notice failed while bouncing to {to}: {error}")

    async def _mail_all(self, work: _Work, to: str, *, copy: bool, full: bool) -> None:
        """As many reports as it takes: mail has a size limit, lists may be long. Raises BusError, OSError."""
        limit = self.config.message_size_limit
        for portion in report.portions(work.entries(), min(limit // 2 or _REPORT_SIZE, _REPORT_SIZE)):
            await self._mail(replace(work, entries=portion.__iter__), to, copy=copy, full=full)
            await asyncio.sleep(0)

    async def _mail(self, work: _Work, to: str, *, copy: bool, full: bool) -> None:
        """One report. Nothing is sent when no recipient asked for it. Raises BusError, OSError."""
        config = self.config

        def due() -> Iterator[Entry]:
            return (entry for entry in work.entries() if report.is_due(entry, work.kind, copy))

        found = 0, True
        for found in report.survey(due()):
            if found[0] % _SLICE == 0:
                await asyncio.sleep(0)
        count, ascii_only = found
        if not count:
            return
        words = self._templates[_TEMPLATES[work.kind]]
        envelope = work.envelope
        plain = ascii_only and to.isascii() and envelope.sender.isascii() and work.source.is_ascii(full)
        eightbit = not (plain and words.text.isascii())
        now = time.time()
        facts = report.Facts(
            kind=work.kind,
            copy=copy,
            to=to,
            queue_id=work.queue_id,
            envelope=envelope,
            template=words,
            myhostname=config.myhostname,
            mail_name=config.mail_name,
            # Not to be guessed by who wrote what is returned.
            boundary=f"{work.queue_id}.{secrets.token_hex(8)}/{config.myhostname}",
            stamp=_stamp,
            retry_until=envelope.arrival_time + config.maximal_queue_lifetime,
            threaded=config.enable_threaded_bounces,
            eightbit=eightbit,
            international=envelope.smtputf8 and not plain,
        )
        deposit = Deposit(
            envelope=Envelope(
                sender=self._double_bounce if copy else "",
                arrival_time=now,
                encoding="8bit" if eightbit else "7bit",
                smtputf8=facts.international,
            ),
            recipients=(Recipient(address=to),),
            source="bounce",
            rewrite_context="local",
            filters="bounce" in config.internal_mail_filter_classes,
            bcc=False,
            milters=False,
            prepend=(f"Received: by {config.myhostname} ({config.mail_name})\n\tid {QUEUE_ID_MARK}; {_stamp(now)}",),
        )
        try:
            done = await self._deposit(deposit, report.compose(facts, due, work.source.original(full)))
        except Refusal as error:
            if not full or error.refused.dsn != _TOO_LARGE:
                raise
            # bounce_size_limit lets through more than message_size_limit does: better than to say nothing for ever.
            await self._mail(work, to, copy=copy, full=False)
            return
        who = "postmaster" if copy else "sender"
        log.info(f"{work.queue_id}: {who} {_TITLES[work.kind]}: {done.queue_id}")

    async def _deposit(self, deposit: Deposit, chunks: Iterator[bytes]) -> Deposited:
        """In one request when it is small, else as it is made."""
        held: list[bytes] = []
        size = 0
        for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size > INLINE_LIMIT:
                break
        else:
            return await self._cleanup.call(deposit, Deposited, payload=b"".join(held))
        upload = self._cleanup.upload(deposit, Deposited)
        try:
            for chunk in held:
                await upload.send(chunk)
            held.clear()
            for chunk in chunks:
                if upload.answered:
                    break
                await upload.send(chunk)
                await asyncio.sleep(0)
            return await upload.finish()
        except BaseException:
            upload.cancel()
            raise


def _stamp(when: float) -> str:
    local = time.localtime(when)
    return format_date(when, local.tm_gmtoff, local.tm_zone)


def _only(entry: Entry) -> Entries:
    return lambda: iter([entry])


def _unknown() -> Entry:
    """Stands for the entries of a lost log."""
    status = RecipientStatus(
        offset=-1, status="bounced", dsn="5.0.0", text="the reasons were lost; some recipients did not get the message"
    )
    return Entry(recipient=Recipient(address="unknown"), status=status, action="failed", time=0.0)
