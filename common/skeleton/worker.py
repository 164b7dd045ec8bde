"""Takes delivery jobs: local, virtual, smtp, pipe, error, discard. One job is one request; jobs run side by side."""

import time
from collections.abc import Awaitable, Mapping

from tubepost.common.wire.base import Message, Refused
from tubepost.common.wire.delivery import Job, RecipientStatus, Report
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
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

    async def _deliver(self, request: "Request[Job]") -> Report | Refused:
        job = request.message
        if not is_queue_id(job.queue_id):
            # Not even our queue manager's mistake: somebody speaks for it.
            return Refused(reason=f"{job.queue_id[:100]!r} is not a queue id")
        try:
            report = await self.deliver(job)
        except Exception as error:
            _cry(job, error)
            return defer_all(job, *_FAILED)
        return report


_FAILED = ("4.3.0", "mail system error: the delivery program failed, see the log")


def _cry(job: Job, error: Exception) -> None:
    log.panic(f"{job.queue_id}: delivery by {job.transport} failed: {type(error).__name__}: {error}")


async def apart(job: Job, queued: QueuedRecipient, delivery: Awaitable[RecipientStatus]) -> RecipientStatus:
    """The status that ``delivery`` gives. What it raises defers this recipient alone: others may have the mail."""
    try:
        return await delivery
    except Exception as error:
        _cry(job, error)
        return _defer(job, queued, *_FAILED, time.time())


def defer_all(job: Job, dsn: str, text: str) -> Report:
    """Every recipient of the job is to be tried again, and the log says why."""
    begun = time.time()
    return Report(statuses=tuple(_defer(job, recipient, dsn, text, begun) for recipient in job.recipients))


def _defer(job: Job, recipient: QueuedRecipient, dsn: str, text: str, begun: float) -> RecipientStatus:
    status = RecipientStatus(offset=recipient.offset, status="deferred", dsn=dsn, text=text)
    log_status(job, recipient, status, begun=begun)
    return status


serve = request.serve
