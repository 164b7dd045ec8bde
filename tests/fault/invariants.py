"""What must hold after any fault; every test of this folder asks here.

Each message carries a *mark* (``mark-smtp-17-``) in its content; who got a yes for it wrote that down. Afterwards the
mark is in a mailbox or in the queue, and twice only where a kill came between a delivery and its mark in the queue
file; no file stands where nobody will look; processes are back at their level; the log says what happened.
``check_all`` asks all of it.
"""

import contextlib
import imaplib
import os
import poplib
import re
import time
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tubepost.common.system.ids import is_queue_id, microsecond
from tubepost.common.spool import Damaged, Incomplete, open_queue_file

from tests.fakes.instance import Instance

_MARK = re.compile(rb"mark-([a-z]+)-(\d+)-")
_MESSAGES = ("maildrop", "incoming", "active", "deferred", "hold")
_LOGS = ("bounce", "defer", "trace")
# common/mailbox/maildir: what may stand beside the messages of an account.
_ACCOUNT_FILES = re.compile(
    # db-journal: of an index that is being made; SQLite looks at it when the index is next opened.
    r"tubepost\.(db|db-wal|db-shm|db-journal|uidvalidity|pop3)|subscriptions|dovecot-(keywords|uidlist)|maildirsize|maildirfolder|\.forward"
    # A version that took nobody's place: the indexer removes it, as what is in tmp.
    r"|\..+\.[0-9a-f]{12}\.tmp"
)
_MESSAGE_FILE = re.compile(r"\d+\.[^/:]+(:2,[A-Za-z]*)?")
# What the log may never say, whatever happens.
UNSEEMLY = r"panic|Traceback|Exception in|Task exception|never retrieved|never awaited"
Mark = tuple[str, int]

# Seconds that a delivery may be done and not yet marked in the queue file: a sync, and a word to qmgr.
UNMARKED = 1.5
_ALL = ("master", "power")
# Seconds that a busy test takes to write down when it killed.
_LATE = 0.1
# Who, if killed between a delivery and its mark, has it done again (common/spool/STATES.md 4).
DELIVERING = frozenset({"qmgr", "virtual", "local", "pipe", "smtp", "lmtp", "lmtpd", "error"})
# Who, if killed between a new message in the queue and the end of what it was made of (what was posted, what is
# reported), makes it again (STATES.md 2, 6).
QUEUEING = frozenset({"pickup", "cleanup", "bounce", "qmgr"})
_NAMED = re.compile(r"(\d+)\.M(\d{6})P(\d+)Q")
_RECEIVED = re.compile(rb"\bid (\w{12,20})\b")
# system/ids.py
_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


class Kill(NamedTuple):
    """``at``: the time of day. ``program``: ``master`` and ``power`` stand for all of them. ``pid``: 0 where the log of
    the master does not tell of it.
    """

    at: float
    program: str
    pid: int = 0


class Copy(NamedTuple):
    """A file of a mailbox. ``at``: when its delivery began; ``pid``: who made it; ``queued``: under which queue id."""

    at: float
    pid: int
    queued: str
    path: Path


def marks_in(data: bytes) -> set[Mark]:
    return {(kind.decode(), int(number)) for kind, number in _MARK.findall(data)}


def in_mailboxes(mail: Path) -> Counter[Mark]:
    """How many files of mailboxes hold each mark. Files that go meanwhile are passed over."""
    found: Counter[Mark] = Counter()
    for folder, _, names in os.walk(mail):
        if os.path.basename(folder) in ("new", "cur"):
            for name in names:
                try:
                    found.update(marks_in(Path(folder, name).read_bytes()))
                except FileNotFoundError:
                    continue
    return found


def torn_messages(mail: Path) -> list[str]:
    """Messages of ours that lack their end, or have a hole (a page that never came to the disk reads as NUL)."""
    for _ in range(20):
        with contextlib.suppress(FileNotFoundError):
            return _torn(mail)
        # It has got another name: that of its flags, which come to it in the background.
    return _torn(mail)


def _torn(mail: Path) -> list[str]:
    found = []
    for path in mail.rglob("*"):
        if path.parent.name in ("new", "cur"):
            data = path.read_bytes()
            if b"\0" in data or len(set(_MARK.findall(data))) > data.count(b"\nend"):
                found.append(str(path))
    return found


