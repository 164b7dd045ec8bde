"""Our log read by pflogsumm and fail2ban, which know Postfix's: every count must be right."""

import os
import re
import shutil
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance, free_port

PFLOGSUMM = shutil.which("pflogsumm", path="/usr/sbin:/usr/bin")
FAIL2BAN = shutil.which("fail2ban-regex", path="/usr/sbin:/usr/bin")
FILTER = Path("/etc/fail2ban/filter.d/postfix.conf")


class Day:
    """What happened, and the log of it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    def live(self) -> None:
        instance = self.instance
        log = instance.log
        # Five messages by SMTP. To two mailboxes, to a local user, relayed, deferred:
        instance.send(
            ["alice@example.test", "bob@example.test"], "Subject: a\r\n\r\n" + "x\r\n" * 1000, "one@sender.test"
        )
        instance.send("alice@example.test", sender="one@sender.test")
        instance.send("bin@localhost.example.test", sender="two@sender.test")
        instance.send("user@far.test", sender="two@sender.test")
        instance.send("user@later.test", sender="three@other.test")
        # Posted here: one is delivered, one bounces, and its report is delivered.
        for sender, recipient in (("root@example.test", "alice@example.test"), ("bob@example.test", "user@gone.test")):
            posted = instance.command("sendmail", "-f", sender, recipient, input="Subject: p\n\nx\n")
            assert posted.returncode == 0, posted.stderr
        # Refused, each in its way.
        for sender, recipient, reply in (
            ("x@sender.test", "nobody@example.test", "550 5.1.1"),
            ("x@sender.test", "x@elsewhere.test", "554 5.7.1"),
            ("no-domain", "alice@example.test", "504 5.5.2"),
        ):
            with smtplib.SMTP("127.0.0.1", instance.port, source_address=("127.0.0.77", 0)) as client:
                client.ehlo("client.test")
                client.mail(sender)
                code, text = client.rcpt(recipient)
                assert f"{code} {text.decode()}".startswith(reply), text
        log.wait(r": removed$", 7)
        log.wait(r"status=deferred")
        log.wait(r": disconnect from unknown\[127\.0\.0\.77\]", 3)


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("needs smtp-sink")
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen([program, *user, f"127.0.0.1:{port}", "50"])
    instance = Instance(
        main={
            "mynetworks": "127.0.0.1",
            "transport_maps": "texthash:$config_directory/transport",
            "smtpd_sender_restrictions": "reject_non_fqdn_sender",
        },
    )
    (instance.mail / "local").mkdir()
    (instance.mail / "local").chmod(0o1777)
    instance.write_table(
        "transport",
        f"far.test smtp:[127.0.0.1]:{port}\ngone.test error:5.1.2 gone for good\nlater.test smtp:[127.0.0.1]:1\n",
    )
    try:
        with instance:
            found = Day(instance)
            found.live()
            yield found
    finally:
        sink.terminate()
        sink.wait()


def lines_of(instance: Instance, path: Path) -> Path:
    path.write_text("\n".join(instance.log.lines) + "\n")
    return path


@pytest.mark.skipif(PFLOGSUMM is None, reason="needs pflogsumm")
def test_pflogsumm_counts_what_happened(day: Day, tmp_path: Path) -> None:
    path = lines_of(day.instance, tmp_path / "mail.log")
    done = subprocess.run([str(PFLOGSUMM), "-e", "--smtpd-stats", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    report = done.stdout
    size = {found[1]: int(found[2]) for found in re.finditer(r"(\w+): from=<.*>, size=(\d+)", path.read_text())}
    sent = [found[1] for found in re.finditer(r"(\w+): to=<.*status=sent", path.read_text())]
    received = [found[1] for found in re.finditer(r"(\w+): (?:client|uid)=", path.read_text())]
    for what, count in {
        "received": 5 + 2,
        "delivered": 4 + 1 + 1 + 1,
        "forwarded": 0,
        "bounced": 1,
        "reject warnings": 0,
        "held": 0,
        "bytes received": sum(size[queue_id] for queue_id in received),
        "bytes delivered": sum(size[queue_id] for queue_id in sent),
        "senders": 5,
        "sending hosts/domains": 3,
        "recipients": 4,
        "recipient hosts/domains": 3,
        "connections": 5 + 3,
    }.items():
        assert re.search(rf"^ *{count} +{what}$", report, re.M), (what, count, report)
    assert re.search(r"^ *1 +deferred +\(1 +deferrals\)$", report, re.M), report
    assert re.search(r"^ *3 +rejected \(\d+%\)$", report, re.M), report
    for line in (
        r" +2 +one@sender\.test",
        r" +1 +root@example\.test",
        r" +3 +alice@example\.test",
        r" +1 +user@far\.test",
        r" +smtp \(total: 1\)\n +1 +127\.0\.0\.1\[127\.0\.0\.1\]:1: Connection refused",
        r" +none \(total: 1\)\n +1 +gone for good",
        r" +Recipient address rejected: User unknown in virtual mailbox table \(total: 1\)\n +1 +nobody@example\.test",
        r" +Relay access denied \(total: 1\)\n +1 +(127\.0\.0\.77|x@elsewhere\.test|unknown.*)",
        r" +Sender address rejected: need fully-qualified address \(total: 1\)\n +1 +no-domain",
        r"Fatal Errors: none",
        r"Panics: none",
        r"smtp delivery failures: none",
    ):
        assert re.search(rf"^{line}$", report, re.M), (line, report)
    assert "(sender not in log)" not in report


@pytest.mark.skipif(FAIL2BAN is None or not FILTER.is_file(), reason="needs fail2ban")
@pytest.mark.parametrize("mode", ["more", "aggressive"])
def test_fail2ban_finds_the_clients_to_ban(abuse: Instance, tmp_path: Path, mode: str) -> None:
    path = lines_of(abuse, tmp_path / "mail.log")
    wanted = {f"127.0.1.{host}" for host, modes, *_ in ABUSES if mode in modes}
    arguments = ["--print-all-matched", "-o", "ip", str(path), f"{FILTER}[mode={mode}]"]
    done = subprocess.run([str(FAIL2BAN), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(done.stdout.split()) == wanted, path.read_text()


# Host, the modes of the filter that see it, what the client says; an empty line closes the connection.
ABUSES: tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...] = (
    (1, ("more", "aggressive"), ("EHLO c.test", "MAIL FROM:<x@s.test>", "RCPT TO:<nobody@example.test>", "QUIT")),
    (2, ("more", "aggressive"), ("EHLO c.test", "MAIL FROM:<x@s.test>", "RCPT TO:<a@elsewhere.test>", "QUIT")),
    (3, ("more", "aggressive"), ("EHLO c.test", *["NONSENSE"] * 21)),
    (4, ("more", "aggressive"), ("EHLO short", "MAIL FROM:<x@s.test>", "RCPT TO:<alice@example.test>", "QUIT")),
    # This the filter does not know, whoever says it.
    (5, (), ("EHLO c.test", "MAIL FROM:<none>", "RCPT TO:<alice@example.test>", "QUIT")),
    (6, ("aggressive",), ("EHLO c.test", "")),
    (7, ("aggressive",), ("EHLO c.test", "MAIL FROM:<x@s.test>", "")),
    # Someone who does nothing wrong.
    (8, (), ("EHLO c.test", "MAIL FROM:<x@s.test>", "RCPT TO:<alice@example.test>", "QUIT")),
    (9, ("more", "aggressive"), ("EHLO blocked.test", "MAIL FROM:<x@s.test>", "RCPT TO:<alice@example.test>", "QUIT")),
    (10, ("aggressive",), ("",)),
)


@pytest.fixture(scope="module")
def abuse() -> Iterator[Instance]:
    """An instance that was abused in many ways, each by a host of its own."""
    main = {
        "mynetworks": "127.0.0.1",
        "smtpd_helo_required": "yes",
        "smtpd_helo_restrictions": "reject_non_fqdn_helo_hostname",
        "smtpd_sender_restrictions": "reject_non_fqdn_sender",
        "smtpd_client_restrictions": "check_client_access texthash:$config_directory/clients",
        "smtpd_error_sleep_time": "0",
    }
    instance = Instance(main=main)
    instance.write_table("clients", "127.0.1.9 554 5.7.1 Service unavailable\n")
    with instance:
        for host, _, lines in ABUSES:
            with socket.create_connection(("127.0.0.1", instance.port), 10, (f"127.0.1.{host}", 0)) as connection:
                stream = connection.makefile("rwb")
                reply = stream.readline()
                for line in lines:
                    if not line or not reply:
                        break
                    stream.write(line.encode() + b"\r\n")
                    stream.flush()
                    while (reply := stream.readline())[3:4] == b"-":
                        pass
                stream.close()
            instance.log.wait(rf"disconnect from unknown\[127\.0\.1\.{host}\]")
        yield instance
