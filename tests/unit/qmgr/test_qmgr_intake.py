"""What is taken up, and when: hints, scans, portions; in a spool of its own, with a loop that nobody waits for."""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.qmgr import Arrived, QueuedRecipient
from tubepost.common.system.ids import new_queue_id
from tubepost.common.spool import Spool, open_queue_file
from tubepost.common.spool.queuefile import EXPIRED, encode, mark_done, set_flag

from tubepost.services.qmgr import intake as module
from tubepost.services.qmgr.intake import Intake
from tubepost.services.qmgr.message import ActiveMessage, ActiveQueue

QUEUES = ("incoming", "active", "deferred", "corrupt", "bounce", "defer", "trace")


@dataclass
class Home:
    root: Path
    limit: int = 3
    apart: str = ""
    entered: list[tuple[str, list[str]]] = field(default_factory=list)
    messages: list[ActiveMessage] = field(default_factory=list)
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for queue in QUEUES:
            (self.root / queue).mkdir()
        self.spool = Spool(str(self.root), (), 0)
        self.queue = ActiveQueue(self.limit, 1000, 2, 5)
        self.process = SimpleNamespace(
            config=SimpleNamespace(
                queue_run_delay=300.0,
                minimal_backoff_time=300.0,
                maximal_backoff_time=4000.0,
                mail_owner="tubepost",
                protocol_owner=self.apart,
            ),
            stopping=asyncio.Event(),
            birth=SimpleNamespace(flow=(-1, -1)),
            outflow=lambda tokens: None,
            spawn=lambda task: None,
            loop=SimpleNamespace(call_later=self._call_later),
        )
        process: Any = self.process
        self.intake = Intake(process, self.spool, self.queue, self._enter, lambda: None)

    def _call_later(self, delay: float, work: Callable[[], None]) -> object:
        self.timers.append((delay, work))
        return work

    def _enter(self, message: ActiveMessage, recipients: Sequence[QueuedRecipient]) -> None:
        self.queue.messages[message.queue_id] = message
        self.messages.append(message)
        self.entered.append((message.queue_id, [queued.recipient.address for queued in recipients]))

    def put(self, queue: str, recipients: int = 1, age: float = 60.0) -> Arrived:
        """A queue file, and the hint that cleanup would give."""
        queue_id = new_queue_id()
        envelope = Envelope(sender="s@x", arrival_time=time.time())
        everyone = [Recipient(address=f"r{number}@y") for number in range(recipients)]
        buffers, offsets, length = encode(envelope, everyone, [b"Subject: x\n\n"])
        path = self.spool.path(queue, queue_id)
        Path(path).write_bytes(b"".join(buffers))
        os.utime(path, (time.time() - age,) * 2)
        queued = tuple(
            QueuedRecipient(offset=offset, recipient=recipient)
            for offset, recipient in zip(offsets, everyone, strict=True)
        )
        return Arrived(
            queue_id=queue_id,
            envelope=envelope,
            content_offset=128,
            content_length=length,
            recipients=queued,
            recipient_count=recipients,
        )

    def leave(self, queue_id: str) -> None:
        """It is done: there is room."""
        del self.queue.messages[queue_id]
        self.spool.remove("active", queue_id)
        self.intake.feed_soon()

    def ids(self) -> list[str]:
        return [queue_id for queue_id, _ in self.entered]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("apart", "mode"), [("", 0o600), ("tubepost", 0o600), ("tubepost-net", 0o640)])
def test_a_file_from_before_there_was_an_account_apart_is_opened_to_smtp(tmp_path: Path, apart: str, mode: int) -> None:
    home = Home(tmp_path, apart=apart)
    queue_id = home.put("active").queue_id
    path = home.spool.path("active", queue_id)
    os.chmod(path, 0o600)

    async def work() -> None:
        home.intake.open()
        await quiet()
        assert home.ids() == [queue_id]
        assert os.stat(path).st_mode & 0o777 == mode

    run(work())


@pytest.mark.parametrize(("since", "taken"), [(299.0, False), (301.0, True)])
def test_a_message_whose_cleanup_died_before_it_told_of_it_is_found_by_queue_run_delay(
    tmp_path: Path, since: float, taken: bool
) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        home.intake.open()
        await quiet()
        untold = home.put("incoming").queue_id
        home.intake.look_around(time.monotonic() + since)
        await quiet()
        assert home.ids() == ([untold] if taken else [])

    run(work())


