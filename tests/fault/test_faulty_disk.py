"""Each program, each call of the file system that it makes, each error: who asks hears a temporary no, nothing accepted
is lost, the program goes on, the log says what happened, and when the disk is well again all is done without a person.

One system for all rows (tests/fault/shim.py). The short form has one row a program, ``--long`` has all.
"""

import errno
import imaplib
import smtplib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
    pop_delete,
    pop_retrieve,
    post,
    remove,
    send,
    send_bounce,
    send_down,
    send_home,
    send_local,
    send_mbox,
    send_traced,
    set_password,
    smtp,
)
from tests.fault.invariants import (
    check_log,
    check_nothing_lost,
    drain,
    in_mailboxes,
    in_queue,
    stray_files,
    torn_messages,
)
from tests.fault.rows import ROWS, YES, Row
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
            for _ in range(2):
                assert append(made) == "OK"
            imap(made, lambda client: client.create("Archive")[0] + client.create("Spare")[0])
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
        scene.instance.command("postsuper", "-d", "ALL")
        kept = in_mailboxes(scene.instance.mail)
        scene.accepted = {mark for mark in scene.accepted if mark[0] != "smtp" or mark in kept}


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
    assert _heard(expected, heard), heard
    # The disk is well again: nobody does anything, and all is done.
    if row.then:
        instance.log.wait(row.then, start=start, timeout=10)
    _clear(scene, row)
    mark = scene.last
    if row.afterwards is not None:
        row.afterwards(scene)
    _prepare(scene, row)
    scene.seen = len(instance.log.lines)
    again = row.does(scene)
    if _heard(r"NO .*UNAVAILABLE", again):
        # The index is opened anew: who comes again finds it so.
        again = row.does(scene)
    assert _heard(YES, again), f"after the fault: {again}"
    _clear(scene, row)
    copies = in_mailboxes(instance.mail)
    assert row.twice or copies[mark] <= copies[scene.last], f"delivered {copies[mark]} times, not {copies[scene.last]}"


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


# Each program that syncs: who waits for it, and whose disk is slow.
SLOW = [
    pytest.param(does, path, long == "", id=f"{does.__name__}-{path}")
    for does, path, long in (
        (send, "incoming/", ""),
        (send, "alice/", ""),
        (append, "carol/", ""),
        (append, "tubepost.db", "long"),
        (append_first, "tubepost.db", "long"),
        (copy, "Archive/", "long"),
        (lmtp, "bob/", "long"),
        (post, "maildrop", "long"),
        (send_bounce, "bounce/", "long"),
        (send_traced, "trace/", "long"),
        (send_local, "boxed/", "long"),
        (send_mbox, "1.mbox", "long"),
        (send_home, "games/", "long"),
        (pop_retrieve, "alice/", "long"),
        (set_password, "passwords.db", "long"),
        (build_table, "built", "long"),
        (build_aliases, "aliases.", "long"),
    )
]


@pytest.mark.parametrize(("does", "path", "short"), SLOW)
def test_a_slow_disk_is_waited_for_and_others_go_on(
    scene: Scene, does: Callable[[Scene], str], path: str, short: bool
) -> None:
    """At each sync; ``short``: of the short form too."""
    if does is pop_retrieve:
        assert send(scene).startswith("250")
        drain(scene.instance, scene.accepted)
    with ThreadPoolExecutor(1) as pool, scene.shim.fault("sync", path=path, delay=1.5) as fault:
        asking = pool.submit(does, scene)
        _await(fault, 5.0)
        # Who needs no disk does not wait, whether it was met before the answer or is after it.
        assert _patience(scene) < 1.0
        assert _heard(YES, asking.result())
        _await(fault)
        drain(scene.instance, scene.accepted)
    # What a mailbox has of the kind is written out by the indexer, or when another makes room: not for each message.
    assert fault.hits or path in _SELDOM
    check_nothing_lost(scene.instance, scene.accepted)


_SELDOM = ("tubepost.db", "alice/")


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


def test_no_descriptors_for_new_clients(scene: Scene) -> None:
    """EMFILE at accept: the client waits in the backlog, and is served when there are descriptors again."""
    start = len(scene.instance.log.lines)
    with scene.shim.fault("accept", errno.EMFILE, "socket:", count=3) as fault:
        assert _heard(YES, send(scene))
    assert fault.hits == 3
    scene.instance.log.wait(r"cannot accept", start=start)
    drain(scene.instance, scene.accepted)
