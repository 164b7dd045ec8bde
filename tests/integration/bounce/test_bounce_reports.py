"""Reports by real programs: what fails, waits or succeeds comes back to the sender as RFC 3464 says."""

import email
import email.message
import email.policy
import time
from pathlib import Path

from tests.fakes.instance import Instance

_ALIASES = "inline:{ {a@example.test=a@one.test} {b@example.test=b@two.test} {c@example.test=bob@example.test} }"
MAIN = {
    "virtual_alias_maps": _ALIASES,
    "transport_maps": "inline:{ {one.test=error:5.7.1 closed for good} {two.test=retry:come back} }",
}


def parse(path: Path) -> email.message.EmailMessage:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    return message


def wait_mail(instance: Instance, user: str = "alice", count: int = 1) -> list[email.message.EmailMessage]:
    instance.log.wait(rf"virtual\[\d+\]: \w+: to=<{user}@example.test>.*status=sent", count)
    return [parse(path) for path in instance.messages(user)]


def blocks(status: email.message.Message) -> list[email.message.Message]:
    """The groups of fields of a delivery status: of the message, then of each recipient."""
    found = status.get_payload()
    assert isinstance(found, list)
    return [block for block in found if isinstance(block, email.message.Message)]


def test_a_failure_comes_back_with_its_reason_and_the_message() -> None:
    with Instance(main=MAIN) as instance:
        content = "From: alice@example.test\nSubject: hello\nMessage-ID: <1@example.test>\n\nthe body\n"
        instance.send("a@example.test", content, sender="alice@example.test")
        instance.log.wait(r"bounce\[\d+\]: \w+: sender non-delivery notification: \w+")
        [report] = wait_mail(instance)
        assert report["Return-Path"] in (None, "<>")
        assert report["From"].addresses[0].username == "MAILER-DAEMON"
        assert report["To"] == "alice@example.test"
        assert report["Auto-Submitted"] == "auto-replied"
        assert report.get_content_type() == "multipart/report"
        text, status, original = report.iter_parts()
        assert "<a@one.test> (expanded from <a@example.test>): closed for good" in text.get_content()
        whole, one = blocks(status)
        assert whole["Reporting-MTA"] and whole["Arrival-Date"]
        assert (one["Action"], one["Status"]) == ("failed", "5.7.1")
        assert one["Final-Recipient"] == "rfc822; a@one.test"
        assert original.get_content_type() == "message/rfc822"
        returned = original.get_content()
        assert returned["Message-ID"] == "<1@example.test>"
        assert returned.get_content() == "the body\n"
        instance.log.wait(r": removed", 2)
        assert instance.queued("bounce") == []


def test_what_has_no_return_path_goes_to_the_postmaster_only_when_asked_for() -> None:
    main = MAIN | {"notify_classes": "2bounce", "2bounce_notice_recipient": "bob@example.test"}
    with Instance(main=main) as instance:
        instance.send("a@example.test", sender="")
        instance.log.wait(r"bounce\[\d+\]: \w+: postmaster non-delivery notification: \w+")
        [report] = wait_mail(instance, "bob")
        assert report["Subject"] == "Postmaster Copy: Undelivered Mail"
        assert report["Auto-Submitted"] == "auto-generated"


def test_a_bounce_that_fails_is_not_bounced() -> None:
    with Instance(
        main=MAIN
        | {
            "notify_classes": "bounce, 2bounce",
            "bounce_notice_recipient": "a@example.test",
            "2bounce_notice_recipient": "a@example.test",
        }
    ) as instance:
        instance.send("a@example.test", sender="a@example.test")
        # The report to the sender fails, its report to the postmaster fails too, and that is the end.
        instance.log.wait(r"undeliverable postmaster notification discarded", 2)
        instance.log.wait(r": removed", 4)
        assert instance.queued("bounce") == instance.queued("deferred") == []