def in_queue(spool: Path) -> Counter[Mark]:
    found: Counter[Mark] = Counter()
    for queue in _MESSAGES:
        for path in (spool / queue).rglob("*"):
            try:
                found.update(marks_in(path.read_bytes()))
            except (FileNotFoundError, IsADirectoryError):
                continue
    return found


def _is_complete(path: Path) -> bool:
    """An incomplete file was never answered for: qmgr and pickup pass it over, and remove it after a day."""
    try:
        open_queue_file(str(path)).close()
    except Incomplete:
        return False
    except (OSError, Damaged):
        return True
    return True


def waiting(spool: Path, queues: Iterable[str] = ("maildrop", "incoming", "active", "deferred")) -> list[str]:
    """Complete queue files, as ``deferred/5/ID``."""
    return [
        str(path.relative_to(spool))
        for queue in queues
        for path in (spool / queue).rglob("*")
        if not path.is_dir() and (queue not in ("maildrop", "incoming") or _is_complete(path))
    ]


def drain(instance: Instance, wanted: Iterable[Mark], timeout: float = 60.0, *, but: Iterable[str] = ()) -> None:
    """Until the queue is empty, without anybody's help, or holds only files of the queues ``but``.

    Raises AssertionError with what is left.
    """
    wanted = set(wanted)
    queues = [queue for queue in ("maildrop", "incoming", "active", "deferred") if queue not in but]
    deadline = time.monotonic() + timeout
    while left := waiting(instance.spool, queues):
        if time.monotonic() > deadline:
            lines = "\n".join(instance.log.lines[-40:])
            raise AssertionError(f"the queue does not drain: {len(left)} left, {left[:5]}; the log:\n{lines}")
        time.sleep(0.1)


def check_nothing_lost(instance: Instance, accepted: Iterable[Mark]) -> Counter[Mark]:
    """Each accepted mark is in a mailbox or in the queue. Returns how often each is in mailboxes."""
    wanted = set(accepted)
    # What gets the name of its flags between the listing of a folder and the look at it is seen by its new name the
    # next time; what is lost stays lost.
    deadline = time.monotonic() + 5
    while True:
        # The queue first: what is delivered between the two looks is then seen twice, not never.
        queued = in_queue(instance.spool)
        delivered = in_mailboxes(instance.mail)
        lost = sorted(wanted - delivered.keys() - queued.keys())
        if not lost:
            return delivered
        assert time.monotonic() < deadline, f"{len(lost)} accepted messages are lost: {lost[:10]}"
        time.sleep(0.1)


def copies(mail: Path, marks: Container[Mark]) -> dict[tuple[Mark, Path], list[Copy]]:
    """The files of each mark in each folder, oldest first: whom a message has for its recipients has it once each."""
    found: dict[tuple[Mark, Path], list[Copy]] = defaultdict(list)
    for path in mail.rglob("*"):
        if path.parent.name not in ("new", "cur"):
            continue
        try:
            data, at = path.read_bytes(), path.stat().st_mtime
        except FileNotFoundError:
            continue
        pid = 0
        if named := _NAMED.match(path.name):
            at, pid = int(named[1]) + int(named[2]) / 1e6, int(named[3])
        ids = [word.decode() for word in _RECEIVED.findall(data.split(b"\n\n", 1)[0]) if is_queue_id(word.decode())]
        for mark in marks_in(data):
            if mark in marks:
                found[mark, path.parent.parent].append(Copy(at, pid, ids[0] if ids else "", path))
    return {place: sorted(files) for place, files in found.items()}


def born(queue_id: str) -> float:
    """When the message was queued."""
    seconds = 0
    for char in queue_id[:6]:
        seconds = seconds * 52 + _DIGITS.index(char)
    return seconds + microsecond(queue_id) / 1e6


def _explains(kill: Kill, first: Copy, second: Copy, window: float) -> bool:
    """``second`` is there because somebody was killed who could not say or hear any more that ``first`` was."""
    before = 0.0
    if first.queued == second.queued:
        done, again = first.at, second.at
        if kill.program == "qmgr":
            # What it had asked for is done without it.
            before = window
        elif kill.program not in (*_ALL, *DELIVERING):
            return False
        elif kill.program not in _ALL and kill.pid and first.pid and kill.pid != first.pid:
            return False  # another process than the one that wrote this very file
        if not first.pid:
            # A stranger's file, with no time of its own: the last octets may reach him after the death of the sender.
            before = max(before, 0.5)
    else:
        if kill.program not in (*_ALL, *QUEUEING) or not (first.queued and second.queued):
            return False
        # Here too, who was asked goes on without the one who did. What was queued first need not be there first.
        done, again = sorted((born(first.queued), born(second.queued)))
        before = window
    return done - before <= kill.at <= min(done + window, again + _LATE)


