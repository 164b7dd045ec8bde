"""postsuper on a queue of its own."""

import os
import time
from pathlib import Path

import pytest

from tubepost.common.wire import bounce
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system.ids import new_queue_id
from tubepost.common.spool import Spool, encode, open_queue_file
from tubepost.common.spool.queuefile import mark_done

from tubepost.commands.console import Console
from tubepost.commands.postsuper import Superintendent
from tubepost.services.bounce import logfile

MESSAGES = ("hold", "incoming", "active", "deferred")
LONG_AGO = time.time() - 100_000


class Told(Console):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("postsuper")
        self.lines: list[str] = []

    def report(self, level: str, text: str) -> None:
        self.lines.append(text if level == "info" else f"{level}: {text}")


class Queue:
    def __init__(self, directory: Path) -> None:
        for name in (*MESSAGES, "maildrop", "bounce", "defer", "trace", "flush", "corrupt"):
            (directory / name).mkdir()
        self.spool = Spool(str(directory))
        self.console = Told()
        self.chief = Superintendent(self.console, self.spool)

    def add(self, queue: str, *, whole: bool = True, age: float = 0.0) -> str:
        queue_id = new_queue_id()
        buffers, _, _ = encode(Envelope(sender="a@b", arrival_time=1.0), [Recipient(address="c@d")], [b"X: y\n\n"])
        fd = self.spool.create_named(queue, queue_id)
        os.write(fd, b"".join(buffers) if whole else b"".join(buffers)[:-1])
        os.close(fd)
        if age:
            os.utime(self.spool.path(queue, queue_id), (time.time() - age,) * 2)
        return queue_id

    def add_log(self, kind: str, queue_id: str) -> None:
        os.close(self.spool.create_named(kind, queue_id))

    def where(self, queue_id: str) -> list[str]:
        return [
            queue
            for queue in (*MESSAGES, "maildrop", "bounce", "defer", "trace")
            if os.path.exists(self.spool.path(queue, queue_id))
        ]


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


@pytest.mark.parametrize("where", [*MESSAGES, "maildrop"])
def test_delete_takes_message_and_logs(queue: Queue, where: str) -> None:
    queue_id = queue.add(where)
    other = queue.add(where)
    for kind in ("bounce", "defer", "trace"):
        queue.add_log(kind, queue_id)
        queue.add_log(kind, other)
    assert queue.chief.delete(queue_id, ("maildrop", *MESSAGES))
    assert queue.where(queue_id) == []
    assert queue.where(other) == sorted([where, "bounce", "defer", "trace"], key=queue.where(other).index)
    assert len(queue.where(other)) == 4
    assert queue.console.lines == [f"{queue_id}: removed"]
    assert not queue.chief.delete(queue_id, MESSAGES)
    assert queue.chief.counts["deleted"] == 1


def test_delete_keeps_to_the_queues_named(queue: Queue) -> None:
    queue_id = queue.add("deferred")
    assert not queue.chief.delete(queue_id, ("hold", "defer"))
    assert queue.where(queue_id) == ["deferred"]


@pytest.mark.parametrize("where", ["incoming", "active", "deferred"])
def test_hold_and_release(queue: Queue, where: str) -> None:
    queue_id = queue.add(where)
    os.utime(queue.spool.path(where, queue_id), (2e9, 2e9))
    assert queue.chief.hold(queue_id, MESSAGES)
    assert queue.where(queue_id) == ["hold"]
    assert not queue.chief.hold(queue_id, MESSAGES)
    assert queue.chief.release(queue_id, ("hold",))
    assert queue.where(queue_id) == ["deferred"]
    # Due at once.
    assert os.stat(queue.spool.path("deferred", queue_id)).st_mtime <= time.time()
    assert queue.chief.touched == {"hold", "deferred"}


@pytest.mark.parametrize("where", MESSAGES)
def test_requeue_goes_to_maildrop_without_its_logs(queue: Queue, where: str) -> None:
    queue_id = queue.add(where)
    queue.add_log("defer", queue_id)
    os.utime(queue.spool.path(where, queue_id), (LONG_AGO, LONG_AGO))
    assert queue.chief.requeue(queue_id, MESSAGES)
    assert queue.where(queue_id) == ["maildrop"]
    assert os.stat(queue.spool.path("maildrop", queue_id)).st_mtime > LONG_AGO + 1000


