"""Answers each job: delivered."""

import time

from tubepost.common.mail import dsn
from tubepost.common.wire.delivery import Job, Report
from tubepost.common.skeleton import worker
from tubepost.common.skeleton.deliveries import Outcomes, status_of
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment


class Discard(worker.Agent):
    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._tables = table_environment(process)
        self._outcomes = Outcomes(
            self.config, self.config.default_delivery_status_filter, self._tables, "default_delivery_status_filter"
        )

    async def deliver(self, job: Job) -> Report:
        begun = time.time()
        code, reason = dsn.split(job.nexthop.strip(), "2.0.0")
        if not code.startswith("2"):
            code = "2.0.0"
        statuses = []
        for queued in job.recipients:
            status = status_of(queued, code, reason or "thrown away", "none")
            statuses.append(await self._outcomes.settle(job, queued, status, begun=begun))
        return Report(statuses=tuple(statuses))

    async def close(self) -> None:
        self._tables.close()
