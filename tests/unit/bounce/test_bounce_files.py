"""Logs survive torn lines; originals are returned whole, as headers, or as 7-bit text."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.wire.bounce import Entry
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.bounce import logfile
from tubepost.services.bounce.original import Source


def entry(address: str) -> Entry:
    status = RecipientStatus(offset=1, status="bounced", dsn="5.0.0", text="x\ny")
    return Entry(recipient=Recipient(address=address), status=status, action="failed", time=1.5)


def add(path: Path, *addresses: str) -> None:
    os.close(logfile.append(str(path), [entry(address) for address in addresses]))


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "defer" / "B" / "id"
    add(path, "a@x", "b@x")
    add(path, "ö@x")
    assert list(logfile.read(str(path))) == [entry("a@x"), entry("b@x"), entry("ö@x")]
    assert path.stat().st_mode & 0o777 == 0o600
    logfile.remove(str(path))
    logfile.remove(str(path))
    assert not path.exists()


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "id"
    add(path, "a@x", "b@x")
    path.write_bytes(path.read_bytes()[:-20])
    add(path, "c@x")
    assert [found.recipient.address for found in logfile.read(str(path))] == ["a@x", "c@x"]


@given(rubbish=st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_rubbish_is_passed_over(tmp_path_factory: object, rubbish: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "id"
        path.write_bytes(rubbish)
        add(path, "a@x")
        assert entry("a@x") in list(logfile.read(str(path)))


HEAD, BODY = b"From: a@b\nSubject: x\n", b"\nthe body\n"


def source(path: Path, content: bytes, limit: int = 1000, encoding: str = "7bit") -> Source:
    path.write_bytes(b"before" + content + b"behind")
    envelope = Envelope.model_validate({"sender": "", "arrival_time": 0.0, "encoding": encoding})
    return Source(str(path), envelope, 6, len(content), limit)


def whole(found: Source, full: bool) -> bytes:
    original = found.original(full)
    data = original.head + (b"".join(original.body()) if original.body else b"")
    found.close()
    return data


def test_small_ones_come_whole_and_large_ones_as_header(tmp_path: Path) -> None:
    assert whole(source(tmp_path / "q", HEAD + BODY), True) == HEAD + BODY
    assert whole(source(tmp_path / "q", HEAD + BODY), False) == HEAD
    assert whole(source(tmp_path / "q", HEAD + BODY, 30), True) == HEAD
    assert whole(source(tmp_path / "q", HEAD + BODY, 31), True) == HEAD + BODY


def test_binary_content_becomes_text(tmp_path: Path) -> None:
    content = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"\x00\xff" * 100
    )
    data = whole(source(tmp_path / "q", content, 10_000, "binary"), True)
    assert data.isascii() and b"\r" not in data and b"\x00" not in data
    assert whole(source(tmp_path / "q", content, 10, "binary"), True).count(b"\r") == 0


def test_a_header_out_of_proportion_is_cut_at_a_line(tmp_path: Path) -> None:
    content = b"X-Filler: 0123456789\n" * 100_000
    data = whole(source(tmp_path / "q", content, 10), True)
    assert 1_000_000 < len(data) <= 1_048_576 and data.endswith(b"9\n")


def test_a_file_that_is_gone_is_not_available(tmp_path: Path) -> None:
    found = Source(str(tmp_path / "none"), Envelope(sender="", arrival_time=0.0), 0, 10, 100)
    assert not found.original(True).available and found.is_ascii(True)


def test_bytes_above_127_are_noticed_where_they_are_returned(tmp_path: Path) -> None:
    found = source(tmp_path / "q", HEAD + b"\n\xc3\xbc\n")
    assert found.is_ascii(False) and not found.is_ascii(True)
    found.close()


@pytest.mark.parametrize("call", ["open", "pread"])
def test_an_original_that_cannot_be_read_now_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The report would go without it, and the queue file would be removed."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    before = len(os.listdir("/proc/self/fd"))

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            Source(str(path), Envelope(sender="", arrival_time=0.0), 0, 100, 1000)
    assert len(os.listdir("/proc/self/fd")) == before
