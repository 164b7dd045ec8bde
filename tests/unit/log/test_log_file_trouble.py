"""The log's file on a disk that is ill: what could not be written is written later, and the file is opened again."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from tubepost.services.log import session
from tubepost.services.log.session import FileSink, SyslogSink


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


def _fail(monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, name, fail)


def _write(sink: FileSink, text: bytes) -> None:
    sink.write(text)
    sink.flush()


def test_lines_that_found_no_room_are_written_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(str(path), -1, 0o600)
    with monkeypatch.context() as patch:
        _fail(patch, "write", errno.ENOSPC)
        _write(sink, b"one\n")
        _write(sink, b"two\n")
    _write(sink, b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_half_a_line_that_was_written_is_not_written_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(str(path), -1, 0o600)
    write = os.write
    calls = iter((True, False))

    def half(fd: int, data: memoryview) -> int:
        if next(calls):
            return write(fd, data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        _write(sink, b"first line\n")
    _write(sink, b"second\n")
    assert path.read_bytes() == b"first line\nsecond\n"


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_new_file_that_cannot_be_opened_is_opened_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    sink = FileSink(str(path), -1, 0o600)
    _write(sink, b"one\n")
    path.rename(path.with_suffix(".1"))
    with monkeypatch.context() as patch:
        _fail(patch, "open", error)
        _write(sink, b"two\n")
    _write(sink, b"three\n")
    text = path.with_suffix(".1").read_bytes() + path.read_bytes()
    assert text == b"one\ntwo\nthree\n"


def test_what_waits_is_bounded_and_what_is_left_out_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(str(path), -1, 0o600)
    with monkeypatch.context() as patch:
        _fail(patch, "write", errno.ENOSPC)
        for number in range(3000):
            _write(sink, b"%d %s\n" % (number, b"x" * 1000))
    _write(sink, b"last\n")
    lines = path.read_bytes().splitlines()
    assert len(lines) < 1200
    assert lines[0].startswith(b"0 ")
    kept = sum(line.endswith(b"x") for line in lines)
    assert any(b"%d lines of the log were lost" % (3001 - kept) in line for line in lines)


def test_a_reader_s_descriptor_is_not_mistaken_for_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file is given up when the new one is there, not before: its number would become another's."""
    sink = FileSink(str(path), -1, 0o600)
    path.rename(path.with_suffix(".1"))
    with monkeypatch.context() as patch:
        _fail(patch, "open", errno.EMFILE)
        _write(sink, b"one\n")
    other = path.with_suffix(".other")
    with open(other, "wb"):
        _write(sink, b"two\n")
    assert other.read_bytes() == b""
    assert path.with_suffix(".1").read_bytes() + path.read_bytes() == b"one\ntwo\n"


def test_what_waits_is_written_though_no_line_follows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(str(path), -1, 0o600)
    with monkeypatch.context() as patch:
        _fail(patch, "write", errno.ENOSPC)
        _write(sink, b"one\n")
        assert sink.behind
    sink.flush()
    assert path.read_bytes() == b"one\n" and not sink.behind


def test_a_full_disk_is_told_once_and_again_after_it_was_well(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = FileSink(str(path), -1, 0o600)
    for _ in range(2):
        with monkeypatch.context() as patch:
            _fail(patch, "write", errno.ENOSPC)
            for _ in range(5):
                _write(sink, b"one\n")
        _write(sink, b"two\n")
    assert capsys.readouterr().err.count("No space left on device") == 2


class Unread(io.StringIO):
    """Standard error after ``tubepost start``, which has ended."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_nobody_reads_standard_error_any_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Unread())
    monkeypatch.setattr(session, "_SYSLOG", str(path.with_name("none")))
    SyslogSink("mail").write(b"Nov  4 18:10:19 host postfix/smtpd[1]: text\n")
    sink = FileSink(str(path), -1, 0o600)
    with monkeypatch.context() as patch:
        _fail(patch, "write", errno.ENOSPC)
        _write(sink, b"one\n")
    _write(sink, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
