"""Each program, each call of the file system that it makes, each error: who asks hears a temporary no, nothing accepted
is lost, the program goes on, the log says what happened, and when the disk is well again all is done without a person.

One system for all rows (tests/fault/shim.py). The short form has one row a program, ``--long`` has all.
"""

import errno
import imaplib
import os
import signal
import smtplib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.fault import traffic
from tests.fault.actions import (
    Scene,
    append,
    append_first,
    ask_etrn,
    build_aliases,
    build_table,
    copy,
    furnish,
    hold,
    imap,
    list_queue,
    lmtp,
    login,
    pop_delete,
    pop_retrieve,
    post,
    remove,
    send,
    send_bounce,
    send_down,
    send_extended,
    send_home,
    send_local,
    send_mbox,
    send_traced,
    set_password,
    smtp,
)
from tests.fault.invariants import (
    check_nothing_lost,
    drain,
    in_mailboxes,
    in_queue,
    torn_messages,
)
from tests.fault.rest import check_at_rest, matches, take_away, warm
from tests.fault.rows import LATER, ROWS, YES, Row
from tests.fault.shim import Fault, Shim, possible

pytestmark = [pytest.mark.xdist_group("faulty-disk"), pytest.mark.timeout(120)]

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
            assert append(made) == "OK"
            # What ``copy`` copies.
            made.copied.add(made.last)
            assert append(made) == "OK"
            imap(made, lambda client: client.create("Archive")[0] + client.create("Spare")[0])
            warm(made)
            yield made
            check_at_rest(made)
        finally:
            instance.stop()
            instance.remove()


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


WAITS = (send_down, ask_etrn, list_queue, hold, remove)
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
        take_away(scene)


@contextmanager
def _alone(scene: Scene) -> Iterator[None]:
    """What a row that fails leaves, or has lost, is not the fault of the next."""
    try:
        yield
    except BaseException:
        scene.instance.command("postsuper", "-d", "ALL")
        scene.accepted &= in_queue(scene.instance.spool).keys() | in_mailboxes(scene.instance.mail).keys()
        raise


@pytest.mark.parametrize(("row", "error", "short"), CASES)
def test_an_error_of_the_disk(scene: Scene, row: Row, error: int, short: bool) -> None:
    """``short``: of the short form too (conftest.py)."""
    with _alone(scene):
        _try(scene, row, error)


def _try(scene: Scene, row: Row, error: int) -> None:
    instance = scene.instance
    if row.before is not None:
        row.before(scene)
    _prepare(scene, row)
    pids = _pids(scene, row)
    start = scene.seen = len(instance.log.lines)
    with scene.shim.fault(row.calls, error, row.path, pids=pids) as fault:
        heard = row.does(scene)
        _await(fault)
        assert fault.hits, f"{row.program} makes no such call; heard {heard}"
        # Who used up what was given to him is told so, and it concerns nobody else.
        if row.log and not (error == errno.EDQUOT and row.program == "imapd"):
            # Mail is returned for its recipient's quota alone.
            said = row.log if error == errno.EDQUOT else row.log.replace("(deferred|bounced)", "deferred")
            instance.log.wait(said, start=start, timeout=row.patience)
    # As in Postfix a mailbox over its disk quota is no temporary trouble.
    expected = r"552 5\.2\.2" if error == errno.EDQUOT and row.program == "lmtpd" else row.heard
    assert matches(expected, heard), heard
    # The disk is well again: nobody does anything, and all is done.
    if row.then:
        instance.log.wait(row.then, start=start, timeout=10)
    _clear(scene, row)
    if row.afterwards is not None:
        row.afterwards(scene)
    _prepare(scene, row)
    scene.seen = len(instance.log.lines)
    again = row.does(scene)
    if matches(r"NO .*UNAVAILABLE", again):
        # The index is opened anew: who comes again finds it so.
        again = row.does(scene)
    assert matches(YES, again), f"after the fault: {again}"
    _clear(scene, row)
    check_at_rest(scene)


SHORT_WRITES = ((send, "incoming/"), (send, "alice/tmp"), (lmtp, "bob/tmp"), (append, "carol/tmp"), (post, "maildrop/"))


