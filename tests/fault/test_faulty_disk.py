"""Each program, each call of the file system that it makes, each error: who asks hears a temporary no, nothing accepted
is lost, the program goes on, the log says what happened, and when the disk is well again all is done without a person.

One system for all rows (tests/fault/shim.py). The short form has one row a program, ``--long`` has all.
"""

import errno
import smtplib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.fault import traffic
from tests.fault.actions import (
    Scene,
    append,
    ask_etrn,
    build_aliases,
    build_table,
    copy,
    fetch,
    flag,
    furnish,
    hold,
    imap,
    list_queue,
    lmtp,
    login,
    make_folder,
    pop_delete,
    pop_retrieve,
    post,
    send,
    send_bounce,
    send_by_new_access,
    send_by_new_routes,
    send_down,
    send_included,
    send_local,
    send_many,
    send_mbox,
    send_piped,
    send_verified,
    set_password,
    smtp,
)
from tests.fault.invariants import check_log, check_nothing_lost, drain, in_mailboxes, stray_files, torn_messages
from tests.fault.shim import Fault, Shim, possible

pytestmark = [pytest.mark.xdist_group("faulty-disk"), pytest.mark.timeout(120)]

EVERY = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
OPENING = (*EVERY, errno.EMFILE)
READING = (errno.EIO, errno.EMFILE)
SYNCING = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


# -- the table ---------------------------------------------------------------------------------------------------------

YES, LATER = r"2\d\d |OK", r"4\d\d [\s\S]*4\.\d\.\d|452 "
NO = r"NO |exit [1-9]"


_LOCAL = r"local\[\d+\].*status=(deferred|bounced)"
_UNINDEXED = r"indexer\[\d+\]: warning: .*not indexed now"
_INDEXED = r"indexer\[\d+\]: .*/alice: indexed \d+ message"


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
    own: bool = False
    """In the program's own processes only: others make such calls as well."""
    patience: float = 25.0
    """Seconds until all is done."""
    then: str = ""
    """What the log says when the disk is well again."""

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
    Row("virtual", send, "open", "active/", READING, YES, r"virtual\[\d+\].*status=deferred"),
    Row("virtual", send, "read", "active/", (errno.EIO,), YES, r"virtual\[\d+\].*status=deferred"),
    Row("qmgr", send_many, "write", "active/", EVERY, YES, r"qmgr\[\d+\]: (warning|error): "),
    Row("qmgr", send, "rename", "incoming/", EVERY, YES, r"qmgr\[\d+\]: (warning|error): "),
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
    Row("postmap", build_table, "open", "/built", READING, NO),
    Row("postalias", build_aliases, "write", "aliases.", EVERY, NO),
    Row("postalias", build_aliases, "sync", "aliases.", SYNCING, NO),
    Row("postalias", build_aliases, "rename", "aliases", EVERY, NO),
    Row("postalias", build_aliases, "open", "/aliases", READING, NO),
    Row("local", send_local, "create", "boxed/tmp", OPENING, YES, _LOCAL),
    Row("local", send_local, "write", "boxed/tmp", EVERY, YES, _LOCAL),
    Row("local", send_local, "sync", "boxed/", SYNCING, YES, _LOCAL),
    Row("local", send_local, "rename", "boxed/tmp", EVERY, YES, _LOCAL),
    Row("local", send_mbox, "create", "filed/cur", OPENING, YES, _LOCAL),
    Row("local", send_mbox, "write", "filed/cur/1.mbox", EVERY, YES, _LOCAL),
    Row("local", send_mbox, "sync", "filed/cur/1.mbox", SYNCING, YES, _LOCAL),
    Row("local", send_local, "open", "active/", READING, YES, _LOCAL),
    Row("local", send_local, "read", "active/", (errno.EIO,), YES, _LOCAL),
    Row("local", send_included, "open", "lists/people", READING, YES, _LOCAL),
    Row("local", send_included, "read", "lists/people", (errno.EIO,), YES, _LOCAL),
    Row("pipe", send_piped, "open", "active/", READING, YES, r"pipe\[\d+\].*status=deferred"),
    Row("smtp", send_down, "open", "active/", READING, YES, r"smtp\[\d+\].*status=deferred.*queue file"),
    Row("flush", send_down, "create", "flush/", OPENING, YES, r"flush\[\d+\]: warning: .*cannot be listed"),
    Row("flush", send_down, "write", "flush/", EVERY, YES, r"flush\[\d+\]: warning: .*cannot be listed"),
    Row("flush", ask_etrn, "read", "flush/", (errno.EIO,), r"458 ", r"flush\[\d+\]: warning: .*cannot be flushed"),
    Row("verify", send_verified, "write", "verify_cache", EVERY, LATER, r"verify\[\d+\]: warning: ", own=True),
    Row("indexer", send, "write", "alice/tubepost.db", EVERY, YES, _UNINDEXED, then=_INDEXED),
    Row("indexer", send, "open", "alice/new", READING, YES, r"indexer\[\d+\]: warning: .*left out", own=True),
    Row("indexer", send, "read", "alice/new", (errno.EIO,), YES, r"indexer\[\d+\]: warning: ", own=True),
    Row("qmgr", send_down, "open", "deferred/", READING, YES, r"qmgr\[\d+\]: (warning|error): ", own=True),
    Row(
        "bounce",
        send_bounce,
        "open",
        "bounce/",
        READING,
        YES,
        r"(bounce|qmgr)\[\d+\]: (warning|error): ",
        own=True,
        patience=75,
    ),
    Row(
        "bounce",
        send_bounce,
        "open",
        "active/",
        READING,
        YES,
        r"(bounce|qmgr)\[\d+\]: (warning|error): ",
        own=True,
        patience=75,
    ),
    Row("imapd", fetch, "open", "carol/", READING, NO, r"imapd\[\d+\]: (warning|error): "),
    Row("imapd", fetch, "read", "carol/", (errno.EIO,), NO, r"imapd\[\d+\]: (warning|error): "),
    Row("pop3d", pop_retrieve, "open", "alice/", READING, r"-ERR ", r"pop3d\[\d+\]: (warning|error): "),
    Row("showq", list_queue, "open", "deferred/", READING, NO, r"showq\[\d+\]: (warning|error): ", own=True),
    Row("rewrite", send_by_new_routes, "open", "routes.db", READING, YES, r"rewrite\[\d+\]: warning: .*cannot open"),
    Row("smtpd", send_by_new_access, "open", "access.db", READING, YES, r"smtpd\[\d+\]: warning: .*cannot open"),
    Row("postsuper", hold, "rename", "deferred/", EVERY, NO),
    Row("sendmail", post, "open", "main.cf", READING, NO),
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
        furnish(instance)
        shim.start(instance)
        try:
            made = Scene(instance, shim, set())
            for _ in range(2):
                assert append(made) == "OK"
            imap(made, lambda client: client.create("Archive")[0])
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
    if row.does is pop_retrieve:
        assert send(scene).startswith("250")
        drain(scene.instance, scene.accepted)
    if row.does is pop_delete:
        start = len(scene.instance.log.lines)
        smtp(scene, ["erin@example.test"])
        scene.accepted = {mark for mark in scene.accepted if mark[1] != max(n for _, n in scene.accepted)}
        scene.instance.log.wait(r"to=<erin@example\.test>.*status=sent", start=start)


