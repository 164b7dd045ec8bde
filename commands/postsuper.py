"""postsuper: the queue's housekeeper (Postfix manual: postsuper(1)).

    postsuper [-psSv] [-c config_dir] [-d|-e|-f|-h|-H|-r queue_id]... [queue...]

-d delete, -h hold, -H release from hold, -r queue anew (by way of maildrop), -e expire, -f expire and release; each as
often as wanted, with a queue id, ``-`` (ids from standard input, one a line) or ``ALL``; in the queues named, or else
in the ones where that makes sense. -p removes files that were never finished, -s puts files where they belong and
removes logs without a message; both are done first. Without any of these: -p -s, in all queues.

Works on the files, whether or not the system runs: qmgr notices that a file has gone. Root, or who runs an instance
without root, may. What was done is counted on standard error and in the log.
"""

import os
import pwd
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from tubepost.common.wire import qmgr
from tubepost.common.system.ids import is_queue_id
from tubepost.common.bus import Bus, BusError
from tubepost.common.spool import Damaged, Incomplete, Spool, open_queue_file
from tubepost.common.spool.directories import LOGS
from tubepost.common.spool.listing import read_log
from tubepost.common.spool.queuefile import EXPIRED, mark_waiting, set_flag

from tubepost.commands.console import EX_UNAVAILABLE, Console, Fatal, knock, public_path, read_options, run
from tubepost.commands.postdrop import wake_pickup

_USAGE = (
    "[-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire and/or un-hold)] "
    "[-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] "
    "[-s (structure fix)] [-S (redundant structure fix)] [-v] [queue...]"
)
_ALL = ("maildrop", "incoming", "active", "deferred", "hold", "trace", "defer", "bounce", "flush")
"""Postfix's order."""
_MESSAGES = ("hold", "incoming", "active", "deferred")
_MESSAGE_QUEUES = frozenset({"maildrop", *_MESSAGES})
# Where cleanup writes.
_WRITTEN = ("incoming", "hold")
_TRIES = 2
# A file that nobody wrote to for so long has lost its writer, seconds.
_ABANDONED = 86_400
_LEFTOVER = re.compile(r"\..+\.tmp")


