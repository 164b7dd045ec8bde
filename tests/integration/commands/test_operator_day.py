"""What an administrator types in a day: orders to the queue, faults of the files, two instances, probes."""

import json
import re
import smtplib
import subprocess
from typing import Any

import pytest

from tests.fakes.instance import Instance


def run(instance: Instance, name: str, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    done = instance.command(name, *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def tubepost(instance: Instance, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return instance.command("tubepost", "-c", str(instance.conf), *arguments)


def names(instance: Instance) -> dict[str, str]:
    lines = run(instance, "postqueue", "-j").stdout.splitlines()
    return {one["queue_id"]: one["queue_name"] for one in map(json.loads, lines)}


def test_a_day_with_the_queue() -> None:
    with Instance(main={"defer_transports": "virtual"}) as instance:
        for number in range(6):
            instance.send("alice@example.test", f"Subject: number {number}\n\nbody\n", f"s{number}@s.test")
        found = instance.log.wait(r"qmgr\[\d+\]: (\w+): from=<s(\d)@s\.test>", 6)
        ids = {int(match[2]): match[1] for match in found}
        instance.log.wait(r"status=deferred", 6)
        text = run(instance, "postqueue", "-p").stdout
        assert re.search(r"^-- \d+ Kbytes in 6 Requests\.$", text, re.M)
        # Ids on the command line and on standard input, more than one order in one call.
        done = run(instance, "postsuper", "-h", ids[0], "-d", ids[1])
        assert "postsuper: Deleted: 1 message\n" in done.stderr
        assert "postsuper: Placed on hold: 1 message\n" in done.stderr
        done = run(instance, "postsuper", "-d", "-", input=f"{ids[2]}\n{ids[3]}\n")
        assert "postsuper: Deleted: 2 messages\n" in done.stderr
        assert names(instance) == {ids[0]: "hold", ids[4]: "deferred", ids[5]: "deferred"}
        listed = run(instance, "sendmail", "-bp").stdout
        assert f"{ids[0]}! " in listed
        assert f"{ids[4]} " in listed
        assert "Subject: number 4\n" in run(instance, "postcat", "-hq", ids[4]).stdout
        assert run(instance, "postcat", "-bq", ids[0]).stdout == "\nbody\n"
        # A held one is not delivered by a flush; released, it is.
        instance.set_main({"defer_transports": ""})
        assert tubepost(instance, "reload").returncode == 0
        instance.log.wait(r"reload")
        run(instance, "postqueue", "-i", ids[4])
        instance.log.wait(rf"{ids[4]}: removed")
        run(instance, "postqueue", "-f")
        instance.log.wait(rf"{ids[5]}: removed")
        assert names(instance) == {ids[0]: "hold"}
        done = run(instance, "postsuper", "-H", "ALL")
        assert "postsuper: Released from hold: 1 message\n" in done.stderr
        run(instance, "postqueue", "-f")
        instance.log.wait(rf"{ids[0]}: removed")
        assert run(instance, "postqueue", "-p").stdout == "Mail queue is empty\n"
        assert len(instance.messages("alice")) == 3
        # Ids of nothing, and nonsense.
        assert run(instance, "postsuper", "-d", ids[0]).stderr == "postsuper: Deleted: 0 messages\n"
        assert "invalid mail queue id: ../../etc/passwd" in run(instance, "postsuper", "-d", "../../etc/passwd").stderr
        assert instance.command("postcat", "-q", ids[0]).returncode != 0


def test_a_new_value_is_used_after_a_reload_and_no_session_is_dropped() -> None:
    with Instance() as instance:
        with instance.smtp() as old:
            old.ehlo()
            assert old.esmtp_features["size"] == "52428800"
            old.mail("a@s.test")
            settings = ("message_size_limit=12345", "virtual_mailbox_limit=0", "smtpd_milters=inet:localhost:8891")
            run(instance, "postconf", "-e", *settings)
            assert run(instance, "postconf", "-h", "message_size_limit").stdout == "12345\n"
            reloaded = tubepost(instance, "reload")
            assert reloaded.returncode == 0
            # Somebody may rely on what does nothing here.
            assert re.search(r"^warning: .*main\.cf, line \d+: smtpd_milters: unused parameter", reloaded.stderr, re.M)
            instance.log.wait(r"reload")
            with instance.smtp() as new:
                new.ehlo()
                assert new.esmtp_features["size"] == "12345"
            assert old.rcpt("alice@example.test")[0] == 250
            assert old.data(b"Subject: x\r\n\r\nstill here\r\n")[0] == 250
        instance.log.wait(r": removed$")
        run(instance, "postconf", "-X", "message_size_limit")
        assert "message_size_limit" not in run(instance, "postconf", "-n").stdout


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("main.cf", "message_size_limit = many", ("main.cf", "message_size_limit", "many")),
        ("main.cf", "no equals sign here", ("main.cf", "no equals sign here")),
        ("main.cf", "mesage_size_limit = 1", ("mesage_size_limit",)),
        ("main.cf", "smtpd_recipient_restrictions = reject_everything_bad", ("reject_everything_bad",)),
        ("main.cf", "virtual_alias_maps = nosuch:/x", ("nosuch",)),
        ("master.cf", "smtp inet n", ("master.cf",)),
        ("master.cf", "25x inet n - n - - nosuchprogram", ("master.cf", "nosuchprogram")),
        ("master.cf", "x unix - - n - many pipe", ("master.cf", "many")),
    ],
)
def test_check_finds_the_fault_with_file_and_line(name: str, line: str, words: tuple[str, ...]) -> None:
    instance = Instance()
    try:
        path = instance.conf / name
        path.write_text(path.read_text().rstrip("\n") + f"\n{line}\n")
        number = len(path.read_text().splitlines())
        done = tubepost(instance, "check")
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr, (word, done.stdout, done.stderr)
        assert re.search(rf"{name}(:|, line ){number}\b", done.stderr), done.stderr
        # What is only suspicious does not stop the system; what is wrong does, with the same words.
        if done.returncode or "warning" not in done.stderr:
            started = tubepost(instance, "start")
            assert started.returncode != 0
            assert "Traceback" not in started.stderr
            for fault in re.findall(r"^error: (.*)", done.stderr, re.M):
                assert fault in started.stderr
    finally:
        instance.remove()


def test_two_instances_know_nothing_of_each_other() -> None:
    with Instance() as one, Instance(main={"defer_transports": "virtual"}) as two:
        one.send("alice@example.test", "Subject: for one\n\nx\n")
        two.send("alice@example.test", "Subject: for two\n\nx\n")
        one.log.wait(r": removed$")
        two.log.wait(r"status=deferred")
        assert len(one.messages("alice")) == 1
        assert two.messages("alice") == []
        assert run(one, "postqueue", "-p").stdout == "Mail queue is empty\n"
        assert len(names(two)) == 1
        # -c and -C choose, whatever MAIL_CONFIG says.
        assert "1 Request" in run(one, "postqueue", "-c", str(two.conf), "-p").stdout
        assert "1 Request" in run(one, "sendmail", "-C", str(two.conf), "-bp").stdout
        run(one, "sendmail", "-C", str(two.conf), "bob@example.test", input="Subject: x\n\nx\n")
        two.log.wait(r"to=<bob@example\.test>, .*status=deferred")
        assert tubepost(two, "stop").returncode == 0
        assert tubepost(one, "status").returncode == 0
        assert tubepost(two, "status").returncode == 1
        with smtplib.SMTP("127.0.0.1", one.port, timeout=10) as client:
            assert client.noop()[0] == 250


def test_a_probe_and_a_report_of_delivery_are_mailed() -> None:
    with Instance() as instance:
        done = run(instance, "sendmail", "-bv", "-f", "alice@example.test", "bob@example.test", "nosuch@example.test")
        assert done.stdout == "Mail Delivery Status Report will be mailed to <alice@example.test>.\n"
        instance.log.wait(r"to=<bob@example\.test>, .*status=deliverable")
        instance.log.wait(r"to=<nosuch@example\.test>, .*status=undeliverable")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent")
        report = instance.messages("alice")[0].read_text()
        assert "bob@example.test" in report
        assert "nosuch@example.test" in report
        assert instance.messages("bob") == []
        run(instance, "sendmail", "-v", "-f", "alice@example.test", "bob@example.test", input="Subject: v\n\nx\n")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent", 2)
        assert len(instance.messages("bob")) == 1
        last = max(instance.messages("alice"), key=lambda path: path.stat().st_mtime_ns).read_text()
        assert "Action: delivered" in last
        assert instance.queued("active") == instance.queued("trace") == []


def test_an_alias_works_after_newaliases() -> None:
    with Instance() as instance:
        path = instance.conf / "aliases"
        path.write_text(path.read_text() + "\nboss: alice@example.test, bob@example.test\n")
        run(instance, "sendmail", "-bi")
        instance.send("boss@localhost.example.test")
        instance.log.wait(r"to=<(alice|bob)@example\.test>, .*status=sent", 2)
        path.write_text(path.read_text() + "a broken line\n")
        done = instance.command("sendmail", "-bi")
        assert "aliases" in done.stderr
        assert re.search(r"line \d+|:\d+", done.stderr), done.stderr
