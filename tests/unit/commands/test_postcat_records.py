"""postcat on files of its own."""

import os
from pathlib import Path

import pytest

from tubepost.common.wire.envelope import Envelope, Origin, Recipient
from tubepost.common.spool import encode
from tubepost.common.spool.queuefile import mark_done

from tubepost.commands import postcat

CONTENT = b"Subject: a\n b\nX: y\n\nbody\nX: not a header\n"
ENVELOPE = Envelope(
    sender='"s p"@x.example',
    arrival_time=1795548550.5,
    encoding="8bit",
    ret="HDRS",
    envid="e1",
    origin=Origin(client_name="c.example", client_address="192.0.2.1", helo="h", protocol="ESMTP"),
    fullname="F N",
    verp="+=",
)
RECIPIENTS = (
    Recipient(address="a@x.example", original="o@x.example", orcpt="rfc822;q@x.example", notify=("SUCCESS", "DELAY")),
    Recipient(address="b\x1b@x.example"),
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    buffers, offsets, _ = encode(ENVELOPE, RECIPIENTS, [CONTENT])
    file = tmp_path / "message"
    file.write_bytes(b"".join(buffers))
    fd = os.open(file, os.O_RDWR)
    mark_done(fd, offsets[1])
    os.close(fd)
    return file


def show(capfdbinary: pytest.CaptureFixture[bytes], *arguments: str) -> list[str]:
    assert postcat.main(list(arguments)) == 0
    return capfdbinary.readouterr().out.decode().splitlines()


def test_the_whole_file(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = show(capfdbinary, str(path))
    assert lines[0] == f"*** ENVELOPE RECORDS {path} ***"
    start, end = lines.index(f"*** MESSAGE CONTENTS {path} ***"), lines.index(f"*** HEADER EXTRACTED {path} ***")
    assert "\n".join([*lines[start + 1 : end], ""]).encode() == CONTENT
    assert lines[end + 1 :] == [f"*** MESSAGE FILE END {path} ***"]
    envelope = lines[1:start]
    assert "sender: s p@x.example" in envelope
    assert "named_attribute: client_address=192.0.2.1" in envelope
    assert "sender_fullname: F N" in envelope
    assert "verp_delimiters: +=" in envelope
    assert "named_attribute: ret_flags=2" in envelope
    assert envelope[-5:] == [
        "named_attribute: dsn_orig_rcpt=rfc822;q@x.example",
        "named_attribute: notify_flags=10",
        "original_recipient: o@x.example",
        "recipient: a@x.example",
        "done_recipient: b?@x.example",
    ]


@pytest.mark.parametrize(
    ("option", "first", "last", "count"),
    [
        ("-h", "Subject: a", "X: y", 3),
        ("-b", "", "X: not a header", 3),
        ("-bh", "Subject: a", "X: not a header", 6),
    ],
)
def test_parts(
    path: Path, capfdbinary: pytest.CaptureFixture[bytes], option: str, first: str, last: str, count: int
) -> None:
    lines = show(capfdbinary, option, str(path))
    assert (lines[0], lines[-1], len(lines)) == (first, last, count)


def test_envelope_only_shows_no_text(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert not any("Subject" in line or "body" in line for line in show(capfdbinary, "-e", str(path)))


def test_offsets_point_into_the_file(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    data = path.read_bytes()
    for line in show(capfdbinary, "-bho", str(path)):
        offset, text = int(line[:9]), line[10:]
        assert data[offset : offset + len(text)] == text.encode()
    for line in show(capfdbinary, "-eo", str(path)):
        if "recipient: " in line and "original" not in line:
            assert data[int(line[:9]) : int(line[:9]) + 1] in b"RD"


def test_raw_is_file_order_and_from_an_offset_on(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def shown(*arguments: str) -> list[int]:
        lines = show(capfdbinary, "-ro", *arguments, str(path))
        return [int(line[:9]) for line in lines if line[:9].strip().isdigit()]

    offsets = shown()
    assert offsets == sorted(offsets)
    middle = offsets[len(offsets) // 2]
    assert shown("-s", str(middle)) == [offset for offset in offsets if offset >= middle]


def test_types_names_and_file_name(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = show(capfdbinary, "-dfv", str(path))
    assert f"{path}:  83 sender: s p@x.example" in lines
    assert f"{path}:  78 regular_text: body" in lines


@pytest.mark.parametrize("data", [b"", b"not a queue file\n", b"TUBEPOST-QUEUE 1 ", b"x" * 500])
def test_what_is_no_queue_file_is_told_and_does_not_crash(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], data: bytes
) -> None:
    file = tmp_path / "x"
    file.write_bytes(data)
    assert postcat.main([str(file)]) == 0
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "input is not a valid queue file" in captured.err


def test_a_file_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert postcat.main([str(tmp_path / "none")]) == 1
    assert "No such file" in capfd.readouterr().err
    assert postcat.main(["-s", "x", str(tmp_path)]) == 1
