"""What people and programs do to a system whose disk is ill (test_faulty_disk.py); each returns what was heard."""

import imaplib
import itertools
import os
import poplib
import pwd
import shutil
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.instance import Instance
from tests.fakes.sink import Sink
from tests.fault import traffic
from tests.fault.held import Held
from tests.fault.invariants import Mark, in_mailboxes
from tests.fault.shim import Shim

BOXED, FILED, INCLUDED = "boxed@localhost", "filed@localhost", "included@localhost"
"""Aliases: to a Maildir, to an mbox file, to what stands in a list (alice)."""
SENT, SENT_BY_LMTP = "x@sent.test", "frank@example.test"
"""By smtp to a server of the tests, and by lmtp to lmtpd."""
PIPED = "piped.test"
HOUSED, FORWARDED, MBOXED = "games", "news", "uucp"
"""Users of this system: with a Maildir at home, with a .forward to alice, with one to an mbox file at home."""
VERIFIED = "dave@example.test"
_numbers = itertools.count(1)


def furnish(instance: Instance) -> None:
    """What the actions need, before the start."""
    mail = instance.mail / "local"
    lists = instance.root / "lists"
    lists.mkdir()
    (lists / "people").write_text("alice@example.test\n")
    with open(instance.conf / "aliases", "a") as file:
        file.write(f"boxed: {mail}/boxed/\nfiled: {mail}/filed/cur/1.mbox\nincluded: :include:{lists}/people\n")
    instance.rebuild_aliases()
    homes = instance.root / "homes"
    # There the invariants look for marks.
    homes.symlink_to(mail / "homes")
    for user in (HOUSED, FORWARDED, MBOXED):
        account = pwd.getpwnam(user)
        home = mail / "homes" / user
        (home / "cur").mkdir(parents=True)
        if user != HOUSED:
            target = "alice@example.test" if user == FORWARDED else f"{homes}/{user}/cur/1.mbox"
            (home / ".forward").write_text(f"{target}\n")
        for path in (home, *home.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    script = instance.root / "keep"
    # The folder's name is that of a Maildir's: there the invariants look for marks.
    script.write_text(f"#!/bin/sh\nexec cat >{mail}/piped/new/$$.piped\n")
    script.chmod(0o755)
    for folder in ("boxed", "filed/cur", "piped/new", "sent/new"):
        (mail / folder).mkdir(parents=True)
    for path in (path for path in (mail, *mail.rglob("*")) if "homes" not in path.parts):
        # default_privs of local, and the user= of pipe, who may not be the mail owner.
        account = pwd.getpwnam("daemon" if "piped" in path.parts else "nobody")
        os.chown(path, account.pw_uid, account.pw_gid)
    with open(instance.conf / "master.cf", "a") as file:
        file.write(f"piped unix - n n - - pipe flags= user=daemon argv={script}\n")
    with open(instance.conf / "transport", "a") as file:
        file.write(f"{PIPED} piped:\n{SENT_BY_LMTP} lmtp:inet:127.0.0.1:{instance.ports['lmtp']}\n")
        file.write(f"sent.test smtp:[127.0.0.1]:{_Server(mail / 'sent' / 'new').port}\n")
    done = instance.command("tubepost", "user", "add", SENT_BY_LMTP, "--stdin", input="first\n")
    assert done.returncode == 0, done.stderr
    for table in ("routes", "access", "stands"):
        instance.write_table(table, f"{VERIFIED} reject_unverified_recipient\n" if table == "access" else "")
        done = instance.command("postmap", f"hash:{instance.conf}/{table}")
        assert done.returncode == 0, done.stderr
    instance.set_main(
        {
            "transport_maps": "texthash:$config_directory/transport, hash:$config_directory/routes",
            "smtpd_recipient_restrictions": "check_recipient_access hash:$config_directory/access",
            "address_verify_poll_delay": "1s",
            "recipient_delimiter": "+",
            "home_mailbox": "Maildir/",
            "virtual_alias_maps": "accounts:aliases, proxy:hash:$config_directory/stands",
            "address_verify_negative_refresh_time": "1s",
            "fast_flush_domains": traffic.DOWN,
            # Each connects.
            "smtp_connection_cache_on_demand": "no",
            "lmtp_connection_cache_on_demand": "no",
        }
    )


class _Server(Sink):
    """Keeps what it is sent as a Maildir does: there the invariants look for marks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()

    def keep(self, sender: str, recipients: list[str], data: bytes) -> None:
        (self._folder / f"{next(_numbers)}.sent").write_bytes(data)


@dataclass
class Scene:
    instance: Instance
    shim: Shim
    accepted: set[Mark]
    seen: int = 0
    """Lines of the log before what is done now."""
    last: Mark = ("", 0)
    """Of the message that was made last."""
    verify_again: float = 0.0
    """When verify has tried its file again, on the monotonic clock."""
    held: Held | None = None
    """By processes at rest; the level of those who have met everybody."""
    copied: set[Mark] = field(default_factory=set)
    """Of messages that people have copied or moved: they may be there more often than once."""
    taken: set[str] = field(default_factory=set)
    """Queue ids of mail that was taken away with postsuper, perhaps just when it was tried."""

    def text(self, kind: str) -> tuple[Mark, str]:
        number = next(_numbers)
        self.last = kind, number
        return self.last, f"Subject: {kind} {number}\n\nmark-{kind}-{number}-\n" + "x" * 70 + "\n" * 30 + "end\n"

    def note(self, mark: Mark, heard: str) -> str:
        if heard.startswith("2") or heard == "OK":
            self.accepted.add(mark)
        return heard


# -- what people do; each returns what they heard: "250" and "OK" are yes --------------------------------------------


def smtp(scene: Scene, recipients: list[str], options: Sequence[str] = ()) -> str:
    mark, text = scene.text("smtp")
    with smtplib.SMTP("127.0.0.1", scene.instance.port, timeout=20) as client:
        client.ehlo()
        client.mail("bob@example.test")
        for recipient in recipients:
            code, said = client.rcpt(recipient, options)
            if code != 250:
                return f"{code} {said.decode()}"
        code, said = client.data(text)
        return scene.note(mark, f"{code} {said.decode()}")


def send(scene: Scene) -> str:
    return smtp(scene, ["alice@example.test"])


def send_extended(scene: Scene) -> str:
    """To an address that nobody has looked up yet."""
    return smtp(scene, [f"alice+{next(_numbers)}@example.test"])


def send_many(scene: Scene) -> str:
    return smtp(scene, ["alice@example.test", "bob@example.test", "carol@example.test"])


def send_down(scene: Scene) -> str:
    return smtp(scene, [f"x@{traffic.DOWN}"])


def send_bounce(scene: Scene) -> str:
    return smtp(scene, [traffic.BOUNCES])


def send_local(scene: Scene) -> str:
    """To a Maildir and to an mbox file of local's."""
    return smtp(scene, [BOXED])


def send_mbox(scene: Scene) -> str:
    return smtp(scene, [FILED])


def send_included(scene: Scene) -> str:
    return smtp(scene, [INCLUDED])


def send_home(scene: Scene) -> str:
    """To a user whose Maildir is in the home directory."""
    return smtp(scene, [f"{HOUSED}@localhost"])


def send_forwarded(scene: Scene) -> str:
    return smtp(scene, [f"{FORWARDED}@localhost"])


def send_home_mbox(scene: Scene) -> str:
    return smtp(scene, [f"{MBOXED}@localhost"])


def send_piped(scene: Scene) -> str:
    return smtp(scene, [f"x@{PIPED}"])


def send_on(scene: Scene) -> str:
    """By smtp to a server that takes it."""
    return smtp(scene, [SENT])


def send_by_lmtp(scene: Scene) -> str:
    return smtp(scene, [SENT_BY_LMTP])


def send_traced(scene: Scene) -> str:
    """With a report of success (RFC 3461 4.1), which goes to bob."""
    return smtp(scene, ["alice@example.test"], ("NOTIFY=SUCCESS",))


def send_to_nobody_yet(scene: Scene) -> str:
    """To a user without a mailbox: it is made."""
    box = scene.instance.mail / "example.test/erin"
    scene.accepted -= in_mailboxes(box).keys()
    shutil.rmtree(box, ignore_errors=True)
    return smtp(scene, ["erin@example.test"])


def send_by_new_stands(scene: Scene) -> str:
    """After a table was changed that proxymap answers for."""
    return _after_touching(scene, "stands", lambda: send(scene))


def send_verified(scene: Scene) -> str:
    """To an address that is probed before it is accepted."""
    name, _, domain = VERIFIED.partition("@")
    return smtp(scene, [f"{name}+{next(_numbers)}@{domain}"])


def send_by_new_routes(scene: Scene) -> str:
    """After transport(5) was changed: rewrite reads it anew."""
    # What was asked before it does not look up again at once.
    return _after_touching(scene, "routes", lambda: smtp(scene, [f"alice+{next(_numbers)}@example.test"]))


def send_by_new_access(scene: Scene) -> str:
    """After access(5) was changed: smtpd reads it anew."""
    return _after_touching(scene, "access", lambda: send(scene))


def _after_touching(scene: Scene, table: str, work: Callable[[], str]) -> str:
    value = "reject_unverified_recipient" if table == "access" else "virtual:"
    scene.instance.write_table(table, f"{VERIFIED} {value}\nother-{next(_numbers)}@x.test {value}\n")
    done = scene.instance.command("postmap", f"hash:{scene.instance.conf}/{table}")
    assert done.returncode == 0, done.stderr
    # A table that is open is looked at once a second.
    time.sleep(1.1)
    return work()


def ask_etrn(scene: Scene) -> str:
    """Mail for the destination that is down, which is then asked for."""
    heard = send_down(scene)
    assert heard.startswith("250"), heard
    scene.instance.log.wait(rf"to=<x@{traffic.DOWN}>.*status=deferred", start=scene.seen)
    with smtplib.SMTP("127.0.0.1", scene.instance.port, timeout=20) as client:
        client.ehlo()
        code, said = client.docmd("ETRN", traffic.DOWN)
    return f"{code} {said.decode()}"


def list_queue(scene: Scene) -> str:
    """mailq of mail that waits: OK if it is listed."""
    heard = send_down(scene)
    assert heard.startswith("250"), heard
    queue_id = scene.instance.log.wait(rf" (\w+): to=<x@{traffic.DOWN}>.*status=deferred", start=scene.seen)[-1][1]
    done = scene.instance.command("postqueue", "-p")
    if done.returncode == 0 and queue_id in done.stdout:
        return "OK"
    return f"NO {done.returncode} {done.stdout}"


def hold(scene: Scene) -> str:
    """postsuper -h and -H, with the faults in the command itself; mail that waits stays or goes, but is there."""
    heard = send_down(scene)
    assert heard.startswith("250"), heard
    scene.instance.log.wait(rf"to=<x@{traffic.DOWN}>.*status=deferred", start=scene.seen)
    held = _command(scene, "postsuper", "-h", "ALL")
    released = _command(scene, "postsuper", "-H", "ALL")
    said = held.stderr + released.stderr
    if held.returncode or released.returncode or "warning" in said or "error" in said or "fatal" in said:
        return f"exit 1: {held.returncode} {said}"
    return "OK"


def reload(scene: Scene) -> str:
    done = scene.instance.command("tubepost", "reload")
    return "OK" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"


def lmtp(scene: Scene) -> str:
    mark, text = scene.text("lmtp")
    with smtplib.LMTP("127.0.0.1", scene.instance.ports["lmtp"], timeout=20) as client:
        client.ehlo()
        client.mail("a@example.org")
        client.rcpt("bob@example.test")
        code, said = client.data(text)
        return scene.note(mark, f"{code} {said.decode()}")


def post(scene: Scene) -> str:
    """sendmail, with the faults in the command itself."""
    mark, text = scene.text("post")
    done = _command(scene, "sendmail", "alice@example.test", text=text)
    return scene.note(mark, "OK" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}")


def _command(scene: Scene, name: str, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", "-m", f"tubepost.commands.{name}", *arguments],
        env={**os.environ, **scene.shim.environment, "MAIL_CONFIG": str(scene.instance.conf)},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )


def imap(scene: Scene, work: Callable[[imaplib.IMAP4], str], address: str = "carol@example.test") -> str:
    with imaplib.IMAP4("127.0.0.1", scene.instance.ports["imap"], timeout=20) as client:
        try:
            client.login(address, scene.instance.credentials[address])
            status, answer = client.select("INBOX")
            return work(client) if status == "OK" else f"{status} {answer!r}"
        except imaplib.IMAP4.abort as error:
            return f"BYE {error}"
        except imaplib.IMAP4.error as error:
            return f"NO {error}"


def append(scene: Scene, address: str = "carol@example.test") -> str:
    mark, text = scene.text("append")

    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.append("INBOX", "", "", text.replace("\n", "\r\n").encode())
        return scene.note(mark, status if status == "OK" else f"{status} {answer!r}")

    return imap(scene, work, address)


def append_first(scene: Scene) -> str:
    """To the mailbox of one who never had any: all of it is made."""
    address = f"first{next(_numbers)}@example.test"
    done = scene.instance.command("tubepost", "user", "add", address, "--stdin", input="first\n")
    assert done.returncode == 0, done.stderr
    scene.instance.credentials[address] = "first"
    return append(scene, address)


def copy(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.copy("1", "Archive")
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def fetch(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.fetch("1", "(BODY.PEEK[])")
        whole = any(isinstance(part, tuple) and b"end" in part[1] for part in answer)
        return status if status == "OK" and whole else f"NO {answer!r}"[:300]

    return imap(scene, work)


def flag(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.store("1", "+FLAGS", rf"(\Seen k{next(_numbers)})")
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def make_folder(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.create(f"Folder-{next(_numbers)}")
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def expunge(scene: Scene) -> str:
    """One that is put there first."""

    def work(client: imaplib.IMAP4) -> str:
        client.append("Spare", r"(\Deleted)", "", b"Subject: x\r\n\r\nx\r\n")
        client.select("Spare")
        status, answer = client.expunge()
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def move(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        client.append("Spare", "", "", b"Subject: x\r\n\r\nx\r\n")
        client.select("Spare")
        status, answer = client.uid("MOVE", "1:*", "Archive")
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def rename_folder(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        number = next(_numbers)
        client.create(f"Old-{number}")
        status, answer = client.rename(f"Old-{number}", f"New-{number}")
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def delete_folder(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        number = next(_numbers)
        client.create(f"Gone-{number}")
        status, answer = client.delete(f"Gone-{number}")
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def subscribe(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        # One that is another's each time: to subscribe to what is subscribed to changes nothing.
        name = f"Subscribed-{next(_numbers)}"
        client.create(name)
        status, answer = client.subscribe(name)
        return status if status == "OK" else f"{status} {answer!r}"

    return imap(scene, work)


def remove(scene: Scene) -> str:
    """postsuper -d of mail that waits."""
    heard = send_down(scene)
    assert heard.startswith("250"), heard
    queue_id = scene.instance.log.wait(rf" (\w+): to=<x@{traffic.DOWN}>.*status=deferred", start=scene.seen)[-1][1]
    done = _command(scene, "postsuper", "-d", queue_id)
    said = done.stderr
    if done.returncode or "warning" in said or "error" in said or "fatal" in said:
        return f"exit 1: {done.returncode} {said}"
    # The sender knows; nobody waits for it any more.
    scene.accepted.discard(max(scene.accepted, key=lambda mark: mark[1]))
    return "OK"


def login(scene: Scene) -> str:
    return imap(scene, lambda client: "OK")


def pop_delete(scene: Scene) -> str:
    """Of erin, who is sent a message first."""
    instance = scene.instance
    client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=20)
    try:
        client.user("erin@example.test")
        client.pass_(instance.credentials["erin@example.test"])
        for number in range(1, client.stat()[0] + 1):
            client.dele(number)
        client.quit()
    except poplib.error_proto as error:
        client.close()
        return f"-ERR {error}"
    return "OK"


def pop_retrieve(scene: Scene) -> str:
    """Of alice, without removing it."""
    instance = scene.instance
    client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=20)
    try:
        client.user("alice@example.test")
        client.pass_(instance.credentials["alice@example.test"])
        _, lines, _ = client.retr(1)
        client.quit()
    except (poplib.error_proto, EOFError) as error:
        client.close()
        return f"-ERR {error}"
    return "OK" if b"end" in lines else "half a message"


def set_password(scene: Scene) -> str:
    new = f"password {next(_numbers)}"
    done = _command(scene, "tubepost", "user", "passwd", "carol@example.test", "--stdin", text=new)
    if done.returncode:
        return f"exit {done.returncode}: {done.stderr}"
    scene.instance.credentials["carol@example.test"] = new
    return "OK"


def build_table(scene: Scene) -> str:
    number = next(_numbers)
    scene.instance.write_table("built", f"key value {number}\n")
    path = f"hash:{scene.instance.conf}/built"
    before = _command(scene, "postmap", "-q", "key", path).stdout
    done = _command(scene, "postmap", path)
    after = _command(scene, "postmap", "-q", "key", path).stdout
    if done.returncode == 0:
        assert after == f"value {number}\n"
        return "OK"
    assert after == before, "the old table stands"
    return f"exit {done.returncode}: {done.stderr}"


def build_aliases(scene: Scene) -> str:
    """As build_table, by tubepost alias; what a reader sees is the old table or the new one."""
    number = next(_numbers)
    before = scene.instance.command("postalias", "-q", "sales", f"hash:{scene.instance.conf}/aliases").stdout
    done = _command(scene, "postalias", f"hash:{scene.instance.conf}/aliases")
    after = scene.instance.command("postalias", "-q", "sales", f"hash:{scene.instance.conf}/aliases").stdout
    assert after == before, number
    return "OK" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"


def let_an_hour_pass(scene: Scene) -> None:
    """Over logs of messages that are gone: the next bounce process removes them (STATES.md: S7)."""
    before = time.time() - 7200
    for path in (scene.instance.spool / "bounce").iterdir():
        os.utime(path, (before, before))
    for pid in scene.instance.pids("bounce"):
        os.kill(pid, signal.SIGKILL)


def let_verify_try_again(scene: Scene) -> None:
    """Its file, which it does without for ten seconds after a fault: there is one after this."""
    time.sleep(max(scene.verify_again - time.monotonic(), 0))
    scene.verify_again = time.monotonic() + 15


WARMING = (
    send,
    send_many,
    send_bounce,
    send_local,
    send_mbox,
    send_piped,
    send_on,
    send_by_lmtp,
    send_extended,
    send_traced,
    send_verified,
    post,
    lmtp,
    pop_retrieve,
    list_queue,
    ask_etrn,
)
"""Each program is there after them, and has met everybody."""