@pytest.mark.parametrize(("does", "path"), SHORT_WRITES, ids=lambda value: getattr(value, "__name__", None))
def test_writes_that_take_half(scene: Scene, does: Callable[[Scene], str], path: str) -> None:
    """write(2) may write less than it was given: the rest follows. Whole messages are looked for at the end."""
    with scene.shim.fault("write", path=path, shorten=True) as fault:
        assert matches(YES, does(scene))
        _await(fault)
        drain(scene.instance, scene.accepted)
        assert fault.hits > 1
    check_nothing_lost(scene.instance, scene.accepted)
    assert not torn_messages(scene.instance.mail)


# Each program that syncs, where, and who waits for it: whoever asked, or the mail, which is on its way until then.
SLOW = [
    pytest.param(does, path, waits, form == "short", id=f"{does.__name__}-{path}")
    for does, path, waits, form in (
        (send, "incoming/", "asker", "short"),
        (send, "alice/new", "mail", "short"),
        (append, "carol/cur", "asker", "short"),
        (append, "carol/tmp", "asker", "long"),
        (append, "carol/tubepost.db", "asker", "long"),
        (append_first, "tubepost.db", "asker", "long"),
        (copy, "Archive/", "asker", "long"),
        (lmtp, "bob/new", "asker", "long"),
        (post, "maildrop", "asker", "long"),
        (send_bounce, "bounce/", "mail", "long"),
        (send_traced, "trace/", "mail", "long"),
        (send_local, "boxed/new", "mail", "long"),
        (send_mbox, "1.mbox", "mail", "long"),
        (send_home, "games/Maildir/new", "mail", "long"),
        (pop_retrieve, "alice/tubepost.db", "asker", "long"),
        (set_password, "passwords.db", "asker", "long"),
        (build_table, "built", "asker", "long"),
        (build_aliases, "aliases.", "asker", "long"),
    )
]


@pytest.mark.parametrize(("does", "path", "waits", "short"), SLOW)
def test_a_slow_disk_is_waited_for_and_others_go_on(
    scene: Scene, does: Callable[[Scene], str], path: str, waits: str, short: bool
) -> None:
    """At each sync; ``short``: of the short form too."""
    if does is pop_retrieve:
        assert send(scene).startswith("250")
        drain(scene.instance, scene.accepted)
        _put_into(scene, "alice@example.test")
    if path == "carol/tubepost.db":
        # After a slow syncfs files are synced one by one, for a minute, and the index is one of them.
        with scene.shim.fault("sync", path="carol/cur", delay=0.3) as fault:
            assert matches(YES, append(scene))
        assert fault.hits
    with ThreadPoolExecutor(1) as pool, scene.shim.fault("sync", path=path, delay=SLOWNESS) as fault:
        asking = pool.submit(does, scene)
        _await(fault)
        assert fault.hits, f"nobody syncs {path}; heard {asking.result()}"
        met = time.monotonic()
        # Who needs no disk does not wait.
        assert _patience(scene) < 1.0
        assert matches(YES, asking.result())
        if waits == "mail":
            drain(scene.instance, scene.accepted)
        # What is answered for is on the disk: _await looks every 20 ms.
        assert time.monotonic() - met > SLOWNESS - 0.1, f"{waits} did not wait for the sync of {path}"
        drain(scene.instance, scene.accepted)
    check_nothing_lost(scene.instance, scene.accepted)


SLOWNESS = 1.5


def _put_into(scene: Scene, address: str) -> None:
    """A file that another program has delivered: the indexer does not know, who opens the mailbox first takes it in."""
    user, _, domain = address.partition("@")
    mark, text = scene.text("put")
    folder = scene.instance.mail / domain / user / "new"
    path = folder.with_name("tmp") / f"{int(time.time())}.{mark[1]}.elsewhere"
    path.write_text(text)
    os.chown(path, folder.stat().st_uid, folder.stat().st_gid)
    path.rename(folder / path.name)
    scene.accepted.add(mark)


