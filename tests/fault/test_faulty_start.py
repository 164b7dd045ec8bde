"""Faults while something begins: a program, the template, the master, a reload, a new instance.

A program that cannot begin ends with a word, is begun again, and nothing that was accepted waits for a person; a master
that cannot begin says why, and begins when the disk is well; one that runs goes on whatever the disk says.
"""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.actions import (
    Scene,
    append,
    ask_etrn,
    fetch,
    furnish,
    list_queue,
    lmtp,
    login,
    pop_retrieve,
    send,
    send_bounce,
    send_by_lmtp,
    send_extended,
    send_local,
    send_on,
    send_piped,
    send_verified,
)
from tests.fault.invariants import check_log, check_nothing_lost, drain
from tests.fault.rest import check_at_rest, take_away, warm
from tests.fault.shim import Shim, possible

pytestmark = [pytest.mark.xdist_group("faulty-disk"), pytest.mark.timeout(120)]

OPENING = (errno.EIO, errno.EMFILE)
MAKING = (errno.EIO, errno.ENOSPC, errno.EROFS)
LOCKING = (errno.EIO, errno.ENOLCK)


@dataclass(frozen=True)
class Start:
    """``program`` is killed, and ``does`` needs it again while ``calls`` fail at ``path``."""

    program: str
    does: Callable[[Scene], str]
    calls: str = "open"
    path: str = "conf/main.cf"
    errors: tuple[int, ...] = OPENING
    waits: bool = False
    """``does`` leaves mail that nobody takes."""

    def __str__(self) -> str:
        return f"{self.program}-{self.calls}-{self.path.strip('/.').replace('/', '.')}"


def _post(scene: Scene) -> str:
    """As ``post``, by a command that the disk does not harm."""
    mark, text = scene.text("post")
    done = scene.instance.command("sendmail", "alice@example.test", input=text)
    return scene.note(mark, "OK" if done.returncode == 0 else done.stderr)


# What each is needed for.
_NEEDED: dict[str, tuple[Callable[[Scene], str], bool]] = {
    "smtpd": (send, False),
    "cleanup": (send, False),
    "rewrite": (send_extended, False),
    "qmgr": (send, False),
    "virtual": (send, False),
    "local": (send_local, False),
    "pipe": (send_piped, False),
    "smtp": (send_on, False),
    "lmtp": (send_by_lmtp, False),
    "bounce": (send_bounce, False),
    "pickup": (_post, False),
    "showq": (list_queue, True),
    "flush": (ask_etrn, True),
    "verify": (send_verified, False),
    "proxymap": (send_extended, False),
    "imapd": (login, False),
    "pop3d": (pop_retrieve, False),
    "lmtpd": (lmtp, False),
    "auth": (login, False),
    "anvil": (send, False),
    "indexer": (send, False),
    "notify": (send, False),
    "log": (send, False),
}
STARTS = (
    *(Start(program, does, waits=waits) for program, (does, waits) in _NEEDED.items()),
    # The register of children: by it the others know who calls.
    *(Start(program, does, "open create", "pid/register", waits=waits) for program, (does, waits) in _NEEDED.items()),
    Start("smtpd", send, "lock", "pid/register", LOCKING),
    Start("smtpd", send, "map", "pid/register", (errno.ENOMEM,)),
    Start("smtpd", send, "open", "conf/tls.pem"),
    Start("smtpd", send, "open", "conf/aliases.db"),
    Start("cleanup", send, "open", "incoming"),
    Start("cleanup", send_extended, "open create", "accounts.db"),
    Start("virtual", send_extended, "open create", "accounts.db"),
    Start("virtual", send, "open", "conf/vmailbox"),
    Start("rewrite", send_extended, "open", "conf/transport"),
    Start("qmgr", send, "list", "deferred"),
    Start("qmgr", send, "list", "incoming"),
    Start("qmgr", send, "list", "active"),
    Start("qmgr", send, "open", "deferred"),
    Start("bounce", send_bounce, "list", "bounce"),
    Start("bounce", send_bounce, "list", "conf"),
    Start("showq", list_queue, "list", "conf", waits=True),
    Start("pickup", _post, "list", "maildrop"),
    Start("verify", send_verified, "create", "verify_cache", (*MAKING, errno.EMFILE)),
    Start("verify", send_verified, "write truncate", "verify_cache", MAKING),
    Start("verify", send_verified, "lock", "verify_cache", LOCKING),
    Start("auth", login, "open create", "passwords.db"),
    Start("auth", login, "open", "auth/secret"),
    Start("imapd", fetch, "open", "conf/tls.pem"),
    Start("indexer", append, "open create", "tubepost.db", (errno.EIO,)),
    Start("notify", append, "open", "conf/master.cf"),
)
SHORT = {"cleanup-open-incoming"}
CASES = [
    pytest.param(start, error, place == 0 and str(start) in SHORT, id=f"{start}-{errno.errorcode[error]}")
    for start in STARTS
    for place, error in enumerate(start.errors)
]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    if why := possible():
        pytest.skip(why)
    with Shim() as shim:
        main = {"auth_failure_delay": "0s", "smtpd_error_sleep_time": "0s", "minimal_backoff_time": "1s"}
        # For anvil to be asked of this host as well.
        main["smtpd_client_event_limit_exceptions"] = ""
        instance = traffic.instance(main={**main, "ipc_timeout": "5s", "smtpd_client_connection_count_limit": "50"})
        furnish(instance)
        shim.start(instance)
        try:
            made = Scene(instance, shim, set())
            assert append(made) == "OK"
            warm(made)
            yield made
            check_at_rest(made)
        finally:
            instance.stop()
            instance.remove()


