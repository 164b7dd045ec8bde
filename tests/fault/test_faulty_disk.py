"""Each program, each call of the file system that it makes, each error: who asks hears a temporary no, nothing accepted
is lost, the program goes on, the log says what happened, and when the disk is well again all is done without a person.

One system for all rows (tests/fault/shim.py). The short form has one row a program, ``--long`` has all.
"""

import errno
import imaplib
import os
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
            assert _heard(YES, append(scene))
        assert fault.hits
    with ThreadPoolExecutor(1) as pool, scene.shim.fault("sync", path=path, delay=SLOWNESS) as fault:
        asking = pool.submit(does, scene)
        _await(fault)
        assert fault.hits, f"nobody syncs {path}; heard {asking.result()}"
        met = time.monotonic()
        # Who needs no disk does not wait.
        assert _patience(scene) < 1.0
        assert _heard(YES, asking.result())
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


def test_no_descriptors_for_new_clients(scene: Scene) -> None:
    """EMFILE at accept: the client waits in the backlog, and is served when there are descriptors again."""
    start = len(scene.instance.log.lines)
    with scene.shim.fault("accept", errno.EMFILE, "socket:", count=3) as fault:
        assert _heard(YES, send(scene))
    assert fault.hits == 3
    scene.instance.log.wait(r"cannot accept", start=start)
    drain(scene.instance, scene.accepted)
