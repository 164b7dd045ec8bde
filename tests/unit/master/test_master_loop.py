"""master/main.py, a step at a time, in this process: a template that only notes what it is asked for stands in for the
real one, and no child lives. What the kernel would say comes as the steps that it would cause.
"""

import errno
import os
import pwd
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.master import Birth, Status
from tubepost.common.system import log

from tubepost.master import main
from tubepost.master.main import Master
from tubepost.master.signals import HANDLED

MAIN = """
queue_directory = {root}/spool
data_directory = {root}/data
accounts_directory = {root}/data/accounts
auth_directory = {root}/data/auth
mail_owner = {owner}
protocol_owner =
auth_owner = {owner}
maillog_file = {root}/mail.log
maillog_file_prefixes = /
"""
MASTER = """
showq unix n - n - - showq
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
postlog unix-dgram n - n - 1 log
"""


class Template:
    """Notes what it is asked for. ``said``: what it says next; None: its end."""

    pid = 2

    def __init__(self, *_: object) -> None:
        self.asked: list[tuple[int, Birth]] = []
        self.forgotten: list[int] = []
        self.said: list[list[Any]] | None = []
        self.socket, self._theirs = socket.socketpair()

    def fork(self, token: int, folder: str, birth: Birth, descriptors: Sequence[int]) -> None:
        if self.socket.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.asked.append((token, birth))

    def events(self) -> list[list[Any]] | None:
        said = self.said
        if said is not None:
            self.said = []
        return said

    def forget(self, pid: int) -> None:
        self.forgotten.append(pid)

    def close(self) -> None:
        self.socket.close()
        self._theirs.close()


