"""The judge himself: each of these faults would be found."""

import time
from pathlib import Path
from typing import cast

import pytest

from tubepost.common.system import ids
from tubepost.common.system.ids import new_queue_id

from tests.fakes.instance import Instance
from tests.fault.invariants import (
    UNMARKED,
    Copy,
    Kill,
    born,
    check_twice,
    copies,
    in_mailboxes,
    stray_files,
    torn_messages,
)

MARK = ("smtp", 7)


class Place:
    """The directories of an instance, without one."""

    def __init__(self, root: Path) -> None:
        self.spool, self.mail = root / "spool", root / "mail"
        self.began = time.time()
        for queue in ("active", "bounce"):
            (self.spool / queue).mkdir(parents=True)

    def file(self, at: float, pid: int, queue_id: str, user: str = "alice", text: str = "mark-smtp-7-\nend\n") -> None:
        folder = self.mail / user / "new"
        folder.mkdir(parents=True, exist_ok=True)
        moment = self.began + at
        name = f"{int(moment)}.M{int(moment % 1 * 1e6):06d}P{pid}Q1.host"
        (folder / name).write_text(f"Received: from x\n\tby y with SMTP id {queue_id}; now\n\n{text}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _twice(place: Place, *kills: Kill) -> int:
    return check_twice(cast(Instance, place), in_mailboxes(place.mail), kills)


def test_two_mailboxes_have_one_each(place: Place) -> None:
    place.file(0, 10, new_queue_id(), "alice")
    place.file(0, 10, new_queue_id(), "bob")
    assert _twice(place) == 0


@pytest.mark.parametrize(
    ("program", "after", "pid"),
    [("virtual", 0.5, 10), ("virtual", 0.5, 0), ("qmgr", 1.0, 99), ("qmgr", -1.0, 99), ("master", 0.1, 1)],
)
def test_a_delivery_is_explained_by_a_kill_soon_after_it(place: Place, program: str, after: float, pid: int) -> None:
    queue_id = new_queue_id()
    place.file(0, 10, queue_id)
    place.file(3, 11, queue_id)
    assert _twice(place, Kill(place.began + after, program, pid)) == 1


@pytest.mark.parametrize(
    ("program", "after", "pid"),
    # Before it; much later; after both; of another process; of who has no part in it.
    [
        ("virtual", -0.5, 10),
        ("virtual", 2.0, 10),
        ("qmgr", 1.4, 99),
        ("qmgr", -2.0, 99),
        ("virtual", 0.5, 11),
        ("smtpd", 0.5, 10),
        ("cleanup", 0.5, 10),
    ],
)
def test_and_by_no_other(place: Place, program: str, after: float, pid: int) -> None:
    queue_id = new_queue_id()
    place.file(0, 10, queue_id)
    place.file(1.2, 11, queue_id)
    with pytest.raises(AssertionError, match="no kill explains"):
        _twice(place, Kill(place.began + after, program, pid))


def test_each_copy_but_the_last_takes_a_kill(place: Place) -> None:
    queue_id = new_queue_id()
    for number in range(3):
        place.file(number * 2, 10 + number, queue_id)
    first = Kill(place.began + 0.1, "virtual", 10)
    with pytest.raises(AssertionError, match="1 of 2"):
        _twice(place, first)
    assert _twice(place, first, Kill(place.began + 2.1, "qmgr")) == 2


def _queue_id_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    """As one that is made so much later: ids go on from the last one when the clock is behind it."""
    monkeypatch.setattr(ids, "_last_microsecond", ids._last_microsecond + int(seconds * 1e6))
    return new_queue_id()


def test_what_was_queued_twice_takes_the_kill_of_who_queues(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.file(1, 10, new_queue_id())
    place.file(2, 10, _queue_id_after(monkeypatch, 0.6))
    [files] = copies(place.mail, {MARK}).values()
    queued = born(files[0].queued)
    assert abs(queued - place.began) < 5
    assert _twice(place, Kill(queued + 0.5, "pickup")) == 1
    with pytest.raises(AssertionError, match="no kill explains"):
        _twice(place, Kill(queued + 0.5, "virtual"))
    with pytest.raises(AssertionError, match="no kill explains"):
        _twice(place, Kill(queued + 0.9, "pickup"))
    assert isinstance(files[0], Copy)


def test_what_was_queued_first_may_be_delivered_last(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    early = new_queue_id()
    late = _queue_id_after(monkeypatch, 1.2)
    place.file(1, 10, late)
    place.file(2, 10, early)
    assert _twice(place, Kill(born(early) + 0.6, "cleanup")) == 1
    with pytest.raises(AssertionError, match="no kill explains"):
        _twice(place, Kill(born(early) + UNMARKED + 0.3, "cleanup"))


def test_a_message_that_gets_another_name_while_it_is_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.file(0, 10, new_queue_id(), text="mark-smtp-8-\nen")
    read = Path.read_bytes
    renamed: list[Path] = []

    def rename_first(path: Path) -> bytes:
        if not renamed:
            renamed.append(path.rename(f"{path}:2,S"))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", rename_first)
    assert torn_messages(place.mail) == [str(path) for path in renamed]


def test_torn_and_stray(place: Place) -> None:
    assert not torn_messages(place.mail) and not stray_files(cast(Instance, place))
    place.file(0, 10, new_queue_id(), text="mark-smtp-8-\nen")
    (place.spool / "bounce" / new_queue_id()).write_bytes(b"")
    (place.spool / "active" / "x.tmp").write_bytes(b"")
    assert len(torn_messages(place.mail)) == 1
    assert len(stray_files(cast(Instance, place))) == 2
