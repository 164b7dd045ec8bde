"""Drives commands: one job, one command."""

import grp
import os
import pwd
import time

from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.system import log
from tubepost.common.mailbox import Content
from tubepost.common.mailbox.copying import Form, render
from tubepost.common.mailbox.mbox import from_line
from tubepost.common.spool import Spool
from tubepost.common.skeleton import commands, worker
from tubepost.common.skeleton.deliveries import Outcomes, delivered_to, open_content, status_of
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.pipe.protocol import Options, command_words, parse, sender

_CONFIGURATION = ("4.3.5", "mail system configuration error")


class Pipe(worker.Agent):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        try:
            self._options = parse(process.birth.arguments)
            self._uid, self._gid = self._account(self._options)
        except ValueError as error:
            raise config.bad_value("master.cf", f"service {process.name}: {error}") from None
        self._time_limit = config.transport_time(process.name, "time_limit")
        self._environment = commands.base_environment(config)
        self._tables = table_environment(process)
        self._outcomes = Outcomes(
            config, config.pipe_delivery_status_filter, self._tables, "pipe_delivery_status_filter"
        )
        self._spool = Spool()

    def _account(self, options: Options) -> tuple[int, int]:
        """uid and gid. Raises ValueError for one that a command must not have."""
        try:
            entry = pwd.getpwnam(options.user)
            gid = grp.getgrnam(options.group).gr_gid if options.group else entry.pw_gid
        except KeyError as error:
            raise ValueError(f"user={options.user}:{options.group}: {error.args[0]}") from None
        uid = entry.pw_uid
        if uid == 0 or gid == 0:
            raise ValueError("user= must not be root or of its group")
        if os.geteuid() != 0:
            return uid, gid  # the mail system has one account; commands.run says what else cannot be
        config = self.config
        try:
            owner = pwd.getpwnam(config.mail_owner)
            if uid == owner.pw_uid or gid == owner.pw_gid:
                raise ValueError(f"user= must not be the owner of the mail system, {config.mail_owner}")
            if gid == grp.getgrnam(config.setgid_group).gr_gid:
                raise ValueError(f"user= must not be of the group {config.setgid_group}")
        except KeyError:
            pass
        return uid, gid

    async def close(self) -> None:
        self._tables.close()

    async def deliver(self, job: Job) -> Report:
        begun = time.time()
        try:
            content = open_content(self._spool, job)
        except OSError as error:
            return worker.defer_all(job, "4.3.0", f"cannot open the queue file: {error.strerror}")
        try:
            verdict = self._refuse(job, content) or await self._run(job, content)
        except OSError as error:
            verdict = commands.Verdict("4.3.0", f"cannot read the queue file: {error.strerror}")
        finally:
            os.close(content.fd)
        return Report(
            statuses=tuple([await self._settle(job, index, verdict, begun) for index in range(len(job.recipients))])
        )

    async def _settle(self, job: Job, index: int, verdict: commands.Verdict, begun: float) -> RecipientStatus:
        queued = job.recipients[index]
        name = self.process.name
        if job.probe and verdict.dsn.startswith("2"):
            status = status_of(queued, "2.0.0", f"delivers to command: {self._options.argv[0]}", name)
        elif verdict.dsn.startswith("2"):
            said = f" ({verdict.text[:100]})" if verdict.text else ""
            status = status_of(queued, "2.0.0", f"delivered via {name} service{said}", name)
            if "X" not in self._options.flags:
                status = status.model_copy(update={"relayed": True})
        else:
            status = verdict.status(queued, name)
        return await self._outcomes.settle(job, queued, status, begun=begun)

    def _refuse(self, job: Job, content: Content) -> commands.Verdict | None:
        """What needs no command to be told. Raises OSError."""
        options, name = self._options, self.process.name
        if len(job.recipients) > 1:
            for flag in "DO":
                if flag in options.flags:
                    log.warning(f"pipe flag {flag} requires {name}_destination_recipient_limit = 1")
                    return commands.Verdict(*_CONFIGURATION)
        if options.size and job.content_length > options.size:
            return commands.Verdict("5.2.3", "message too large")
        if job.probe:
            return commands.Verdict("2.0.0", "")
        if "D" in options.flags:
            recipient = job.recipients[0].recipient.address
            if recipient.casefold() in delivered_to(content):
                return commands.Verdict("5.4.6", f"mail forwarding loop for {recipient}")
        return None

    async def _run(self, job: Job, content: Content) -> commands.Verdict:
        options = self._options
        flags = options.flags
        words = command_words(options, job, self.config.recipient_delimiter)
        form = Form(quote_from=">" in flags, stuff_dots="." in flags, eol=options.eol, blank="B" in flags)
        head = self._head(job).encode("utf-8", "surrogateescape")
        ending = await commands.run(
            commands.Command(
                words=words,
                title=words[0],
                uid=self._uid,
                gid=self._gid,
                time_limit=self._time_limit,
                environment=self._environment,
                folder=options.directory,
                root=options.chroot,
            ),
            render(Content(content.fd, content.offset, content.length, head, content.crlf), form),
        )
        return commands.verdict(words[0], ending)

    def _head(self, job: Job) -> str:
        flags, given = self._options.flags, sender(self._options, job)
        recipient = job.recipients[0].recipient
        head = ""
        if "F" in flags:
            head += from_line(given, time.time())
        if "R" in flags:
            head += f"Return-Path: <{given}>\n"
        if "O" in flags and self.config.enable_original_recipient:
            head += f"X-Original-To: {recipient.original or recipient.address}\n"
        if "D" in flags:
            head += f"Delivered-To: {recipient.address}\n"
        return head