def test_hints_without_room_are_remembered_in_order_and_need_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, limit=2)
    monkeypatch.setattr(home.spool, "scan", lambda queue: pytest.fail("a scan"))

    async def work() -> None:
        # Young: a scan would not look at them.
        hints = [home.put("incoming", age=0.0) for _ in range(6)]
        for hint in hints:
            home.intake.hint(hint)
        assert len(home.entered) == 2
        for done in range(4):
            home.leave(home.ids()[done])
            await quiet()
            assert len(home.queue.messages) == 2
        assert home.ids() == [hint.queue_id for hint in hints]

    run(work())


def test_more_hints_than_are_kept_are_found_by_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOLD_LIMIT", 2)
    home = Home(tmp_path, limit=1)

    async def work() -> None:
        hints = [home.put("incoming") for _ in range(6)]
        for hint in hints:
            home.intake.hint(hint)
        for done in range(5):
            home.leave(home.ids()[done])
            await quiet()
        assert sorted(home.ids()) == sorted(hint.queue_id for hint in hints)

    run(work())


def test_young_files_are_looked_at_once_more_by_one_timer(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        young = [home.put("incoming", age=0.0) for _ in range(3)]
        home.intake.open()
        await quiet()
        assert home.entered == [] and len(home.timers) == 1
        for hint in young:
            os.utime(home.spool.path("incoming", hint.queue_id), (0, 0))
        home.timers[0][1]()
        await quiet()
        assert sorted(home.ids()) == sorted(hint.queue_id for hint in young)

    run(work())


def test_a_hint_is_taken_once_and_never_while_stopping(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        hint = home.put("incoming")
        home.intake.hint(hint)
        home.intake.hint(hint)
        assert home.ids() == [hint.queue_id]
        home.intake.hint(hint.model_copy(update={"queue_id": "../../etc"}))
        gone = home.put("incoming")
        home.spool.remove("incoming", gone.queue_id)
        home.intake.hint(gone)
        assert home.ids() == [hint.queue_id]
        home.process.stopping.set()
        late = home.put("incoming")
        home.intake.hint(late)
        assert home.spool.find(late.queue_id) == "incoming"

    run(work())


def test_a_big_list_comes_in_portions_without_what_is_done(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        hint = home.put("incoming", recipients=13)
        path = home.spool.path("incoming", hint.queue_id)
        with open_queue_file(path, writable=True) as file:
            for number in (0, 6):
                mark_done(file.fd, hint.recipients[number].offset)
        home.intake.hint(hint.model_copy(update={"recipients": ()}))
        (message,) = home.messages
        portions = [home.entered[0][1]]
        while message.unread:
            portions.append([queued.recipient.address for queued in home.intake.read_more(message)])
        assert [len(portion) for portion in portions] == [5, 5, 1]
        wanted = [f"r{number}@y" for number in range(13) if number not in (0, 6)]
        assert [address for portion in portions for address in portion] == wanted

    run(work())


def test_only_what_is_due_comes_from_deferred_and_everything_on_a_flush(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        due, later = home.put("deferred"), home.put("deferred", age=-3600.0)
        with open_queue_file(home.spool.path("deferred", due.queue_id), writable=True) as file:
            set_flag(file.fd, EXPIRED)
        os.utime(home.spool.path("deferred", due.queue_id), (1, 1))
        home.intake.open()
        await quiet()
        assert home.ids() == [due.queue_id]
        first = home.messages[0]
        assert first.forced_expire and not first.first_round and not first.flushed
        home.intake.flush()
        await quiet()
        assert home.ids() == [due.queue_id, later.queue_id]
        assert home.messages[1].flushed

    run(work())


def test_a_flush_of_single_messages_does_not_go_beyond_the_active_queue(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        waiting = [home.put("deferred", age=-3600.0).queue_id for _ in range(5)]
        assert all(home.intake.flush_message(queue_id) for queue_id in waiting)
        await quiet()
        assert home.ids() == waiting[:3]
        # They come when there is room, as what is due does.
        for queue_id in waiting[:3]:
            home.leave(queue_id)
        await quiet()
        assert sorted(home.ids()) == waiting
        assert not home.intake.flush_message(new_queue_id())

    run(work())


def test_logs_of_earlier_rounds_are_known(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        hint = home.put("active")
        Path(home.spool.path("bounce", hint.queue_id)).touch()
        home.intake.open()
        (message,) = home.messages
        assert (message.bounced, message.defer_logged, message.first_round) == (True, False, True)

    run(work())


def test_a_message_whose_logs_cannot_be_looked_for_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without knowing, either a report would be lost or one be sent of nothing."""
    home = Home(tmp_path)
    stat = os.stat

    def refuse(path: str, **options: Any) -> os.stat_result:
        if "/bounce/" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return stat(path, **options)

    async def work() -> None:
        hint = home.put("deferred")
        with monkeypatch.context() as patch:
            patch.setattr("tubepost.services.qmgr.intake.os.stat", refuse)
            home.intake.open()
            await quiet()
        assert home.spool.find(hint.queue_id) == "deferred"
        home.intake.scan("deferred")
        await quiet()
        assert home.ids() == [hint.queue_id]

    run(work())


@pytest.mark.parametrize("queue", ["incoming", "deferred"])
def test_a_directory_that_cannot_be_read_is_read_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    home = Home(tmp_path)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith(queue):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return scandir(path)

    async def work() -> None:
        hint = home.put(queue)
        with monkeypatch.context() as patch:
            patch.setattr("tubepost.common.spool.directories.os.scandir", refuse)
            home.intake.open()
            await quiet()
        assert not home.ids()
        ((_, again),) = home.timers
        again()
        await quiet()
        assert home.ids() == [hint.queue_id]

    run(work())


def test_what_cannot_be_read_is_put_aside_and_what_is_being_written_is_left(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def work() -> None:
        bad, short = new_queue_id(), home.put("incoming")
        Path(home.spool.path("incoming", bad)).write_bytes(b"x" * 500)
        path = Path(home.spool.path("incoming", short.queue_id))
        path.write_bytes(path.read_bytes()[:-1])
        for queue_id in (bad, short.queue_id):
            os.utime(home.spool.path("incoming", queue_id), (1, 1))
        home.intake.open()
        await quiet()
        assert home.entered == []
        assert home.spool.find(bad) == "corrupt"
        assert home.spool.find(short.queue_id) == "incoming"

    run(work())


def taken(home: Home, work: Callable[[], None]) -> list[str]:
    """What is taken up when ``work`` was done."""
    before = len(home.entered)

    async def whole() -> None:
        work()
        await quiet()

    run(whole())
    return home.ids()[before:]


def test_a_clock_that_was_set_back_moves_the_next_tries_along(tmp_path: Path) -> None:
    home = Home(tmp_path, limit=10)
    in_a_minute, by_now = home.put("deferred", age=-3660.0), home.put("deferred", age=-3500.0)
    assert taken(home, lambda: home.intake.clock_set_back(3600.0)) == [by_now.queue_id]
    left = os.stat(home.spool.path("deferred", in_a_minute.queue_id)).st_mtime - time.time()
    assert 55 < left < 65
    assert taken(home, lambda: home.intake.scan("deferred")) == []
    again = os.stat(home.spool.path("deferred", in_a_minute.queue_id)).st_mtime - time.time()
    assert abs(left - again) < 5, "moved once, not at each scan"


def test_a_time_that_nobody_sets_is_of_another_clock(tmp_path: Path) -> None:
    """The clock was set back while no queue manager was there to see it."""
    home = Home(tmp_path, limit=10)
    home.put("deferred", age=-4300.0)
    far = home.put("deferred", age=-90_000.0)
    assert taken(home, lambda: home.intake.scan("deferred")) == [far.queue_id]


def test_a_file_of_the_future_in_incoming_is_not_thought_young(tmp_path: Path) -> None:
    home = Home(tmp_path, limit=10)
    arrived = home.put("incoming", age=-3600.0)
    assert taken(home, lambda: home.intake.scan("incoming")) == [arrived.queue_id]
