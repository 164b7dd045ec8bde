"""Answers each job with the verdict that its next hop holds."""

import time

from tubepost.common.wire.delivery import Job, Report
from tubepost.common.skeleton import worker
from tubepost.common.skeleton.deliveries import Outcomes, status_of
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.error.protocol import verdict


class Error(worker.Agent):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._tables = table_environment(process)
        self._outcomes = Outcomes(
            self.config, self.config.default_delivery_status_filter, self._tables, "default_delivery_status_filter"
        )

    async def deliver(self, job: Job) -> Report:
        begun = time.time()
        code, reason = verdict(self.process.name, job.nexthop, self.config.error_service_name)
        statuses = []
        for queued in job.recipients:
            status = status_of(queued, code, reason, "none")
            statuses.append(await self._outcomes.settle(job, queued, status, begun=begun))
        return Report(statuses=tuple(statuses))

    async def close(self) -> None:
        self._tables.close()
