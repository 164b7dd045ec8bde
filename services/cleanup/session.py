"""The doing part of cleanup: takes a message in, asks tables and programs, writes the queue file, tells qmgr."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from tubepost.common.mail import header
from tubepost.common.wire import base, bounce, qmgr
from tubepost.common.wire.base import Refused
from tubepost.common.wire.cleanup import Deposit, Deposited
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system import log
from tubepost.common.system.atomic import write_all
from tubepost.common.system.commit import GroupCommit
from tubepost.common.system.ids import new_queue_id
from tubepost.common.bus import BusError, Handler, Request
from tubepost.common.bus.rewriting import RewriteClient
from tubepost.common.spool import Spool, Writer, encode
from tubepost.common.spool.queuefile import PREAMBLE
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.cleanup import envelope, headers
from tubepost.services.cleanup.body import Body, strip_characters
from tubepost.services.cleanup.checks import Checker
from tubepost.services.cleanup.lookups import Lookups
from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message, Trouble
from tubepost.services.cleanup.virtual import Recipients

Queue = Literal["incoming", "hold"]

# Streamed content is gathered to so much for one write in a thread.
_WRITE_PORTION = 256 * 1024
# A header is held in memory as a whole; so many fields of the largest size, or this much, are enough for any mail.
_HEADER_FIELDS = 16
_HEADER_LEAST = 1024 * 1024
# More lines than any mail needs; each costs far more memory as a field than as bytes.
_HEADER_LINES = 20_000

# Messages that come this close behind another are synced with it, seconds: far less than a sync takes.
_GATHER = 0.001


class Cleanup(request.Service):
    """Answers Deposit."""

    policy: Policy

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.spool = Spool(".", tuple(self.config.hash_queue_names), self.config.hash_queue_depth)
        self.commit = GroupCommit(gather=_GATHER)
        self.environment = table_environment(process)
        self.rewriter = RewriteClient(process.client(self.config.rewrite_service_name))
        self.qmgr = process.client(f"public/{self.config.queue_service_name}")

    @property
    def handlers(self) -> Mapping[type[base.Message], Handler]:
        return {Deposit: self.deposit}

    async def open(self) -> None:
        self.policy = Lookups(self.config, self.environment).policy(self._rewrite)

    async def close(self) -> None:
        self.commit.close()
        self.environment.close()

    async def deposit(self, request: "Request[Deposit]") -> Deposited | Refused:
        """One message. Raises Unavailable when the caller gave up: nothing is kept then."""
        message = Message(new_queue_id(), request.message)
        answer: Deposited | None = None
        try:
            if request.streamed:
                answer = await self._take_stream(message, request)
            else:
                payload = request.payload
                answer = await self._take_whole(message, payload[0] if len(payload) == 1 else b"".join(payload))
        except Trouble as error:
            message.warn(f"{error} -- message not accepted, try again later")
            message.fail(Fault.WRITE)
        except OSError as error:
            message.warn(f"cannot write the queue file: {error} -- message not accepted, try again later")
            message.fail(Fault.WRITE)
        finally:
            self._write_log(message)
        if answer is not None:
            return answer
        refusal = message.refusal()
        if refusal is not None:
            return refusal
        return Deposited(queue_id=message.queue_id, size=0, discarded=True)

    async def _take_whole(self, message: Message, data: bytes) -> Deposited | None:
        """A message in one piece. None: it was refused or discarded, see ``message``."""
        policy = self.policy
        if policy.message_size_limit and len(data) > policy.message_size_limit:
            message.fail(Fault.SIZE)
            return None
        data = strip_characters(message, policy, data)
        end, start = header.split_message(data)
        cleaned = await self._clean_head(message, data[:end])
        if cleaned is None:
            return None
        out, head = cleaned
        body = data[start:]
        if not message.dead and policy.reads_body(message.filters):
            machine = Body(message, policy, head)
            body = await machine.feed(body) + await machine.finish()
        if message.faults or message.discard:
            return None
        await envelope.finish_envelope(message, policy, out)
        content = (head, _separator(message), body)
        if not self._acceptable(message, len(head) + len(body)):
            return None
        final = message.final_envelope()
        buffers, offsets, length = encode(final, message.recipients, content)
        await self._report_expansions(message, final)
        await self.process.inflow()
        queue: Queue = "hold" if message.hold else "incoming"

        def write() -> int:
            fd = self.spool.create_named(queue, message.queue_id)
            try:
                size = sum(map(len, buffers))
                if os.writev(fd, buffers) != size:
                    os.lseek(fd, 0, os.SEEK_SET)
                    write_all(fd, b"".join(buffers))
            except BaseException:
                os.close(fd)
                raise
            return fd

        try:
            await self.commit.run(write)
        except OSError:
            self.spool.remove(queue, message.queue_id)
            await self._forget_expansions(message)
            raise
        self._tell(message, final, offsets, length, queue)
        return Deposited(queue_id=message.queue_id, size=length)

    async def _take_stream(self, message: Message, request: "Request[Deposit]") -> Deposited | None:
        """A large message, written while it arrives."""
        policy = self.policy
        collector = header.Collector(max(_HEADER_LEAST, _HEADER_FIELDS * policy.header_size_limit))
        chunks = request.chunks()
        done = False
        async for chunk in chunks:
            try:
                done = collector.feed(strip_characters(message, policy, chunk))
            except ValueError:
                message.fail(Fault.HEADER)
                return None
            if done:
                break
        if not done:
            collector.finish()
        cleaned = await self._clean_head(message, collector.block)
        if cleaned is None or message.dead or message.discard:
            return None
        out, head = cleaned
        machine = Body(message, policy, head) if policy.reads_body(message.filters) else None
        await self.process.inflow()
        fd = self.spool.create_named("incoming", message.queue_id)
        # From here on the file is there: it is completed, or removed.
        try:
            writer = Writer(fd)
            writer.write(head + _separator(message))
            portion = [collector.rest if machine is None else await machine.feed(collector.rest)]
            held = len(portion[0])
            async for chunk in chunks:
                chunk = strip_characters(message, policy, chunk)
                if machine is not None:
                    chunk = await machine.feed(chunk)
                portion.append(chunk)
                held += len(chunk)
                if policy.message_size_limit and writer.length + held > policy.message_size_limit:
                    message.fail(Fault.SIZE)
                if message.faults or message.discard:
                    self._drop_file(message, fd)
                    return None
                if held >= _WRITE_PORTION:
                    await self._write(writer, b"".join(portion))
                    portion.clear()
                    held = 0
            if machine is not None:
                portion.append(await machine.finish())
            await envelope.finish_envelope(message, policy, out)
            if message.faults or message.discard or not self._acceptable(message, writer.length + held):
                self._drop_file(message, fd)
                return None
            final = message.final_envelope()
            await self._report_expansions(message, final)
        except BaseException:
            self._drop_file(message, fd)
            raise
        queue: Queue = "hold" if message.hold else "incoming"
        offsets: list[int] = []

        def write() -> int:
            try:
                if queue == "hold":
                    # While it is incomplete qmgr lets it be; afterwards it would take it up.
                    self.spool.move(message.queue_id, "incoming", "hold")
                writer.write(b"".join(portion))
                offsets.extend(writer.finish(final, message.recipients))
            except BaseException:
                os.close(fd)
                raise
            return fd

        try:
            await self.commit.run(write)
        except OSError:
            self.spool.remove("incoming", message.queue_id)
            self.spool.remove("hold", message.queue_id)
            await self._forget_expansions(message)
            raise
        self._tell(message, final, offsets, writer.length, queue)
        return Deposited(queue_id=message.queue_id, size=writer.length)

    async def _clean_head(self, message: Message, block: bytes) -> tuple[Recipients, bytes] | None:
        """Envelope and header. None: the header is out of all proportion."""
        policy, deposit = self.policy, message.deposit
        if block.count(b"\n") > _HEADER_LINES:
            message.fail(Fault.HEADER)
            return None
        fields = header.scan(block)
        recipients = list(deposit.recipients)
        if deposit.extract_recipients:
            recipients += [Recipient(address=address) for address in headers.extract_recipients(fields)]
        out = await envelope.clean_envelope(message, policy, recipients)
        if deposit.prepend:
            fields = headers.prepended(deposit.prepend, message.queue_id) + fields
        fields = await Checker(message, policy).fields(fields)
        arrival = deposit.envelope.arrival_time
        local = time.localtime(arrival)
        pieces = await headers.clean_header(message, policy, fields, (arrival, local.tm_gmtoff, local.tm_zone))
        head = b"".join(pieces)
        if message.encoding == "binary":
            # RFC 3030 3: such a message is CRLF throughout, and so are the lines added here.
            head = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self._write_log(message)
        return out, head

    def _acceptable(self, message: Message, size: int) -> bool:
        """The last word: somebody to send it to, and the size of what came of it."""
        if message.last_recipient is None or not message.recipients:
            message.fail(Fault.RECIPIENTS)
        limit = self.policy.message_size_limit
        if limit and size > limit:
            message.fail(Fault.SIZE)
        return not message.faults

    async def _write(self, writer: Writer, data: bytes) -> None:
        """In a thread, for the disk may be slow. It is waited for in any case: nobody may close the file under it."""
        work = self.process.loop.run_in_executor(None, writer.write, data)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise

    def _drop_file(self, message: Message, fd: int) -> None:
        os.close(fd)
        self.spool.remove("incoming", message.queue_id)

    def _tell(self, message: Message, final: Envelope, offsets: Sequence[int], length: int, queue: Queue) -> None:
        """A hint to qmgr; without it the next scan of incoming/ finds the file."""
        if queue == "hold":
            return
        recipients: tuple[qmgr.QueuedRecipient, ...] = ()
        if len(offsets) <= qmgr.INLINE_RECIPIENTS:
            recipients = tuple(
                qmgr.QueuedRecipient(offset=offset, recipient=recipient)
                for offset, recipient in zip(offsets, message.recipients, strict=True)
            )
        arrived = qmgr.Arrived(
            queue_id=message.queue_id,
            envelope=final,
            content_offset=PREAMBLE,
            content_length=length,
            recipients=recipients,
            recipient_count=len(offsets),
        )
        self.qmgr.tell(arrived)

    async def _report_expansions(self, message: Message, final: Envelope) -> None:
        """RFC 3461 5.2.7.3: "expanded" goes to the trace log, from which qmgr has the success report made."""
        if not message.expanded:
            return
        entries = tuple(
            bounce.Entry(
                recipient=recipient,
                status=RecipientStatus(offset=-1, status="expanded", dsn="2.0.0", text="alias expanded", relay="none"),
                action="expanded",
                time=final.arrival_time,
            )
            for recipient in message.expanded
        )
        await self._ask_trace(bounce.Append(kind="trace", queue_id=message.queue_id, entries=entries))

    async def _forget_expansions(self, message: Message) -> None:
        if message.expanded:
            await self._ask_trace(bounce.Purge(kind="trace", queue_id=message.queue_id))

    async def _ask_trace(self, question: base.Message) -> None:
        try:
            await self.process.client(self.config.trace_service_name).call(question, base.Done)
        except BusError as error:
            raise Trouble(f"trace service: {error}") from error

    async def _rewrite(self, context: str, addresses: Sequence[str]) -> list[str]:
        try:
            return await self.rewriter.rewrite_all("local" if context == "local" else "remote", addresses)
        except BusError as error:
            raise Trouble(f"rewrite service: {error}") from error

    def _write_log(self, message: Message) -> None:
        for level, text in message.lines:
            if level == "info":
                log.info(text)
            else:
                log.warning(text)
        message.lines.clear()


def _separator(message: Message) -> bytes:
    """The empty line between header and body, which some mail lacks."""
    return b"\r\n" if message.encoding == "binary" else b"\n"
