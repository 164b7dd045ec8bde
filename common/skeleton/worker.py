"""Takes delivery jobs: local, virtual, smtp, pipe, error, discard. One job is one request; jobs run side by side."""

import time
from collections.abc import Mapping

from tubepost.common.wire.base import Message
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.system import log
from tubepost.common.bus import Handler, Request
from tubepost.common.skeleton import request
from tubepost.common.skeleton.deliveries import log_status


class Agent(request.Service):
    """Subclass it: ``deliver`` returns one status for each recipient of the job.

    What ``deliver`` raises defers the whole job: a mistake of ours never bounces mail.
    """

    async def deliver(self, job: Job) -> Report:
        raise NotImplementedError

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Job: self._deliver}

    async def _deliver(self, request: "Request[Job]") -> Report:
        job = request.message
        try:
            report = await self.deliver(job)
        except Exception as error:
            log.panic(f"{job.queue_id}: delivery by {job.transport} failed: {type(error).__name__}: {error}")
            return defer_all(job, "4.3.0", "mail system error: the delivery program failed, see the log")
        return report


def defer_all(job: Job, dsn: str, text: str) -> Report:
    """Every recipient of the job is to be tried again, and the log says why."""
    begun = time.time()
    statuses = []
    for recipient in job.recipients:
        status = RecipientStatus(offset=recipient.offset, status="deferred", dsn=dsn, text=text)
        log_status(job, recipient, status, begun=begun)
        statuses.append(status)
    return Report(statuses=tuple(statuses))


serve = request.serve
