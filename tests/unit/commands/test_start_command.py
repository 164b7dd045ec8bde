"""``tubepost start`` with a master that never gets ready."""

import signal
import sys
from types import SimpleNamespace

import click
import pytest

from tubepost.commands import tubepost


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