class Made:
    """A master after its start, in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf = root / "conf"
        self.conf.mkdir()
        owner = pwd.getpwuid(os.geteuid()).pw_name
        (self.conf / "main.cf").write_text(MAIN.format(root=root, owner=owner))
        self.write_services(MASTER)
        self.master = Master(str(self.conf))
        self.master.start()
        self.lines: list[str] = []

    def write_services(self, text: str) -> None:
        (self.conf / "master.cf").write_text(text)

    @property
    def template(self) -> Any:
        return self.master._template

    def asked(self, program: str) -> list[int]:
        """Tokens of the births that were asked for."""
        return [token for token, birth in self.template.asked if birth.program == program]

    def say(self, *events: list[Any]) -> None:
        """As the template, and let the master hear it."""
        self.template.said = list(events)
        self.master._on_template()

    def balance(self, later: float = 0.0) -> None:
        self.master._balance(time.monotonic() + later)

    def demands(self, service: str) -> Callable[[], None]:
        """What the selector would call for a caller at this door."""
        listener = self.master._sockets[service, "unix"][0]
        return self.master._selector.get_key(listener).data  # type: ignore[no-any-return]

    def is_watched(self, service: str) -> bool:
        listener = self.master._sockets[service, "unix"][0]
        return listener in self.master._selector.get_map()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    handlers = {number: signal.getsignal(number) for number in (*HANDLED, signal.SIGPIPE)}
    monkeypatch.setattr(main, "Template", Template)
    monkeypatch.setattr(main, "import_programs", lambda folders: {})
    monkeypatch.setattr(Master, "_subreaper", lambda self: None)
    lines: list[str] = []
    before = os.getcwd()
    # Short: a UNIX socket path has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tp-", dir="/tmp") as root:
        try:
            built = Made(Path(root))
            built.lines = lines
            for name in ("warning", "error", "info", "panic"):
                monkeypatch.setattr(log, name, lines.append)
            yield built
            built.master.finish()
        finally:
            os.chdir(before)
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            log.use_loop(None)
            log.setup("test")


# -- a reload ----------------------------------------------------------------------------------------------------------


def test_a_caller_at_a_door_that_a_reload_has_just_removed_harms_nobody(made: Made) -> None:
    made.balance()
    demand = made.demands("showq")
    made.write_services(MASTER.replace("showq unix", "#"))
    made.master._reload()
    # The selector told of both in one turn.
    demand()
    assert made.asked("showq") == []


def test_a_name_that_cannot_be_looked_up_leaves_the_old_configuration(made: Made) -> None:
    made.write_services(MASTER + "a..b:2525 inet n - n - - smtpd\n")
    made.master._reload()
    assert any("reload refused" in line and "a..b" in line for line in made.lines)
    assert ("a..b:2525", "inet") not in made.master._states


@pytest.mark.parametrize("services", ["qmgr2 unix n - n 300 1 qmgr", "qmgr unix-dgram n - n 300 1 qmgr"])
def test_a_queue_manager_by_another_name_waits_until_the_one_before_is_gone(made: Made, services: str) -> None:
    made.balance()
    (token,) = made.asked("qmgr")
    made.say(["born", token, 4_000_001])
    made.write_services(MASTER.replace("qmgr unix n - n 300 1 qmgr", services))
    made.master._reload()
    made.balance()
    assert made.asked("qmgr") == [token], "two would deliver the same messages"
    assert any("the queue manager of another line of master.cf is finishing" in line for line in made.lines)
    made.say(["died", 4_000_001, 0])
    made.balance(later=1.0)
    assert len(made.asked("qmgr")) == 2


def test_a_hung_process_of_a_service_that_is_gone_is_killed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.balance()
    made.demands("showq")()
    made.say(["born", made.asked("showq")[0], 4_000_005])
    made.write_services(MASTER.replace("showq unix", "#"))
    made.master._reload()
    killed: list[int] = []

    def kill(pid: int, number: int) -> None:
        killed.append(pid)
        if len(killed) > 1:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    made.master._owners[4_000_005].children[4_000_005].heard -= 1000
    made.master._tick(time.monotonic())
    assert killed == [4_000_005]
    assert 4_000_005 in made.master._owners, "its death will be told"
    made.master._owners[4_000_005].children[4_000_005].heard -= 1000
    made.master._tick(time.monotonic())
    assert 4_000_005 not in made.master._owners, "there is no such process"


# -- the template ------------------------------------------------------------------------------------------------------


def test_while_there_is_no_template_nobody_is_asked_for_and_nobody_is_held_up(made: Made) -> None:
    made.balance()
    made.template.said = None
    made.master._on_template()
    for name in ("showq", "cleanup"):
        assert not made.is_watched(name), "the master would be called without end"
    made.master._template_ended = time.monotonic() - 10
    made.master._tick(time.monotonic())
    assert made.is_watched("showq")
    made.demands("showq")()
    assert len(made.asked("showq")) == 1


def test_a_child_that_died_with_its_template_is_known_to_be_dead(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.balance()
    made.demands("showq")()
    (token,) = made.asked("showq")
    # Both ended at once, and SIGCHLD came first.
    made.template.said = [["born", token, 4_000_002]]
    ends = iter([(4_000_002, signal.SIGKILL), (0, 0)])
    monkeypatch.setattr(os, "waitpid", lambda pid, options: next(ends))
    made.master._reap_orphans()
    made.master._on_template()
    assert made.master._states["showq", "unix"].children == {}


def test_the_end_of_a_template_is_heard_of_twice_in_one_turn(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    selected = made.master._selector.get_key(made.template.socket).data
    made.template.said = None
    # A child of the template before it ended too, and SIGCHLD came first.
    ends = iter([(4_000_002, signal.SIGKILL), (0, 0)])
    monkeypatch.setattr(os, "waitpid", lambda pid, options: next(ends))
    made.master._reap_orphans()
    selected()
    assert len([line for line in made.lines if "the template process ended" in line]) == 1


def test_many_processes_are_asked_for_a_few_at_a_time(made: Made) -> None:
    made.write_services(MASTER + "many unix n - n - 500 bounce -o process_min_avail=300\n")
    made.master._reload()
    made.balance()
    asked = made.asked("bounce")
    assert 0 < len(asked) <= 64
    made.say(*(["born", token, 4_100_000 + token] for token in asked))
    made.balance()
    assert len(made.asked("bounce")) == 2 * len(asked)


# -- trouble of the system ---------------------------------------------------------------------------------------------


def test_without_a_descriptor_for_one_more_the_master_lives(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.balance()

    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", full)
        made.demands("showq")()
    assert any("showq" in line and "Too many open files" in line for line in made.lines)
    state = made.master._states["showq", "unix"]
    assert state.pending == 0 and state.throttled_until > time.monotonic()


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO, errno.EACCES])
def test_a_socket_that_cannot_be_removed_stays_and_the_master_lives(
    made: Made, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    made.balance()
    made.demands("showq")()
    made.say(["born", made.asked("showq")[0], 4_000_003])

    def fail(path: str) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        made.say(["died", 4_000_003, 0])
    assert made.master._states["showq", "unix"].children == {}


# -- a child that means harm -------------------------------------------------------------------------------------------


class Flood:
    """The master's end of a child that never stops talking."""

    def __init__(self, *said: bytes) -> None:
        self.said = said
        self.read = 0

    def recv(self, size: int) -> bytes:
        self.read += 1
        assert self.read < 10_000, "nobody else is ever heard"
        return self.said[self.read % len(self.said)]

    def send(self, data: bytes) -> int:
        return len(data)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass


def test_a_child_that_never_stops_talking_keeps_nobody_waiting(made: Made) -> None:
    made.balance()
    made.demands("showq")()
    made.say(["born", made.asked("showq")[0], 4_000_004])
    made.master._controls[4_000_004].close()
    flood = Flood(Status(True, 0, 0).encode(), b"nonsense")
    made.master._controls[4_000_004] = flood  # type: ignore[assignment]
    for _ in range(10):
        made.master._on_child(4_000_004)
    assert flood.read <= 1000
    assert sum("cannot be read" in line for line in made.lines) == 1
    made.master._controls[4_000_004] = socket.socketpair()[0]
