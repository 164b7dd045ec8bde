"""The queue file, format version 1: what was written is read, what was not written is never taken for mail."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.wire.envelope import Envelope, Origin, Recipient
from tubepost.common.system.ids import new_queue_id
from tubepost.common.spool import Damaged, Incomplete, Spool, Writer, encode, open_queue_file
from tubepost.common.spool.queuefile import EXPIRED, MAGIC, PREAMBLE, WARNED, mark_done, read_queue_file, set_flag

VERSION_1 = Path(__file__).parents[2] / "data" / "queue" / "version-1"

texts = st.text(st.characters(codec="utf-8"), max_size=40)
envelopes = st.builds(
    Envelope,
    sender=texts,
    arrival_time=st.floats(0, 4e9),
    encoding=st.sampled_from(("7bit", "8bit", "binary")),
    smtputf8=st.booleans(),
    ret=st.sampled_from(("", "FULL", "HDRS")),
    envid=texts,
    origin=st.builds(Origin, client_name=texts, helo=texts, uid=st.integers(-1, 1 << 31)),
)
recipients = st.lists(
    st.builds(
        Recipient,
        address=texts,
        original=texts,
        orcpt=texts,
        notify=st.sampled_from(((), ("NEVER",), ("SUCCESS", "FAILURE"))),
    ),
    max_size=8,
)
contents = st.lists(st.binary(max_size=300), max_size=4)

Content = Sequence[bytes]


@contextmanager
def opened(data: bytes) -> Iterator[int]:
    """A file in memory with these bytes."""
    fd = os.memfd_create("queue-file")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


def file_of(envelope: Envelope, to: Sequence[Recipient], content: Content) -> bytes:
    return b"".join(encode(envelope, to, content)[0])


SAMPLE = file_of(
    Envelope(sender="a@example.org", arrival_time=1e9, envid="x"),
    [Recipient(address="b@example.org"), Recipient(address="ö@example.org", original="c@example.org")],
    [b"Subject: x\n\n", b"body\n" * 20],
)


@given(envelopes, recipients, contents)
def test_what_is_written_is_read(envelope: Envelope, to: list[Recipient], content: Content) -> None:
    buffers, offsets, length = encode(envelope, to, content)
    with opened(b"".join(buffers)) as fd:
        file = read_queue_file(fd)
        assert file.envelope == envelope and not file.warned and not file.expired
        found = list(file.recipients())
        assert [one[2] for one in found] == to
        assert [one[0] for one in found] == offsets
        assert not any(one[1] for one in found)
        assert b"".join(file.content(7)) == b"".join(content)
        assert (file.content_length, file.recipient_count) == (length, len(to))
        assert not found or found[-1][3] == file.size


@given(envelopes, recipients, contents)
def test_a_message_that_was_written_while_it_came_is_the_same_file(
    envelope: Envelope, to: list[Recipient], content: Content
) -> None:
    buffers, offsets, length = encode(envelope, to, content)
    fd = os.memfd_create("queue-file")
    try:
        writer = Writer(fd)
        for chunk in content:
            with pytest.raises(Incomplete):
                read_queue_file(fd)
            writer.write(chunk)
        assert writer.length == length
        assert writer.finish(envelope, to) == offsets
        assert os.pread(fd, 1 << 20, 0) == b"".join(buffers)
    finally:
        os.close(fd)


def test_no_beginning_of_a_file_is_taken_for_the_file() -> None:
    for length in range(len(SAMPLE)):
        with opened(SAMPLE[:length]) as fd, pytest.raises((Incomplete, Damaged)):
            read_queue_file(fd)


def test_nor_is_one_that_grew() -> None:
    with opened(SAMPLE + b"R{}\n") as fd, pytest.raises(Damaged):
        read_queue_file(fd)


def read_all(data: bytes) -> None:
    with opened(data) as fd:
        try:
            file = read_queue_file(fd)
            list(file.recipients())
            list(file.content())
            assert file.warned in (True, False) and file.expired in (True, False)
        except (Damaged, Incomplete):
            pass


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255)), min_size=1, max_size=6))
def test_flipped_bytes_are_damage_and_no_more(flips: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for where, change in flips:
        data[where] ^= change
    read_all(bytes(data))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(17, PREAMBLE - 2), st.sampled_from(b"0123456789 -\n")), min_size=1, max_size=30))
def test_a_preamble_of_other_digits_is_damage_and_no_more(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for where, byte in changes:
        data[where] = byte
    read_all(bytes(data))


@given(st.binary(max_size=400))
def test_any_bytes_behind_a_true_beginning(tail: bytes) -> None:
    read_all(SAMPLE[:17] + tail)
    read_all(SAMPLE[:PREAMBLE] + tail.ljust(len(SAMPLE) - PREAMBLE, b"\0")[: len(SAMPLE) - PREAMBLE])


def test_done_and_flags_change_one_byte_each(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(SAMPLE)
    with open_queue_file(str(path), writable=True) as file:
        (first, _, _, _), (second, _, _, _) = file.recipients()
        mark_done(file.fd, second)
        changed = path.read_bytes()
        assert [index for index in range(len(SAMPLE)) if changed[index] != SAMPLE[index]] == [second]
        assert [done for _, done, _, _ in file.recipients()] == [False, True]
        for position, name in ((EXPIRED, "expired"), (WARNED, "warned")):
            before = path.read_bytes()
            set_flag(file.fd, position)
            after = path.read_bytes()
            assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
            with open_queue_file(str(path)) as again:
                assert getattr(again, name)
        assert first < second
    with open_queue_file(str(path)) as file:
        assert file.warned and file.expired
    assert file.fd == -1


def test_a_long_list_is_read_in_portions_from_where_one_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    to = [Recipient(address=f"user{number}@example.org") for number in range(20_000)]
    data = file_of(Envelope(sender="", arrival_time=0), to, [b"x"])
    sizes: list[int] = []
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    with opened(data) as fd:
        file = read_queue_file(fd)
        seen: list[str] = []
        start = 0
        while len(seen) < len(to):
            for count, (_, _, recipient, following) in enumerate(file.recipients(start), 1):
                seen.append(recipient.address)
                if count == 3000:
                    start = following
                    break
        assert seen == [one.address for one in to]
    assert max(sizes) <= 65_536, "never the whole list at once"


def test_lines_without_end_are_damage() -> None:
    long = Recipient(address="x" * 200_000)
    with opened(file_of(Envelope(sender="", arrival_time=0), [long], [])) as fd:
        file = read_queue_file(fd)
        with pytest.raises(Damaged, match="does not end"):
            list(file.recipients())
    with (
        opened(file_of(Envelope(sender="x" * 70_000, arrival_time=0), [], [])) as fd,
        pytest.raises(Damaged, match="envelope line does not end"),
    ):
        read_queue_file(fd)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(SAMPLE)
    os.symlink("file", tmp_path / "link")
    with pytest.raises(OSError, match="symbolic links"):
        open_queue_file(str(tmp_path / "link"))
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "file").write_bytes(SAMPLE[:-1])
    with pytest.raises(Incomplete):
        open_queue_file(str(tmp_path / "file"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_nobody_waits_at_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    # mkfifo in maildrop would have kept mailq for ever, of all users.
    path = tmp_path / "strange"
    make(path)
    signal.alarm(5)
    try:
        with pytest.raises(Damaged):
            open_queue_file(str(path))
    finally:
        signal.alarm(0)


def test_a_file_of_version_1_stays_readable() -> None:
    """Never write this file anew: it is what a system of then left in its queue."""
    with open_queue_file(str(VERSION_1)) as file:
        assert file.envelope == Envelope(
            sender="sender@example.org",
            arrival_time=1764000000.25,
            encoding="8bit",
            smtputf8=True,
            ret="HDRS",
            envid="id+1",
            origin=Origin(client_name="mail.example.org", client_address="192.0.2.1", helo="mail", protocol="ESMTP"),
        )
        assert file.warned and not file.expired
        assert [(done, recipient) for _, done, recipient, _ in file.recipients()] == [
            (True, Recipient(address="alice@example.test", orcpt="rfc822;alice@example.test", notify=("FAILURE",))),
            (False, Recipient(address="bøb@example.test", original="list@example.test")),
        ]
        assert b"".join(file.content()) == "Subject: version 1\n\nGrüße\n".encode()


# -- directories -----------------------------------------------------------------------------------------------------


@pytest.fixture
def spool() -> Iterator[Spool]:
    with tempfile.TemporaryDirectory() as folder:
        for queue in ("incoming", "active", "deferred", "defer"):
            os.mkdir(f"{folder}/{queue}")
        yield Spool(folder)


@pytest.mark.parametrize("name", ["../passwd", "..", "", "x/y", "4dKq0t2WcKz1Jx/../../x"])
def test_no_other_name_becomes_a_path(spool: Spool, name: str) -> None:
    for work in (spool.path, spool.create_named, spool.remove):
        with pytest.raises(ValueError, match="not a queue id"):
            work("incoming", name)


def test_files_go_from_queue_to_queue(spool: Spool) -> None:
    queue_id, fd = spool.create("incoming")
    os.close(fd)
    with pytest.raises(FileExistsError):
        spool.create_named("incoming", queue_id)
    spool.move(queue_id, "incoming", "deferred")  # makes the hashed directory
    assert spool.find(queue_id) == "deferred"
    assert [entry.name for entry in spool.scan("deferred")] == [queue_id]
    assert os.path.relpath(spool.path("deferred", queue_id), spool.directory).count("/") == 2
    with pytest.raises(FileNotFoundError):
        spool.move(queue_id, "incoming", "active")
    spool.move(queue_id, "deferred", "active")
    assert spool.remove("active", queue_id) and not spool.remove("active", queue_id)
    assert spool.find(queue_id) is None


def test_a_scan_sees_queue_files_only(spool: Spool) -> None:
    names = [new_queue_id() for _ in range(40)]
    for name in names:
        os.close(spool.create_named("deferred", name))
    open(f"{spool.directory}/deferred/.README.tmp", "w").close()
    os.mkdir(f"{spool.directory}/deferred/lost+found")
    assert sorted(entry.name for entry in spool.scan("deferred")) == sorted(names)
    assert list(spool.scan("hold")) == [], "a directory that is not there is empty"


def test_hashing_spreads(spool: Spool) -> None:
    folders = {os.path.dirname(spool.path("deferred", new_queue_id())) for _ in range(2000)}
    assert len(folders) == 16


def test_a_file_whose_size_alone_came_to_the_disk_is_incomplete(tmp_path: Path) -> None:
    """A power failure before the sync (tests/fault/test_power_cut.py found it): it was never accepted."""
    path = tmp_path / "file"
    for size in (PREAMBLE, len(SAMPLE), 100_000):
        path.write_bytes(bytes(size))
        with pytest.raises(Incomplete):
            open_queue_file(str(path))
    # The first page came to the disk, the last did not.
    offset = int(SAMPLE[len(MAGIC) :].split()[2])
    path.write_bytes(SAMPLE[:offset] + bytes(len(SAMPLE) - offset))
    with pytest.raises(Incomplete):
        open_queue_file(str(path))


def test_a_preamble_that_is_written_in_pieces_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pwrite(2) may write less than it was given (tests/fault/test_faulty_disk.py found it)."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[: max(1, len(data) // 2)], offset))
    path = tmp_path / "file"
    with open(path, "wb") as file:
        writer = Writer(file.fileno())
        writer.write(b"x\n")
        writer.finish(Envelope(sender="a@b", arrival_time=0), [Recipient(address="c@d")])
    with open_queue_file(str(path)) as found:
        assert found.recipient_count == 1


@pytest.mark.parametrize("when", [b"1e300", b"-1.0", b"300000000000.0", b"1e999"])
def test_a_time_that_no_calendar_has_is_damage(when: bytes) -> None:
    # Users write files of maildrop, and mailq shows them to everybody.
    data = file_of(Envelope(sender="a@b", arrival_time=12345.0), [Recipient(address="c@d")], [b"x\n"])
    line = b'"arrival_time":12345.0'
    assert line in data
    strange = data.replace(line, b'"arrival_time":' + when.rjust(7))
    total = b"%015d" % len(data)
    assert data.count(total) == 1
    with opened(strange.replace(total, b"%015d" % len(strange))) as fd, pytest.raises(Damaged):
        read_queue_file(fd)
