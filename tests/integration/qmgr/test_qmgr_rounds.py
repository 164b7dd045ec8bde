"""What becomes of a message in a real system: traced, tried for show, expired, routed as a probe."""

import os
import pwd
import subprocess
import sys

import pytest

from tests.fakes.instance import Instance

SLOW = {"transport_maps": "inline:{ { slow.test = retry:4.0.0 not now } }", "relay_domains": "slow.test"}


def sendmail(instance: Instance, *arguments: str) -> None:
    done = instance.command("sendmail", *arguments, input="Subject: x\n\nbody\n")
    assert done.returncode == 0, done.stderr


def report(instance: Instance, user: str = "bob") -> str:
    instance.log.wait(rf"to=<{user}@example\.test>, .*status=sent")
    (path,) = instance.messages(user)
    return path.read_text()


def nothing_left(instance: Instance, *queues: str) -> None:
    for queue in queues or ("incoming", "active", "deferred", "bounce", "defer", "trace"):
        assert instance.queued(queue) == [], queue


def test_a_trial_tells_and_delivers_nothing() -> None:
    with Instance(main=SLOW) as instance:
        sendmail(instance, "-bv", "-f", "bob@example.test", "alice@example.test", "none@example.test", "x@slow.test")
        text = report(instance)
        instance.log.wait(r": removed", 2)
        assert "Mail Delivery Status Report" in text
        actions = sorted(line for line in text.splitlines() if line.startswith("Action: "))
        assert actions == ["Action: deliverable", "Action: undeliverable", "Action: undeliverable"]
        assert instance.messages("alice") == []
        assert instance.log.count(r"to=<x@slow\.test>, .*status=undeliverable \(not now\)") == 1
        assert instance.log.count("non-delivery notification") == 0
        nothing_left(instance)


def test_a_traced_message_is_delivered_and_reported_once() -> None:
    with Instance(main=SLOW) as instance:
        sendmail(instance, "-v", "-f", "bob@example.test", "alice@example.test", "x@slow.test")
        text = report(instance)
        assert "Action: delivered" in text and "Action: delayed" in text
        assert len(instance.messages("alice")) == 1
        queue_id = instance.log.wait(r"(\w+): to=<x@slow\.test>, .*status=deferred")[0][1]
        instance.log.wait(r": removed")
        start = len(instance.log.lines)
        assert instance.command("postqueue", "-i", queue_id).returncode == 0
        instance.log.wait(rf"{queue_id}: to=<x@slow\.test>, .*status=deferred", start=start)
        while instance.queued("deferred") != [queue_id]:
            pass
        assert len(instance.messages("bob")) == 1
        assert instance.log.count("sender delivery status notification") == 1
        assert instance.queued("trace") == []


def test_what_is_expired_by_a_person_is_not_tried_again() -> None:
    with Instance(main=SLOW) as instance:
        sendmail(instance, "-f", "bob@example.test", "x@slow.test", "y@slow.test")
        queue_id = instance.log.wait(r"(\w+): to=<x@slow\.test>, .*status=deferred")[0][1]
        instance.log.wait(rf"{queue_id}: to=<y@slow\.test>, .*status=deferred")
        while instance.queued("deferred") != [queue_id]:
            pass
        assert instance.command("postsuper", "-e", queue_id).returncode == 0
        assert instance.command("postqueue", "-i", queue_id).returncode == 0
        text = report(instance)
        instance.log.wait(rf"{queue_id}: from=<bob@example\.test>, status=force-expired, returned to sender")
        instance.log.wait(rf"{queue_id}: removed")
        assert instance.log.count("not now") == 2, "it was tried again"
        # postsuper(1): the reason of the delay.
        assert text.count("Status: 4.0.0") == 2 and text.count(">: not now") == 2
        nothing_left(instance)


def test_what_is_expired_before_it_was_tried_says_so() -> None:
    with Instance(main=SLOW | {"header_checks": "static:HOLD"}) as instance:
        sendmail(instance, "-f", "bob@example.test", "x@slow.test", "y@slow.test")
        instance.log.wait(r"pickup\[\d+\]: \w+: uid=")
        (queue_id,) = instance.queued("hold")
        assert instance.command("postsuper", "-f", queue_id).returncode == 0
        text = report(instance)
        reason = r"relay=none, .*dsn=4\.7\.0, status=deferred \(message is administratively expired\)"
        instance.log.wait(reason, 2)
        assert text.count("Status: 4.7.0") == 2


FILTER = {"content_filter": "retry:", "receive_override_options": ""}