def _await(fault: Fault, seconds: float = 10.0) -> None:
    """A fault behind the door is met a little later than the client hears his yes."""
    ends = time.monotonic() + seconds
    while not fault.hits and time.monotonic() < ends:
        time.sleep(0.02)


WAITS = (send_down, ask_etrn, list_queue, hold)
"""Leave mail in the queue that nobody takes."""


def _pids(scene: Scene, row: Row) -> list[int]:
    if not row.own:
        return [0]
    # There is one for certain when it has just been at work.
    row.does(scene)
    _clear(scene, row)
    return scene.instance.pids(row.program)


def _clear(scene: Scene, row: Row) -> None:
    drain(scene.instance, scene.accepted, timeout=row.patience, but=("deferred", "hold") if row.does in WAITS else ())
    check_nothing_lost(scene.instance, scene.accepted)
    if row.does in WAITS:
        scene.instance.command("postsuper", "-d", "ALL")
        kept = in_mailboxes(scene.instance.mail)
        scene.accepted = {mark for mark in scene.accepted if mark[0] != "smtp" or mark in kept}


@pytest.mark.parametrize(("row", "error", "short"), CASES)
def test_an_error_of_the_disk(scene: Scene, row: Row, error: int, short: bool) -> None:
    """``short``: of the short form too (conftest.py)."""
    instance = scene.instance
    _prepare(scene, row)
    pids = _pids(scene, row)
    start = scene.seen = len(instance.log.lines)
    with scene.shim.fault(row.calls, error, row.path, pids=pids) as fault:
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
    if row.then:
        instance.log.wait(row.then, start=start, timeout=10)
    _clear(scene, row)
    _prepare(scene, row)
    scene.seen = len(instance.log.lines)
    again = row.does(scene)
    assert _heard(YES, again), f"after the fault: {again}"
    _clear(scene, row)


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
