"""Each program, each call of the file system that it makes, each error: who asks hears a temporary no, nothing accepted
is lost, the program goes on, the log says what happened, and when the disk is well again all is done without a person.

One system for all rows (tests/fault/shim.py). The short form has one row a program, ``--long`` has all.
"""

import errno
import imaplib
import itertools
import os
import poplib
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import Mark, check_log, check_nothing_lost, drain, stray_files, torn_messages
from tests.fault.shim import Fault, Shim, possible

pytestmark = [pytest.mark.xdist_group("faulty-disk"), pytest.mark.timeout(60)]

EVERY = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
OPENING = (*EVERY, errno.EMFILE)
SYNCING = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
_numbers = itertools.count(1)


@dataclass
class Scene:
    instance: Instance
    shim: Shim
    accepted: set[Mark]

    def text(self, kind: str) -> tuple[Mark, str]:
        number = next(_numbers)
        return (kind, number), f"Subject: {kind} {number}\n\nmark-{kind}-{number}-\n" + "x" * 70 + "\n" * 30 + "end\n"

    def note(self, mark: Mark, heard: str) -> str:
        if heard.startswith("2") or heard == "OK":
            self.accepted.add(mark)
        return heard


# -- what people do; each returns what they heard: "250" and "OK" are yes --------------------------------------------


def _smtp(scene: Scene, recipients: list[str]) -> str:
    mark, text = scene.text("smtp")
    with smtplib.SMTP("127.0.0.1", scene.instance.port, timeout=20) as client:
        client.ehlo()
        client.mail("bob@example.test")
        for recipient in recipients:
            code, said = client.rcpt(recipient)
            if code != 250:
                return f"{code} {said.decode()}"
        code, said = client.data(text)
        return scene.note(mark, f"{code} {said.decode()}")


def send(scene: Scene) -> str:
    return _smtp(scene, ["alice@example.test"])


def send_many(scene: Scene) -> str:
    return _smtp(scene, ["alice@example.test", "bob@example.test", "carol@example.test"])


def send_down(scene: Scene) -> str:
    return _smtp(scene, [f"x@{traffic.DOWN}"])


def send_bounce(scene: Scene) -> str:
    return _smtp(scene, [traffic.BOUNCES])


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


def _imap(scene: Scene, work: Callable[[imaplib.IMAP4], str]) -> str:
    address = "carol@example.test"
    with imaplib.IMAP4("127.0.0.1", scene.instance.ports["imap"], timeout=20) as client:
        try:
            client.login(address, scene.instance.credentials[address])
            client.select("INBOX")
            return work(client)
        except imaplib.IMAP4.abort as error:
            return f"BYE {error}"
        except imaplib.IMAP4.error as error:
            return f"NO {error}"


def append(scene: Scene) -> str:
    mark, text = scene.text("append")

    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.append("INBOX", "", "", text.replace("\n", "\r\n").encode())
        return scene.note(mark, status if status == "OK" else f"{status} {answer!r}")

    return _imap(scene, work)


