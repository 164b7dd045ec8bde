"""The lock of an instance, and what commands make of it."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from tubepost.commands import tubepost
from tubepost.master.locks import AlreadyRunning, lock_instance


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "pid").mkdir()
    yield tmp_path / "pid" / "master.pid"


def _config(path: Path) -> Any:
    return SimpleNamespace(queue_directory=str(path.parent.parent), process_id_directory="pid", stop_timeout=0.0)


def test_a_command_that_looks_at_the_lock_keeps_no_master_from_starting(path: Path) -> None:
    config, over = _config(path), threading.Event()

    def look() -> None:
        while not over.is_set():
            assert tubepost._master_pid(config) in (0, os.getpid())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            os.close(lock_instance(str(path)))
    finally:
        over.set()
        looking.join()


def test_a_command_knows_the_master_from_the_kernel(path: Path) -> None:
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        lock_instance(str(path))
        os.write(write, b"\n")
        signal.pause()
        os._exit(0)
    os.read(read, 1)
    try:
        assert tubepost._master_pid(_config(path)) == pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
    assert tubepost._master_pid(_config(path)) == 0


def test_a_second_master_is_told_of_the_first(path: Path) -> None:
    fd = lock_instance(str(path))
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        lock_instance(str(path))
    os.close(fd)


def test_the_number_of_a_dead_master_is_nobody_s(path: Path) -> None:
    path.write_text("         1\n")
    assert tubepost._master_pid(_config(path)) == 0
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    # A master is about to write its own: that of the one before must not get its signals.
    assert tubepost._master_pid(_config(path)) == 0
    os.close(fd)


def test_a_master_that_has_just_ended_is_stopped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    with pytest.raises(click.exceptions.Exit) as ended:
        tubepost._signal(4_000_000, signal.SIGHUP)
    assert ended.value.exit_code == 1


def test_another_master_that_was_started_meanwhile_is_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = iter((4_000_000, 4_000_000, 4_000_001, 4_000_001, 4_000_001))
    monkeypatch.setattr(tubepost, "_config", lambda directory: _config(path))
    monkeypatch.setattr(tubepost, "_master_pid", lambda config: next(pids))
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    begun = time.monotonic()
    assert tubepost.stop.callback is not None
    with click.Context(tubepost.stop, obj="/nowhere"):
        tubepost.stop.callback()
    assert time.monotonic() - begun < 5
