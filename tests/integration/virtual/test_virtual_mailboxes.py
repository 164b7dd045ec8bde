"""The virtual agent in a real system: mbox and Maildir, owners, limits."""

import os
import pwd

from tests.fakes.instance import Instance

ROOT = os.geteuid() == 0
OWNER = pwd.getpwnam("nobody") if ROOT else pwd.getpwuid(os.geteuid())


def _instance(mailboxes: str, **main: str) -> Instance:
    settings = {
        "virtual_mailbox_domains": "v.test",
        "virtual_mailbox_maps": mailboxes,
        "virtual_uid_maps": f"static:{OWNER.pw_uid}",
        "virtual_gid_maps": f"static:{OWNER.pw_gid}",
        "virtual_minimum_uid": "1",
        "recipient_delimiter": "+",
        "minimal_backoff_time": "1h",
        "notify_classes": "",
        "smtpd_reject_unlisted_recipient": "no",
    }
    instance = Instance(main=settings | main)
    (instance.mail / "v").mkdir()
    os.chmod(instance.mail, 0o777)
    os.chmod(instance.mail / "v", 0o777)
    return instance


def test_a_path_without_a_slash_is_an_mbox_and_with_one_a_maildir_of_the_owner() -> None:
    with _instance("inline:{a@v.test=v/box, b@v.test=v/dir/, @v.test=v/rest}") as instance:
        instance.send("a+x@v.test", content="Subject: m\n\nFrom x\n")
        instance.log.wait(r"to=<a\+x@v.test>, relay=virtual, .* status=sent \(delivered to mailbox\)")
        text = (instance.mail / "v/box").read_text()
        assert text.startswith("From a@example.org  ")
        assert "\nReturn-Path: <a@example.org>\nX-Original-To: a+x@v.test\nDelivered-To: a+x@v.test\n" in text
        assert text.endswith("\n\n>From x\n\n")
        assert (instance.mail / "v/box").stat().st_uid == OWNER.pw_uid
        instance.send("b@v.test")
        instance.log.wait(r"to=<b@v.test>, relay=virtual, .* status=sent \(delivered to maildir\)")
        (message,) = (instance.mail / "v/dir/new").iterdir()
        assert message.stat().st_uid == OWNER.pw_uid
        instance.send("c@v.test")
        instance.log.wait(r"to=<c@v.test>, .* status=sent \(delivered to mailbox\)")
        assert (instance.mail / "v/rest").exists()


def test_what_must_not_be_is_deferred_or_returned() -> None:
    mailboxes = "inline:{up@v.test=v/../../etc/x, other@v.test=v/other, big@v.test=v/big, dir@v.test=v}"
    with _instance(mailboxes, virtual_mailbox_limit="5000", message_size_limit="4000") as instance:
        (instance.mail / "v/other").write_text("")
        (instance.mail / "v/big").write_text("x" * 4500 + "\n")
        if ROOT:
            os.chown(instance.mail / "v/big", OWNER.pw_uid, OWNER.pw_gid)
            os.chmod(instance.mail / "v/other", 0o666)
        instance.send(
            ["up@v.test", "other@v.test", "big@v.test", "dir@v.test", "none@v.test"],
            "Subject: x\n\n" + "y\n" * 400,
            sender="",
        )
        log = instance.log
        log.wait(r"to=<up@v.test>, .*dsn=4.3.5, status=deferred \(mail system configuration error\)")
        log.wait(r"to=<big@v.test>, .*dsn=5.2.2, status=bounced \(delivery failed to mailbox v/big: .*File too large")
        assert (instance.mail / "v/big").stat().st_size == 4501
        log.wait(r"to=<dir@v.test>, .*status=deferred")
        log.wait(r'to=<none@v.test>, .*dsn=5.1.1, status=bounced \(unknown user: "none@v.test"\)')
        if ROOT:
            log.wait(r"to=<other@v.test>, .*dsn=4.2.0, status=deferred \(.* is not owned by recipient\)")
