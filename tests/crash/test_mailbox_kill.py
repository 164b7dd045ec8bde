"""kill -9 of a process that works on a mailbox, at any instant: what was answered is there, nothing is there twice.

A child appends, copies, moves, flags and removes messages, and says on a pipe what it has finished. It is killed at a
random moment, again and again; then the mailbox is opened anew, and also built anew from the files.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder

from tests.fault.invariants import stray_in_mail

_CHILD = """
import os, random, sys
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.store import FolderExists

root, seed = sys.argv[1], int(sys.argv[2])
rng = random.Random(seed)
account = MaildirAccount(root)
try:
    account.create("Box")
except FolderExists:
    pass
inbox, box = account.folder("INBOX"), account.folder("Box")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def draft(name):
    made = inbox.draft()
    made.write(b"Subject: x\\r\\n\\r\\n" + name.encode() + b"\\r\\n" + b"filler " * 300 + b"\\r\\n")
    made.finish()
    return made

number = 0
say("ready")
while True:
    kind = rng.randrange(6)
    if kind <= 1:
        names = [f"{seed}-{number + index}" for index in range(1 if kind else 5)]
        number += len(names)
        inbox.append([draft(name) for name in names])
        say("appended", *names)
    elif kind == 2:
        uids = [uid for uid, _ in inbox.uids()][:20]
        if uids:
            bodies = {}
            for uid in uids:
                fd = inbox.open(uid)
                bodies[uid] = os.read(fd, 200).split(b"\\n\\n")[1].split(b"\\n")[0].decode()
                os.close(fd)
            say("moving", *bodies.values())
            old, _ = inbox.move(uids, box)
            say("moved", *(bodies[uid] for uid in old))
    elif kind == 3:
        uids = [uid for uid, _ in inbox.uids()]
        inbox.store(uids, "+", ["\\\\Seen", "key"])
        inbox.flush()
    elif kind == 4:
        uids = [uid for uid, _ in box.uids()][:10]
        if len(uids) == 10:
            say("copying")
            _, new = box.copy(uids, box)
            say("copied", *new)
            box.remove(new)
            say("uncopied")
    else:
        inbox.settle_new()
        inbox.sync()
"""
_ROUNDS = 25


def check_files(root: str) -> None:
    """No file that nobody knows, and no message that lacks its end."""
    assert not stray_in_mail(Path(root))
    for path in Path(root).rglob("*"):
        if path.parent.name in ("new", "cur"):
            assert path.read_bytes().count(b"filler ") == 300, f"{path} is torn"


def names_in(folder: Folder) -> Counter[str]:
    folder.sync()
    found: Counter[str] = Counter()
    for uid, _ in folder.uids():
        fd = folder.open(uid)
        found[os.read(fd, 200).split(b"\n\n")[1].split(b"\n")[0].decode()] += 1
        os.close(fd)
    return found


def test_a_killed_process_loses_and_doubles_nothing(tmp_path: Path) -> None:
    root = str(tmp_path / "mail")
    rng = random.Random(4)
    appended: set[str] = set()
    under_way: set[str] = set()
    for seed in range(_ROUNDS):
        with subprocess.Popen([sys.executable, "-c", _CHILD, root, str(seed)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.005, 0.12))
            os.kill(child.pid, signal.SIGKILL)
            said = child.stdout.read().decode().splitlines()
        copying = bool(said) and said[-1].split()[0] in ("copying", "copied")
        for line in said:
            verb, *names = line.split()
            if verb == "appended":
                appended.update(names)
        account = MaildirAccount(root)
        inbox, box = account.folder("INBOX"), account.folder("Box")
        here, there = names_in(inbox), names_in(box)
        everything = here + there
        assert appended <= everything.keys(), f"lost in round {seed}: {sorted(appended - everything.keys())}"
        # What was appended and not answered may be there; a copy that was finished and not yet removed is a copy.
        under_way.update(name for name in everything if name not in appended)
        doubled = {name for name, count in everything.items() if count > 1}
        if copying and said[-1].startswith("copied"):
            assert len(doubled) <= 10
        elif copying:
            assert len(doubled) in (0, 10), "all of a COPY or none"
        else:
            assert not doubled, f"doubled in round {seed}: {doubled}"
        for name in doubled:
            extra = [uid for uid, _ in box.uids()]
            bodies = Counter[str]()
            for uid in extra:
                fd = box.open(uid)
                body = os.read(fd, 200).split(b"\n\n")[1].split(b"\n")[0].decode()
                os.close(fd)
                bodies[body] += 1
                if body == name and bodies[body] > 1:
                    box.remove([uid])
        for folder in (inbox, box):
            status = folder.status()
            assert (
                status.messages
                == len(folder.uids())
                == account.database.one("SELECT count(*) FROM message WHERE folder=?", folder.id)[0]
            )
            files = len(os.listdir(f"{folder.path}/cur")) + len(os.listdir(f"{folder.path}/new"))
            assert files == status.messages
        assert account.database.one("PRAGMA integrity_check")[0] == "ok"
        account.close()
        check_files(root)
    assert len(appended) > 2 * _ROUNDS
    # The files alone tell the same.
    for file in Path(root).glob("tubepost.db*"):
        file.unlink()
    account = MaildirAccount(root)
    everything = names_in(account.folder("INBOX")) + names_in(account.folder("Box"))
    assert appended <= everything.keys()
    assert all(count == 1 for count in everything.values())
    account.close()


def test_a_killed_builder_of_the_index_leaves_one_that_can_be_built(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    for part in ("tmp", "new", "cur"):
        (root / part).mkdir(parents=True)
    for number in range(3000):
        (root / "cur" / f"{1_700_000_000 + number}.M1.host:2,S").write_text(f"Subject: {number}\n\n{number}\n")
    code = (
        "import sys; from tubepost.common.mailbox.maildir.account import MaildirAccount; print('go', flush=True);"
        "MaildirAccount(sys.argv[1]).folder('INBOX').sync(); print('done', flush=True)"
    )
    rng = random.Random(2)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0, 0.06))
            os.kill(child.pid, signal.SIGKILL)
    account = MaildirAccount(str(root))
    found = names_in(account.folder("INBOX"))
    assert len(found) == 3000 and set(found.values()) == {1}
    assert [uid for uid, _ in account.folder("INBOX").uids()] == list(range(1, 3001))
    account.close()
    assert not stray_in_mail(root)