def test_a_report_of_success_is_made_for_whom_it_was_asked() -> None:
    with Instance(main=MAIN) as instance, instance.smtp() as client:
        client.ehlo("client.test")
        client.mail("alice@example.test", ["RET=FULL", "ENVID=my+2Bid"])
        client.rcpt("bob@example.test", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob@example.test"])
        client.data("Subject: please tell\n\nbody\n")
        instance.log.wait(r"bounce\[\d+\]: \w+: sender delivery status notification: \w+")
        [report] = wait_mail(instance)
        _, status, original = report.iter_parts()
        whole, one = blocks(status)
        assert whole["Original-Envelope-Id"] == "my+id"
        assert one["Action"] == "delivered"
        assert one["Original-Recipient"] == "rfc822;Bob@example.test"
        assert original.get_content_type() == "text/rfc822-headers"
        instance.log.wait(r": removed", 2)
        assert instance.queued("trace") == []


def test_who_said_never_is_not_told() -> None:
    with Instance(main=MAIN) as instance, instance.smtp() as client:
        client.ehlo("client.test")
        client.mail("alice@example.test")
        client.rcpt("a@example.test", ["NOTIFY=NEVER"])
        client.data("Subject: x\n\nbody\n")
        instance.log.wait(r": removed")
        assert instance.log.count("non-delivery notification") == 0
        assert instance.queued("bounce") == []


def test_a_delay_is_told_once_and_its_log_stays() -> None:
    main = MAIN | {
        "delay_warning_time": "1s",
        "minimal_backoff_time": "2s",
        "maximal_backoff_time": "2s",
        "queue_run_delay": "1s",
        "enable_threaded_bounces": "yes",
    }
    with Instance(main=main) as instance:
        instance.send("b@example.test", "Message-ID: <2@x.test>\n\nbody\n", sender="alice@example.test")
        [match] = instance.log.wait(r": (\w+): to=<b@two.test>.*status=deferred")
        instance.log.wait(r"qmgr\[\d+\]: \w+: from=<alice@example.test>", 1)
        time.sleep(1.1)
        instance.command("postqueue", "-f")
        instance.log.wait(r"sender delay notification: \w+")
        [report] = wait_mail(instance)
        assert report["In-Reply-To"] == "<2@x.test>"
        _, status, _ = report.iter_parts()
        _, one = blocks(status)
        assert one["Action"] == "delayed" and one["Will-Retry-Until"]
        assert instance.queued("defer") == [match[1]]


def test_a_large_message_comes_back_as_its_header() -> None:
    with Instance(main=MAIN) as instance:
        instance.send("a@example.test", "Subject: big\n\n" + "0123456789\n" * 6000, sender="alice@example.test")
        [report] = wait_mail(instance)
        *_, original = report.iter_parts()
        assert original.get_content_type() == "text/rfc822-headers"
        assert "Subject: big" in original.get_content()
        assert "0123456789" not in report.as_string()


def test_a_report_that_is_too_large_for_one_request_is_streamed() -> None:
    with Instance(main=MAIN | {"bounce_size_limit": "2000000"}) as instance:
        body = "".join(f"line {number}\n" for number in range(60_000))
        instance.send("a@example.test", f"Subject: big\n\n{body}", sender="alice@example.test")
        [report] = wait_mail(instance)
        *_, original = report.iter_parts()
        assert original.get_content().get_content() == body


def test_a_template_of_the_administrator_is_used() -> None:
    instance = Instance(main=MAIN)
    path = instance.write_table("bounce.cf", "failure_template = <<EOF\nSubject: Nope\n\nfrom $myhostname $$5\nEOF\n")
    instance.set_main({"bounce_template_file": str(path)})
    with instance:
        instance.send("a@example.test", sender="alice@example.test")
        [report] = wait_mail(instance)
        assert report["Subject"] == "Nope"
        text, *_ = report.iter_parts()
        assert text.get_content().startswith("from mail.example.test $5\n")


def test_failures_that_do_not_go_into_one_mail_come_in_several() -> None:
    count, main = 800, {"message_size_limit": "200000", "virtual_alias_domains": "list.test"}
    main["virtual_alias_maps"] = "inline:{ {@list.test=@one.test} }"
    with Instance(main=MAIN | main) as instance:
        instance.send([f"r{number}@list.test" for number in range(count)], sender="alice@example.test")
        (queue_id,) = [found[1] for found in instance.log.wait(r"qmgr\[\d+\]: (\w+): from=<alice@example\.test>")]
        instance.log.wait(rf"{queue_id}: removed")
        reports = wait_mail(instance, count=instance.log.count("sender non-delivery notification"))
        told = [one["Final-Recipient"] for report in reports for one in blocks(list(report.iter_parts())[1])[1:]]
        assert sorted(told) == sorted(f"rfc822; r{number}@one.test" for number in range(count))
        assert 1 < len(reports) < 20


def test_a_message_that_may_come_but_not_go_back_is_returned_as_its_header() -> None:
    with Instance(main=MAIN | {"message_size_limit": "100000", "bounce_size_limit": "1000000"}) as instance:
        instance.send("a@example.test", "Subject: large\n\n" + "x" * 70 * 1400 + "\n", sender="alice@example.test")
        [report] = wait_mail(instance)
        assert [part.get_content_type() for part in report.iter_parts()][-1] == "text/rfc822-headers"
