"""The ends of recipients: what is written, in which order, and what a failure of the writing leaves behind."""

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.bounce import Append, Purge, Send
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Origin, Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.wire.verify import PROBE, Update
from tubepost.common.system.ids import new_queue_id
from tubepost.common.bus import Unavailable
from tubepost.common.config import load
from tubepost.common.spool import Spool, open_queue_file
from tubepost.common.spool.queuefile import encode

from tubepost.services.qmgr.clock import Clock
from tubepost.services.qmgr.message import ActiveMessage, Result
from tubepost.services.qmgr.outcome import Outcome

NOW = time.time()
STATUS = {
    "sent": RecipientStatus(offset=0, status="sent", dsn="2.0.0", text="ok"),
    "deferred": RecipientStatus(offset=0, status="deferred", dsn="4.4.1", text="connection refused"),
    "bounced": RecipientStatus(offset=0, status="bounced", dsn="5.1.1", text="user unknown"),
    "deliverable": RecipientStatus(offset=0, status="deliverable", dsn="2.1.5", text="ok"),
    "undeliverable": RecipientStatus(offset=0, status="undeliverable", dsn="5.1.1", text="user unknown"),
}


@dataclass
class Home:
    """A spool with one active message; what the other programs were told; which of their answers fail."""

    root: Path
    main: str = ""
    envelope: Envelope = field(default_factory=lambda: Envelope(sender="s@x", arrival_time=NOW))
    notify: tuple[Any, ...] = ()
    asked: list[Message] = field(default_factory=list)
    marks_seen: list[str] = field(default_factory=list)
    """The recipients' marks in the queue file when each question came."""
    failing: tuple[str, ...] = ()
    released: list[ActiveMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "main.cf").write_text(self.main)
        self.config = load(str(self.root))
        for queue in ("active", "deferred", "hold", "bounce", "defer", "trace"):
            (self.root / queue).mkdir()
        self.spool = Spool(str(self.root))
        self.queue_id = new_queue_id()
        self.recipients = [Recipient(address=f"r{number}@y", notify=self.notify) for number in range(3)]
        buffers, self.offsets, length = encode(self.envelope, self.recipients, [b"Subject: x\n\n"])
        self.path = Path(self.spool.path("active", self.queue_id))
        self.path.write_bytes(b"".join(buffers))
        self.message = ActiveMessage(self.queue_id, self.envelope, 128, length, 3, 0.0)
        clock = Clock(time.time(), time.monotonic())
        self.outcome = Outcome(self, self.spool, clock, self.released.append)  # type: ignore[arg-type]

    def client(self, service: str) -> "Home":
        return self

    async def call(self, message: Message, reply: type[Done]) -> Done:
        self.asked.append(message)
        self.marks_seen.append(self.marks() if self.path.exists() else "")
        await asyncio.sleep(0)
        if type(message).__name__ in self.failing or getattr(message, "kind", "") in self.failing:
            raise Unavailable("down")
        return Done()

    def tell(self, message: Message) -> bool:
        self.asked.append(message)
        return True

    def marks(self) -> str:
        with open_queue_file(str(self.path)) as file:
            return "".join("D" if done else "R" for _, done, _, _ in file.recipients())

    def record(self, *kinds: str, silent: bool = False) -> None:
        results: list[Result] = [
            (QueuedRecipient(offset=offset, recipient=recipient), STATUS[kind], silent)
            for offset, recipient, kind in zip(self.offsets, self.recipients, kinds, strict=False)
        ]
        asyncio.run(self.outcome.record(self.message, results))

    def finish(self) -> list[Message]:
        """What was asked meanwhile."""
        self.asked.clear()
        asyncio.run(self.outcome.finish(self.message, 0.0))
        assert self.released == [self.message]
        return self.asked

    def told(self) -> list[tuple[str, list[str]]]:
        return [(one.kind, [entry.action for entry in one.entries]) for one in self.asked if isinstance(one, Append)]