def _patience(scene: Scene) -> float:
    """Seconds that a word with each server takes at most."""
    longest = 0.0
    for make, port in (
        (smtplib.SMTP, scene.instance.port),
        (smtplib.LMTP, scene.instance.ports["lmtp"]),
        (imaplib.IMAP4, scene.instance.ports["imap"]),
    ):
        begun = time.monotonic()
        with make("127.0.0.1", port, timeout=20) as client:
            client.noop()
        longest = max(longest, time.monotonic() - begun)
    return longest


DOORS: tuple[tuple[str, Callable[[Scene], str]], ...] = (
    ("smtpd", send),
    ("lmtpd", lmtp),
    ("imapd", login),
    ("pop3d", pop_retrieve),
)


def test_no_descriptors_for_new_clients(scene: Scene) -> None:
    """EMFILE at accept: the client waits in the backlog, and is served when there are descriptors again."""
    instance = scene.instance
    for _, does in DOORS:
        assert matches(YES, does(scene))
    start = len(instance.log.lines)
    with ExitStack() as stack, ThreadPoolExecutor(len(DOORS)) as pool:
        faults = [
            stack.enter_context(
                scene.shim.fault("accept", errno.EMFILE, "socket: inet", count=3, pids=instance.pids(program))
            )
            for program, _ in DOORS
        ]
        heard = [asking.result() for asking in [pool.submit(does, scene) for _, does in DOORS]]
    for (program, _), fault, said in zip(DOORS, faults, heard, strict=True):
        assert matches(YES, said), f"{program}: {said}"
        assert fault.hits == 3, program
        instance.log.wait(rf"{program}\[\d+\]: warning: cannot accept .*Too many open files", start=start)
    drain(instance, scene.accepted)
    check_at_rest(scene)


# Whose partner is killed, and new: the one that lacks descriptors has to make the line, or to take it.
_MAKES = (("descriptor", "socket: unix", 0), ("descriptor", "socket: unix", 1), ("descriptor", "eventfd:", 0))
"""The knock at the door, ZeroMQ's own socket, what wakes that."""
_TAKES = (("accept", "socket: unix", 0), ("accept", "socket: unix", 1))
LINES = [
    pytest.param(
        *row,
        calls,
        path,
        after,
        (row[1], path, after) == ("smtpd", "socket: unix", 1) and row[0] == "cleanup",
        id=f"{row[0]}-{row[1]}-{calls}-{path.split()[-1].strip(':')}-{after}",
    )
    for row, faults in (
        (("cleanup", "smtpd", send), _MAKES),
        (("virtual", "qmgr", send), _MAKES),
        (("rewrite", "smtpd", send_extended), _MAKES),
        (("auth", "imapd", login), _MAKES),
        (("smtpd", "cleanup", send), _TAKES),
        (("imapd", "auth", login), _TAKES),
    )
    for calls, path, after in faults
]


@pytest.mark.parametrize(("killed", "lacking", "does", "calls", "path", "after", "short"), LINES)
def test_no_descriptors_for_a_new_line_of_the_bus(
    scene: Scene,
    killed: str,
    lacking: str,
    does: Callable[[Scene], str],
    calls: str,
    path: str,
    after: int,
    short: bool,
) -> None:
    """A process that is new is to be spoken with: it is, or who asks hears a temporary no, within his patience.

    ``short``: of the short form too.
    """
    instance = scene.instance
    assert matches(YES, does(scene))
    drain(instance, scene.accepted)
    start = len(instance.log.lines)
    with ThreadPoolExecutor(1) as pool:
        with scene.shim.fault(calls, errno.EMFILE, path, after=after, pids=instance.pids(lacking)) as fault:
            for pid in instance.pids(killed):
                os.kill(pid, signal.SIGKILL)
            instance.log.wait(rf"process {killed}\[\d+\] was killed by signal 9", start=start)
            asking = pool.submit(does, scene)
            _await(fault)
            # It lasts a while.
            time.sleep(1.0)
            assert fault.hits, f"{lacking} makes no such call"
        heard = asking.result()
    assert matches(rf"{YES}|{LATER}|NO .*UNAVAILABLE", heard), heard
    drain(instance, scene.accepted, timeout=25)
    assert matches(YES, said := does(scene)), said
    drain(instance, scene.accepted, timeout=25)
    check_at_rest(scene)
