"""``tubepost start`` with a master that never gets ready; start, stop, reload, status of what is not ours."""

import errno
import os
import select
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from tubepost.common.system import control
from tubepost.common.config import Config

from tubepost.commands import console, tubepost


def _start(monkeypatch: pytest.MonkeyPatch, program: str) -> int:
    """The exit status, with this program for a master."""
    config = SimpleNamespace(maillog_file="", queue_directory="/nowhere", process_id_directory="pid")
    monkeypatch.setattr(tubepost, "_config", lambda directory: config)
    monkeypatch.setattr(tubepost, "_look_over", lambda *_: None)
    monkeypatch.setattr(tubepost, "_master_command", lambda directory, fd: [sys.executable, "-c", program, str(fd)])
    monkeypatch.setattr(tubepost, "_START_PATIENCE", 0.5)
    assert tubepost.start.callback is not None
    try:
        with click.Context(tubepost.start, obj="/nowhere"):
            tubepost.start.callback()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return 0


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    program = "import signal; signal.alarm(20); print('why', file=__import__('sys').stderr, flush=True); signal.pause()"
    assert _start(monkeypatch, program) == tubepost.EX_UNAVAILABLE
    said = capfd.readouterr().err
    assert "why" in said and "is not ready" in said
    pid = int(said.partition("process ")[2].split(")")[0])
    tubepost._signal(pid, signal.SIGKILL)


def test_a_master_that_ends_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert _start(monkeypatch, "import sys; sys.exit('no')") == 1
    assert "no" in capfd.readouterr().err


def test_one_that_is_ready_is_left_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert _start(monkeypatch, "import os, sys; os.write(int(sys.argv[1]), b'x')") == 0
    assert "started" in capfd.readouterr().out


def test_a_master_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert _start(monkeypatch, "import os; os.kill(os.getpid(), 9)") == 128 + signal.SIGKILL
    assert "before it was ready" in capfd.readouterr().err


def test_one_that_is_stopped_meanwhile_was_not_started(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _start(monkeypatch, "pass") == tubepost.EX_UNAVAILABLE
    assert "before it was ready" in capfd.readouterr().err


def test_what_it_says_at_the_last_moment_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wait = select.select

    def both(files: list[Any], *others: Any) -> object:
        wait(files[:1], [], [], 20)  # the one that tells that it is ready
        return wait(files, *others)

    monkeypatch.setattr(select, "select", both)
    program = "import os, sys; os.write(2, b'warning: x\\n'); os.write(int(sys.argv[1]), b'x')"
    assert _start(monkeypatch, program) == 0
    assert "warning: x" in capfd.readouterr().err


# Who asks about the instance of another account


def _refused(*_: object) -> int:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/nowhere/pid/master.pid")


@pytest.mark.parametrize("words", [["run"], ["start"], ["stop"], ["reload"], ["status"]])
def test_a_queue_directory_that_may_not_be_entered(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    config = SimpleNamespace(queue_directory="/nowhere", process_id_directory="pid", stop_timeout=1)
    monkeypatch.setattr(tubepost, "_config", lambda directory: config)
    monkeypatch.setattr(tubepost, "_look_over", lambda *_: None)
    monkeypatch.setattr(control, "master_pid", _refused)
    monkeypatch.setattr(tubepost, "ask_master", _refused)
    result = CliRunner().invoke(tubepost.main, words)
    assert result.exit_code == tubepost.EX_NOPERM, result
    assert "/nowhere/pid/master.pid: Permission denied" in result.output


def test_status_of_a_master_that_answers_others_only(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimpleNamespace(queue_directory="/nowhere", process_id_directory="pid")
    monkeypatch.setattr(tubepost, "_config", lambda directory: config)
    monkeypatch.setattr(control, "master_pid", lambda _: 4711)
    monkeypatch.setattr(tubepost, "ask_master", _refused)
    result = CliRunner().invoke(tubepost.main, ["status"])
    assert result.exit_code == tubepost.EX_NOPERM, result
    assert "process 4711" in result.output and "may ask" in result.output


def test_a_master_on_another_host_is_not_signalled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a lock that is held over NFS the kernel tells a negative number: to kill(2) it is a process group, or all.
    sent: list[int] = []
    config = SimpleNamespace(queue_directory="/nowhere", process_id_directory="pid", stop_timeout=1)
    monkeypatch.setattr(tubepost, "_config", lambda directory: config)
    monkeypatch.setattr(tubepost, "_look_over", lambda *_: None)
    monkeypatch.setattr(control, "master_pid", lambda _: -1)
    monkeypatch.setattr(os, "kill", lambda pid, _: sent.append(pid))
    for word in ("stop", "reload"):
        result = CliRunner().invoke(tubepost.main, [word])
        assert result.exit_code == 1, result
        assert "another host" in result.output
    assert not sent


def test_the_master_of_a_queue_directory_with_a_long_name_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    queue = tmp_path / ("x" * 100)
    (queue / "pid").mkdir(parents=True)

    def ask(directory: str, verb: str) -> str:
        # sun_path of unix(7) has 108 octets.
        assert len(f"{directory}/{control.NAME}") < 108
        assert os.path.samefile(directory, queue / "pid")
        return verb

    monkeypatch.setattr(control, "ask", ask)
    config = SimpleNamespace(queue_directory=str(queue), process_id_directory="pid")
    assert console.ask_master(cast(Config, config)) == "status"
