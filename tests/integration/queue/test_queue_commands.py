"""postqueue, postsuper and postcat on the queue of a running system."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.instance import Instance

WAIT = r"qmgr\[\d+\]: (\w+): to=<alice@example\.test>, .*status=deferred \(deferred transport\)"


@pytest.fixture
def instance() -> Iterator[Instance]:
    with Instance(main={"defer_transports": "virtual"}) as made:
        yield made


def deferred(instance: Instance, count: int = 1) -> list[str]:
    """Ids of so many messages that wait, in the order in which they came."""
    ids = []
    for number in range(count):
        start = len(instance.log.lines)
        instance.send(["alice@example.test", "bob@example.test"], f"Subject: {number}\n\nbody\n")
        ids.append(instance.log.wait(WAIT, start=start)[0][1])
    # In the queue only when its log is written and the file is back in its place.
    settled(instance, dict.fromkeys(ids, "deferred"))
    return ids


def listing(instance: Instance) -> list[dict[str, Any]]:
    done = instance.command("postqueue", "-j")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def settled(instance: Instance, wanted: dict[str, str]) -> None:
    for _ in range(50):
        if {one["queue_id"]: one["queue_name"] for one in listing(instance)} == wanted:
            return
    raise AssertionError(f"{listing(instance)} is not {wanted}")


def run(instance: Instance, name: str, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    done = instance.command(name, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done


def test_listed_with_reasons_in_both_forms(instance: Instance) -> None:
    (queue_id,) = deferred(instance)
    lines = run(instance, "sendmail", "-bp").stdout.splitlines()
    assert lines[0].startswith("----Queue ID-----")
    assert lines[1].startswith(f"{queue_id} ")
    assert lines[2].strip() == "(deferred transport)"
    assert sorted(line.strip() for line in lines[3:5]) == ["alice@example.test", "bob@example.test"]
    assert lines[-1] == "-- 0 Kbytes in 1 Request."
    (one,) = listing(instance)
    assert one["sender"] == "a@example.org"
    assert {waiting["delay_reason"] for waiting in one["recipients"]} == {"deferred transport"}


def test_held_shown_released_and_delivered(instance: Instance) -> None:
    first, second = deferred(instance, 2)
    done = run(instance, "postsuper", "-h", first)
    assert done.stderr == f"postsuper: {first}: placed on hold\npostsuper: Placed on hold: 1 message\n"
    assert {one["queue_id"]: one["queue_name"] for one in listing(instance)} == {first: "hold", second: "deferred"}
    assert "Subject: 0\n" in run(instance, "postcat", "-q", first).stdout
    instance.set_main({"defer_transports": ""})
    start = len(instance.log.lines)
    instance.process.send_signal(1)  # type: ignore[union-attr]
    instance.log.wait(r"reload", start=start)
    run(instance, "postqueue", "-f")
    instance.log.wait(rf"{second}: removed", start=start)
    assert [one["queue_id"] for one in listing(instance)] == [first]
    assert "Released from hold: 1 message" in run(instance, "postsuper", "-H", "ALL").stderr
    instance.log.wait(rf"{first}: removed", start=start)
    assert len(instance.messages("alice")) == len(instance.messages("bob")) == 2
    assert run(instance, "postqueue", "-p").stdout == "Mail queue is empty\n"


def test_requeued_mail_comes_back_under_a_new_id(instance: Instance) -> None:
    (queue_id,) = deferred(instance)
    start = len(instance.log.lines)
    assert run(instance, "postsuper", "-r", "-", input=f"{queue_id}\n").stderr.endswith("Requeued: 1 message\n")
    taken = instance.log.wait(rf"pickup\[\d+\]: (\w+): uid=\d+ from=<a@example\.org> orig_id={queue_id}", start=start)
    new = taken[0][1]
    instance.log.wait(rf"{new}: to=<alice@example\.test>", start=start)
    settled(instance, {new: "deferred"})
    text = run(instance, "postcat", "-q", new).stdout
    assert text.count("Received: ") == 2
    assert instance.queued("maildrop") == []


def test_deleted_mail_is_gone_with_its_log(instance: Instance) -> None:
    first, second = deferred(instance, 2)
    assert "Deleted: 1 message\n" in run(instance, "postsuper", "-d", first).stderr
    assert instance.queued("deferred") == [second]
    assert instance.queued("defer") == [second]
    assert run(instance, "postsuper", "-d", "ALL", "deferred").stderr == "postsuper: Deleted: 1 message\n"
    assert instance.queued("deferred") == instance.queued("defer") == []


def test_expired_mail_goes_back_to_its_sender() -> None:
    slow = {"transport_maps": "inline:{ { slow.test = retry:4.0.0 not now } }", "relay_domains": "slow.test"}
    with Instance(main=slow) as instance:
        run(instance, "sendmail", "-f", "alice@example.test", "x@slow.test", input="Subject: x\n\n")
        queue_id = instance.log.wait(r"(\w+): to=<x@slow\.test>, .*status=deferred")[0][1]
        settled(instance, {queue_id: "deferred"})
        run(instance, "postsuper", "-e", queue_id)
        assert run(instance, "postqueue", "-p").stdout.splitlines()[1].startswith(f"{queue_id}# ")
        run(instance, "postqueue", "-i", queue_id)
        instance.log.wait(rf"{queue_id}: from=<alice@example\.test>, status=force-expired, returned to sender")
        instance.log.wait(rf"{queue_id}: removed")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent")
        (report,) = instance.messages("alice")
        assert "x@slow.test" in report.read_text()


def test_the_check_of_a_healthy_queue_changes_nothing(instance: Instance) -> None:
    ids = deferred(instance, 3)
    done = run(instance, "postsuper")
    assert done.stderr == ""
    assert instance.queued("deferred") == instance.queued("defer") == sorted(ids)


def test_who_may_see_the_queue_is_checked_by_showq() -> None:
    with Instance(main={"authorized_mailq_users": "!static:all", "mail_owner": "root"}) as made:
        # Root always may: the list does not bind who can read the files anyway.
        assert made.command("postqueue", "-p").returncode == 0


def test_lines_of_scripts_reach_the_log(instance: Instance) -> None:
    start = len(instance.log.lines)
    done = run(instance, "postlog", "-p", "warn", "-t", "backup/mail", "disk", "is\x1bfull")
    assert done.stderr == "backup/mail: warning: disk is?full\n"
    run(instance, "postlog", input="one\ntwo\n")
    instance.log.wait(r" backup/mail\[\d+\]: warning: disk is\?full$", start=start)
    instance.log.wait(r" postfix/postlog\[\d+\]: (one|two)$", 2, start=start)
