"""A whole instance of an ordinary account, and an ordinary account on an instance of root."""

import os
import re
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import account
from tests.fakes.instance import Instance, Log, free_port

pytestmark = pytest.mark.skipif(
    account.find() is None, reason="needs root, and another account that can run Python and reach these files"
)


@pytest.fixture
def person() -> account.Account:
    found = account.find()
    assert found is not None
    return found


@pytest.fixture
def home(person: account.Account) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tp-", dir="/tmp") as name:
        os.chown(name, person.uid, person.gid)
        yield Path(name)


def test_an_instance_of_an_ordinary_account(person: account.Account, home: Path) -> None:
    port = free_port()
    root = home / "i"
    made = person.run("tubepost.commands.tubepost", "init", str(root), "--smtp-port", str(port))
    assert made.returncode == 0, made.stderr
    assert "alice@example.test" in made.stdout
    conf = str(root / "conf")
    checked = person.run("tubepost.commands.tubepost", "-c", conf, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    line = person.line("tubepost.commands.tubepost", "-c", conf, "run")
    process = subprocess.Popen(
        line, user=person.uid, group=person.gid, extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    log = Log(process.stdout)
    try:
        log.wait(r"tubepost is ready")
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("x@s.test", ["alice@example.test", "postmaster@example.test"], "Subject: s\r\n\r\nx\r\n")
            client.sendmail("x@s.test", f"{person.name}@localhost.example.test", "Subject: l\r\n\r\nx\r\n")
        log.wait(r": removed$", 2)
        files = [path for path in (root / "mail").rglob("new/*") if path.is_file()]
        # alice and her postmaster's copy are one mailbox.
        assert sorted(path.parent.parent.name for path in files) == sorted(["alice", person.name]), files
        assert all(path.stat().st_uid == person.uid for path in files)
        environment = {"MAIL_CONFIG": conf}
        held = person.run("tubepost.commands.postconf", "-c", conf, "-e", "defer_transports=virtual")
        assert held.returncode == 0, held.stderr
        assert person.run("tubepost.commands.tubepost", "-c", conf, "reload").returncode == 0
        log.wait(r"reload")
        posted = person.run(
            "tubepost.commands.sendmail", "bob@example.test", text="Subject: p\n\nx\n", environment=environment
        )
        assert posted.returncode == 0, posted.stderr
        queue_id = log.wait(r"(\w+): to=<bob@example\.test>, .*status=deferred")[0][1]
        listed = person.run("tubepost.commands.postqueue", "-p", environment=environment).stdout
        assert queue_id in listed
        deleted = person.run("tubepost.commands.postsuper", "-d", queue_id, environment=environment)
        assert (deleted.returncode, deleted.stderr) == (
            0,
            f"postsuper: {queue_id}: removed\npostsuper: Deleted: 1 message\n",
        )
        assert person.run("tubepost.commands.tubepost", "-c", conf, "status").returncode == 0
    finally:
        stopped = person.run("tubepost.commands.tubepost", "-c", conf, "stop")
        process.wait(20)
    assert (stopped.returncode, process.returncode) == (0, 0), "\n".join(log.lines)
    assert not log.count(r"panic:|fatal:|Traceback")


def test_any_user_may_post_and_see_the_queue_of_the_system(person: account.Account) -> None:
    with Instance(main={"defer_transports": "smtp"}) as instance:
        environment = {"MAIL_CONFIG": str(instance.conf)}
        posted = person.run(
            "tubepost.commands.sendmail",
            "-t",
            "-i",
            text="To: alice@example.test\nSubject: p\n\nx\n",
            environment=environment,
        )
        assert (posted.returncode, posted.stderr) == (0, "")
        instance.log.wait(rf"pickup\[\d+\]: \w+: uid={person.uid} from=<{person.name}>")
        instance.log.wait(r": removed$")
        (path,) = instance.messages("alice")
        assert f"(tubepost, from userid {person.uid})" in re.sub(r"\(\w+, from", "(tubepost, from", path.read_text())
        person.run("tubepost.commands.sendmail", "x@far.test", text="Subject: d\n\nx\n", environment=environment)
        queue_id = instance.log.wait(r"(\w+): to=<x@far\.test>, .*status=deferred")[0][1]
        listed = person.run("tubepost.commands.sendmail", "-bp", environment=environment)
        assert (listed.returncode, listed.stderr) == (0, "")
        assert queue_id in listed.stdout
        # What is the administrator's alone.
        for name, *arguments in (("postsuper", "-d", queue_id), ("postcat", "-q", queue_id), ("tubepost", "stop")):
            refused = person.run(f"tubepost.commands.{name}", *arguments, environment=environment)
            assert refused.returncode != 0, name
            assert "Traceback" not in refused.stderr, refused.stderr
        assert instance.queued("deferred") == [queue_id]
        assert instance.command("tubepost", "-c", str(instance.conf), "status").returncode == 0


def test_the_drop_box_shows_nobody_what_others_posted(person: account.Account) -> None:
    instance = Instance()
    with instance:
        pass_through = instance.spool / "maildrop"
        mode = pass_through.stat().st_mode & 0o7777
        assert mode & 0o004 == 0, oct(mode)
        if mode & 0o002:
            assert mode & 0o1000, oct(mode)
        for folder in ("incoming", "active", "deferred", "hold", "private"):
            assert (instance.spool / folder).stat().st_mode & 0o077 == 0, folder
        # A file that is put there by hand under a name of its own, a link, a directory: nobody trips over them.
        script = (
            "import os, sys\n"
            f"os.chdir({str(instance.spool / 'maildrop')!r})\n"
            "open('notamail', 'w').write('x' * 1000)\n"
            "os.symlink('/etc/passwd', 'link')\n"
            "os.mkdir('directory')\n"
            "os.mkfifo('fifo')\n"
        )
        done = subprocess.run(
            [person.python, "-I", "-c", script], user=person.uid, group=person.gid, extra_groups=[], capture_output=True
        )
        if mode & 0o002:
            assert done.returncode == 0, done.stderr
        posted = person.run(
            "tubepost.commands.sendmail", "bob@example.test", text="Subject: after\n\nx\n",
            environment={"MAIL_CONFIG": str(instance.conf)},
        )  # fmt: skip
        assert posted.returncode == 0, posted.stderr
        instance.log.wait(r"to=<bob@example\.test>, .*status=sent")
        assert not instance.log.count(r"root:x:0:|panic:|Traceback")
        assert instance.queued("incoming") == []
