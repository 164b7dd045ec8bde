"""What the master watches: cgroups of both versions, in and out of containers; disks; who has to go."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tubepost.common.wire.master import Order

from tubepost.master import measure, pressure
from tubepost.master.children import Child, ServiceState
from tubepost.master.pressure import Load, memory_groups, parse_mounts
from tubepost.master.watch import Watch, disks

V1 = "34 30 0:29 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
V2 = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V2_CONTAINER = "31 24 0:27 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("groups", "mounts", "found"),
    [
        ("0::/system.slice/mail.service\n", V2, (2, ["system.slice/mail.service", "system.slice", ""])),
        ("0::/\n", V2, (2, [""])),
        ("0::/docker/abc\n", V2_CONTAINER, (2, [""])),
        ("0::/docker/abc/init\n", V2_CONTAINER, (2, ["init", ""])),
        ("0::/elsewhere\n", V2_CONTAINER, (2, [""])),
        ("4:memory:/a/b\n0::/\n", f"{V1}\n{V2}", (1, ["a/b", "a", ""])),
        ("4:cpu:/a\n", V1, (0, [])),
        ("", "", (0, [])),
        ("garbage\n::::\n", "garbage - \n", (0, [])),
    ],
)
def test_the_memory_cgroup_and_those_above_it(groups: str, mounts: str, found: tuple[int, list[str]]) -> None:
    version, paths = memory_groups(groups, parse_mounts(mounts))
    point = "/sys/fs/cgroup/memory" if version == 1 else "/sys/fs/cgroup"
    assert (version, paths) == (found[0], [f"{point}/{path}".rstrip("/") for path in found[1]])


def test_mounts_of_other_hosts_are_known() -> None:
    mounts = parse_mounts(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:40 / /var/mail rw - nfs4 host:/mail rw\n"
        "3 1 8:2 / /var/mail\\040box rw - ext4 /dev/sdb rw\n"
        "4 1 0:41 / /srv/s3 rw - fuse.s3fs s3 rw\n"
    )
    assert pressure.is_remote("/var/mail", mounts)
    assert pressure.is_remote("/var/mail/example.test/alice", mounts)
    assert pressure.is_remote("/srv/s3/x", mounts)
    assert not pressure.is_remote("/var/mail box/x", mounts)
    assert not pressure.is_remote("/var/mailing", mounts)
    assert not pressure.is_remote("/", mounts)
    assert not pressure.is_remote("/x", [])


def test_a_disk_has_to_have_more_than_needed_to_be_well_again() -> None:
    assert pressure.next_disk_level(0, 99, 100) == 1
    assert pressure.next_disk_level(1, 105, 100) == 1
    assert pressure.next_disk_level(1, 110, 100) == 0
    assert pressure.next_disk_level(0, 105, 100) == 0
    assert pressure.next_disk_level(4, 0, 100) == 4
    assert pressure.next_disk_level(0, 0, 0) == 0


def service(**given: Any) -> Any:
    fields = {
        "name": "smtp",
        "program": "smtpd",
        "kind": "inet",
        "maxproc": 100,
        "min_avail": 0,
        "client_limit": 10,
        "throttle_time": 1.0,
    }
    return SimpleNamespace(**{**fields, **given})


def state_of(sessions: list[int], **given: Any) -> ServiceState:
    state = ServiceState(service(**given))
    for number, count in enumerate(sessions):
        state.children[number + 1] = Child(number + 1, 0, 0.0, 0.0, sessions=count, available=False, ready=True)
    return state


def test_those_with_the_fewest_sessions_have_to_go() -> None:
    state = state_of([5, 0, 9, 3])
    state.limit = 2
    assert sorted(state.surplus()) == [2, 4]
    state.children[2].stopping = state.children[4].leaving = True
    assert state.surplus() == []
    state.limit = 0
    assert state.surplus() == []


def test_the_queue_manager_is_never_surplus() -> None:
    state = state_of([1, 1], program="qmgr", maxproc=2)
    state.limit = 1
    assert state.surplus() == []


def test_where_memory_is_short_the_first_process_is_still_started() -> None:
    state = state_of([])
    state.frozen = True
    assert not state.at_limit
    assert state.watching(1.0)
    busy = state_of([10])
    busy.frozen = True
    assert busy.at_limit
    assert busy.full
    assert not busy.watching(1.0)
    eager = state_of([10], min_avail=3)
    assert eager.missing(1.0) == 3
    eager.frozen = True
    assert eager.missing(1.0) == 0


class Gauge:
    mounts: tuple[pressure.Mount, ...] = ()
    now = Load(0.0, 0.0)
    looked = 0

    coming = 0

    def load(self, coming: int = 0) -> Load:
        Gauge.looked += not coming
        Gauge.coming = coming
        return Gauge.now


CONFIG: Any = SimpleNamespace(
    memory_pressure_high=20,
    memory_pressure_low=5,
    memory_use_high=90,
    memory_use_low=80,
    pressure_interval=5.0,
    default_process_limit=100,
    queue_minfree=0,
    message_size_limit=1000,
    queue_directory="/queue",
    data_directory="/data",
    accounts_directory="/accounts",
    virtual_mailbox_base="/mail",
    maillog_file="/dev/stdout",
)


def watching(
    monkeypatch: pytest.MonkeyPatch, *states: ServiceState
) -> "tuple[Watch, list[tuple[int, str]], dict[str, int]]":
    monkeypatch.setattr(measure, "Gauge", Gauge)
    monkeypatch.setattr(Gauge, "now", Load(0.0, 0.0))
    monkeypatch.setattr(Gauge, "looked", 0)
    free = dict.fromkeys(("/queue", "/data", "/accounts", "/mail"), 1 << 30)
    monkeypatch.setattr(measure, "free_space", lambda path: (free[path], 1000))
    orders: list[tuple[int, str]] = []

    def order(pid: int, what: Order) -> None:
        orders.append((pid, what.verb))

    return Watch(CONFIG, {(str(n), "inet"): state for n, state in enumerate(states)}, order), orders, free


def test_under_pressure_processes_go_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of([3, 2, 1, 0])
    watch, orders, _ = watching(monkeypatch, state)
    watch.tick(10.0)
    assert not orders
    monkeypatch.setattr(Gauge, "now", Load(0.0, 95.0))
    watch.tick(11.0)
    assert (state.limit, state.frozen, orders) == (3, True, [(4, "stop")])
    watch.tick(12.0)
    assert len(orders) == 1, "one step an interval"
    watch.tick(16.0)
    assert (state.limit, orders[1:]) == (2, [(3, "stop")])
    watch.tick(18.0)
    assert (4, "hurry") in orders, "it was told seven seconds ago"
    watch.tick(19.0)
    assert orders.count((4, "hurry")) == 1
    watch.tick(21.0)
    assert state.limit == 1
    monkeypatch.setattr(Gauge, "now", Load(0.0, 85.0))
    watch.tick(30.0)
    assert (state.limit, state.frozen) == (1, False), "between high and low nothing changes"
    monkeypatch.setattr(Gauge, "now", Load(0.0, 10.0))
    limits = []
    for step in range(4):
        watch.tick(40.0 + 6 * step)
        limits.append(state.limit)
    assert limits == [2, 3, 100, 100]
    assert state.base == 0


def test_memory_is_looked_at_before_a_process_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of([1])
    watch, _, _ = watching(monkeypatch, state)
    watch.tick(10.0)
    monkeypatch.setattr(Gauge, "now", Load(0.0, 95.0))
    watch.before_growth(10.01)
    assert not state.frozen, "just looked"
    watch.before_growth(10.1)
    assert state.frozen


def test_what_the_young_will_take_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of([1, 1])
    watch, _, _ = watching(monkeypatch, state)
    watch.tick(100.0)
    assert Gauge.coming == 0
    state.pending = 1
    state.children[1].born = 102.0
    watch.tick(102.0)
    assert Gauge.coming == 2 * (12 << 20)
    watch.tick(103.5)
    assert Gauge.coming == 18 << 20


def test_without_an_interval_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of([1, 1])
    monkeypatch.setattr(CONFIG, "pressure_interval", 0.0)
    watch, orders, _ = watching(monkeypatch, state)
    monkeypatch.setattr(Gauge, "now", Load(99.0, 99.0))
    watch.tick(100.0)
    watch.before_growth(200.0)
    assert (state.frozen, orders, Gauge.looked) == (False, [], 0)


def test_a_full_queue_disk_lowers_those_who_fill_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    smtpd, imapd = state_of([1, 0]), state_of([1, 0], program="imapd")
    watch, orders, free = watching(monkeypatch, smtpd, imapd)
    free["/queue"] = 1000
    watch.tick(10.0)
    assert (smtpd.limit, imapd.limit, orders) == (1, 100, [(2, "stop")])
    assert watch.is_pressed(smtpd)
    assert not watch.is_pressed(imapd)
    free["/queue"] = 1 << 30
    watch.tick(20.0)
    assert smtpd.limit == 100


def test_every_disk_is_known_once_and_those_of_others_are_not() -> None:
    remote = parse_mounts("1 0 0:40 / /mail rw - nfs4 host:/mail rw\n")
    assert [disk.what for disk in disks(CONFIG, [])] == ["queue", "data", "accounts", "mailboxes"]
    assert [disk.what for disk in disks(CONFIG, remote)] == ["queue", "data", "accounts"]
    within = SimpleNamespace(**{**vars(CONFIG), "accounts_directory": "/data/accounts"})
    assert [disk.what for disk in disks(cast(Any, within), [])] == ["queue", "data", "mailboxes"]
