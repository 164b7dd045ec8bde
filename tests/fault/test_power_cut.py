"""The power fails at many instants of a busy time: what anybody was told is true afterwards (tests/fault/power.py).

The disk is cloned while everything works; what had been answered with a yes before the instant was written down. Then
each clone is a disk after a power failure: its journal is replayed, the system starts on it, and all is looked at.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import (
    Kill,
    Levels,
    Mark,
    age_logs,
    check_all,
    check_password,
    check_uids,
    copies,
    drain,
    in_mailboxes,
    in_queue,
    stray_files,
)
from tests.fault.power import Disk, instants, possible

CUTS, LONG_CUTS = 3, 24
# That a queue file was removed is not synced: it holds when the journal is written, which ext4 does each five seconds
# by itself (commit=5). What was delivered before that is done; what was delivered after it may be delivered again.
UNCOMMITTED = 6.0
# But where a message stays for others of its recipients, the byte that says who has it is written back with other data:
# in half a minute (vm.dirty_expire_centisecs, dirty_writeback_centisecs).
STAYING = {"down"}


@dataclass(frozen=True)
class Told:
    """What people had been told when the power failed, and what they had asked to be removed soon after."""

    disk: str
    accepted: frozenset[Mark]
    uids: dict[tuple[str, int, int], Mark]
    passwords: int
    table: int
    aliases: frozenset[str]
    at: float


@pytest.fixture
def disk() -> Iterator[Disk]:
    if why := possible():
        pytest.skip(why)
    try:
        made = Disk().__enter__()
    except OSError as error:
        pytest.skip(f"no disk of its own can be made here: {error}")
    try:
        yield made
    finally:
        made.__exit__()


def _let_the_power_fail(load: traffic.Traffic, disk: Disk, pauses: list[float]) -> list[Told]:
    found = []
    for pause in pauses:
        time.sleep(pause)
        accepted, uids = frozenset(load.accepted), dict(load.uids)
        # The last one that was said to be set.
        last = load.passwords_begun.index(load.passwords[-1])
        table, aliases = load.tables, frozenset(load.aliases)
        found.append(Told(disk.cut(), accepted, uids, last, table, aliases, time.time()))
    return found


def _check_tables(instance: Instance, told: Told, last: int) -> None:
    """Whole, and not older than what postmap and postalias said to be done."""
    for command, name in (("postmap", "built"), ("postalias", "built-aliases")):
        if not told.table:
            continue
        keys = "".join(f"key{number}\n" for number in range(traffic.TABLE_KEYS))
        done = instance.command(command, "-q", "-", f"hash:{instance.conf}/{name}", input=keys)
        values = [line.split()[-1] for line in done.stdout.splitlines()]
        assert len(values) == traffic.TABLE_KEYS, f"{told.disk}: {name} has {len(values)} keys: {done.stderr}"
        assert len(set(values)) == 1, f"{told.disk}: {name} is of several: {set(values)}"
        assert told.table <= int(values[0].removeprefix("value")) <= last, f"{told.disk}: {values[0]}, {told.table}"


def _check_aliases(instance: Instance, told: Told) -> None:
    done = instance.command("tubepost", "alias", "list", "--json")
    assert done.returncode == 0, done.stderr
    lost = told.aliases - {item["name"] for item in json.loads(done.stdout)}
    assert not lost, f"{told.disk}: {len(lost)} of {len(told.aliases)} aliases are lost"


def _let_bounce_tidy(instance: Instance) -> None:
    """A report of today makes bounce begin, which looks for logs that nobody needs."""
    instance.send(traffic.BOUNCES, "Subject: x\n\nx\n", "bob@example.test")
    instance.log.wait(r"sender non-delivery notification")
    ends = time.monotonic() + 10
    while stray_files(instance) and time.monotonic() < ends:
        time.sleep(0.1)


@pytest.mark.timeout(900)
def test_what_was_told_is_true_after_the_power_failed(disk: Disk, long: bool) -> None:
    instance = traffic.instance(str(disk.root), {"smtpd_delay_reject": "yes", "auth_failure_delay": "0s"})
    instance.start()
    began = time.monotonic()
    load = traffic.Traffic(instance)
    load.wait(40, operator=True)
    # Much of it is then older than what may be delivered again.
    time.sleep(max(began + UNCOMMITTED + 2 - time.monotonic(), 0))
    level = Levels(instance)
    moments = _let_the_power_fail(load, disk, instants(LONG_CUTS if long else CUTS, (0.2, 1.2), seed=4))
    load.stop()
    level.again()
    instance.kill()
    disk.eject()
    kinds = {kind for kind, _ in load.accepted}
    assert kinds == {"smtp", "many", "down", "bounce", "sendmail", "lmtp", "append", "pop"}, f"{kinds}: {load.troubles}"
    assert moments[-1].table and moments[-1].aliases, load.troubles
    for told in moments:
        disk.insert(told.disk)
        present = told.accepted - load.removed
        found = in_mailboxes(instance.mail)
        lost = present - found.keys() - in_queue(instance.spool).keys()
        assert not lost, f"{told.disk}: {len(lost)} of {len(told.accepted)} are not on the disk: {sorted(lost)[:10]}"
        old = [one.at < told.at - UNCOMMITTED for files in copies(instance.mail, present).values() for one in files]
        assert sum(old) > 20, f"{told.disk}: {sum(old)} of {len(old)} deliveries were old enough to be done for good"
        age_logs(instance)
        instance.start()
        try:
            drain(instance, present, but=("deferred",))
            check_uids(instance, told.uids)
            check_password(instance, load.passwords_begun[told.passwords :])
            _check_tables(instance, told, load.tables_begun)
            _check_aliases(instance, told)
            _let_bounce_tidy(instance)
            drain(instance, present, but=("deferred",))
            staying = {mark for mark in load.accepted if mark[0] in STAYING}
            kills = [Kill(told.at, "power")]
            wanted = [r"warning: the master before this one did not end in order"]
            check_all(
                instance,
                present,
                level,
                kills=kills,
                window=UNCOMMITTED,
                but=staying,
                wanted_log=wanted,
                descriptors=24,
            )
        finally:
            instance.stop()
            disk.eject()