def test_what_is_being_written_stays_with_its_writer(queue: Queue) -> None:
    queue_id = queue.add("incoming", whole=False)
    assert not queue.chief.hold(queue_id, MESSAGES)
    assert not queue.chief.requeue(queue_id, MESSAGES)
    assert not queue.chief.expire(queue_id, MESSAGES)
    assert queue.where(queue_id) == ["incoming"]
    # cleanup writes there what a HOLD action wants; in deferred qmgr would take it for damaged.
    queue_id = queue.add("hold", whole=False)
    assert not queue.chief.release(queue_id, MESSAGES)
    assert not queue.chief.requeue(queue_id, MESSAGES)
    assert queue.where(queue_id) == ["hold"]


def test_mail_in_maildrop_is_neither_held_nor_expired(queue: Queue) -> None:
    queue_id = queue.add("maildrop")
    everything = ("maildrop", *MESSAGES)
    assert not queue.chief.hold(queue_id, everything)
    assert not queue.chief.expire(queue_id, everything)
    assert not queue.chief.requeue(queue_id, everything)


def test_expire_marks_once_and_keeps_the_time(queue: Queue) -> None:
    queue_id = queue.add("deferred")
    path = queue.spool.path("deferred", queue_id)
    os.utime(path, (2e9, 2e9))
    assert queue.chief.expire(queue_id, MESSAGES)
    assert not queue.chief.expire(queue_id, MESSAGES)
    assert os.stat(path).st_mtime == 2e9
    with open_queue_file(path) as file:
        assert file.expired and not file.warned


def test_expire_and_release(queue: Queue) -> None:
    held, waiting = queue.add("hold"), queue.add("deferred")
    for queue_id in (held, waiting):
        assert queue.chief.expire_and_release(queue_id, MESSAGES)
        assert queue.where(queue_id) == ["deferred"]
    assert queue.chief.counts == {"deleted": 0, "requeued": 0, "held": 0, "released": 1, "expired": 2}


def test_purge_takes_only_what_was_abandoned(queue: Queue, tmp_path: Path) -> None:
    old = [queue.add(name, whole=False, age=100_000) for name in ("maildrop", "incoming", "hold")]
    kept = [
        queue.add("incoming", whole=False),
        queue.add("incoming", age=100_000),
        queue.add("deferred", age=100_000),
    ]
    leftover = tmp_path / "flush" / ".example_com.0a1b.tmp"
    young = tmp_path / "flush" / ".example_org.0a1b.tmp"
    for path in (leftover, young):
        path.touch()
    os.utime(leftover, (LONG_AGO, LONG_AGO))
    queue.chief.purge(("maildrop", "incoming", "hold", "deferred", "flush"), time.time())
    assert [queue.where(queue_id) for queue_id in old] == [[], [], []]
    assert all(queue.where(queue_id) for queue_id in kept)
    assert not leftover.exists() and young.exists()


def test_structure_files_of_another_depth_are_put_right(queue: Queue, tmp_path: Path) -> None:
    flat, deep = new_queue_id(), new_queue_id()
    (tmp_path / "deferred" / flat).write_bytes(b"flat")
    (tmp_path / "hold" / "3" / "4").mkdir(parents=True)
    (tmp_path / "hold" / "3" / "4" / deep).write_bytes(b"deep")
    queue.chief.fix_structure(("deferred", "hold"))
    assert Path(queue.spool.path("deferred", flat)).read_bytes() == b"flat"
    assert Path(queue.spool.path("hold", deep)).read_bytes() == b"deep"
    assert not (tmp_path / "deferred" / flat).exists()
    assert not (tmp_path / "hold" / "3").exists()


def test_structure_never_puts_one_file_over_another(queue: Queue, tmp_path: Path) -> None:
    queue_id = queue.add("deferred")
    wrong = tmp_path / "deferred" / queue_id
    wrong.write_bytes(b"other")
    queue.chief.fix_structure(("deferred",))
    assert wrong.read_bytes() == b"other"
    open_queue_file(queue.spool.path("deferred", queue_id)).close()
    assert any(line.startswith("warning: ") for line in queue.console.lines)