def _settle(scene: Scene, start: Start) -> None:
    drain(scene.instance, scene.accepted, timeout=40, but=("deferred",) if start.waits else ())
    check_nothing_lost(scene.instance, scene.accepted)
    if start.waits:
        take_away(scene)


def _try(does: Callable[[Scene], str], scene: Scene) -> str:
    """What is heard, or what became of it: whoever has no server is told nothing."""
    try:
        return does(scene)
    except (OSError, EOFError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"[:300]


# From one try to the next, seconds: the indexer waits until nothing has come for a while.
QUIET = 0.5


@pytest.mark.parametrize(("start", "error", "short"), CASES)
def test_a_program_that_cannot_begin(scene: Scene, start: Start, error: int, short: bool) -> None:
    """``short``: of the short form too (conftest.py)."""
    instance = scene.instance
    master = instance.status()["pid"]
    scene.seen = len(instance.log.lines)
    heard = start.does(scene)
    assert heard.startswith(("250", "OK")), heard
    _settle(scene, start)
    seen = scene.seen = len(instance.log.lines)
    with ThreadPoolExecutor(1) as pool:
        with scene.shim.fault(start.calls, error, start.path) as fault:
            for pid in instance.pids(start.program):
                os.kill(pid, signal.SIGKILL)
            heard = ""
            asking = pool.submit(_try, start.does, scene)
            ends = time.monotonic() + 15
            next_time = 0.0
            while not fault.hits:
                assert time.monotonic() < ends, f"{start.program} makes no such call; heard {heard}"
                time.sleep(0.05)
                if asking.done() and time.monotonic() > next_time:
                    heard = asking.result()
                    asking = pool.submit(_try, start.does, scene)
                    next_time = time.monotonic() + QUIET
            # Once more, while it cannot be.
            time.sleep(1.5)
        asking.result()
    # Nobody does anything, and it is there again.
    ends = time.monotonic() + 40
    while not (heard := _try(start.does, scene)).startswith(("250", "OK")):
        assert time.monotonic() < ends, f"after the fault: {heard}\n" + "\n".join(instance.log.lines[-40:])
        time.sleep(0.2)
    _settle(scene, start)
    assert instance.status()["pid"] == master
    # By itself, which has its name only when it has read main.cf, or by the master: with the reason.
    told = [line for line in instance.log.lines[seen:] if re.search("fatal: |error: |warning: ", line)]
    why = rf"({start.program}|template|master)(\[\d+\])?: .*({re.escape(os.strerror(error))}|{_SQLITE})"
    assert any(re.search(why, line) for line in told), told
    check_at_rest(scene)


# -- a system that runs ----------------------------------------------------------------------------------------------


def _goes_on(scene: Scene, master: int, seconds: float = 30) -> None:
    """The same master, and mail is delivered."""
    ends = time.monotonic() + seconds
    while not (heard := _try(send, scene)).startswith("250"):
        assert time.monotonic() < ends, f"{heard}\n" + "\n".join(scene.instance.log.lines[-40:])
        time.sleep(0.2)
    drain(scene.instance, scene.accepted)
    check_nothing_lost(scene.instance, scene.accepted)
    assert scene.instance.status()["pid"] == master
    check_log(scene.instance)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


RUNNING = [
    pytest.param(calls, path, error, (calls, error) == ("unlink", errno.EROFS), id=f"{calls}-{errno.errorcode[error]}")
    for calls, path, errors in (
        ("unlink", "private/", (errno.EROFS, errno.EIO)),
        ("bind", "private/", (errno.ENOSPC, errno.EROFS)),
        ("mode", "private/", (errno.EROFS, errno.EIO)),
        ("stat", "private/", (errno.EIO,)),
    )
    for error in errors
]


@pytest.mark.parametrize(("calls", "path", "error", "short"), RUNNING)
def test_a_master_whose_sockets_the_disk_refuses(scene: Scene, calls: str, path: str, error: int, short: bool) -> None:
    """Each process has a socket of its own, which the master makes and removes."""
    instance = scene.instance
    master = instance.status()["pid"]
    _goes_on(scene, master)
    start = len(instance.log.lines)
    with scene.shim.fault(calls, error, path, pids=[master]) as fault:
        _kill(instance.pids("rewrite") + instance.pids("virtual"))
        ends = time.monotonic() + 10
        while not fault.hits:
            # Who asks just as the old one dies is told to come again: no new one begins for that.
            heard = _try(send_extended, scene)
            assert time.monotonic() < ends, f"the master makes no such call; heard {heard}"
            time.sleep(0.05)
        instance.log.wait(rf"master\[\d+\]: (warning|error): .*{os.strerror(error)}", start=start)
    _goes_on(scene, master)
    check_at_rest(scene)


def test_a_template_that_cannot_write_its_register(scene: Scene) -> None:
    """It ends, and another is tried, until the disk is well; the children that there are go on."""
    instance = scene.instance
    master = instance.status()["pid"]
    _goes_on(scene, master)
    start = len(instance.log.lines)
    with scene.shim.fault("create", errno.EIO, "pid/register") as fault:
        os.kill(instance.status()["template"], signal.SIGKILL)
        instance.log.wait(r"the template process failed: .*Input/output error", start=start)
        instance.log.wait(r"template process ended", count=2, start=start)
        assert _try(send, scene).startswith("250")
    assert fault.hits
    _kill(instance.pids("virtual"))
    _goes_on(scene, master)
    check_at_rest(scene)


def test_a_master_without_descriptors(scene: Scene) -> None:
    """It begins no process, and no template; it lives, says so, and goes on when it has some."""
    instance = scene.instance
    master = instance.status()["pid"]
    _goes_on(scene, master)
    start = len(instance.log.lines)
    before = resource.prlimit(master, resource.RLIMIT_NOFILE)
    template = instance.status()["template"]
    virtual = instance.pids("virtual")
    # None that is free, whatever is closed meanwhile.
    resource.prlimit(master, resource.RLIMIT_NOFILE, (16, before[1]))
    try:
        _kill([*virtual, template])
        _try(send, scene)
        instance.log.wait(r"master\[\d+\]: (warning|error): .*Too many open files", start=start)
        time.sleep(1.5)
    finally:
        resource.prlimit(master, resource.RLIMIT_NOFILE, before)
    _goes_on(scene, master)
    check_at_rest(scene)


# Kept short: a reload that is refused leaves all as it was.
RELOADS = [
    pytest.param("open", "conf/main.cf", errno.EIO, True, id="main.cf-EIO"),
    pytest.param("open", "conf/master.cf", errno.EIO, False, id="master.cf-EIO"),
    pytest.param("read", "conf/main.cf", errno.EIO, False, id="main.cf-read-EIO"),
    pytest.param("open", "conf/main.cf", errno.EMFILE, False, id="main.cf-EMFILE"),
    pytest.param("bind", "private/", errno.ENOSPC, False, id="bind-ENOSPC"),
    pytest.param("mode", "private/", errno.EROFS, False, id="mode-EROFS"),
]


@pytest.mark.parametrize(("calls", "path", "error", "short"), RELOADS)
def test_a_reload_that_the_disk_refuses(scene: Scene, calls: str, path: str, error: int, short: bool) -> None:
    instance = scene.instance
    master = instance.status()["pid"]
    name = f"added{error}{calls}"
    with open(instance.conf / "master.cf", "a") as file:
        file.write(f"{name} unix - - n - - error\n")
    start = len(instance.log.lines)
    with scene.shim.fault(calls, error, path, pids=[master]) as fault:
        os.kill(master, signal.SIGHUP)
        instance.log.wait(rf"reload refused.*{os.strerror(error)}", start=start)
        assert fault.hits
        _goes_on(scene, master)
    check_at_rest(scene)
    done = instance.command("tubepost", "reload")
    assert done.returncode == 0, done.stderr
    instance.log.wait(r"reload -- version", start=start)
    assert any(row["service"] == name for row in instance.status()["services"])
    _goes_on(scene, master)
    # It has the sockets of one service more.
    assert scene.held is not None
    scene.held.again(["master"])


# -- a system that begins --------------------------------------------------------------------------------------------

BEGINNINGS = [
    pytest.param(calls, path, error, (calls, error) == ("write", errno.ENOSPC), id=f"{calls}-{path}-{name}")
    for calls, path, errors in (
        ("open read", "conf/main.cf", (errno.EIO,)),
        ("open read", "conf/master.cf", (errno.EIO,)),
        ("create", "pid/master.pid", MAKING),
        ("lock", "pid/master.pid", LOCKING),
        ("write", "pid/master.pid", (errno.ENOSPC, errno.EIO)),
        ("truncate", "pid/master.pid", (errno.EIO,)),
        ("create", "pid/queue.lock", MAKING),
        ("lock", "pid/queue.lock", LOCKING),
        ("mkdir", "spool", MAKING),
        ("mode", "spool", (errno.EROFS,)),
        ("bind", "private/", (errno.ENOSPC,)),
        ("bind", "master.sock", (errno.ENOSPC,)),
        ("list", "private", (errno.EIO,)),
        ("create write truncate", "pid/register", MAKING),
    )
    for error in errors
    for name in (errno.errorcode[error],)
]


@pytest.fixture
def fresh() -> Iterator[tuple[Instance, Shim]]:
    if why := possible():
        pytest.skip(why)
    with Shim() as shim:
        instance = Instance(main=traffic.QUICK)
        try:
            yield instance, shim
        finally:
            instance.stop()
            instance.remove()


@pytest.mark.parametrize(("calls", "path", "error", "short"), BEGINNINGS)
def test_a_master_that_cannot_begin(
    fresh: tuple[Instance, Shim], calls: str, path: str, error: int, short: bool
) -> None:
    """It says why and ends, or goes on trying; when the disk is well it begins, whatever the try before left."""
    instance, shim = fresh
    with shim.fault(calls, error, path) as fault:
        environment = {**os.environ, **shim.environment}
        process = subprocess.Popen(
            [*instance.master, "-c", str(instance.conf)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            said, _ = process.communicate(timeout=6)
        except subprocess.TimeoutExpired:
            # What the template or the queue manager needs is tried again and again.
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=30)
        else:
            assert process.returncode
        assert fault.hits, said
    assert os.strerror(error) in said, said
    assert "Traceback" not in said, said
    shim.start(instance)
    instance.send("alice@example.test")
    instance.log.wait("status=sent")
    assert instance.stop() == 0
    check_log(instance)


INITS = [
    pytest.param(calls, error, False, id=f"{calls}-{errno.errorcode[error]}")
    for calls, errors in (
        ("mkdir", MAKING),
        ("create", (*MAKING, errno.EMFILE)),
        ("write", MAKING),
        ("sync", (errno.EIO, errno.ENOSPC)),
        ("rename", MAKING),
        ("mode", MAKING),
        ("lock", (errno.EIO,)),  # ENOLCK is another's lock to SQLite, which is waited for
    )
    for error in errors
]


@pytest.mark.parametrize(("calls", "error", "short"), INITS)
def test_an_instance_that_cannot_be_made(calls: str, error: int, short: bool) -> None:
    """``tubepost init`` fails at its first, its fifth, its twentieth such call: in words; and then succeeds."""
    if why := possible():
        pytest.skip(why)
    for after in (0, 4, 19):
        root = Path(tempfile.mkdtemp(prefix="tp-init-"))
        try:
            with Shim() as shim, shim.fault(calls, error, str(root), count=1, after=after) as fault:
                done = _init(root / "made", shim)
                if not fault.hits:
                    assert done.returncode == 0, done.stderr
                    continue
            assert done.returncode != 0, (after, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr, done.stderr
            assert os.strerror(error) in done.stderr or re.search(_SQLITE, done.stderr), (after, done.stderr)
            again = _init(root / "made")
            assert again.returncode == 0, (after, done.stderr, again.stderr)
            _works(root / "made")
        finally:
            shutil.rmtree(root, ignore_errors=True)


# Which has words of its own for them.
_SQLITE = r"disk I/O error|disk is full|unable to open database file|readonly database|is locked"


def _init(root: Path, shim: Shim | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", "-m", "tubepost.commands.tubepost", "init", str(root)],
        env={**os.environ, **(shim.environment if shim else {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _works(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "tubepost.commands.tubepost", "check"],
        env={**os.environ, "MAIL_CONFIG": str(root / "conf")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "error" not in done.stdout + done.stderr, done.stdout + done.stderr
