"""Limits of a real system: deliveries of a transport, messages in memory, and what they must not hold up."""

import os
import pwd
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.instance import Instance

USER = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
MAIN = {
    "relay_domains": "list.test, other.test",
    "transport_maps": "inline:{ {list.test=cmd:} {other.test=cmd:} }",
    "cmd_destination_recipient_limit": "1",
    "smtpd_recipient_limit": "10000",
    "smtpd_recipient_overshoot_limit": "10000",
    "notify_classes": "",
}


def piped(limit: str, script: str, main: dict[str, str] | None = None) -> Instance:
    lines = [f"cmd unix - n n - {limit} pipe", f"    user={USER} argv=/bin/sh -c {{{script}}} sh $recipient"]
    instance = Instance(main=MAIN | (main or {}), master=lines)
    os.chmod(instance.root, 0o777)
    return instance


def test_maxproc_limits_the_deliveries_of_a_transport(open_path: Path) -> None:
    # Each command counts those that run beside it.
    script = f"mkdir {open_path}/$$$$; ls {open_path} | wc -l; sleep 0.05; rmdir {open_path}/$$$$"
    with piped("3", script) as instance:
        instance.send([f"r{number}@list.test" for number in range(40)], sender="")
        lines = instance.log.wait(r"delivered via cmd service \((\d+)\)", 40)
        seen = [int(line[1]) for line in lines]
        assert max(seen) == 3


def test_a_single_mail_overtakes_a_big_list() -> None:
    # More recipients than may be in memory: the single mail is taken up all the same.
    limits = {"qmgr_message_recipient_limit": "1000"}
    with piped("2", "sleep 0.02", limits) as instance:
        instance.send([f"r{number}@list.test" for number in range(5000)], sender="")
        instance.log.wait("status=sent", 30)
        start = len(instance.log.lines)
        instance.send("single@other.test", sender="")
        instance.log.wait(r"to=<single@other\.test>, .*status=sent", start=start)
        overtaken = instance.log.count(r"to=<r\d+@list\.test>, .*status=sent")
        assert overtaken < 1000
        instance.kill()


def test_a_burst_beyond_the_active_limit_does_not_wait_for_a_scan() -> None:
    count, senders = 1000, 4
    with Instance(main={"qmgr_message_active_limit": "5", "in_flow_delay": "0"}) as instance:

        def burst(_: int) -> None:
            with smtplib.SMTP("127.0.0.1", instance.port, timeout=60) as client:
                for _ in range(count // senders):
                    client.sendmail("a@example.org", ["alice@example.test"], "Subject: x\n\nbody\n")

        with ThreadPoolExecutor(senders) as pool:
            list(pool.map(burst, range(senders)))
        sent = time.monotonic()
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent", count, timeout=60)
        # A scan looks at no file that is younger than five seconds.
        assert time.monotonic() - sent < 5
        assert len(instance.messages("alice")) == count
        assert instance.queued("incoming") == []


def test_mail_for_a_transport_with_a_bad_limit_waits_and_the_log_says_why() -> None:
    with Instance(main={"virtual_destination_concurrency_limit": "1O"}) as instance:
        instance.send(["alice@example.test", "bob@example.test"])
        instance.log.wait(r"qmgr\[\d+\]: error: transport virtual: .*virtual_destination_concurrency_limit: bad number")
        reason = r"dsn=4\.3\.5, status=deferred \(mail system configuration error\)"
        (queue_id,) = {found[1] for found in instance.log.wait(rf"(\w+): to=<\w+@example\.test>, .*{reason}", 2)}
        while instance.queued("deferred") != [queue_id]:
            pass
        assert instance.queued("active") == []
