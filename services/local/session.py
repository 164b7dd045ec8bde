"""Takes the jobs of local: one recipient after the other, each with all that it expands to."""

import os
import time

from tubepost.common.mail import address
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.commit import GroupCommit
from tubepost.common.bus.rewriting import RewriteClient
from tubepost.common.mailbox import Content
from tubepost.common.mailbox.mbox import Locking, MboxStore, Rules
from tubepost.common.mailbox.opening import open_deliveries
from tubepost.common.spool import Spool
from tubepost.common.tables import Maps
from tubepost.common.tables.words import split_list
from tubepost.common.skeleton import commands, worker
from tubepost.common.skeleton.deliveries import Outcomes, delivered_to, open_content
from tubepost.common.skeleton.notices import Notices
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.local import tables
from tubepost.services.local.delivery import Delivery, Tools, top
from tubepost.services.local.expansion import Expansion, Settings, Trouble
from tubepost.services.local.protocol import combine


class Local(worker.Agent):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._tables = table_environment(process)
        self._spool = Spool()
        self._commit = GroupCommit()
        self._notices = Notices(process)
        locking = Locking(
            config.mailbox_delivery_lock,
            config.deliver_lock_attempts,
            config.deliver_lock_delay,
            config.stale_lock_time,
        )
        self._mboxes = MboxStore("/", locking, Rules())
        default = tables.account(config.default_privs)
        if default is None:
            raise config.bad_value("default_privs", f"there is no account {config.default_privs}")
        if default.uid == 0 or default.gid == 0:
            raise config.bad_value("default_privs", f"{config.default_privs} is a privileged account")
        self._tools = Tools(
            process=process,
            config=config,
            aliases=tables.AliasTables(config.alias_maps, self._tables),
            transports={
                name: Maps(config.get(f"{name}_maps"), self._tables, title=f"{name}_maps", substitution=False)
                for name in ("mailbox_transport", "fallback_transport")
            },
            commands=Maps(
                tables.without_proxy(config.mailbox_command_maps),
                self._tables,
                title="mailbox_command_maps",
                substitution=False,
            ),
            outcomes=Outcomes(
                config, config.local_delivery_status_filter, self._tables, "local_delivery_status_filter"
            ),
            rewriter=RewriteClient(process.client(config.rewrite_service_name)),
            maildirs=open_deliveries("/", self._commit, self._notices.tell),
            mboxes=self._mboxes,
            locking=locking,
            default=default,
            environment=commands.base_environment(config),
        )
        self._settings = self._make_settings()

    def _make_settings(self) -> Settings:
        config = self.config
        return Settings(
            transport=self.process.name,
            recipient_delimiter=config.recipient_delimiter,
            forward_path=tuple(split_list(config.forward_path)),
            forward_expansion_filter=config.forward_expansion_filter,
            allow_mail_to_commands=config.allow_mail_to_commands,
            allow_mail_to_files=config.allow_mail_to_files,
            propagate_unmatched_extensions=config.propagate_unmatched_extensions,
            owner_request_special=config.owner_request_special,
            expand_owner_alias=config.expand_owner_alias,
            reset_owner_alias=config.reset_owner_alias,
            frozen_delivered_to=config.frozen_delivered_to,
            require_home_directory=config.require_home_directory,
            duplicate_filter_limit=config.duplicate_filter_limit,
            line_length_limit=config.line_length_limit,
            luser_relay=config.luser_relay,
        )

    async def open(self) -> None:
        if self.config.biff and "biff" in self.config.explicit:
            log.warning("biff = yes has no effect: this program has no network to notify users over")

    async def close(self) -> None:
        self._commit.close()
        self._notices.close()
        self._mboxes.close()
        self._tables.close()

    async def deliver(self, job: Job) -> Report:
        begun = time.time()
        try:
            content = open_content(self._spool, job)
        except OSError as error:
            return worker.defer_all(job, "4.3.0", f"cannot open the queue file: {error.strerror}")
        try:
            loops = delivered_to(content)
            statuses = [
                await worker.apart(job, queued, self._one(job, queued, content, loops, begun))
                for queued in job.recipients
            ]
        except OSError as error:
            return worker.defer_all(job, "4.3.0", f"cannot read the queue file: {error.strerror}")
        finally:
            os.close(content.fd)
        return Report(statuses=tuple(statuses))

    async def _one(
        self, job: Job, queued: QueuedRecipient, content: Content, loops: frozenset[str], begun: float
    ) -> RecipientStatus:
        recipient = queued.recipient
        if address.split(recipient.address)[1] is None:
            log.warning(f"{job.queue_id}: no @ in recipient address: {recipient.address}")
        world = Delivery(self._tools, job, queued, content, begun)
        expansion = Expansion(world, self._settings, job.probe, loops)
        attributes = top(recipient, job)
        statuses = expansion.statuses
        try:
            going = await expansion.run(attributes)
        except Trouble as trouble:
            statuses.append(await world.settle(attributes, trouble.dsn, str(trouble)))
            going = False
        if going:
            # Nothing is sent anew while something of this recipient must wait: it would be sent again with it.
            for forward in expansion.forwards.values():
                statuses.append(await world.forward(attributes, forward))
        return combine(queued.offset, statuses, expansion.expanded)