def test_structure_removes_logs_without_message_only(queue: Queue) -> None:
    alive, dead = queue.add("active"), new_queue_id()
    for kind in ("bounce", "defer", "trace"):
        queue.add_log(kind, alive)
        queue.add_log(kind, dead)
    queue.chief.fix_structure(("bounce", "defer", "trace"))
    assert queue.where(dead) == []
    assert len(queue.where(alive)) == 4


def test_structure_tells_of_strange_names_and_leaves_them(queue: Queue, tmp_path: Path) -> None:
    strange = tmp_path / "incoming" / "core"
    strange.touch()
    folder = tmp_path / "maildrop" / "a"
    folder.mkdir()
    (folder / "core").touch()
    queue.chief.fix_structure(("incoming", "maildrop"))
    assert strange.exists() and (folder / "core").exists()
    assert len(queue.console.lines) == 2


def failed(queue: Queue, where: str) -> tuple[str, list[int]]:
    """A message of three recipients: one has it, the second failed and its sender was not told, the third waits."""
    queue_id = new_queue_id()
    people = [Recipient(address=f"r{number}@d") for number in range(3)]
    buffers, offsets, _ = encode(Envelope(sender="a@b", arrival_time=1.0), people, [b"X: y\n\n"])
    fd = queue.spool.create_named(where, queue_id)
    os.write(fd, b"".join(buffers))
    mark_done(fd, offsets[0])
    mark_done(fd, offsets[1])
    os.close(fd)
    status = RecipientStatus(offset=offsets[1], status="bounced", dsn="5.0.0", text="no")
    # A log that was written for another file changes nothing in this one.
    strange = [status.model_copy(update={"offset": offset}) for offset in (-1, 0, 130, offsets[2] + 1, 10**9)]
    entries = [bounce.Entry(recipient=people[1], status=one, action="failed", time=1.0) for one in (status, *strange)]
    os.close(logfile.append(queue.spool.path("bounce", queue_id), entries))
    return queue_id, offsets


@pytest.mark.parametrize("where", ["hold", "deferred"])
def test_who_failed_and_was_not_reported_is_tried_again_when_the_message_is_queued_anew(
    queue: Queue, where: str
) -> None:
    queue_id, _ = failed(queue, where)
    with open_queue_file(queue.spool.path(where, queue_id)) as file:
        before = list(file.content())
    assert queue.chief.requeue(queue_id, MESSAGES)
    assert queue.where(queue_id) == ["maildrop"]
    with open_queue_file(queue.spool.path("maildrop", queue_id)) as file:
        assert [done for _, done, _, _ in file.recipients()] == [True, False, False]
        assert list(file.content()) == before


def test_the_queue_manager_reports_what_failed_before_its_message_was_queued_anew(queue: Queue) -> None:
    # It has the message in memory, and sends the report at the end of the round (Postfix leaves the log for that too).
    queue_id, _ = failed(queue, "active")
    queue.add_log("defer", queue_id)
    assert queue.chief.requeue(queue_id, MESSAGES)
    assert queue.where(queue_id) == ["maildrop", "bounce"]
    with open_queue_file(queue.spool.path("maildrop", queue_id)) as file:
        assert [done for _, done, _, _ in file.recipients()] == [True, True, False]


def test_what_cannot_be_moved_is_told_and_the_rest_goes_on(queue: Queue) -> None:
    # Everybody may make names in maildrop, and queue ids are no secret.
    queue_id = queue.add("deferred")
    os.mkdir(queue.spool.path("maildrop", queue_id))
    assert not queue.chief.requeue(queue_id, MESSAGES)
    assert os.path.exists(queue.spool.path("deferred", queue_id))
    assert any("cannot be moved to maildrop" in line for line in queue.console.lines)


def test_what_cannot_be_removed_is_told_and_the_rest_goes_on(queue: Queue) -> None:
    name = new_queue_id()
    os.mkdir(queue.spool.path("maildrop", name))
    assert not queue.chief.delete(name, ("maildrop", *MESSAGES))
    assert any("cannot be removed" in line for line in queue.console.lines)
