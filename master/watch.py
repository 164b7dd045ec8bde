"""Watches memory and disks, and lowers and raises the limits of services. See ``pressure`` for how far.

Memory that runs short: no process is added to a service that has one, and step by step the surplus is told to go: those
with the fewest sessions first, by themselves at first, and between two commands when they take long. A disk that runs
short does the same to the programs that bring mail onto it.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tubepost.common.wire.master import Order
from tubepost.common.system import log
from tubepost.common.config import Config

from tubepost.master import measure, pressure
from tubepost.master.children import Child, ServiceState

# Memory is looked at before a process is added, but not more often than so many seconds.
_BRIEF = 0.05
# What a process takes within so many seconds of its birth, octets: what it shares with the template it comes to write.
_CHILDHOOD, _CHILD = 3.0, 12 << 20
# Postfix: room for one and a half messages of the largest size.
_SPACE_FACTOR = 1.5
# What a file system that takes no messages should have, octets.
_LITTLE = 1 << 20
# Files that can still be made; fewer are as bad as no space.
_INODES = 100


@dataclass(slots=True)
class Disk:
    """A file system, and the programs that fill it."""

    what: str
    path: str
    needed: int
    programs: tuple[str, ...]
    level: int = 0
    short: bool = False


def disks(config: Config, mounts: list[pressure.Mount]) -> list[Disk]:
    """What is to be watched. Those of other hosts are not: the master must never wait for one."""
    message = max(config.queue_minfree, int(config.message_size_limit * _SPACE_FACTOR))
    little = max(config.queue_minfree, _LITTLE)
    found = [
        Disk("queue", config.queue_directory, message, ("smtpd",)),
        Disk("data", config.data_directory, little, ()),
    ]
    if not f"{config.accounts_directory}/".startswith(f"{config.data_directory}/"):
        found.append(Disk("accounts", config.accounts_directory, little, ()))
    if config.virtual_mailbox_base:
        found.append(Disk("mailboxes", config.virtual_mailbox_base, message, ("lmtpd",)))
    if config.maillog_file.startswith("/") and not config.maillog_file.startswith("/dev/"):
        found.append(Disk("log", os.path.dirname(config.maillog_file), little, ()))
    return [disk for disk in found if disk.path and not pressure.is_remote(os.path.abspath(disk.path), mounts)]


class Watch:
    """``states``: the services, kept up to date by the master; ``order`` tells a process something."""

    def __init__(
        self,
        config: Config,
        states: Mapping[tuple[str, str], ServiceState],
        order: Callable[[int, Order], None],
    ) -> None:
        self._states = states
        self._order = order
        self._gauge = measure.Gauge()
        self.level = 0
        self._short = False
        self._looked = 0.0
        self._next_step = 0.0
        self._next_disks = 0.0
        self._disks: list[Disk] = []
        self.take_config(config)

    def take_config(self, config: Config) -> None:
        """After a reload as well."""
        self._config = config
        self._thresholds = pressure.Thresholds(
            config.memory_pressure_high, config.memory_pressure_low, config.memory_use_high, config.memory_use_low
        )
        before = {disk.path: disk for disk in self._disks}
        self._disks = disks(config, self._gauge.mounts)
        for disk in self._disks:
            if (old := before.get(disk.path)) is not None:
                disk.level, disk.short = old.level, old.short

    @property
    def _interval(self) -> float:
        return self._config.pressure_interval

    def tick(self, now: float) -> None:
        """Often: looks when it is time to."""
        if not self._interval:
            return
        if now - self._looked >= min(self._interval, 1.0):
            self._look(now)
        if now >= self._next_disks:
            self._next_disks = now + self._interval
            self._look_at_disks(now)
        self._hurry(now)

    def before_growth(self, now: float) -> None:
        """A process is about to be added: between two ticks many may be."""
        if self._interval and now - self._looked >= _BRIEF:
            self._look(now)

    def is_pressed(self, state: ServiceState) -> bool:
        """Are the limits of this service lowered?"""
        return self.level_of(state) > 0

    def level_of(self, state: ServiceState) -> int:
        return max([self.level, *(disk.level for disk in self._disks if state.service.program in disk.programs)])

    def _look(self, now: float) -> None:
        self._looked = now
        load = self._gauge.load()
        coming = self._coming(now)
        short = self._thresholds.is_high(self._gauge.load(coming) if coming else load)
        if short != self._short:
            self._short = short
            for state in self._states.values():
                state.frozen = short
        if now < self._next_step:
            return
        level = pressure.next_level(self.level, load, self._thresholds)
        if level == self.level:
            return
        self._next_step = now + self._interval
        down, self.level = level > self.level, level
        log.warning(
            f"memory pressure (stalled {load.stall:.0f} %, used {load.used:.0f} %): "
            f"process limits {'lowered' if down else 'raised'} to {pressure.STEPS[level]} %"
        )
        self._apply(now)

    def _coming(self, now: float) -> int:
        """Octets that the young will take, which no measurement shows yet."""
        young = 0.0
        for state in self._states.values():
            young += state.pending
            young += sum(max(1 - (now - child.born) / _CHILDHOOD, 0) for child in state.children.values())
        return int(young * _CHILD)

    def _look_at_disks(self, now: float) -> None:
        changed = False
        for disk in self._disks:
            found = measure.free_space(disk.path)
            if found is None:
                continue
            free, inodes = found
            if 0 <= inodes < _INODES:
                free = 0
            before = disk.level
            disk.level = pressure.next_disk_level(before, free, disk.needed)
            if not disk.short and disk.level:
                disk.short = True
                log.warning(
                    f"the file system of {disk.path} ({disk.what}) is nearly full: {found[0]} bytes free, "
                    f"{disk.needed} wanted{f', {inodes} files can be made' if 0 <= inodes < _INODES else ''}"
                )
            elif disk.short and not disk.level:
                disk.short = False
                log.info(f"the file system of {disk.path} ({disk.what}) has room again: {found[0]} bytes free")
            changed = changed or (before != disk.level and bool(disk.programs))
        if changed:
            self._apply(now)

    def _apply(self, now: float) -> None:
        for state in self._states.values():
            self.apply_to(state)
            for pid in state.surplus():
                state.children[pid].stopping = True
                state.children[pid].retired = now
                self._order(pid, Order("stop"))

    def apply_to(self, state: ServiceState) -> None:
        """The limit of this service as it is now; also for one that a reload has changed."""
        level = self.level_of(state)
        state.frozen = self._short
        if level and not state.base:
            maxproc = state.service.maxproc or self._config.default_process_limit
            state.base = max(1, min(maxproc, state.serving))
        elif not level:
            state.base = 0
        state.limit = pressure.limit_at(level, state.service.maxproc, state.base)

    def _hurry(self, now: float) -> None:
        """Who was told to go, and still has sessions, ends them between two commands."""
        for pid, child in _retired(self._states.values()):
            if now - child.retired > self._interval and not child.hurried:
                child.hurried = True
                self._order(pid, Order("hurry"))


def _retired(states: Iterable[ServiceState]) -> list[tuple[int, Child]]:
    return [(pid, child) for state in states for pid, child in state.children.items() if child.retired]
