"""The world of one recipient's expansion: tables, other programs, and deliveries to mailboxes, files and commands."""

import asyncio
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tubepost.common.mail.date import format_date
from tubepost.common.wire.base import Done
from tubepost.common.wire.bounce import Entry, SendOne
from tubepost.common.wire.cleanup import INLINE_LIMIT, QUEUE_ID_MARK, Deposit, Deposited
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.envelope import Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.wire.rewrite import Resolved
from tubepost.common.system import log
from tubepost.common.bus import BusError, Refusal
from tubepost.common.bus.frames import CHUNK_SIZE
from tubepost.common.bus.rewriting import RewriteClient
from tubepost.common.config import Config
from tubepost.common.config.expand import ExpandError
from tubepost.common.mailbox import Content, DeliveryError
from tubepost.common.mailbox.copying import read, render
from tubepost.common.mailbox.interface import Deliveries
from tubepost.common.mailbox.mbox import Locking, MboxStore, Rules, from_line
from tubepost.common.tables import Maps, TableError
from tubepost.common.skeleton import commands
from tubepost.common.skeleton.deliveries import Outcomes, delivery_head, status_of
from tubepost.common.skeleton.process import Process

from tubepost.services.local import files, tables
from tubepost.services.local.expansion import Alias, Forward, ListFile, Trouble
from tubepost.services.local.protocol import Attributes, Rights, censor, fill, unprivileged, variables

T = TypeVar("T")
RELAY = "local"


@dataclass(slots=True)
class Tools:
    """What all deliveries of the process share."""

    process: Process
    config: Config
    aliases: tables.AliasTables
    transports: dict[str, Maps]
    commands: Maps
    outcomes: Outcomes
    rewriter: RewriteClient
    maildirs: Deliveries
    mboxes: MboxStore
    locking: Locking
    default: Rights
    environment: dict[str, str]