class Superintendent:
    """The operations. Each gives True when it did something; counts are kept by the name of what was done."""

    def __init__(self, console: Console, spool: Spool) -> None:
        self._console = console
        self._spool = spool
        self.counts = dict.fromkeys(("deleted", "requeued", "held", "released", "expired"), 0)
        self.silent = False
        """Only count (Postfix does so for ALL)."""
        self.touched: set[str] = set()
        """Queues into which messages were put."""

    # -- one message -------------------------------------------------------------------------------------------------

    def delete(self, queue_id: str, queues: Sequence[str]) -> bool:
        # A message may move from one queue into another that was just looked at.
        for _ in range(_TRIES):
            for queue in queues:
                if queue in _MESSAGE_QUEUES and self._remove(queue, queue_id):
                    self._console.detail(f"removed file {self._spool.path(queue, queue_id)}")
                    self._drop_logs(queue_id)
                    return self._did("deleted", queue_id, "removed")
        return False

    def requeue(self, queue_id: str, queues: Sequence[str]) -> bool:
        for _ in range(_TRIES):
            for queue in queues:
                if queue not in _MESSAGES:
                    continue
                if queue != "active":
                    self._undo_failures(queue_id, queue)
                # pickup warns of what waited long: the message is as new.
                if self._move(queue_id, queue, "maildrop", touch=True):
                    # What failed of a message in delivery, qmgr is about to tell its sender (Postfix leaves all logs).
                    self._drop_logs(queue_id, ("defer",) if queue == "active" else LOGS)
                    return self._did("requeued", queue_id, "requeued")
        return False

    def _undo_failures(self, queue_id: str, queue: str) -> None:
        """Recipients that failed, with no report to their sender yet, are tried again: its log goes."""
        log = self._spool.path("bounce", queue_id)
        if not os.path.exists(log):
            return
        try:
            with open_queue_file(self._spool.path(queue, queue_id), writable=True) as file:
                done = {offset for offset, is_done, _, _ in file.recipients() if is_done}
                for entry in read_log(log):
                    if entry.status.offset in done:
                        mark_waiting(file.fd, entry.status.offset)
        except (FileNotFoundError, Incomplete):
            return
        except (OSError, Damaged) as error:
            self._console.warning(f"{queue_id}: who failed cannot be tried again: {error}")

    def hold(self, queue_id: str, queues: Sequence[str]) -> bool:
        for _ in range(_TRIES):
            for queue in queues:
                if queue in _MESSAGES and queue != "hold" and self._move(queue_id, queue, "hold"):
                    return self._did("held", queue_id, "placed on hold")
        return False

    def release(self, queue_id: str, queues: Sequence[str]) -> bool:
        # Due now, whatever time it had when it was put aside.
        if "hold" not in queues or not self._move(queue_id, "hold", "deferred", touch=True):
            return False
        return self._did("released", queue_id, "released from hold")

    def expire(self, queue_id: str, queues: Sequence[str]) -> bool:
        for _ in range(_TRIES):
            for queue in queues:
                if queue in _MESSAGES and self._mark_expired(self._spool.path(queue, queue_id)):
                    return self._did("expired", queue_id, "expired")
        return False

    def expire_and_release(self, queue_id: str, queues: Sequence[str]) -> bool:
        expired = self.expire(queue_id, queues)
        return self.release(queue_id, queues) or expired

    def _did(self, what: str, queue_id: str, words: str) -> bool:
        self.counts[what] += 1
        if not self.silent:
            self._console.info(f"{queue_id}: {words}")
        return True

    def _remove(self, queue: str, queue_id: str) -> bool:
        try:
            return self._spool.remove(queue, queue_id)
        except OSError as error:
            self._console.warning(f"{self._spool.path(queue, queue_id)}: cannot be removed: {error.strerror}")
            return False

    def _move(self, queue_id: str, source: str, target: str, *, touch: bool = False) -> bool:
        try:
            if not self._is_complete(source, queue_id):
                return False
            if touch:
                # Before: behind the rename another program owns the file.
                os.utime(self._spool.path(source, queue_id))
            self._spool.move(queue_id, source, target)
        except FileNotFoundError:
            return False
        except OSError as error:
            path = self._spool.path(source, queue_id)
            self._console.warning(f"{path}: cannot be moved to {target}: {error.strerror}")
            return False
        self.touched.add(target)
        self._console.detail(
            f"renamed file {self._spool.path(source, queue_id)} as {self._spool.path(target, queue_id)}"
        )
        return True

    def _is_complete(self, queue: str, queue_id: str) -> bool:
        """A file that is being written belongs to its writer. Raises FileNotFoundError."""
        if queue not in _WRITTEN:
            return True
        try:
            open_queue_file(self._spool.path(queue, queue_id)).close()
        except Incomplete:
            return False
        except Damaged:
            return True
        return True

    def _mark_expired(self, path: str) -> bool:
        try:
            with open_queue_file(path, writable=True) as file:
                if file.expired:
                    return False
                status = os.fstat(file.fd)
                set_flag(file.fd, EXPIRED)
                # The time of the next try is the file's: it is not to change with this.
                os.utime(file.fd, ns=(status.st_atime_ns, status.st_mtime_ns))
                return True
        except (FileNotFoundError, Incomplete):
            return False
        except (OSError, Damaged) as error:
            self._console.warning(f"expire file {path}: {error}")
            return False

    def _drop_logs(self, queue_id: str, kinds: Sequence[str] = LOGS) -> None:
        for kind in kinds:
            if self._spool.remove(kind, queue_id):
                self._console.detail(f"removed file {self._spool.path(kind, queue_id)}")

    # -- all ---------------------------------------------------------------------------------------------------------

    def ids(self, queues: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(queue, id) of everything there."""
        for queue in queues:
            for entry in self._spool.scan(queue):
                yield queue, entry.name

    # -- repair ------------------------------------------------------------------------------------------------------

    def purge(self, queues: Sequence[str], now: float) -> None:
        """-p: what a crash left unfinished."""
        for queue in queues:
            for path, name in self._files(queue):
                if self._is_leftover(queue, path, name, now):
                    try:
                        os.unlink(path)
                    except FileNotFoundError:
                        continue
                    self._console.detail(f"removed file {path}")

    def _is_leftover(self, queue: str, path: str, name: str, now: float) -> bool:
        try:
            status = os.lstat(path)
            if now - status.st_mtime < _ABANDONED:
                return False
            if _LEFTOVER.fullmatch(name):
                return True
            if queue not in ("maildrop", *_WRITTEN) or not is_queue_id(name):
                return False
            open_queue_file(path).close()
        except Incomplete:
            return True
        except PermissionError:
            # Of another user in maildrop: writable until it is finished.
            return bool(status.st_mode & stat.S_IWUSR)
        except (OSError, Damaged):
            return False
        return False

    def fix_structure(self, queues: Sequence[str]) -> None:
        """-s: files of another hash_queue_depth or hash_queue_names, logs whose message is gone, empty directories."""
        for queue in queues:
            if queue == "flush":
                continue  # its files are named after destinations
            for path, name in self._files(queue):
                if not is_queue_id(name):
                    if not _LEFTOVER.fullmatch(name):
                        self._console.warning(f"bogus file name: {path}")
                    continue
                right = self._spool.path(queue, name)
                if os.path.normpath(path) != os.path.normpath(right):
                    self._put(path, right)
                if queue in LOGS and not self._has_message(name):
                    self._spool.remove(queue, name)
                    self._console.detail(f"removed file {right}")
            self._remove_empty(queue)

    def _has_message(self, queue_id: str) -> bool:
        # Twice, for it may be on its way from one queue to another.
        return any(self._spool.find(queue_id, (*_MESSAGES, "corrupt")) for _ in range(_TRIES))

    def _put(self, path: str, right: str) -> None:
        os.makedirs(os.path.dirname(right), 0o700, exist_ok=True)
        try:
            # A link never takes another file's place, as a rename would.
            os.link(path, right, follow_symlinks=False)
        except FileNotFoundError:
            return
        except FileExistsError:
            self._console.warning(f"{path}: there is another file {right}; left alone")
            return
        os.unlink(path)
        self._console.detail(f"renamed file {path} as {right}")

    def _files(self, queue: str) -> Iterator[tuple[str, str]]:
        """(path, name) of all files of a queue at any depth, save in maildrop, where users can make directories."""
        depth = 0 if queue == "maildrop" else 16
        yield from self._walk(f"{self._spool.directory}/{queue}", depth)

    def _walk(self, folder: str, depth: int) -> Iterator[tuple[str, str]]:
        try:
            found = os.scandir(folder)
        except FileNotFoundError:
            return
        with found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    if depth and len(entry.name) == 1:
                        yield from self._walk(entry.path, depth - 1)
                    else:
                        self._console.warning(f"bogus file name: {entry.path}")
                else:
                    yield entry.path, entry.name

    def _remove_empty(self, queue: str) -> None:
        if queue == "maildrop":
            return
        for folder, _, _ in os.walk(f"{self._spool.directory}/{queue}", topdown=False):
            if os.path.dirname(os.path.normpath(folder)) == os.path.normpath(self._spool.directory):
                continue
            try:
                os.rmdir(folder)
            except OSError:
                continue  # it is used
            self._console.detail(f"remove subdirectory {folder}")


_Operation = Callable[[str, Sequence[str]], bool]
# Where an order looks when no queue was named.
_USUAL = {
    "d": ("maildrop", *_MESSAGES),
    "e": _MESSAGES,
    "f": _MESSAGES,
    "h": ("incoming", "active", "deferred"),
    "H": ("hold",),
    "r": _MESSAGES,
}
# Postfix's words.
_REPORTS = (
    ("r", "requeued", "Requeued"),
    ("d", "deleted", "Deleted"),
    ("ef", "expired", "Force-expired"),
    ("h", "held", "Placed on hold"),
    ("Hf", "released", "Released from hold"),
)


def _apply(console: Console, chief: Superintendent, letter: str, wanted: str, queues: Sequence[str]) -> None:
    operations: dict[str, _Operation] = {
        "d": chief.delete,
        "e": chief.expire,
        "f": chief.expire_and_release,
        "h": chief.hold,
        "H": chief.release,
        "r": chief.requeue,
    }
    operation = operations[letter]
    chief.silent = wanted == "ALL"
    if chief.silent:
        for queue, queue_id in chief.ids([queue for queue in queues if queue in _MESSAGE_QUEUES]):
            operation(queue_id, (queue,))
        return
    for queue_id in (line.strip() for line in sys.stdin) if wanted == "-" else (wanted,):
        if is_queue_id(queue_id):
            operation(queue_id, queues)
        else:
            console.warning(f"invalid mail queue id: {queue_id}")


def _become_owner(console: Console) -> None:
    """Files and directories that are made belong to mail_owner. Raises Fatal for those who may not."""
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam(console.config.mail_owner)
        except KeyError:
            raise console.config.bad_value("mail_owner", f"there is no account {console.config.mail_owner}") from None
        os.setegid(owner.pw_gid)
        os.seteuid(owner.pw_uid)
    elif not os.access("incoming", os.R_OK | os.W_OK | os.X_OK):
        raise Fatal(EX_UNAVAILABLE, "use of this command is reserved for the superuser")


def _hint(console: Console, chief: Superintendent) -> None:
    """Tell a running system where to look; a stopped one finds it by itself."""
    if "maildrop" in chief.touched:
        wake_pickup(console)
    if "deferred" not in chief.touched:
        return
    path = public_path(console.config.queue_service_name)
    try:
        knock(path)
    except OSError:
        return

    async def scan(bus: Bus) -> None:
        await bus.client(path).call(qmgr.Scan(queue="deferred"), qmgr.Done, deadline=console.config.trigger_timeout)

    try:
        console.ask(scan)
    except BusError as error:
        console.log("warning", f"qmgr was not told of released mail: {error}; it looks at its next queue run")


def _work(console: Console, arguments: Sequence[str]) -> int:
    options, queues = read_options(console, arguments, "c:d:e:f:h:H:pr:sSv", _USAGE)
    orders: list[tuple[str, str]] = []
    repairs: set[str] = set()
    for letter, value in options:
        if letter == "c":
            if not value.startswith("/"):
                raise Fatal(1, "-c requires absolute pathname")
            console.directory = value
        elif letter == "v":
            console.verbose += 1
        elif letter in "psS":
            repairs.add("s" if letter == "S" else letter)
        else:
            orders.append((letter, value))
    config = console.open()
    _become_owner(console)
    for queue in queues:
        if queue not in _ALL:
            raise Fatal(1, f"invalid directory name: {queue}")
    if not orders and not repairs:
        repairs = {"p", "s"}
    chief = Superintendent(console, Spool(".", tuple(config.hash_queue_names), config.hash_queue_depth))
    if "p" in repairs:
        chief.purge(queues or _ALL, time.time())
    if "s" in repairs:
        chief.fix_structure(queues or _ALL)
    for letter, value in orders:
        _apply(console, chief, letter, value, queues or _USUAL[letter])
    given = {letter for letter, _ in orders}
    for letters, what, words in _REPORTS:
        if given & set(letters):
            count = chief.counts[what]
            console.info(f"{words}: {count} message{'' if count == 1 else 's'}")
    _hint(console, chief)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    console = Console("postsuper")
    return run(console, lambda: _work(console, sys.argv[1:] if arguments is None else arguments), 1)


if __name__ == "__main__":
    sys.exit(main())