def check_twice(
    instance: Instance,
    delivered: Counter[Mark],
    kills: Iterable[Kill] = (),
    *,
    but: Container[Mark] = (),
    window: float = UNMARKED,
) -> int:
    """No folder has a mark twice, unless a kill explains each copy but the last. Returns how many copies are too many.

    ``delivered``: as check_nothing_lost gives it. ``but``: marks that may be there more often, as the caller knows why.
    ``window``: seconds between a delivery and the kill that has it done again.
    """
    kills = tuple(kills)
    often = {mark for mark, n in delivered.items() if n > 1 and mark not in but}
    doubled, unexplained = 0, []
    for (mark, folder), files in copies(instance.mail, often).items():
        doubled += len(files) - 1
        for first, second in pairwise(files):
            if not any(_explains(kill, first, second, window) for kill in kills):
                near = [(kill.program, kill.pid, f"{kill.at - first.at:+.2f}") for kill in kills]
                near = [one for one in near if abs(float(one[2])) < 3]
                words = f"{first.queued} {first.path.name}, {second.queued} {second.path.name}; kills {near}"
                unexplained.append(f"{mark} in {folder}: {words}")
    assert not unexplained, (
        f"{len(unexplained)} of {doubled} were delivered twice and no kill explains it: " + "; ".join(unexplained[:5])
    )
    return doubled


def stray_files(instance: Instance) -> list[str]:
    """Files of a kind that nothing looks at. To be asked when nothing is under way.

    Not so the unfinished ones in ``tmp`` of a mailbox: the indexer removes them after 36 hours (STATES.md there).
    """
    return [*_stray_in_spool(instance.spool), *stray_in_mail(instance.mail)]


def age_logs(instance: Instance) -> int:
    """An hour passes over the logs of messages: the next bounce process removes those whose message is gone (STATES.md:
    S7). Returns how many there were.
    """
    before = time.time() - 7200
    logs = [path for queue in _LOGS for path in (instance.spool / queue).rglob("*") if path.is_file()]
    for path in logs:
        os.utime(path, (before, before))
    return len(logs)


def unfinished(instance: Instance) -> list[Path]:
    """What writers that died left in ``tmp`` of mailboxes."""
    return [path for path in instance.mail.rglob("tmp/*") if path.is_file()]


def _stray_in_spool(spool: Path) -> list[str]:
    found = []
    there = {
        path.name
        for queue in (*_MESSAGES, "corrupt")
        for path in (spool / queue).rglob("*")
        if path.is_file() and is_queue_id(path.name)
    }
    for path in spool.rglob("*"):
        queue, name = path.relative_to(spool).parts[0], path.name
        if path.is_dir() or path.is_socket() or queue in ("pid", "private", "public", "saved", "flush"):
            continue
        if queue == "corrupt" or not is_queue_id(name) or (queue in _LOGS and name not in there):
            found.append(str(path.relative_to(spool)))
    return found


def stray_in_mail(mail: Path) -> list[str]:
    found = []
    for folder, _, names in os.walk(mail):
        part = os.path.basename(folder)
        for name in names if part != "tmp" else ():
            known = _MESSAGE_FILE.fullmatch(name) if part in ("new", "cur") else _ACCOUNT_FILES.fullmatch(name)
            if not known:
                found.append(os.path.relpath(os.path.join(folder, name), mail))
    return found


def check_log(instance: Instance) -> None:
    bad = [line for line in instance.log.lines if re.search(UNSEEMLY, line)]
    assert not bad, "the log shows a fault of ours:\n" + "\n".join(bad[:10])


