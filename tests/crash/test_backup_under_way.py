"""A backup while another process moves, flags, delivers and removes: the copy is one that the account may have had."""

import multiprocessing
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.backup import Backup
from tubepost.common.mailbox.maildir.check import Check
from tubepost.common.mailbox.maildir.delivery import unique_name
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.store import NoSuchMessage

from tests.fault.invariants import stray_in_mail

FOLDERS = ("INBOX", "A", "B")
KEPT = 40


def add(folder: Folder, text: str) -> None:
    draft = folder.draft()
    draft.write(f"Subject: {text}\n\n".encode())
    draft.finish()
    folder.append([draft])


def disturb(root: str, seed: int, stop: Event, begun: Semaphore) -> None:
    """What is kept is never removed, only moved and flagged; what is not comes and goes."""
    chance = random.Random(seed)
    account = MaildirAccount(root)
    folders = [account.folder(name) for name in FOLDERS]
    number = 0
    while not stop.is_set():
        folder = chance.choice(folders)
        folder.sync()
        uids = [uid for uid, _ in folder.uids()]
        some = sorted(chance.sample(uids, min(len(uids), chance.randint(1, 8))))
        number += 1
        if number == 10:
            begun.release()
        try:
            match chance.randrange(6):
                case 0 | 1:
                    folder.move(some, chance.choice([other for other in folders if other is not folder]))
                case 2:
                    folder.store(some, chance.choice("+-"), ["\\Seen", chance.choice(("blue", "red"))])
                    folder.flush()
                case 3:
                    add(folder, f"passing {seed}.{number}")
                case 4:
                    name = unique_name(1_700_000_000 + number)
                    path = f"{root}/tmp/{name}"
                    Path(path).write_text(f"Subject: passing {seed}.{number}\n\n")
                    os.rename(path, f"{root}/new/{name}")
                case 5:
                    folder.remove([uid for uid in some if subject(folder, uid).startswith("passing")])
        except NoSuchMessage:
            continue
    account.close()


def subject(folder: Folder, uid: int) -> str:
    fd = folder.open(uid)
    try:
        return os.pread(fd, 100, 0).decode().splitlines()[0].removeprefix("Subject: ")
    finally:
        os.close(fd)


@pytest.fixture
def place() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="tp-"))
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize("link", [True, False])
def test_the_copy_is_whole(place: Path, link: bool) -> None:
    account = MaildirAccount(str(place / "mail"))
    for name in FOLDERS[1:]:
        account.create(name)
    for number in range(KEPT):
        add(account.folder(FOLDERS[number % 3]), f"kept {number}")
    context = multiprocessing.get_context("spawn")
    stop, begun = context.Event(), context.Semaphore(0)
    workers = [context.Process(target=disturb, args=(account.root, seed, stop, begun)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    try:
        assert all(begun.acquire(timeout=20) for _ in workers)
        for round_ in range(6):
            # The same target over and over, and now and then a new one.
            target = place / f"copy{round_ // 3}"
            done = Backup(account, str(target), link=link).run()
            assert done.messages >= KEPT
            look_at(place, target)
    finally:
        stop.set()
        for worker in workers:
            worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0]
    account.close()


def look_at(place: Path, target: Path) -> None:
    """In a copy of the copy: looking at an account changes it."""
    shutil.rmtree(place / "look", ignore_errors=True)
    shutil.copytree(target, place / "look")
    assert not stray_in_mail(target)
    copy = MaildirAccount(str(place / "look"))
    # Deliveries that came while the last step was at work are new messages without a row; nothing else is amiss.
    amiss = [
        found
        for found in Check(copy, repair=False, read=True).run()
        if not found.text.endswith(("are not in the index", "their flags by their names"))
    ]
    assert amiss == []
    subjects = []
    for name in FOLDERS:
        folder = copy.folder(name)
        folder.sync()
        subjects += [subject(folder, uid) for uid, _ in folder.uids()]
    kept = sorted(one for one in subjects if one.startswith("kept"))
    assert kept == sorted(f"kept {number}" for number in range(KEPT))
    assert len(set(subjects)) == len(subjects)
    copy.close()
