"""The pipe agent in a real system: words, flags, limits, endings."""

import grp
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

ROOT = os.geteuid() == 0
USER = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name


def _instance(service: str, **main: str) -> Instance:
    """Mail for everything @piped.test goes to the service ``cmd``."""
    lines = ["cmd unix - n n - - pipe", f"    user={USER}:{GROUP} {service}"]
    settings = {
        "relay_domains": "piped.test",
        "transport_maps": "inline:{piped.test=cmd:Next.Hop}",
        "recipient_delimiter": "+",
        "minimal_backoff_time": "1h",
        "notify_classes": "",
    }
    instance = Instance(main=settings | main, master=lines)
    os.chmod(instance.root, 0o777)
    return instance


def test_words_and_flags(open_path: Path) -> None:
    script = (
        "flags=DFORhu>.B null_sender=nobody argv=/bin/sh -c "
        '{ (pwd; printf "[%s]\\\\n" "$$@"; cat) > OUT } sh -s $sender ${recipient} ${user}/${extension}/$(domain) '
        "$nexthop $size ${client_address} $$"
    )
    with _instance(script.replace("OUT", f"{open_path}/out")) as instance:
        instance.send("Some.One+Ext@Piped.Test", content="Subject: x\n\nFrom me\n.dot\n")
        instance.log.wait(
            r"pipe\[\d+\]: \w+: to=<Some.One\+Ext@Piped.Test>, relay=cmd, .* dsn=2.0.0, "
            r"status=sent \(delivered via cmd service\)"
        )
        text = (open_path / "out").read_text()
    lines = text.split("\n")
    assert lines[0] == str(instance.spool)
    assert lines[1:9] == [
        "[-s]",
        "[a@example.org]",
        "[some.one+ext@piped.test]",
        "[some.one/ext/piped.test]",
        "[next.hop]",
        lines[6],
        "[127.0.0.1]",
        "[$]",
    ]
    assert lines[9].startswith("From a@example.org  ")
    assert lines[10:13] == [
        "Return-Path: <a@example.org>",
        "X-Original-To: Some.One+Ext@Piped.Test",
        "Delivered-To: Some.One+Ext@Piped.Test",
    ]
    assert text.endswith("\n\n>From me\n..dot\n\n")


def test_a_loop_is_found_by_flag_d_and_a_large_message_is_refused() -> None:
    with _instance("flags=D size=2000 argv=/bin/true", cmd_destination_recipient_limit="1") as instance:
        instance.send("a@piped.test", content="Delivered-To: A@piped.test\n\nx\n", sender="")
        instance.log.wait(r"dsn=5.4.6, status=bounced \(mail forwarding loop for a@piped.test\)")
        instance.send("b@piped.test", content="Subject: x\n\n" + "x" * 70 + "\n" * 3000, sender="")
        instance.log.wait(r"to=<b@piped.test>, .*dsn=5.2.3, status=bounced \(message too large\)")


def test_endings_words_of_success_and_the_time_limit() -> None:
    script = "argv=/bin/sh -c {case $nexthop in (*) case $user in"
    script += " ok) echo took it;; late) exit 75;; slow) sleep 60;; none) exit 67;; esac;; esac}"
    with _instance(script, cmd_time_limit="1s", cmd_destination_recipient_limit="1") as instance:
        instance.send([f"{user}@piped.test" for user in ("ok", "late", "slow", "none")], sender="")
        log = instance.log
        log.wait(r"to=<ok@piped.test>, .*status=sent \(delivered via cmd service \(took it\)\)")
        log.wait(r"to=<late@piped.test>, .*dsn=4.3.0, status=deferred \(temporary failure\)")
        log.wait(r"to=<none@piped.test>, .*dsn=5.1.1, status=bounced \(user unknown\)")
        log.wait(r'to=<slow@piped.test>, .*dsn=5.3.0, status=bounced \(Command time limit exceeded: "/bin/sh"\)')


def test_a_large_message_reaches_a_command_whole_and_a_deaf_command_is_none_the_worse() -> None:
    script = "argv=/bin/sh -c {case $user in (count) wc -c;; (*) exit 0;; esac}"
    with _instance(script, cmd_destination_recipient_limit="1") as instance:
        body = ("x" * 77 + "\n") * 40_000
        instance.send(["count@piped.test", "deaf@piped.test"], content=f"Subject: x\n\n{body}", sender="")
        sizes = instance.log.wait(r"to=<count@piped.test>, .*status=sent \(delivered via cmd service \((\d+)\)\)")
        assert int(sizes[0][1]) > 3_120_000
        instance.log.wait(r"to=<deaf@piped.test>, .*status=sent ")


@pytest.mark.skipif(not ROOT, reason="chroot needs root")
def test_another_root_directory_and_folder_and_what_is_not_there() -> None:
    with tempfile.TemporaryDirectory() as empty:
        os.chmod(empty, 0o755)
        with _instance(f"chroot={empty} argv=/bin/true") as instance:
            instance.send("a@piped.test", sender="")
            instance.log.wait(r"to=<a@piped.test>, .*dsn=4.3.0, status=deferred \(.*cannot execute /bin/true below /")
    with _instance("chroot=/ directory=/usr/share argv=/bin/sh -c {pwd; id -u}") as instance:
        instance.send("a@piped.test", sender="")
        uid = pwd.getpwnam(USER).pw_uid
        instance.log.wait(rf"to=<a@piped.test>, .*status=sent \(delivered via cmd service \(/usr/share {uid}\)\)")
    with _instance("directory=/no/such argv=/bin/true") as instance:
        instance.send("a@piped.test", sender="")
        instance.log.wait(r"to=<a@piped.test>, .*dsn=4.3.0, status=deferred \(.*/no/such")


def test_a_delivery_may_take_longer_than_other_answers() -> None:
    with _instance("argv=/bin/sleep 4", ipc_timeout="2s") as instance:
        instance.send("slow@piped.test")
        instance.log.wait(r"to=<slow@piped.test>.*status=(sent|deferred)")
        assert instance.log.count("status=deferred") == 0
        instance.log.wait(r"qmgr\[\d+\]: \w+: removed")