def test_a_failure_is_in_the_log_before_its_mark_and_what_is_delivered_is_marked_first(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record("sent", "bounced", "deferred")
    assert home.told() == [("bounce", ["failed"])]
    assert home.marks_seen == ["DRR"]
    assert home.marks() == "DDR"
    asked = home.finish()
    assert [(type(one), getattr(one, "kind", "")) for one in asked] == [(Append, "defer"), (Send, "failure")]
    assert not home.path.exists() and os.path.exists(home.spool.path("deferred", home.queue_id))


def test_a_failure_that_cannot_be_logged_is_tried_again_and_nothing_is_delivered_again(tmp_path: Path) -> None:
    home = Home(tmp_path, failing=("bounce",))
    home.record("sent", "bounced", "bounced")
    assert home.marks() == "DRR"
    assert home.message.deferred == 2 and not home.message.bounced


def test_a_success_report_that_cannot_be_written_does_not_have_mail_delivered_twice(tmp_path: Path) -> None:
    home = Home(tmp_path, failing=("trace",), notify=("SUCCESS",))
    home.record("sent", "sent", "sent")
    assert home.told() == [("trace", ["delivered"] * 3)]
    assert home.marks() == "DDD" and home.message.deferred == 0


def test_who_wants_to_know_of_success_need_not_wait_for_those_that_are_deferred(tmp_path: Path) -> None:
    home = Home(tmp_path, notify=("SUCCESS",))
    Path(home.spool.path("trace", home.queue_id)).touch()
    home.record("sent", "deferred")
    assert [one.kind for one in home.finish() if isinstance(one, Send)] == ["success"]


def test_duplicates_are_marked_and_told_to_nobody(tmp_path: Path) -> None:
    home = Home(tmp_path, notify=("SUCCESS",))
    home.record("sent", silent=True)
    assert home.asked == [] and home.marks() == "DRR"


def test_soft_bounces_wait(tmp_path: Path) -> None:
    home = Home(tmp_path, main="soft_bounce = yes\n")
    home.record("bounced")
    assert home.told() == [] and home.message.deferred == 1


@pytest.mark.parametrize("forced", [False, True])
def test_what_cannot_be_delivered_at_the_end_of_its_time_fails(tmp_path: Path, forced: bool) -> None:
    home = Home(tmp_path, main="" if forced else "maximal_queue_lifetime = 0\n")
    home.message.forced_expire = forced
    home.record("deferred", "sent")
    assert home.told() == [("bounce", ["failed"])]
    assert home.marks() == "DDR" and home.message.given_up


def test_a_report_that_cannot_be_queued_keeps_the_message(tmp_path: Path) -> None:
    home = Home(tmp_path, failing=("Send",))
    home.record("sent", "bounced", "sent")
    home.finish()
    deferred = Path(home.spool.path("deferred", home.queue_id))
    assert deferred.exists()


@pytest.mark.parametrize("released", [False, True])
def test_what_was_delivered_while_a_person_put_the_message_on_hold_is_not_delivered_again(
    tmp_path: Path, released: bool
) -> None:
    home = Home(tmp_path)
    home.spool.move(home.queue_id, "active", "hold")
    if released:
        home.spool.move(home.queue_id, "hold", "deferred")
    home.path = Path(home.spool.path("deferred" if released else "hold", home.queue_id))
    home.record("sent", "bounced", "deferred")
    assert home.marks() == "DDR"
    reports = [one for one in home.finish() if isinstance(one, Send)]
    assert reports == [], "the report is due when the message comes back, and can return it then"
    assert home.path.exists()


def test_the_only_recipient_of_a_message_on_hold_is_marked(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.spool.move(home.queue_id, "active", "hold")
    home.path = Path(home.spool.path("hold", home.queue_id))
    home.outcome.remove(home.message, home.offsets[1])
    assert home.marks() == "RDR" and home.released == [home.message]


def test_a_message_that_a_person_deleted_while_it_was_delivered_comes_to_its_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.path.unlink()
    home.record("sent", "bounced", "deferred")
    home.finish()
    assert os.listdir(tmp_path / "active") == os.listdir(tmp_path / "hold") == []


def test_a_trial_is_told_and_never_delivered_bounced_or_deferred(tmp_path: Path) -> None:
    home = Home(tmp_path, envelope=Envelope(sender="s@x", arrival_time=NOW, trace="probe"))
    home.message.first_round = False
    assert home.message.probe
    home.record("deliverable", "undeliverable", "deferred")
    assert home.told() == [("trace", ["deliverable", "undeliverable", "undeliverable"])]
    asked = home.finish()
    assert [one.kind for one in asked if isinstance(one, Send)] == ["verbose"]
    assert not home.path.exists() and not os.path.exists(home.spool.path("deferred", home.queue_id))


@pytest.mark.parametrize("first", [True, False])
def test_the_first_round_alone_is_traced(tmp_path: Path, first: bool) -> None:
    home = Home(tmp_path, envelope=Envelope(sender="s@x", arrival_time=NOW, trace="deliver"))
    home.message.first_round = first
    assert not home.message.probe
    home.record("sent", "bounced", "deferred")
    traced = [actions for kind, actions in home.told() if kind == "trace"]
    assert traced == ([["delivered", "failed", "delayed"]] if first else [])
    sent = [one.kind for one in home.finish() if isinstance(one, Send)]
    assert sent == (["failure", "verbose"] if first else ["failure"])


def test_a_probe_is_reported_to_verify_by_the_address_that_was_asked_for(tmp_path: Path) -> None:
    home = Home(tmp_path, envelope=Envelope(sender="s@x", arrival_time=NOW, origin=Origin(log_ident=PROBE)))
    home.recipients[1] = home.recipients[1].model_copy(update={"original": "alias@y"})
    home.record("deliverable", "undeliverable", "deferred")
    updates = [(one.address, one.status) for one in home.asked if isinstance(one, Update)]
    assert updates == [("r0@y", "ok"), ("alias@y", "bounce"), ("r2@y", "defer")]
    assert home.finish() == []
    assert not home.path.exists()


def test_the_reasons_of_many_are_not_held_in_memory(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.message.defer_logged = True
    for _ in range(400):
        home.record("deferred", "deferred", "deferred")
        assert len(home.message.defer_entries) < 1003
    assert sum(isinstance(one, Purge) for one in home.asked) == 1, "what this round wrote is kept"
    written = sum(len(actions) for kind, actions in home.told() if kind == "defer")
    assert not any(isinstance(one, Purge) for one in home.finish())
    assert written + sum(len(actions) for _, actions in home.told()) == 1200


@pytest.mark.parametrize(
    ("envelope", "notify", "plain"),
    [
        (Envelope(sender="s@x", arrival_time=NOW), (), True),
        (Envelope(sender="s@x", arrival_time=NOW), ("NEVER",), False),
        (Envelope(sender="s@x", arrival_time=NOW, trace="deliver"), (), False),
        (Envelope(sender="s@x", arrival_time=NOW, origin=Origin(log_ident=PROBE)), (), False),
    ],
)
def test_the_common_end(tmp_path: Path, envelope: Envelope, notify: tuple[Any, ...], plain: bool) -> None:
    home = Home(tmp_path, envelope=envelope, notify=notify)
    assert home.outcome.is_plain(home.message, home.recipients[0], STATUS["sent"]) is plain
    assert not home.outcome.is_plain(home.message, home.recipients[0], STATUS["bounced"])
    home.message.bounced = True
    assert not home.outcome.is_plain(home.message, home.recipients[0], STATUS["sent"])
