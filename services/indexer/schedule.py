"""Which mailboxes are to be looked at, and when (pure: the time is an argument, in seconds)."""

from typing import NamedTuple


class Task(NamedTuple):
    """``folders``: those that changed, in the order in which that was heard."""

    mailbox: str
    folders: tuple[str, ...]


class _Waiting:
    __slots__ = ("failures", "first", "folders", "last")

    def __init__(self, now: float) -> None:
        self.folders: dict[str, None] = {}
        self.first = self.last = now
        self.failures = 0


class Schedule:
    """A mailbox is due when nothing was heard of it for ``quiet``, or ``most`` after the first that was heard.

    No more than ``limit`` mailboxes wait, and no more than so many folders of one: what is left out is found when the
    mailbox is looked at the next time.
    """

    def __init__(self, quiet: float, most: float, limit: int = 10_000, folder_limit: int = 1000) -> None:
        self._quiet = quiet
        self._most = max(most, quiet)
        self._limit = limit
        self._folder_limit = folder_limit
        self._waiting: dict[str, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, mailbox: str, folder: str, now: float) -> None:
        """Something changed there."""
        waiting = self._waiting.get(mailbox)
        if waiting is None:
            if len(self._waiting) >= self._limit:
                return
            waiting = self._waiting[mailbox] = _Waiting(now)
        if len(waiting.folders) < self._folder_limit:
            waiting.folders[folder] = None
        if not waiting.failures:
            waiting.last = now

    def again(self, task: Task, now: float, failures: int) -> None:
        """It could not be done now; later, and later each time."""
        waiting = self._waiting.setdefault(task.mailbox, _Waiting(now))
        waiting.folders = dict.fromkeys((*task.folders, *waiting.folders))
        waiting.failures = failures
        waiting.first = waiting.last = now + min(60.0, 2.0 ** min(failures, 10))

    def next_time(self) -> float | None:
        """When something is due, None when nothing waits."""
        return min(map(self._due, self._waiting.values()), default=None)

    def take(self, now: float) -> tuple[Task, int] | None:
        """The one that is due the longest, and how often it failed. None when nothing is due yet."""
        if not self._waiting:
            return None
        mailbox = min(self._waiting, key=lambda name: self._due(self._waiting[name]))
        waiting = self._waiting[mailbox]
        if self._due(waiting) > now:
            return None
        del self._waiting[mailbox]
        return Task(mailbox, tuple(waiting.folders)), waiting.failures

    def _due(self, waiting: _Waiting) -> float:
        return min(waiting.last + self._quiet, waiting.first + self._most)
