"""The power fails at many instants of a busy time: what anybody was told is true afterwards (tests/fault/power.py).

The disk is cloned while everything works; what had been answered with a yes before the instant was written down. Then
each clone is a disk after a power failure: its journal is replayed, the system starts on it, and all is looked at.
"""

import imaplib
import json
import poplib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import (
    Mark,
    check_log,
    check_nothing_lost,
    drain,
    in_mailboxes,
    in_queue,
    marks_in,
    stray_files,
    torn_messages,
)
from tests.fault.power import Disk, instants, possible

CUTS, LONG_CUTS = 3, 24
# ext4 commits its journal each five seconds by itself: what was delivered in the last ones may be delivered again.
DOUBLED = 400


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


def _check_uids(instance: Instance, told: Told) -> None:
    """RFC 9051 2.3.1.1: a UID never means another message while UIDVALIDITY is the same."""
    address = "carol@example.test"
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=20) as client:
        client.login(address, instance.credentials[address])
        for folder in ("INBOX", "Box"):
            if client.select(folder, readonly=True)[0] != "OK":
                assert not any(place == folder for place, _, _ in told.uids), f"{folder} is gone"
                continue
            validity = int(client.response("UIDVALIDITY")[1][0])
            wanted = {
                uid: mark for (place, valid, uid), mark in told.uids.items() if (place, valid) == (folder, validity)
            }
            others = {valid for place, valid, _ in told.uids if place == folder} - {validity}
            assert not others, f"{folder}: UIDVALIDITY was {others}, is {validity}: clients must load all again"
            _, answer = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
            for part in answer:
                if isinstance(part, tuple):
                    uid = int(part[0].split(b"UID ")[1].split()[0])
                    if uid in wanted:
                        assert wanted[uid] in marks_in(part[1]), f"{folder}: UID {uid} means another message"


def _check_password(instance: Instance, possible_ones: list[str]) -> None:
    for password in possible_ones:
        client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=20)
        try:
            client.user("erin@example.test")
            client.pass_(password)
        except poplib.error_proto:
            continue
        finally:
            client.close()
        return
    raise AssertionError(f"none of {len(possible_ones)} passwords that may hold does")


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


@pytest.mark.timeout(600)
def test_what_was_told_is_true_after_the_power_failed(disk: Disk, long: bool) -> None:
    instance = traffic.instance(str(disk.root), {"smtpd_delay_reject": "yes", "auth_failure_delay": "0s"})
    instance.start()
    load = traffic.Traffic(instance)
    load.wait(40, operator=True)
    moments = _let_the_power_fail(load, disk, instants(LONG_CUTS if long else CUTS, (0.2, 1.2), seed=4))
    load.stop()
    instance.kill()
    disk.eject()
    kinds = {kind for kind, _ in load.accepted}
    assert kinds == {"smtp", "many", "down", "bounce", "sendmail", "lmtp", "append", "pop"}, f"{kinds}: {load.troubles}"
    assert moments[-1].table and moments[-1].aliases, load.troubles
    for told in moments:
        disk.insert(told.disk)
        began = len(told.accepted)
        present = told.accepted - load.removed
        found = in_mailboxes(instance.mail)
        lost = present - found.keys() - in_queue(instance.spool).keys()
        assert not lost, f"{told.disk}: {len(lost)} of {began} are not on the disk: {sorted(lost)[:10]}"
        instance.start()
        try:
            drain(instance, present, but=("deferred",))
            delivered = check_nothing_lost(instance, present)
            torn = torn_messages(instance.mail)
            assert not torn, f"delivered, but not whole: {torn[:5]}"
            _check_uids(instance, told)
            _check_password(instance, load.passwords_begun[told.passwords :])
            _check_tables(instance, told, load.tables_begun)
            _check_aliases(instance, told)
            doubled = sum(n - 1 for mark, n in delivered.items() if mark[0] in ("smtp", "lmtp", "sendmail"))
            assert doubled <= DOUBLED, f"{doubled} were delivered twice"
            check_log(instance)
            strays = stray_files(instance, after_power=True)
            assert not strays, f"nothing will look at {strays[:10]}"
        finally:
            instance.stop()
            disk.eject()