def copy(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.copy("1", "Archive")
        return status if status == "OK" else f"{status} {answer!r}"

    return _imap(scene, work)


def flag(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.store("1", "+FLAGS", rf"(\Seen k{next(_numbers)})")
        return status if status == "OK" else f"{status} {answer!r}"

    return _imap(scene, work)


def make_folder(scene: Scene) -> str:
    def work(client: imaplib.IMAP4) -> str:
        status, answer = client.create(f"Folder-{next(_numbers)}")
        return status if status == "OK" else f"{status} {answer!r}"

    return _imap(scene, work)


def login(scene: Scene) -> str:
    return _imap(scene, lambda client: "OK")


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


# -- the table ---------------------------------------------------------------------------------------------------------

YES, LATER = r"2\d\d |OK", r"4\d\d [\s\S]*4\.\d\.\d|452 "
NO = r"NO |exit [1-9]"


@dataclass(frozen=True)
class Row:
    program: str
    does: Callable[[Scene], str]
    calls: str
    path: str
    errors: tuple[int, ...]
    # What is heard while it lasts, and what the log says.
    heard: str
    log: str = ""

    def __str__(self) -> str:
        return f"{self.program}-{self.calls}-{self.path.strip('/.').replace('/', '.')}-{self.does.__name__}"


ROWS = (
    Row("cleanup", send, "create", "incoming/", OPENING, LATER, r"cleanup\[\d+\].*queue file"),
    Row("cleanup", send, "write", "incoming/", EVERY, LATER, r"cleanup\[\d+\].*queue file"),
    Row("cleanup", send, "sync", "incoming/", SYNCING, LATER, r"cleanup\[\d+\].*queue file"),
    Row("virtual", send, "create", "alice/tmp", OPENING, YES, r"virtual\[\d+\].*status=(deferred|bounced)"),
    Row("virtual", send, "write", "alice/tmp", EVERY, YES, r"virtual\[\d+\].*status=(deferred|bounced)"),
    Row("virtual", send, "sync", "alice/", SYNCING, YES, r"virtual\[\d+\].*status=(deferred|bounced)"),
    Row("virtual", send, "rename", "alice/tmp", EVERY, YES, r"virtual\[\d+\].*status=(deferred|bounced)"),
    Row("virtual", send, "open", "active/", (errno.EIO, errno.EMFILE), YES, r"virtual\[\d+\].*status=deferred"),
    Row("virtual", send, "read", "active/", (errno.EIO,), YES, r"virtual\[\d+\].*status=deferred"),
    Row("qmgr", send, "rename", "incoming/", EVERY, YES, r"qmgr\[\d+\]: (warning|error): "),
    Row("qmgr", send_many, "write", "active/", EVERY, YES, r"qmgr\[\d+\]: (warning|error): "),
    Row("qmgr", send, "unlink", "active/", EVERY, YES, r"qmgr\[\d+\]: (warning|error): "),
    Row("qmgr", send_down, "rename", "deferred/", EVERY, YES, r"qmgr\[\d+\]: (warning|error): .*deferred"),
    Row("bounce", send_bounce, "create", "bounce/", OPENING, YES, r"(bounce|qmgr)\[\d+\]: (warning|error): "),
    Row("bounce", send_bounce, "write", "bounce/", EVERY, YES, r"(bounce|qmgr)\[\d+\]: (warning|error): "),
    Row("bounce", send_bounce, "sync", "bounce/", SYNCING, YES, r"(bounce|qmgr)\[\d+\]: (warning|error): "),
    Row("bounce", send_down, "create", "defer/", OPENING, YES, r"(bounce|qmgr)\[\d+\]: (warning|error): "),
    Row("pickup", post, "open", "maildrop/", (errno.EIO, errno.EMFILE), YES, r"pickup\[\d+\]: warning: "),
    Row("pickup", post, "read", "maildrop/", (errno.EIO,), YES, r"pickup\[\d+\]: warning: "),
    Row("sendmail", post, "create", "maildrop/", OPENING, NO),
    Row("sendmail", post, "write", "maildrop/", EVERY, NO),
    Row("sendmail", post, "sync", "maildrop", SYNCING, NO),
    Row("lmtpd", lmtp, "create", "bob/tmp", OPENING, LATER, r"lmtpd\[\d+\].*status=(deferred|bounced)|lmtpd.*warning"),
    Row("lmtpd", lmtp, "write", "bob/tmp", EVERY, LATER, r"lmtpd\[\d+\].*(status=|warning)"),
    Row("lmtpd", lmtp, "sync", "bob/", SYNCING, LATER, r"lmtpd\[\d+\].*(status=|warning)"),
    Row("lmtpd", lmtp, "rename", "bob/tmp", EVERY, LATER, r"lmtpd\[\d+\].*(status=|warning)"),
    Row("imapd", append, "create", "carol/tmp", OPENING, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", append, "write", "carol/tmp", EVERY, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", append, "sync", "carol/", SYNCING, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", append, "rename", "carol/tmp", EVERY, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", append, "write", "carol/tubepost.db", EVERY, r"NO |BYE ", r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", copy, "rename create", "Archive/", EVERY, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", flag, "write", "carol/tubepost.db", EVERY, r"NO |BYE ", r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", make_folder, "mkdir", "carol/", EVERY, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("pop3d", pop_delete, "unlink", "erin/", EVERY, r"-ERR ", r"pop3d\[\d+\]: (warning|error): "),
    Row("auth", login, "read", "passwords.db", (errno.EIO,), r"NO .*UNAVAILABLE", r"auth\[\d+\]: (warning|error): "),
    Row("tubepost", set_password, "write", "passwords.db", EVERY, NO),
    Row("tubepost", set_password, "sync", "passwords.db", SYNCING, NO),
    Row("postmap", build_table, "write", "built", EVERY, NO),
    Row("postmap", build_table, "sync", "built", SYNCING, NO),
    Row("postmap", build_table, "rename", "built", EVERY, NO),
)
SHORT = {row.program: row for row in reversed(ROWS)}
"""The first of each program."""
CASES = [
    pytest.param(row, error, place == 0 and SHORT[row.program] is row, id=f"{row}-{errno.errorcode[error]}")
    for row in ROWS
    for place, error in enumerate(row.errors)
]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    if why := possible():
        pytest.skip(why)
    with Shim() as shim:
        main = {"auth_failure_delay": "0s", "maximal_queue_lifetime": "1h", "smtpd_error_sleep_time": "0s"}
        instance = traffic.instance(main={**main, "minimal_backoff_time": "1s", "ipc_timeout": "20s"})
        shim.start(instance)
        try:
            made = Scene(instance, shim, set())
            for _ in range(2):
                assert append(made) == "OK"
            _imap(made, lambda client: client.create("Archive")[0])
            yield made
            check_log(instance)
            strays = stray_files(instance)
            assert not strays, f"nothing will look at {strays[:10]}"
            torn = torn_messages(instance.mail)
            assert not torn, torn[:5]
        finally:
            instance.stop()
            instance.remove()


def _heard(pattern: str, said: str) -> bool:
    import re

    return re.match(pattern, said) is not None


def _prepare(scene: Scene, row: Row) -> None:
    if row.does is pop_delete:
        start = len(scene.instance.log.lines)
        _smtp(scene, ["erin@example.test"])
        scene.accepted = {mark for mark in scene.accepted if mark[1] != max(n for _, n in scene.accepted)}
        scene.instance.log.wait(r"to=<erin@example\.test>.*status=sent", start=start)


def _await(fault: Fault, seconds: float = 10.0) -> None:
    """A fault behind the door is met a little later than the client hears his yes."""
    ends = time.monotonic() + seconds
    while not fault.hits and time.monotonic() < ends:
        time.sleep(0.02)


@pytest.mark.parametrize(("row", "error", "short"), CASES)
def test_an_error_of_the_disk(scene: Scene, row: Row, error: int, short: bool, long: bool) -> None:
    if not long and not short:
        pytest.skip("of the long form")
    instance = scene.instance
    _prepare(scene, row)
    start = len(instance.log.lines)
    with scene.shim.fault(row.calls, error, row.path) as fault:
        heard = row.does(scene)
        _await(fault)
        assert fault.hits, f"{row.program} makes no such call; heard {heard}"
        # Who used up what was given to him is told so, and it concerns nobody else.
        if row.log and not (error == errno.EDQUOT and row.program == "imapd"):
            instance.log.wait(row.log, start=start, timeout=10)
    # As in Postfix a mailbox over its disk quota is no temporary trouble.
    expected = r"552 5\.2\.2" if error == errno.EDQUOT and row.program == "lmtpd" else row.heard
    assert _heard(expected, heard), heard
    # The disk is well again: nobody does anything, and all is done.
    but = ("deferred",) if row.does is send_down else ()
    drain(instance, scene.accepted, timeout=20, but=but)
    check_nothing_lost(instance, scene.accepted)
    if row.does is send_down:
        instance.command("postsuper", "-d", "ALL", "deferred")
        scene.accepted = {mark for mark in scene.accepted if mark[1] != max(n for _, n in scene.accepted)}
    _prepare(scene, row)
    again = row.does(scene)
    assert _heard(YES, again), f"after the fault: {again}"
    if row.does is send_down:
        instance.command("postsuper", "-d", "ALL")
        scene.accepted = {mark for mark in scene.accepted if mark[1] != max(n for _, n in scene.accepted)}


SHORT_WRITES = ((send, "incoming/"), (send, "alice/tmp"), (lmtp, "bob/tmp"), (append, "carol/tmp"), (post, "maildrop/"))


@pytest.mark.parametrize(("does", "path"), SHORT_WRITES, ids=lambda value: getattr(value, "__name__", None))
def test_writes_that_take_half(scene: Scene, does: Callable[[Scene], str], path: str) -> None:
    """write(2) may write less than it was given: the rest follows. Whole messages are looked for at the end."""
    with scene.shim.fault("write", path=path, shorten=True) as fault:
        assert _heard(YES, does(scene))
        _await(fault)
        drain(scene.instance, scene.accepted)
        assert fault.hits > 1
    check_nothing_lost(scene.instance, scene.accepted)
    assert not torn_messages(scene.instance.mail)


@pytest.mark.parametrize(("does", "path"), [(send, "incoming/"), (send, "alice/"), (append, "carol/")])
def test_a_slow_disk_is_waited_for_and_others_go_on(scene: Scene, does: Callable[[Scene], str], path: str) -> None:
    with scene.shim.fault("sync", path=path, delay=1.5) as fault:
        begun = time.monotonic()
        assert _heard(YES, does(scene))
        # Who needs no disk does not wait.
        begun = time.monotonic()
        with smtplib.SMTP("127.0.0.1", scene.instance.port, timeout=20) as client:
            client.noop()
        assert time.monotonic() - begun < 1.0
        _await(fault)
    drain(scene.instance, scene.accepted)
    assert fault.hits


def test_no_descriptors_for_new_clients(scene: Scene) -> None:
    """EMFILE at accept: the client waits in the backlog, and is served when there are descriptors again."""
    start = len(scene.instance.log.lines)
    with scene.shim.fault("accept", errno.EMFILE, "socket:", count=3) as fault:
        assert _heard(YES, send(scene))
    assert fault.hits == 3
    scene.instance.log.wait(r"cannot accept", start=start)
    drain(scene.instance, scene.accepted)
