"""The queue read for a listing, and how entries are gathered for the way."""

import os
from pathlib import Path

import pytest

from tubepost.common.wire.bounce import Entry as LogEntry
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.showq import Entry, Waiting
from tubepost.common.spool import Spool, encode
from tubepost.common.spool.listing import QUEUES, entries
from tubepost.common.spool.queuefile import EXPIRED, mark_done, set_flag

from tubepost.services.showq.protocol import Gathering


class Queue:
    def __init__(self, directory: Path) -> None:
        for name in (*QUEUES, "defer", "bounce"):
            (directory / name).mkdir()
        self.spool = Spool(str(directory))

    def add(
        self, queue: str, *addresses: str, done: tuple[int, ...] = (), sender: str = "s@x"
    ) -> tuple[str, list[int]]:
        recipients = [Recipient(address=address, original=f"o-{address}") for address in addresses]
        buffers, offsets, _ = encode(Envelope(sender=sender, arrival_time=7.5), recipients, [b"X: y\n\nbody\n"])
        queue_id, fd = self.spool.create(queue)
        os.write(fd, b"".join(buffers))
        for index in done:
            mark_done(fd, offsets[index])
        os.close(fd)
        return queue_id, offsets

    def log(self, kind: str, queue_id: str, *entries: tuple[int, str, str]) -> None:
        path = Path(self.spool.path(kind, queue_id))
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            for offset, address, text in entries:
                status = RecipientStatus(offset=offset, status="deferred", dsn="4.0.0", text=text)
                line = LogEntry(recipient=Recipient(address=address), status=status, action="delayed", time=1.0)
                file.write(line.model_dump_json(exclude_defaults=True).encode() + b"\n")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_a_message_of_each_queue_in_order(queue: Queue) -> None:
    for name in reversed(QUEUES):
        queue.add(name, "a@x")
    found = list(entries(queue.spool))
    assert [entry.queue_name for entry in found] == list(QUEUES)
    assert {entry.message_size for entry in found} == {11}
    assert {entry.arrival_time for entry in found} == {7.5}
    assert list(entries(queue.spool, ("hold",))) == [found[-1]]


def test_only_who_still_waits_and_why(queue: Queue) -> None:
    queue_id, offsets = queue.add("deferred", "a", "b", "c", "d", done=(1,))
    queue.log("defer", queue_id, (offsets[2], "c", "busy"), (offsets[0], "a", "old"), (offsets[1], "b", "stale"))
    queue.log("defer", queue_id, (offsets[0], "a", "new"))
    (entry,) = entries(queue.spool)
    assert entry.recipients == (
        Waiting(address="c", orig_address="o-c", delay_reason="busy"),
        Waiting(address="a", orig_address="o-a", delay_reason="new"),
        Waiting(address="d", orig_address="o-d"),
    )


def test_who_failed_and_was_not_yet_told_is_listed_last(queue: Queue) -> None:
    queue_id, offsets = queue.add("active", "a", "b", done=(0,))
    queue.log("bounce", queue_id, (offsets[0], "a", "gone"))
    (entry,) = entries(queue.spool)
    assert [(one.address, one.bounce_reason) for one in entry.recipients] == [("b", ""), ("a", "gone")]


def test_the_null_sender_and_an_expired_message(queue: Queue) -> None:
    queue_id, _ = queue.add("deferred", "", sender="")
    fd = os.open(queue.spool.path("deferred", queue_id), os.O_RDWR)
    set_flag(fd, EXPIRED)
    os.close(fd)
    (entry,) = entries(queue.spool)
    assert entry.sender == "MAILER-DAEMON"
    assert entry.recipients[0].address == "MAILER-DAEMON"
    assert entry.forced_expire


def test_what_is_damaged_or_being_written_is_left_out(queue: Queue) -> None:
    good, _ = queue.add("incoming", "a")
    for data in (b"", b"x" * 300):
        _, fd = queue.spool.create("incoming")
        os.write(fd, data)
        os.close(fd)
    torn, _ = queue.add("deferred", "a")
    Path(queue.spool.path("defer", torn)).parent.mkdir(exist_ok=True)
    Path(queue.spool.path("defer", torn)).write_bytes(b'{"recipient": {"addr\n\n\xff\n')
    assert [entry.queue_id for entry in entries(queue.spool)] == [good, torn]


def test_very_many_recipients_come_in_portions_and_all_of_them(queue: Queue) -> None:
    addresses = [f"r{number}" for number in range(2500)]
    queue.add("active", *addresses)
    found = list(entries(queue.spool))
    assert [entry.continued for entry in found] == [False, True, True]
    assert [one.address for entry in found for one in entry.recipients] == addresses


@pytest.mark.parametrize("count", [1000, 2000])
def test_a_full_last_portion_is_followed_by_nothing_empty(queue: Queue, count: int) -> None:
    queue.add("active", *(f"r{number}" for number in range(count)))
    assert [len(entry.recipients) for entry in entries(queue.spool)] == [1000] * (count // 1000)


def test_a_message_without_recipients_is_listed_all_the_same(queue: Queue) -> None:
    queue.add("deferred", "a", done=(0,))
    (entry,) = entries(queue.spool)
    assert entry.recipients == ()


def test_the_log_is_read_no_further_than_the_limit(queue: Queue) -> None:
    queue_id, offsets = queue.add("deferred", "a", "b", "c")
    queue.log("defer", queue_id, *((offset, "x", "busy") for offset in offsets))
    (entry,) = entries(queue.spool, limit=2)
    assert [one.delay_reason for one in entry.recipients] == ["busy", "busy", ""]
    (entry,) = entries(queue.spool, limit=0)
    assert [one.delay_reason for one in entry.recipients] == ["busy"] * 3


def test_another_directory_is_not_a_queue(queue: Queue) -> None:
    for name in ("defer", "corrupt", "../etc", ""):
        with pytest.raises(ValueError):
            list(entries(queue.spool, (name,)))


def _entry(number: int, recipients: int = 1) -> Entry:
    return Entry(
        queue_name="deferred",
        queue_id=str(number),
        arrival_time=0,
        message_size=0,
        sender="",
        recipients=tuple(Waiting(address="a") for _ in range(recipients)),
    )


def test_the_first_goes_at_once_and_none_is_lost_or_moved() -> None:
    gathering = Gathering()
    sent = [gathering.add(_entry(number)) for number in range(1000)]
    assert sent[0] is not None and len(sent[0]) == 1
    frames = [frame for frame in sent if frame] + [gathering.rest()]
    assert [int(entry.queue_id) for frame in frames for entry in frame] == list(range(1000))
    assert max(map(len, frames)) <= 128
    assert len(frames) < 20
    assert gathering.rest() == []


def test_entries_of_many_recipients_go_alone() -> None:
    gathering = Gathering()
    for number in range(20):
        gathering.add(_entry(number))
    gathering.rest()
    assert gathering.add(_entry(0, 1000)) is not None
