"""Debian's maildrop through pipe and as mailbox_command: filters, Maildir, exit codes with our agents."""

import os
import pwd
import shutil

import pytest

from tests.fakes.instance import Instance

pytestmark = pytest.mark.skipif(shutil.which("maildrop") is None, reason="maildrop is not installed")

ROOT = os.geteuid() == 0
USER = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
HOST = "mail.example.test"

FILTER = """DEFAULT="HOME/default"
if (/^Subject:.*list/)
{
    to "HOME/folder/"
}
if (/^Subject:.*refuse/)
{
    echo "5.7.1 not this"
    EXITCODE=77
    exit
}
if (/^Delivered-To: *!.*/)
{
    to "$DEFAULT"
}
"""


def _instance(**main: str) -> Instance:
    settings = {"recipient_delimiter": "+", "mydestination": HOST, "minimal_backoff_time": "1h", "notify_classes": ""}
    instance = Instance(main=settings)
    home = instance.root / "home"
    home.mkdir()
    (home / "filter").write_text(FILTER.replace("HOME", str(home)))
    os.chmod(home / "filter", 0o600)
    if ROOT:
        entry = pwd.getpwnam(USER)
        for path in (home, home / "filter"):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    with open(instance.conf / "master.cf", "a") as file:
        file.write(f"drop unix - n n - - pipe\n    flags=DRXhu user={USER} argv=/usr/bin/maildrop {home}/filter\n")
    instance.set_main({name: value.replace("HOME", str(home)) for name, value in main.items()})
    return instance


def _check(instance: Instance, sent: str) -> None:
    home = instance.root / "home"
    for part in ("folder/tmp", "folder/new", "folder/cur"):
        (home / part).mkdir(parents=True)
    if ROOT:
        entry = pwd.getpwnam(USER)
        for path in (home / "folder", *(home / "folder").iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    recipient = f"{USER}@{HOST}"
    log = instance.log
    instance.send(recipient, "Subject: plain\n\nbody\n")
    log.wait(sent)
    default = (home / "default").read_text()
    assert "Return-Path: <a@example.org>\n" in default
    assert f"Delivered-To: {recipient}\n" in default
    assert default.endswith("\n\nbody\n\n")
    instance.send(recipient, "Subject: a list\n\nx\n")
    log.wait(sent, 2)
    assert len(list((home / "folder/new").iterdir())) == 1
    instance.send(recipient, "Subject: refuse\n\nx\n", sender="")
    log.wait(r"dsn=5.7.1, status=bounced \(not this\)")


def test_through_pipe_as_mailbox_transport() -> None:
    with _instance(mailbox_transport="drop", drop_destination_recipient_limit="1") as instance:
        _check(instance, r"relay=drop, .*status=sent \(delivered via drop service\)")


def test_as_mailbox_command() -> None:
    with _instance(mailbox_command="/usr/bin/maildrop HOME/filter") as instance:
        _check(instance, r"relay=local, .*status=sent \(delivered to command: /usr/bin/maildrop")
