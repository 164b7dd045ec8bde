"""When the indexer looks at which mailbox, and what it believes."""

import os
from pathlib import Path

import pytest

from tubepost.services.indexer.schedule import Schedule, Task
from tubepost.services.indexer.session import maildir_owner


def test_a_mailbox_is_due_after_a_short_quiet() -> None:
    schedule = Schedule(0.2, 2.0)
    assert schedule.next_time() is None
    schedule.note("/m/a", "INBOX", 10.0)
    assert schedule.next_time() == pytest.approx(10.2)
    assert schedule.take(10.1) is None
    assert schedule.take(10.2) == (Task("/m/a", ("INBOX",)), 0)
    assert schedule.take(99.0) is None
    assert len(schedule) == 0


def test_a_stream_of_mail_does_not_put_it_off_for_ever() -> None:
    schedule = Schedule(0.2, 2.0)
    for step in range(100):
        schedule.note("/m/a", f"F{step % 3}", 10 + step * 0.1)
        taken = schedule.take(10 + step * 0.1)
        if taken:
            break
    assert step == 20
    assert taken is not None and taken[0].folders == ("F0", "F1", "F2")


def test_the_one_that_waits_longest_comes_first() -> None:
    schedule = Schedule(0.2, 2.0)
    schedule.note("/m/a", "INBOX", 1.0)
    schedule.note("/m/b", "INBOX", 1.1)
    schedule.note("/m/a", "INBOX", 1.2)
    taken = schedule.take(5.0)
    assert taken is not None and taken[0].mailbox == "/m/b"


def test_memory_is_bounded() -> None:
    schedule = Schedule(0.2, 2.0, limit=3, folder_limit=2)
    for number in range(10):
        for folder in range(5):
            schedule.note(f"/m/{number}", f"F{folder}", float(number))
    assert len(schedule) == 3
    taken = schedule.take(100.0)
    assert taken is not None and len(taken[0].folders) == 2


def test_what_fails_is_tried_later_and_later() -> None:
    schedule = Schedule(0.2, 2.0)
    schedule.note("/m/a", "INBOX", 1.0)
    now = 1.2
    waits = []
    for _ in range(9):
        taken = schedule.take(now)
        assert taken is not None
        task, failures = taken
        schedule.again(task, now, failures + 1)
        # Fresh news do not bring it forward, nor put it off.
        schedule.note("/m/a", "Other", now + 0.1)
        due = schedule.next_time()
        assert due is not None
        waits.append(round(due - now, 3))
        now = due
    assert waits == sorted(waits)
    assert 2 <= waits[0] <= 3
    assert waits[-1] <= 61
    taken = schedule.take(now)
    assert taken is not None and set(taken[0].folders) == {"INBOX", "Other"}
    # However long it goes on.
    schedule.again(taken[0], now, 5000)
    assert len(schedule) == 1


def test_a_hint_is_believed_by_nobody(tmp_path: Path) -> None:
    real = tmp_path / "real"
    for part in ("new", "cur"):
        (real / part).mkdir(parents=True)
    assert maildir_owner(str(real)) == (os.stat(real).st_uid, os.stat(real).st_gid)
    assert maildir_owner(str(tmp_path)) is None
    assert maildir_owner(str(tmp_path / "none")) is None
    assert maildir_owner("relative") is None
    assert maildir_owner("") is None
    assert maildir_owner("/nul\0l") is None
    (tmp_path / "link").symlink_to(real)
    assert maildir_owner(str(tmp_path / "link")) is None
    half = tmp_path / "half"
    half.mkdir()
    (half / "new").symlink_to(real / "new")
    (half / "cur").mkdir()
    assert maildir_owner(str(half)) is None