def check_all(
    instance: Instance,
    accepted: Iterable[Mark],
    level: "Levels | None" = None,
    *,
    kills: Iterable[Kill] = (),
    wanted_log: Iterable[str] = (),
    but: Container[Mark] = (),
    window: float = UNMARKED,
    descriptors: int = 8,
) -> Counter[Mark]:
    """All that must hold after a fault, once the queue is drained (but for what is deferred) and nobody works any more.

    Nothing accepted is lost, nor twice without a kill that explains it (``but``, ``window``: check_twice), nor torn; no
    stray file; descriptors and memory at their ``level``; the log has each of ``wanted_log`` and each kill, and nothing
    unseemly.

    Returns how often each mark is in mailboxes.
    """
    kills = tuple(kills)
    delivered = check_nothing_lost(instance, accepted)
    check_twice(instance, delivered, kills, but=but, window=window)
    torn = torn_messages(instance.mail)
    assert not torn, f"delivered, but not whole: {torn[:5]}"
    strays = stray_files(instance)
    assert not strays, f"nothing will look at {strays[:10]}"
    _check_told(instance, kills)
    for pattern in wanted_log:
        instance.log.wait(pattern, timeout=5)
    check_log(instance)
    if level is not None:
        level.check(descriptors=descriptors)
    return delivered


def _check_told(instance: Instance, kills: Sequence[Kill]) -> None:
    """A line for each kill; not of those that the log program may have had in its hands when it was killed itself."""
    logs = [kill.at for kill in kills if kill.program == "log"]
    told = [kill for kill in kills if kill.pid and not any(0 < at - kill.at < UNMARKED for at in logs)]
    for kill in told:
        if kill.program != "template":
            instance.log.wait(rf"process {kill.program}\[{kill.pid}\] was killed by signal 9", timeout=5)
    if count := sum(kill.program == "template" for kill in told):
        instance.log.wait(r"warning: the template process ended", count, timeout=5)


def check_uids(
    instance: Instance, uids: Mapping[tuple[str, int, int], Mark], address: str = "carol@example.test"
) -> None:
    """RFC 9051 2.3.1.1: a UID never means another message while UIDVALIDITY is the same, and that stays.

    ``uids``: (folder, UIDVALIDITY, UID) that a client was told of.
    """
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=20) as client:
        client.login(address, instance.credentials[address])
        for folder in {place for place, _, _ in uids}:
            assert client.select(folder, readonly=True)[0] == "OK", f"{folder} is gone"
            validity = int(client.response("UIDVALIDITY")[1][0])
            others = {valid for place, valid, _ in uids if place == folder} - {validity}
            assert not others, f"{folder}: UIDVALIDITY was {others}, is {validity}: clients must load all again"
            _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
            for part in answer:
                if isinstance(part, tuple):
                    uid = int(part[0].split(b"UID ")[1].split()[0])
                    if wanted := uids.get((folder, validity, uid)):
                        assert wanted in marks_in(part[1]), f"{folder}: UID {uid} means another message"


def check_password(instance: Instance, possible: Sequence[str], address: str = "erin@example.test") -> None:
    """One of these holds: the last that was said to be set, or one that was begun to be set after it."""
    for password in possible:
        client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=20)
        try:
            client.user(address)
            client.pass_(password)
        except poplib.error_proto:
            continue
        finally:
            client.close()
        return
    raise AssertionError(f"none of {len(possible)} passwords that may hold does")


class Levels:
    """Descriptors and memory of the processes of each program, before and after."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._level: dict[str, tuple[int, int]] = {}
        self.again()

    def again(self) -> None:
        """They may have grown meanwhile by right: who is young has not met everybody yet."""
        for program, _, files, memory in self._measure():
            most = self._level.get(program, (0, 0))
            self._level[program] = max(files, most[0]), max(memory, most[1])

    def _measure(self) -> Iterator[tuple[str, int, int, int]]:
        """Program, process, descriptors, memory that is its own in KiB."""
        rows = [(row["program"], pid) for row in self._instance.status()["services"] for pid in row["pids"]]
        assert self._instance.process is not None
        for program, pid in (*rows, ("master", self._instance.process.pid)):
            try:
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
                memory = int(re.findall(r"Private_Dirty: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[0])
            except (OSError, IndexError):
                continue
            yield program, pid, descriptors, memory

    def check(self, *, descriptors: int = 8, kilobytes: int = 16_384, timeout: float = 20.0) -> None:
        """Back at the level, but for so many descriptors and so much memory more a process."""
        deadline = time.monotonic() + timeout
        while True:
            grown = [
                f"{program}[{pid}]: {self._level[program]} -> {(files, memory)}"
                for program, pid, files, memory in self._measure()
                if program in self._level
                and (files > self._level[program][0] + descriptors or memory > self._level[program][1] + kilobytes)
            ]
            if not grown:
                return
            if time.monotonic() > deadline:
                raise AssertionError("descriptors, kilobytes did not return to their level: " + "; ".join(grown))
            time.sleep(0.25)
