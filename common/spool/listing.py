"""The queue as a person wants to see it: each message with its waiting recipients and why they wait.

Reasons come from the logs that bounce keeps (``defer/`` and ``bounce/``, one line of JSON a recipient). Memory does not
grow with the queue, nor with one message's recipients: those come in portions.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from pydantic import ValidationError

from tubepost.common.wire import bounce
from tubepost.common.wire.envelope import Recipient
from tubepost.common.wire.showq import Entry, Waiting
from tubepost.common.system import log
from tubepost.common.spool.directories import Spool
from tubepost.common.spool.queuefile import Damaged, Incomplete, QueueFile, open_queue_file

QUEUES = ("maildrop", "active", "incoming", "deferred", "hold")
"""Postfix's order."""
_PORTION = 1000
_LINE_LIMIT = 1_000_000
_NULL_SENDER = "MAILER-DAEMON"


def _reasons(path: str, limit: int) -> dict[int, tuple[Recipient, str]]:
    """What the log of one message says, by offset, at most ``limit`` recipients of it (duplicate_filter_limit)."""
    found: dict[int, tuple[Recipient, str]] = {}
    for entry in islice(read_log(path), limit or None):
        # Tried again: the newest reason counts.
        found.pop(entry.status.offset, None)
        found[entry.status.offset] = entry.recipient, entry.status.text
    return found


def read_log(path: str) -> Iterator[bounce.Entry]:
    """What bounce wrote down of a message; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            while line := file.readline(_LINE_LIMIT):
                try:
                    yield bounce.Entry.model_validate_json(line)
                except ValidationError:
                    continue  # torn by a crash; bounce passes over it as well
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning(f"{path}: why its message waits cannot be read: {error.strerror}; listed without")


def entries(spool: Spool, queues: Iterable[str] = QUEUES, limit: int = 1000) -> Iterator[Entry]:
    """Every complete message, those of very many recipients in several entries. Raises ValueError for another queue.

    A message that is moved meanwhile may be missing or stand twice; one that is damaged is left out with a line in the
    log.
    """
    for queue in queues:
        if queue not in QUEUES:
            raise ValueError(f"{queue!r} is no queue of messages")
        for found in spool.scan(queue):
            try:
                with open_queue_file(found.path) as file:
                    yield from _message(spool, queue, found.name, file, limit)
            except (FileNotFoundError, Incomplete):
                continue
            except (OSError, Damaged) as error:
                log.warning(f"{queue}/{found.name}: left out of the listing: {error}")


def _message(spool: Spool, queue: str, queue_id: str, file: QueueFile, limit: int) -> Iterator[Entry]:
    delayed = _reasons(spool.path("defer", queue_id), limit)
    failed = _reasons(spool.path("bounce", queue_id), limit) if queue != "maildrop" else {}
    waiting = ((offset, recipient) for offset, done, recipient, _ in file.recipients() if not done)
    # Recipients that failed are done in the file, but their sender has not been told: they still belong here.
    extra = [_waiting(recipient, "", why) for recipient, why in failed.values()]
    continued = False
    while True:
        portion = list(islice(waiting, _PORTION))
        last = len(portion) < _PORTION
        listed = _in_log_order(portion, delayed) + (extra if last else [])
        if not continued or listed:
            yield Entry(
                queue_name=queue,  # type: ignore[arg-type]
                queue_id=queue_id,
                arrival_time=file.envelope.arrival_time or 0,
                message_size=file.content_length,
                forced_expire=file.expired,
                sender=file.envelope.sender or _NULL_SENDER,
                recipients=tuple(listed),
                continued=continued,
            )
        if last:
            return
        continued = True


def _in_log_order(portion: list[tuple[int, Recipient]], delayed: dict[int, tuple[Recipient, str]]) -> list[Waiting]:
    """First those with a reason, as they stand in the log: neighbours often have the same one, said once."""
    if not delayed:
        return [_waiting(recipient, "", "") for _, recipient in portion]
    by_offset = dict(portion)
    first = [_waiting(by_offset.pop(offset), why, "") for offset, (_, why) in delayed.items() if offset in by_offset]
    return first + [_waiting(recipient, "", "") for recipient in by_offset.values()]


def _waiting(recipient: Recipient, delay: str, failure: str) -> Waiting:
    return Waiting(
        address=recipient.address or _NULL_SENDER,
        orig_address=recipient.original or recipient.address or _NULL_SENDER,
        delay_reason=delay,
        bounce_reason=failure,
    )