def test_a_filter_without_a_destination_gets_the_domain_of_the_recipient() -> None:
    with Instance(main=SLOW | FILTER) as instance:
        sendmail(instance, "-f", "bob@example.test", "x@slow.test")
        # The program puts the next hop in the place of a reason.
        instance.log.wait(r"to=<x@slow\.test>, .*status=deferred \(slow\.test\)")


def test_a_redirection_overrides_the_filter_and_a_trial_does_not_ask_it() -> None:
    redirect = {"smtpd_sender_restrictions": "check_sender_access static:{REDIRECT bob@example.test}"}
    with Instance(main=SLOW | FILTER | redirect) as instance:
        instance.send(["x@slow.test", "alice@example.test"])
        instance.log.wait(r"to=<bob@example\.test>, .*status=sent")
        sendmail(instance, "-bv", "-f", "bob@example.test", "alice@example.test")
        instance.log.wait(r"to=<alice@example\.test>, .*status=deliverable")


def test_answers_to_our_own_notices_go_nowhere() -> None:
    with Instance(main={"smtpd_recipient_restrictions": ""}) as instance:
        instance.send(["double-bounce@mail.example.test"], sender="bob@example.test")
        discarded = r"relay=none, .*status=sent \(undeliverable postmaster notification discarded\)"
        instance.log.wait(rf"to=<double-bounce@mail\.example\.test>, {discarded}")
        instance.log.wait(r": removed")
        assert instance.log.count("non-delivery notification") == 0


def test_what_has_waited_for_too_long_is_tried_once_more() -> None:
    with Instance(main=SLOW | {"maximal_queue_lifetime": "0"}) as instance:
        sendmail(instance, "-f", "bob@example.test", "x@slow.test", "alice@example.test")
        text = report(instance)
        assert "not now" in text
        assert instance.log.count(r"to=<x@slow\.test>, .*status=deferred \(not now\)") == 1
        instance.log.wait(r"from=<bob@example\.test>, status=expired, returned to sender")
        assert len(instance.messages("alice")) == 1


def test_a_hard_failure_is_not_called_expired() -> None:
    with Instance(main={"maximal_queue_lifetime": "0"}) as instance:
        sendmail(instance, "-f", "bob@example.test", "none@example.test")
        report(instance)
        assert instance.log.count("status=expired") == 0


def test_probes_go_where_probes_are_sent() -> None:
    main = {
        "smtpd_recipient_restrictions": "reject_unverified_recipient, permit_mynetworks, reject_unauth_destination",
        "unverified_recipient_reject_code": "550",
        "address_verify_poll_count": "40",
        "address_verify_poll_delay": "1s",
        "address_verify_transport_maps": "inline:{ {example.test=error:5.1.1 not for probes} }",
    }
    with Instance(main=main) as instance:
        # Its route is known to qmgr before the probe comes, and is another.
        sendmail(instance, "-f", "bob@example.test", "alice@example.test")
        instance.log.wait(r"to=<alice@example\.test>, .*status=sent")
        with instance.smtp() as client:
            client.ehlo("client.test")
            client.mail("stranger@example.org")
            code, text = client.rcpt("alice@example.test")
        assert (code, b"not for probes" in text) == (550, True)


ASK = """
import asyncio, os, sys
from tubepost.common.wire.qmgr import Done, Flush, FlushMessage, Scan
from tubepost.common.bus import Bus, Refusal
async def ask():
    bus = Bus()
    for message in (Flush(), FlushMessage(queue_id="4fXxqT0Y5hz1"), Scan(queue="deferred")):
        try:
            await bus.client("public/qmgr", deadline=20).call(message, Done)
            print("done")
        except Refusal as refusal:
            print(refusal)
    bus.close()
# Only now: the interpreter may stand where others cannot read.
os.setgroups([])
os.setuid(int(sys.argv[1]))
asyncio.run(ask())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
@pytest.mark.parametrize(("users", "allowed"), [("!daemon, static:all", False), ("daemon", True)])
def test_who_may_flush(users: str, allowed: bool) -> None:
    with Instance(main={"authorized_flush_users": users}) as instance:
        os.chmod(instance.spool, 0o755)
        done = subprocess.run(
            [sys.executable, "-I", "-c", ASK, str(pwd.getpwnam("daemon").pw_uid)],
            cwd=instance.spool,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answers = done.stdout.splitlines()
        assert len(answers) == 3, answers
        refused = ["is not allowed to flush the mail queue" in answer for answer in answers]
        assert refused == [not allowed] * 3, answers