class Delivery:
    """See expansion.World. One a recipient; ``content`` stays open while it lives."""

    def __init__(self, tools: Tools, job: Job, queued: QueuedRecipient, content: Content, begun: float) -> None:
        self._tools = tools
        self._config = tools.config
        self._job = job
        self._queued = queued
        self._content = content
        self._begun = begun

    def warn(self, text: str) -> None:
        log.warning(f"{self._job.queue_id}: {text}")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, work)

    # -- questions ---------------------------------------------------------------------------------------------------

    async def alias(self, name: str) -> Alias | None:
        try:
            return await self._tools.aliases.find(name)
        except Trouble as trouble:
            self.warn(str(trouble))
            raise

    def account(self, name: str) -> Rights | None:
        return tables.account(name)

    def account_by_id(self, uid: int) -> Rights | None:
        return tables.account_by_id(uid)

    async def home_trouble(self, rights: Rights) -> str:
        return await self._in_thread(lambda: files.home_trouble(rights))

    async def forward_file(self, path: str, rights: Rights) -> ListFile | None:
        limit = self._config.message_size_limit
        return await self._in_thread(lambda: files.forward_file(path, rights, limit))

    async def include_file(self, path: str, rights: Rights) -> ListFile:
        limit = self._config.message_size_limit
        return await self._in_thread(lambda: files.include_file(path, rights, limit))

    async def prepare(self, sender: str, addresses: list[str]) -> None:
        try:
            rewritten = await self._tools.rewriter.rewrite_all("local", addresses)
            await self._tools.rewriter.resolve_all(sender, rewritten)
        except BusError as error:
            log.debug(f"{self._job.queue_id}: addresses of a list: {error}")

    async def canonical(self, address: str) -> str:
        try:
            return await self._tools.rewriter.rewrite("local", address)
        except BusError as error:
            raise Trouble("4.3.0", f"address rewriting failure: {error}") from error

    async def resolve(self, sender: str, address: str) -> Resolved:
        try:
            return await self._tools.rewriter.resolve(sender, address)
        except BusError as error:
            raise Trouble("4.3.0", f"address resolver failure: {error}") from error

    async def transport_of(self, parameter: str, user: str) -> str:
        found = await self._look_up(self._tools.transports[parameter], user)
        return found if found is not None else str(self._config.get(parameter))

    async def _look_up(self, maps: Maps, key: str) -> str | None:
        try:
            return await maps.lookup(key)
        except TableError as error:
            self.warn(str(error))
            raise Trouble("4.3.0", "table lookup failure") from error

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def _named(self, attributes: Attributes) -> QueuedRecipient:
        return QueuedRecipient(offset=self._queued.offset, recipient=attributes.recipient)

    async def settle(self, attributes: Attributes, dsn: str, text: str) -> RecipientStatus:
        return await self._settle(attributes, status_of(self._queued, dsn, text, RELAY))

    async def _settle(self, attributes: Attributes, status: RecipientStatus) -> RecipientStatus:
        settled = await self._tools.outcomes.settle(self._job, self._named(attributes), status, begun=self._begun)
        return self._about(attributes, settled)

    def _about(self, attributes: Attributes, status: RecipientStatus) -> RecipientStatus:
        """A report speaks of the recipient of the job: say which of its destinations failed."""
        address = attributes.recipient.address
        if status.status in ("sent", "deliverable") or address == self._queued.recipient.address:
            return status
        return status.model_copy(update={"text": f"<{address}>: {status.text}"})

    async def bounce_to_owner(self, attributes: Attributes, owner: str, status: RecipientStatus) -> bool:
        """True when the report is queued."""
        job = self._job
        entry = Entry(recipient=attributes.recipient, status=status, action="failed", time=time.time())
        try:
            await self._tools.process.client(self._config.bounce_service_name).call(
                SendOne(
                    kind="failure",
                    queue_id=job.queue_id,
                    envelope=job.envelope.model_copy(update={"sender": owner, "envid": "", "ret": ""}),
                    content_offset=job.content_offset,
                    content_length=job.content_length,
                    entries=(entry,),
                ),
                Done,
            )
        except BusError as error:
            self.warn(f"cannot report to {owner}, the sender is told instead: {error}")
            return False
        return True

    # -- other agents ------------------------------------------------------------------------------------------------

    async def pass_on(self, attributes: Attributes, transport: str) -> RecipientStatus:
        job = self._job
        name, _, nexthop = transport.partition(":")
        log.info(f"{job.queue_id}: passing <{attributes.recipient.address}> to transport={name}")
        passed = job.model_copy(
            update={
                "transport": name,
                "nexthop": nexthop or job.nexthop,
                "recipients": (self._named(attributes),),
                "envelope": job.envelope.model_copy(
                    update={"sender": attributes.sender, "envid": attributes.envid, "ret": attributes.ret}
                ),
            }
        )
        try:
            report = await self._tools.process.client(name).call(passed, Report, deadline=self._config.daemon_timeout)
        except BusError as error:
            self.warn(f"transport {name}: {error}")
            return await self.settle(attributes, "4.3.0", "mail transport unavailable")
        if len(report.statuses) != 1:
            return await self.settle(attributes, "4.3.0", "unknown mail transport error")
        return self._about(attributes, report.statuses[0])

    # -- mailboxes and files -----------------------------------------------------------------------------------------

    def _head(self, attributes: Attributes, place: str, *, from_: bool) -> bytes:
        """``place``: the word of prepend_delivered_header. Only here the sender of a list's message is another one."""
        job = self._job
        if attributes.sender != job.envelope.sender:
            job = job.model_copy(update={"envelope": job.envelope.model_copy(update={"sender": attributes.sender})})
        delivered = attributes.delivered if place in self._config.prepend_delivered_header else ""
        original = self._config.enable_original_recipient
        head = delivery_head(job, self._named(attributes), original=original, delivered=delivered)
        if from_:
            head = from_line(attributes.sender, time.time()) + head
        return head.encode("utf-8", "surrogateescape")

    def _with_head(self, head: bytes) -> Content:
        content = self._content
        return Content(content.fd, content.offset, content.length, head, content.crlf)

    async def to_file(self, attributes: Attributes, path: str) -> RecipientStatus:
        rights = unprivileged(attributes.rights, self._tools.default)
        if path.endswith("/"):
            return await self._to_maildir(attributes, path, rights)
        refusal = commands.may_become(rights.uid)
        if refusal:
            return await self.settle(attributes, "4.3.0", f"cannot append message to file {path}: {refusal}")
        try:
            await self._tools.mboxes.deliver(
                path,
                self._with_head(self._head(attributes, "file", from_=True)),
                uid=rights.uid,
                gid=rights.gid,
                rules=Rules(self._config.mailbox_size_limit, executable=False, special=True, otherwise="5.2.0"),
                locking=self._optional_dotlock(),
            )
        except DeliveryError as error:
            return await self.settle(attributes, error.dsn, f"cannot append message to file {path}: {error}")
        return await self.settle(attributes, "2.0.0", f"delivered to file: {path}")

    def _optional_dotlock(self) -> Locking:
        locking = self._tools.locking
        return Locking(locking.styles, locking.attempts, locking.delay, locking.stale, dotlock_optional=True)

    async def _to_maildir(self, attributes: Attributes, path: str, rights: Rights) -> RecipientStatus:
        refusal = commands.may_become(rights.uid)
        if refusal:
            return await self.settle(attributes, "4.3.0", f"maildir delivery failed: {refusal}")
        head = self._head(attributes, "file", from_=False)
        limit = self._config.mailbox_size_limit
        try:
            if limit and len(head) + self._content.length > limit:
                raise DeliveryError("5.2.2", f"the message is larger than mailbox_size_limit, {limit} bytes")
            await self._tools.maildirs.deliver(path, self._with_head(head), uid=rights.uid, gid=rights.gid)
        except DeliveryError as error:
            return await self.settle(attributes, error.dsn, f"maildir delivery failed: {error}")
        return await self.settle(attributes, "2.0.0", "delivered to maildir")

    async def to_mailbox(self, attributes: Attributes) -> RecipientStatus:
        config = self._config
        user, rights = attributes.user, attributes.rights
        command = await self._look_up(self._tools.commands, user)
        if command is None:
            command = config.mailbox_command
        if command:
            return await self.to_command(attributes, command)
        home, spool = config.home_mailbox, config.mail_spool_directory
        if home:
            path = f"{rights.home}/{home}"
        else:
            path = f"{spool}{user}/" if spool.endswith("/") else f"{spool}/{user}"
        if path.endswith("/"):
            return await self._to_maildir(attributes, path, rights)
        refusal = commands.may_become(rights.uid)
        if refusal:
            return await self.settle(attributes, "4.3.0", f"cannot update mailbox {path} for user {user}. {refusal}")
        owner = rights.uid if config.strict_mailbox_ownership else -1
        form = Rules().form if not config.sun_mailtool_compatibility else _WITHOUT_BLANK
        try:
            await self._tools.mboxes.deliver(
                path,
                self._with_head(self._head(attributes, "file", from_=True)),
                uid=rights.uid,
                gid=rights.gid,
                rules=Rules(config.mailbox_size_limit, owner, otherwise="5.2.0", form=form),
                create_as=None if home else _maker(spool, rights),
            )
        except DeliveryError as error:
            if "not owned" in str(error):
                self.warn('specify "strict_mailbox_ownership = no" to ignore mailbox ownership mismatch')
            return await self.settle(attributes, error.dsn, f"cannot update mailbox {path} for user {user}. {error}")
        return await self.settle(attributes, "2.0.0", "delivered to mailbox")

    # -- commands ----------------------------------------------------------------------------------------------------

    async def to_command(self, attributes: Attributes, command: str) -> RecipientStatus:
        config = self._config
        rights = unprivileged(attributes.rights, self._tools.default)
        try:
            folder = fill(
                config.command_execution_directory,
                variables(attributes, config.recipient_delimiter),
                config.execution_directory_expansion_filter,
            ).text
        except ExpandError as error:
            self.warn(f"command_execution_directory: {error}")
            return await self.settle(attributes, "4.3.5", "mail system configuration error")
        words = commands.split_command(command, config.local_command_shell)
        if not words:
            return await self.settle(attributes, "5.3.5", "mail system configuration error: the command is empty")
        ending = await commands.run(
            commands.Command(
                words=words,
                title=command,
                uid=rights.uid,
                gid=rights.gid,
                time_limit=config.command_time_limit,
                environment=self._tools.environment | self._environment(attributes),
                folder=folder,
            ),
            render(self._with_head(self._head(attributes, "command", from_=True))),
        )
        verdict = commands.verdict(command, ending)
        if verdict.dsn.startswith("2"):
            return await self.settle(attributes, "2.0.0", f"delivered to command: {command}")
        return await self._settle(attributes, verdict.status(self._queued, RELAY))

    def _environment(self, attributes: Attributes) -> dict[str, str]:
        """Nothing of a stranger's making reaches a shell: all but the allowed characters become ``_``."""
        origin = self._job.envelope.origin
        recipient = attributes.recipient
        values = {
            "HOME": attributes.rights.home,
            "SHELL": attributes.rights.shell,
            "LOGNAME": attributes.user,
            "USER": attributes.user,
            "SENDER": attributes.sender,
            "RECIPIENT": recipient.address,
            "LOCAL": attributes.local,
            "DOMAIN": attributes.domain,
            "EXTENSION": attributes.extension,
            "ORIGINAL_RECIPIENT": recipient.original or recipient.address,
            "ENVID": attributes.envid,
            "CLIENT_HOSTNAME": origin.client_name if origin.client_address else "",
            "CLIENT_ADDRESS": origin.client_address,
            "CLIENT_HELO": origin.helo,
            "CLIENT_PROTOCOL": origin.protocol,
            "SASL_METHOD": origin.sasl_method,
            "SASL_SENDER": origin.sasl_sender,
            "SASL_USERNAME": origin.sasl_username,
        }
        clean = censor(self._config.command_expansion_filter)
        # An empty sender is a sender: all others are there only when they say something.
        return {name: clean(value) for name, value in values.items() if value or name == "SENDER"}

    # -- forwarding --------------------------------------------------------------------------------------------------

    async def forward(self, attributes: Attributes, forward: Forward) -> RecipientStatus:
        """Make the new message. ``attributes``: of the recipient of the job."""
        job = self._job
        now = time.time()
        lines = [_received(self._config, now)]
        if "forward" in self._config.prepend_delivered_header:
            lines.append(f"Delivered-To: {forward.delivered.casefold()}")
        deposit = Deposit(
            envelope=job.envelope.model_copy(
                update={
                    "sender": forward.sender,
                    "arrival_time": now,
                    "envid": forward.envid,
                    "ret": forward.ret,
                    "content_filter": "",
                    "redirect": "",
                    "verp": "",
                }
            ),
            recipients=tuple(forward.recipients),
            source="local",
            filters=False,
            bcc=False,
            milters=False,
            prepend=tuple(lines),
        )
        try:
            made = await self._deposit(deposit)
        except Refusal as error:
            code = error.refused.dsn or ("5.0.0" if 500 <= error.refused.code <= 599 else "4.3.0")
            return await self.settle(attributes, code, f"unable to forward message: {error.refused.reason}")
        except (BusError, OSError) as error:
            self.warn(f"unable to forward message: {error}")
            return await self.settle(attributes, "4.3.0", "unable to forward message")
        return await self.settle(attributes, "2.0.0", f"forwarded as {made.queue_id}")

    async def _deposit(self, deposit: Deposit) -> Deposited:
        content = self._content
        client = self._tools.process.client(self._config.cleanup_service_name)
        # Binary content goes on as it came; see wire.cleanup.
        raw = Content(content.fd, content.offset, content.length)
        if content.length <= INLINE_LIMIT:
            return await client.call(deposit, Deposited, payload=b"".join(read(raw)))
        upload = client.upload(deposit, Deposited)
        try:
            for chunk in read(raw, CHUNK_SIZE):
                if upload.answered:
                    break
                await upload.send(chunk)
        except BaseException:
            upload.cancel()
            raise
        return await upload.finish()


def _received(config: Config, now: float) -> str:
    moment = time.localtime(now)
    stamp = format_date(now, moment.tm_gmtoff, moment.tm_zone)
    return f"Received: by {config.myhostname} ({config.mail_name})\n\tid {QUEUE_ID_MARK}; {stamp}"


_WITHOUT_BLANK = type(Rules().form)(quote_from=True)


def _maker(spool: str, rights: Rights) -> tuple[int, int] | None:
    """Who may make files in the mail spool directory: its user, its group, or only root (Postfix local(8))."""
    if os.geteuid() != 0:
        return None
    try:
        status = os.stat(spool)
    except OSError:
        return None
    if status.st_mode & stat.S_IWOTH:
        return None
    if status.st_mode & stat.S_IWGRP:
        return rights.uid, status.st_gid
    return 0, 0


def top(recipient: Recipient, job: Job) -> Attributes:
    """Where an expansion begins."""
    envelope = job.envelope
    return Attributes(recipient=recipient, sender=envelope.sender, envid=envelope.envid, ret=envelope.ret)
