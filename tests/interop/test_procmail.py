"""Debian's procmail as mailbox_command and through pipe: its rules, folders and exit codes with our agents."""

import os
import pwd
import shutil

import pytest

from tests.fakes.instance import Instance

pytestmark = pytest.mark.skipif(shutil.which("procmail") is None, reason="procmail is not installed")

ROOT = os.geteuid() == 0
USER = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
HOST = "mail.example.test"

RULES = """SHELL=/bin/sh
MAILDIR=HOME
DEFAULT=HOME/default
LOGFILE=HOME/log

:0
* ^Subject:.*list
HOME/folder/

:0
* ^Subject:.*refuse
{
    EXITCODE=77
    HOST
}

:0
* ^Subject:.*ext
{
    EXTENSION=$1

    :0
    HOME/by-$EXTENSION
}
"""


def _instance(**main: str) -> Instance:
    settings = {"recipient_delimiter": "+", "mydestination": HOST, "minimal_backoff_time": "1h", "notify_classes": ""}
    master = (
        "proc unix - n n - - pipe",
        f"    flags=FRq user={USER} argv=/usr/bin/procmail -t -m HOME/rc ${{extension}}",
    )
    instance = Instance(main=settings | main)
    home = instance.root / "home"
    home.mkdir()
    os.chmod(home, 0o777)
    (home / "rc").write_text(RULES.replace("HOME", str(home)))
    os.chmod(home / "rc", 0o644)
    if ROOT:
        entry = pwd.getpwnam(USER)
        os.chown(home / "rc", entry.pw_uid, entry.pw_gid)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        os.chmod(home, 0o755)
    with open(instance.conf / "master.cf", "a") as file:
        file.write("\n".join(master).replace("HOME", str(home)) + "\n")
    instance.set_main({name: value.replace("HOME", str(home)) for name, value in main.items()})
    return instance


def _check(instance: Instance, recipient: str, sent: str) -> None:
    home = instance.root / "home"
    log = instance.log
    instance.send(recipient, "Subject: plain\n\nFrom the body\nbody\n")
    log.wait(sent)
    default = (home / "default").read_text()
    assert default.startswith("From a@example.org")
    assert "\nReturn-Path: <a@example.org>\n" in default
    assert default.endswith("\n\n>From the body\nbody\n\n")
    instance.send(recipient, "Subject: a list\n\nx\n")
    log.wait(sent, 2)
    assert len(list((home / "folder" / "new").iterdir())) == 1
    instance.send(recipient, "Subject: the ext\n\nx\n")
    log.wait(sent, 3)
    assert "Subject: the ext" in (home / "by-box").read_text()
    instance.send(recipient, "Subject: refuse\n\nx\n", sender="")
    log.wait(r"dsn=5.7.0, status=bounced \(permission denied")


def test_as_mailbox_command() -> None:
    with _instance(mailbox_command='/usr/bin/procmail -t -m HOME/rc "$EXTENSION"') as instance:
        _check(instance, f"{USER}+box@{HOST}", r"relay=local, .*status=sent \(delivered to command: /usr/bin/procmail")


def test_through_pipe() -> None:
    with _instance(mailbox_transport="proc") as instance:
        _check(instance, f"{USER}+box@{HOST}", r"relay=proc, .*status=sent \(delivered via proc service\)")
