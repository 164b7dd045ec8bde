"""pickup on a maildrop of its own, with programs that answer as told."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.base import Done, Refused
from tubepost.common.wire.bounce import SendOne
from tubepost.common.wire.cleanup import INLINE_LIMIT, Deposit, Deposited
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system.ids import new_queue_id
from tubepost.common.bus.errors import Refusal, Unavailable
from tubepost.common.config import from_text
from tubepost.common.spool import Spool, encode, maildrop
from tubepost.common.spool.maildrop import Drop, TooLarge, is_requeued
from tubepost.common.spool.queuefile import mark_done

from tubepost.services.pickup import session
from tubepost.services.pickup.session import Pickup

ENVELOPE = Envelope(sender="s@x.example", arrival_time=0)
RECIPIENTS = (Recipient(address="a@x.example"), Recipient(address="b@x.example"))


class FakeUpload:
    def __init__(self, client: "FakeClient", question: Deposit) -> None:
        self._client = client
        self._question = question
        self._parts: list[bytes] = []
        self.answered = False

    async def send(self, chunk: bytes) -> None:
        self._parts.append(chunk)

    async def finish(self) -> Any:
        return await self._client.call(self._question, Deposited, payload=b"".join(self._parts))

    def cancel(self) -> None:
        self._client.cancelled += 1


class FakeClient:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, bytes]] = []
        self.answer: Callable[[Any], Any] = lambda _: Deposited(queue_id="new", size=1)
        self.cancelled = 0

    async def call(self, message: Any, reply: Any, *, payload: bytes = b"") -> Any:
        self.asked.append((message, payload))
        await asyncio.sleep(0)
        answer = self.answer(message)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def upload(self, message: Any, reply: Any) -> FakeUpload:
        return FakeUpload(self, message)


class FakeProcess:
    def __init__(self, text: str = "") -> None:
        self.config = from_text(f"myhostname = mx.example\n{text}")
        self.stopping = asyncio.Event()
        self.cleanup, self.bounce = FakeClient(), FakeClient()
        self.bounce.answer = lambda _: Done()

    def client(self, service: str) -> FakeClient:
        return {"cleanup": self.cleanup, "bounce": self.bounce}[service]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.chdir(tmp_path)
    for name in ("maildrop", "pid"):
        (tmp_path / name).mkdir()
    return Spool(".")


def drop(spool: Spool, content: bytes = b"Subject: x\n\nbody\n") -> str:
    one = Drop(spool, 0)
    one.write(content)
    return one.finish(ENVELOPE, RECIPIENTS)


def left() -> list[str]:
    return sorted(os.listdir("maildrop"))


def wake(process: FakeProcess) -> None:
    async def work() -> None:
        await Pickup(process).woken()  # type: ignore[arg-type]

    asyncio.run(work())


def refuse(code: int, dsn: str) -> Callable[[Any], Any]:
    return lambda _: Refusal(Refused(code=code, dsn=dsn, reason="no"))


def test_everything_that_stands_there_goes_to_cleanup_and_away(spool: Spool) -> None:
    for number in range(40):
        drop(spool, b"Subject: %d\n\nbody\n" % number)
    process = FakeProcess("content_filter = scan:x\n")
    wake(process)
    assert left() == []
    assert sorted(payload for _, payload in process.cleanup.asked) == sorted(
        b"Subject: %d\n\nbody\n" % number for number in range(40)
    )
    question = process.cleanup.asked[0][0]
    assert question.envelope.sender == "s@x.example"
    assert question.envelope.content_filter == "scan:x"
    assert question.envelope.origin.uid == os.getuid()
    assert question.recipients == RECIPIENTS
    assert question.prepend[0].startswith("Received: by mx.example (")


def test_a_large_message_is_streamed_whole(spool: Spool) -> None:
    content = b"X: y\n\n" + b"0123456789\n" * (INLINE_LIMIT // 10)
    drop(spool, content)
    process = FakeProcess()
    wake(process)
    assert [payload for _, payload in process.cleanup.asked] == [content]
    assert left() == []


@pytest.mark.parametrize("answer", [lambda _: Unavailable("away"), refuse(451, "4.3.0")])
def test_what_cleanup_cannot_take_now_stays_and_is_tried_once_a_wake_up(
    spool: Spool, answer: Callable[[Any], Any]
) -> None:
    names = sorted(drop(spool) for _ in range(3))
    process = FakeProcess()
    process.cleanup.answer = answer
    wake(process)
    assert left() == names
    assert len(process.cleanup.asked) == 3
    process.cleanup.answer = lambda _: Deposited(queue_id="new", size=1)
    wake(process)
    assert left() == []


def test_what_cleanup_refuses_goes_back_to_the_sender(spool: Spool) -> None:
    name = drop(spool)
    process = FakeProcess()
    process.cleanup.answer = refuse(554, "5.4.0")
    wake(process)
    assert left() == []
    ((question, _),) = process.bounce.asked
    assert isinstance(question, SendOne)
    assert (question.queue, question.queue_id) == ("maildrop", name)
    assert [entry.recipient for entry in question.entries] == list(RECIPIENTS)
    assert {entry.status.dsn for entry in question.entries} == {"5.4.0"}


def test_it_stays_while_the_sender_cannot_be_told(spool: Spool) -> None:
    name = drop(spool)
    process = FakeProcess()
    process.cleanup.answer = refuse(554, "5.4.0")
    process.bounce.answer = lambda _: Unavailable("away")
    wake(process)
    assert left() == [name]


def test_without_recipients_nobody_is_told(spool: Spool) -> None:
    drop(spool)
    process = FakeProcess()
    process.cleanup.answer = refuse(550, "5.1.0")
    wake(process)
    assert left() == []
    assert process.bounce.asked == []


def test_what_is_being_written_is_left_alone(spool: Spool) -> None:
    writing = Drop(spool, 0)
    writing.write(b"half")
    process = FakeProcess()
    wake(process)
    assert left() == [writing.queue_id]
    writing.cancel()
    assert left() == []


def test_what_is_no_queue_file_is_removed(spool: Spool) -> None:
    fd = os.open(f"maildrop/{drop(spool)}", os.O_WRONLY)
    os.pwrite(fd, b"POSTFIX?", 0)
    os.close(fd)
    process = FakeProcess()
    wake(process)
    assert left() == []
    assert process.cleanup.asked == []


def test_links_are_never_followed_nor_taken(spool: Spool, tmp_path: Path) -> None:
    name = drop(spool)
    os.rename(f"maildrop/{name}", "secret")
    os.symlink("../secret", f"maildrop/{name}")
    hard = drop(spool)
    os.link(f"maildrop/{hard}", "kept")
    process = FakeProcess()
    wake(process)
    assert process.cleanup.asked == []
    assert left() == [name]
    assert Path("kept").exists()


def test_a_pipe_does_not_hold_it_up(spool: Spool) -> None:
    name = drop(spool)
    os.unlink(f"maildrop/{name}")
    os.mkfifo(f"maildrop/{name}")
    process = FakeProcess()
    wake(process)
    assert left() == [name]


def requeue(spool: Spool, done: tuple[bool, ...]) -> str:
    envelope = ENVELOPE.model_copy(update={"arrival_time": 77.0, "redirect": "r@x.example"})
    buffers, offsets, _ = encode(envelope, RECIPIENTS, [b"Received: before\n\nbody\n"])
    queue_id, fd = spool.create("maildrop")
    os.write(fd, b"".join(buffers))
    for offset, is_done in zip(offsets, done, strict=True):
        if is_done:
            mark_done(fd, offset)
    os.close(fd)
    return queue_id


def test_mail_put_back_keeps_its_envelope_and_loses_who_has_it(spool: Spool) -> None:
    requeue(spool, (True, False))
    process = FakeProcess()
    wake(process)
    ((question, _),) = process.cleanup.asked
    assert question.source == "requeue"
    assert question.envelope.arrival_time == 77.0
    assert question.envelope.redirect == ""
    assert question.recipients == RECIPIENTS[1:]
    assert not question.milters


def test_mail_put_back_that_everybody_has_is_removed(spool: Spool) -> None:
    requeue(spool, (True, True))
    process = FakeProcess()
    wake(process)
    assert left() == []
    assert process.cleanup.asked == []


def test_a_stopping_process_takes_nothing_more(spool: Spool) -> None:
    name = drop(spool)

    async def work() -> FakeProcess:
        process = FakeProcess()
        process.stopping.set()
        await Pickup(process).woken()  # type: ignore[arg-type]
        return process

    assert asyncio.run(work()).cleanup.asked == []
    assert left() == [name]


def test_a_posted_file_is_complete_and_can_be_read_only_or_is_not_there(spool: Spool) -> None:
    name = drop(spool)
    assert os.stat(f"maildrop/{name}").st_mode & 0o777 in (0o400, 0o444)
    assert not is_requeued(os.stat(f"maildrop/{name}"), os.getuid())
    limited = Drop(spool, 10)
    with pytest.raises(TooLarge):
        limited.write(b"x" * 11)
    limited.cancel()
    limited.cancel()
    assert left() == [name]


def test_nothing_is_posted_where_there_is_no_maildrop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        Drop(Spool("."), 0)
    assert os.listdir() == []


def test_what_was_never_finished_is_removed_after_a_day(spool: Spool) -> None:
    now = time.time()
    for queue_id, age, data in ((new_queue_id(), 86_460, bytes(300)), (kept := new_queue_id(), 86_300, b"")):
        path = spool.path("maildrop", queue_id)
        Path(path).write_bytes(data)
        os.utime(path, (now - age, now - age))
    process = FakeProcess()
    wake(process)
    assert left() == [kept]
    assert process.cleanup.asked == []


def post(spool: Spool, recipients: list[Recipient], sender: str = "s@x.example", mode: int = 0o400) -> str:
    """What somebody writes into maildrop without sendmail."""
    envelope = ENVELOPE.model_copy(update={"sender": sender})
    buffers, _, _ = encode(envelope, recipients, [b"Subject: x\n\nbody\n"])
    queue_id, fd = spool.create("maildrop")
    os.write(fd, b"".join(buffers))
    os.fchmod(fd, mode)
    os.close(fd)
    return queue_id


def test_a_list_that_no_program_can_hold_goes_back_to_its_sender(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildrop, "ENVELOPE_LIMIT", 1000)
    post(spool, [Recipient(address=f"r{number}@x.example") for number in range(100)])
    process = FakeProcess()
    wake(process)
    assert process.cleanup.asked == []
    ((report, _),) = process.bounce.asked
    assert [entry.status.dsn for entry in report.entries] == ["5.5.3"]
    assert left() == []


def test_a_long_list_that_was_in_the_queue_before_is_kept_for_a_person(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildrop, "ENVELOPE_LIMIT", 1000)
    name = post(spool, [Recipient(address=f"r{number}@x.example") for number in range(100)], mode=0o600)
    process = FakeProcess()
    wake(process)
    assert process.cleanup.asked == process.bounce.asked == []
    assert left() == [name]


def test_long_lists_are_in_memory_one_at_a_time(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_LONG", 1000)
    for number in range(6):
        post(spool, [Recipient(address=f"r{other}@x{number}.example") for other in range(100 if number < 5 else 1)])
    process = FakeProcess()
    beside: list[int] = []

    class Counting(FakeClient):
        async def call(self, message: Any, reply: Any, *, payload: bytes = b"") -> Any:
            beside.append(len(message.recipients))
            await asyncio.sleep(0.01)
            assert sum(count == 100 for count in beside) <= 1
            beside.remove(len(message.recipients))
            return Deposited(queue_id="new", size=1)

    process.cleanup = Counting()
    wake(process)
    assert left() == []


def test_a_mistake_over_one_file_keeps_out_no_other(spool: Spool) -> None:
    bad, good = post(spool, [Recipient(address="bad@x.example")]), post(spool, [Recipient(address="good@x.example")])
    process = FakeProcess()

    def answer(question: Deposit) -> Any:
        return (
            ValueError("no") if question.recipients[0].address == "bad@x.example" else Deposited(queue_id="n", size=1)
        )

    process.cleanup.answer = answer
    wake(process)
    assert left() == [bad] and good != bad


@pytest.mark.parametrize("size", [50, 5000])
def test_recipients_count_with_the_content_as_in_a_queue_file(spool: Spool, size: int) -> None:
    one = Drop(spool, 1000)
    one.write(b"x" * 500)
    with pytest.raises(TooLarge) if size > 500 else contextlib.nullcontext():
        one.finish(ENVELOPE, [Recipient(address="r" * (size - 16))])
    one.cancel()
    assert len(left()) == (size < 500)


def test_a_long_list_that_is_refused_is_told_in_portions(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_REPORTED", 40)
    everybody = [Recipient(address=f"r{number}@x.example") for number in range(100)]
    post(spool, everybody)
    process = FakeProcess()
    process.cleanup.answer = refuse(554, "5.7.1")
    wake(process)
    told = [[entry.recipient for entry in report.entries] for report, _ in process.bounce.asked]
    assert told == [everybody[:40], everybody[40:80], everybody[80:]]
    assert left() == []


def test_two_of_them_at_a_reload_take_each_file_once(spool: Spool) -> None:
    for number in range(20):
        drop(spool, b"Subject: %d\n\nbody\n" % number)

    async def work() -> FakeProcess:
        process = FakeProcess()
        # The one that leaves finishes what it has begun.
        await asyncio.gather(Pickup(process).woken(), Pickup(process).woken())  # type: ignore[arg-type]
        return process

    assert len(asyncio.run(work()).cleanup.asked) == 20
    assert left() == []


@pytest.mark.parametrize(("mode", "kept"), [(0o600, True), (0o400, False)])
def test_what_was_accepted_once_is_not_thrown_away_for_damage(spool: Spool, mode: int, kept: bool) -> None:
    name = post(spool, list(RECIPIENTS), mode=0o600)
    path = spool.path("maildrop", name)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.replace(b'R{"address":"b@', b'?{"address":"b@'))
    os.chmod(path, mode)
    process = FakeProcess()
    wake(process)
    assert process.cleanup.asked == []
    assert left() == ([name] if kept else [])
