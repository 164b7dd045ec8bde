"""smtpd asks, verify probes, the agents stop short of delivery, and the finding holds."""

import smtplib

import pytest

from tests.fakes.instance import Instance

MAIN = {
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "smtpd_recipient_restrictions": "reject_unverified_recipient",
    "unverified_recipient_reject_code": "550",
    "address_verify_poll_count": "40",
    "address_verify_poll_delay": "1s",
    "virtual_alias_maps": (
        "inline:{ {closed@example.test=x@one.test} {list@example.test=x@one.test, alice@example.test} }"
    ),
    "transport_maps": "inline:{ {one.test=error:5.7.1 closed for good} }",
}


def test_a_good_address_is_accepted_and_a_bad_one_refused_without_mail_being_delivered() -> None:
    with Instance(main=MAIN) as instance:
        with instance.smtp() as client:
            client.ehlo("client.test")
            client.mail("stranger@example.org")
            assert client.rcpt("alice@example.test")[0] == 250
            code, text = client.rcpt("closed@example.test")
            assert code == 550
            assert b"undeliverable address: closed for good" in text
        instance.log.wait(r"to=<alice@example.test>.*status=deliverable")
        instance.log.wait(r": removed", 2)
        assert instance.messages("alice") == []
        assert instance.queued("bounce") == instance.queued("deferred") == []
        # The second time nobody is asked.
        before = instance.log.count("status=deliverable")
        instance.send("alice@example.test")
        instance.log.wait(r"to=<alice@example.test>.*status=sent")
        assert instance.log.count("status=deliverable") == before
        assert list(instance.root.rglob("verify_cache.sqlite"))


def test_an_alias_of_many_can_be_delivered_to_whatever_becomes_of_the_first() -> None:
    with Instance(main=MAIN) as instance:
        instance.send("list@example.test")
        instance.log.wait(r"to=<alice@example.test>.*status=sent")
        assert instance.log.count("status=(un)?deliverable") == 0, "its members are not asked (Postfix cleanup(8))"


def test_findings_survive_a_restart(tmp_path: object) -> None:
    instance = Instance(main=MAIN)
    try:
        instance.start()
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            instance.send("closed@example.test")
        instance.stop()
        instance.start()
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            instance.send("closed@example.test")
        assert b"closed for good" in refused.value.recipients["closed@example.test"][1]
        assert instance.log.count("queue active") == 0
    finally:
        instance.stop()
        instance.remove()
